//! Pictures in a folder a class, with or without `train/`, `val/` and `test/` above.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::parts::{apart_from, parts_in};
use super::walk::{is_picture, pictures_below};
use super::{Dataset, DatasetError, Fate, Item, Kind, Object, Problem, Split};

/// Reads class folders; the classes are numbered by name.
///
/// # Errors
/// A folder cannot be read; there is none with a picture in it.
pub fn read(dir: &Path) -> Result<Dataset, DatasetError> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let mut splits = parts_in(dir)?;
    if splits.is_empty() {
        splits.push((Split::Train, dir.to_owned()));
    } else {
        let below = |part: &(Split, PathBuf)| pictures_below(&part.1).map(|found| found.pictures);
        let known = splits.iter().map(below).collect::<Result<Vec<_>, _>>()?.concat().into_iter().collect();
        problems.extend(apart_from(dir, &known, Fate::LeftOut)?);
    }
    for (split, folder) in splits {
        for entry in fs::read_dir(&folder).map_err(DatasetError::io("read", &folder))? {
            let path = entry.map_err(DatasetError::io("read", &folder))?.path();
            let raw = path.file_name().unwrap_or_default();
            if raw.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let Some(name) = raw.to_str() else {
                let reason = "its name is no text in UTF-8, and a class has to have one; give it another";
                problems.push(Problem::rejected(&path, None, reason));
                continue;
            };
            if path.is_symlink() && (path.is_dir() || is_picture(&path)) {
                let reason = "it is a link, which is not followed; put what it leads to into the set";
                problems.push(Problem::rejected(&path, None, reason));
            } else if path.is_dir() {
                let below = pictures_below(&path)?;
                problems.extend(below.problems);
                let images = below.pictures;
                if images.is_empty() {
                    problems.push(Problem::rejected(&path, None, "a folder without pictures is no class"));
                }
                found.extend(images.into_iter().map(|image| (split, name.to_owned(), image)));
            } else if is_picture(&path) {
                problems.push(Problem::rejected(&path, None, "it lies in no class's folder"));
            }
        }
    }
    if found.is_empty() {
        return Err(DatasetError::Unknown(dir.to_owned()));
    }
    let classes: BTreeSet<&String> = found.iter().map(|(_, class, _)| class).collect();
    let names: Vec<String> = classes.into_iter().cloned().collect();
    let mut items: Vec<Item> = found
        .into_iter()
        .map(|(split, class, image)| {
            let class = names.binary_search(&class).unwrap_or_default() as u32;
            Item { image, split, objects: vec![Object { class, outline: None }], crowds: Vec::new() }
        })
        .collect();
    items.sort_by(|a, b| a.image.cmp(&b.image));
    Ok(Dataset { kind: Kind::Classify, names, items, problems })
}
