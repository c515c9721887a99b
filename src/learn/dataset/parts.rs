//! The folders of a set's parts, and the pictures that lie in none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::lookup::some;
use super::walk::pictures_below;
use super::{DatasetError, Fate, Problem, Split};

/// What parts are called.
const NAMES: [(&str, Split); 7] = [
    ("train", Split::Train),
    ("training", Split::Train),
    ("val", Split::Val),
    ("valid", Split::Val),
    ("validation", Split::Val),
    ("test", Split::Test),
    ("testing", Split::Test),
];

/// The folders of parts in a folder, however their names are capitalised; by part, then by path.
pub(super) fn parts_in(dir: &Path) -> Result<Vec<(Split, PathBuf)>, DatasetError> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(dir).map_err(DatasetError::io("read", dir))? {
        let path = entry.map_err(DatasetError::io("read", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let named = NAMES.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        parts.extend(named.filter(|_| path.is_dir()).map(|(_, split)| (split, path.clone())));
    }
    parts.sort();
    Ok(parts)
}

/// The folders below a folder in which pictures lie that are none of these, with what becomes of those.
pub(super) fn apart_from(dir: &Path, known: &BTreeSet<PathBuf>, fate: Fate) -> Result<Vec<Problem>, DatasetError> {
    let mut apart: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for picture in pictures_below(dir)?.pictures.into_iter().filter(|picture| !known.contains(picture)) {
        apart.entry(picture.parent().unwrap_or(dir).to_owned()).or_default().push(picture);
    }
    let told = |(folder, pictures): (PathBuf, Vec<PathBuf>)| {
        let names: Vec<PathBuf> = pictures.iter().filter_map(|path| path.file_name().map(PathBuf::from)).collect();
        let reason = format!("{} of its pictures are in none of the set's parts: {}", names.len(), some(&names));
        Problem { file: folder, line: None, fate, reason }
    };
    Ok(apart.into_iter().map(told).collect())
}
