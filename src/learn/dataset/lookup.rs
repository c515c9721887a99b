//! Which picture is meant by what a label's file says: by its path first, else by a name that only one picture has.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::walk::{is_picture, tidied};

/// The pictures of a set, by their places and by their names.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    places: BTreeSet<PathBuf>,
    names: HashMap<OsString, Vec<PathBuf>>,
    stems: HashMap<OsString, Vec<PathBuf>>,
}

impl Lookup {
    pub(super) fn of(pictures: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut lookup = Self::default();
        for picture in pictures {
            let picture = tidied(&picture);
            if !lookup.places.insert(picture.clone()) {
                continue;
            }
            for (shelf, name) in [(&mut lookup.names, picture.file_name()), (&mut lookup.stems, picture.file_stem())] {
                shelf.entry(name.unwrap_or_default().to_owned()).or_default().push(picture.clone());
            }
        }
        lookup
    }

    /// All of them, by path.
    pub(super) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.places.iter()
    }

    /// The picture at a path, where it is one of these.
    pub(super) fn at(&self, path: &Path) -> Option<&PathBuf> {
        self.places.get(&tidied(path))
    }

    /// The picture at a path: one of these, or an ordinary file elsewhere that is called like a picture.
    pub(super) fn anywhere(&self, path: &Path) -> Option<PathBuf> {
        let is_file = |path: &PathBuf| is_picture(path) && path.symlink_metadata().is_ok_and(|found| found.is_file());
        self.at(path).cloned().or_else(|| Some(tidied(path)).filter(is_file))
    }

    /// Those with a file name.
    pub(super) fn called(&self, name: &OsStr) -> &[PathBuf] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    /// Those with a file name, whatever their extensions.
    pub(super) fn with_stem(&self, stem: &OsStr) -> &[PathBuf] {
        self.stems.get(stem).map_or(&[], Vec::as_slice)
    }

    /// The one whose path ends with a name.
    pub(super) fn that_ends_with(&self, name: &Path) -> Option<&PathBuf> {
        let mut found = self.called(name.file_name()?).iter().filter(|picture| picture.ends_with(name));
        found.next().filter(|_| found.next().is_none())
    }

    /// The one with the stem in a folder.
    pub(super) fn with_stem_in(&self, folder: &Path, stem: &OsStr) -> Option<&PathBuf> {
        let folder = tidied(folder);
        let mut there = self.with_stem(stem).iter().filter(|picture| picture.parent() == Some(&*folder));
        there.next().filter(|_| there.next().is_none())
    }
}

/// The paths that a name in a file may mean: as it stands, and with the separators of the system that it was written on. None
/// for a name with a hidden part, which is nobody's picture.
pub(super) fn spellings(name: &str) -> Vec<PathBuf> {
    let mut spellings = vec![PathBuf::from(name)];
    if name.contains('\\') {
        spellings.push(name.replace('\\', "/").into());
    }
    let hidden =
        |part: Component<'_>| matches!(part, Component::Normal(name) if name.as_encoded_bytes().starts_with(b"."));
    spellings.retain(|path| !path.components().any(hidden) && path.file_name().is_some());
    spellings
}

/// Names for a message: the first few of them.
pub(super) fn some(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<String> =
        paths.iter().take(SHOWN).map(|path| crate::domain::RawPath(path.clone()).to_string()).collect();
    if paths.len() > SHOWN {
        names.push(format!("{} more", paths.len() - SHOWN));
    }
    names.join(", ")
}
