//! A set of a COCO file for each part, in a folder's `annotations/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::{Dataset, DatasetError, Item, Kind, Problem, Split};
use super::places::split_of;
use super::{cornered, read};

/// The files `instances_….json` in a folder's `annotations/`, by name.
pub(in super::super) fn described(dir: &Path) -> Vec<PathBuf> {
    let is_one = |name: &str| name.starts_with("instances_") && name.ends_with(".json");
    let entries = std::fs::read_dir(dir.join("annotations")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one)).map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// The COCO files that a set is read from: the one that it is, or those of a folder.
pub(in super::super) fn files(set: &Path) -> Vec<PathBuf> {
    if set.is_file() {
        let is_json = set.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        return if is_json { vec![set.to_owned()] } else { Vec::new() };
    }
    if super::super::yolo::is_one(set) { Vec::new() } else { described(set) }
}

/// The file of a part, in a folder that is read by its COCO files.
pub(super) fn of_split(dir: &Path, split: Split) -> Option<PathBuf> {
    let files = files(dir);
    files.iter().find(|file| file.as_path() == dir || split_of(file) == split).cloned()
}

/// Reads them as one set; each is for what its name says.
///
/// # Errors
/// Two are for the same, or have other categories: then one has to be named. As [`read`] has them.
pub(in super::super) fn read_parts(dir: &Path, files: &[PathBuf]) -> Result<Dataset, DatasetError> {
    let mut by_split: BTreeMap<Split, &PathBuf> = BTreeMap::new();
    for file in files {
        if let Some(other) = by_split.insert(split_of(file), file) {
            let (split, first, second) = (split_of(file).name(), other.display(), file.display());
            let detail =
                format!("it has two COCO files for `{split}`, {first} and {second}; name the one that is meant");
            return Err(DatasetError::description(dir, detail));
        }
    }
    let mut whole: Option<(Dataset, &PathBuf)> = None;
    for file in by_split.into_values() {
        let part = read(file)?;
        let Some((set, first)) = &mut whole else {
            whole = Some((part, file));
            continue;
        };
        if part.names != set.names {
            let detail = format!(
                "the categories of {} are not those of {} in name and order; name one of them, or make them agree",
                file.display(),
                first.display()
            );
            return Err(DatasetError::description(dir, detail));
        }
        add(set, part, file);
    }
    whole.map(|(set, _)| set).ok_or_else(|| DatasetError::Unknown(dir.to_owned()))
}

fn add(set: &mut Dataset, part: Dataset, file: &Path) {
    set.problems.extend(part.problems);
    let kind = if [set.kind, part.kind].contains(&Kind::Segment) { Kind::Segment } else { Kind::Detect };
    if part.kind != set.kind {
        let reason = "its parts are of boxes and of outlines; boxes count as outlines of four corners";
        set.problems.push(Problem::doubtful(file, reason));
    }
    set.kind = kind;
    let known: BTreeMap<PathBuf, Split> = set.items.iter().map(|item| (item.image.clone(), item.split)).collect();
    let (again, new): (Vec<Item>, Vec<Item>) = part.items.into_iter().partition(|item| known.contains_key(&item.image));
    let firsts: BTreeSet<&str> =
        again.iter().filter_map(|item| known.get(&item.image)).map(|split| split.name()).collect();
    if let Some(item) = again.first() {
        let firsts = firsts.into_iter().collect::<Vec<_>>().join(" or ");
        let reason = format!(
            "{} pictures are in both {firsts} and {}; they are taken for {firsts} only",
            again.len(),
            item.split.name()
        );
        set.problems.push(Problem::leak(file, reason));
    }
    set.items.extend(new);
    if kind == Kind::Segment {
        set.items.iter_mut().flat_map(|item| item.objects.iter_mut().chain(&mut item.crowds)).for_each(cornered);
    }
}
