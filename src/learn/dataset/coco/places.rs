//! Where the pictures of a COCO file are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::lookup::{Lookup, some, spellings};
use super::super::walk::{self, Found, pictures_below, tidied};
use super::super::{DatasetError, Problem, Split};
use super::file::Image;

/// The folders that names are looked for in, the nearest first, and the pictures below them.
pub(super) struct Places {
    folders: Vec<PathBuf>,
    /// Where names that begin with a folder are looked for last.
    above: PathBuf,
    lookup: Lookup,
}

/// The picture that a name means.
struct Meant {
    path: PathBuf,
    /// Its path is another; only its file name is the same.
    by_name: bool,
    /// What its path would mean in a folder further away.
    other: Option<PathBuf>,
}

/// What part of a set a file is of, by its name: `train2017` of `instances_train2017.json`.
fn part(json: &Path) -> Option<&str> {
    json.file_stem()?.to_str()?.rsplit('_').next().filter(|part| !part.is_empty())
}

/// Whether a file's folder is `annotations/`, beside which a set's other things are.
pub(in super::super) fn lies_apart(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.eq_ignore_ascii_case("annotations"))
}

/// What the file's name says.
pub(super) fn split_of(json: &Path) -> Split {
    let name = json.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if name.contains("val") {
        Split::Val
    } else if name.contains("test") {
        Split::Test
    } else {
        Split::Train
    }
}

impl Places {
    /// Looks around a file: beside it, in `images/` beside it or above it, and in the folders there that have the name of its
    /// part; where it lies in `annotations/`, in those beside that, too. Links are not followed, and named.
    pub(super) fn around(json: &Path) -> Result<(Self, Vec<Problem>), DatasetError> {
        let beside = json.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let above = match (beside.file_name(), beside.parent()) {
            (Some(_), Some(parent)) if parent.as_os_str().is_empty() => PathBuf::from("."),
            (Some(_), Some(parent)) => parent.to_owned(),
            // `.`, `..` or `/`.
            _ => beside.join(".."),
        };
        let mut parts: Vec<&str> = part(json).into_iter().collect();
        parts.push(split_of(json).name());
        let mut folders = vec![beside.to_owned()];
        for (root, is_whole) in [(beside, true), (&*above, lies_apart(beside))] {
            folders.extend(parts.iter().filter(|_| is_whole).map(|part| root.join(part)));
            let images = root.join("images");
            folders.extend(parts.iter().map(|part| images.join(part)));
            folders.push(images);
        }
        // Each once, however it is reached.
        let mut seen = BTreeSet::new();
        folders.retain(|folder| folder.is_dir() && fs::canonicalize(folder).is_ok_and(|whole| seen.insert(whole)));
        let (mut pictures, mut problems, mut walked) = (Vec::new(), Vec::new(), Vec::<PathBuf>::new());
        // The shortest first, for what lies below it is looked through with it.
        let mut wholes: Vec<(PathBuf, &PathBuf)> =
            folders.iter().filter_map(|folder| Some((fs::canonicalize(folder).ok()?, folder))).collect();
        wholes.sort();
        for (whole, folder) in wholes {
            if !walked.iter().any(|walked| whole.starts_with(walked)) {
                let Found { pictures: below, problems: links } = pictures_below(folder)?;
                pictures.extend(below);
                problems.extend(links);
                walked.push(whole);
            }
        }
        Ok((Self { folders, above, lookup: Lookup::of(pictures) }, problems))
    }

    /// The picture of a name.
    fn find(&self, name: &str) -> Result<Meant, String> {
        let spellings = spellings(name);
        let within = |name: &Path| {
            let has_folder = name.parent().is_some_and(|folder| !folder.as_os_str().is_empty());
            self.folders
                .iter()
                .chain(has_folder.then_some(&self.above))
                .map(|folder| folder.join(name))
                .collect::<Vec<_>>()
        };
        let mut found = spellings.iter().flat_map(|name| within(name)).filter_map(|path| self.lookup.anywhere(&path));
        if let Some(path) = found.next() {
            let other = found.find(|other| *other != path);
            return Ok(Meant { path, by_name: false, other });
        }
        let Some(last) = spellings.last() else { return Err(format!("the picture {name} is not there")) };
        let called = self.lookup.called(last.file_name().unwrap_or_default());
        let only = match called {
            [path] => Some(path),
            _ => self.lookup.that_ends_with(last),
        };
        match (only, called) {
            (Some(path), _) => Ok(Meant { path: path.clone(), by_name: true, other: None }),
            (None, []) => Err(format!("the picture {name} is not there")),
            (None, _) => Err(format!(
                "the picture {name} is not there, and {} others are called so: {}; write its path into `file_name`",
                called.len(),
                some(called)
            )),
        }
    }

    /// Which entries each picture has, by their places among `images`: more than one only where all of them name its very path.
    /// What can be of several pictures, or leads to one that another entry is of, is listed.
    pub(super) fn of(
        &self,
        json: &Path,
        images: &[Image],
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<PathBuf, Vec<usize>> {
        let mut claims: BTreeMap<PathBuf, Vec<(usize, bool)>> = BTreeMap::new();
        for (number, image) in images.iter().enumerate() {
            match self.find(&image.file_name) {
                Ok(Meant { path, by_name, other }) => {
                    if let Some(other) = other {
                        let reason =
                            format!("{} may mean {}, too; this one is nearer", image.file_name, other.display());
                        problems.push(Problem::doubtful(&path, reason));
                    }
                    claims.entry(path).or_default().push((number, by_name));
                }
                Err(reason) => problems.push(Problem::rejected(json, None, reason)),
            }
        }
        let mut entries = BTreeMap::new();
        for (path, claims) in claims {
            let names = |claims: &[(usize, bool)]| -> String {
                claims.iter().map(|(number, _)| images[*number].file_name.as_str()).collect::<Vec<_>>().join(", ")
            };
            let (by_name, by_path): (Vec<_>, Vec<_>) = claims.iter().copied().partition(|(_, by_name)| *by_name);
            let held = match (by_path.is_empty(), by_name.len()) {
                (true, 1) => by_name,
                (true, count) => {
                    let reason = format!(
                        "{count} entries lead to it by its file name alone: {}; it is not known whose labels are of it, write its path \
                         into `file_name`",
                        names(&by_name)
                    );
                    problems.push(Problem::rejected(&path, None, reason));
                    Vec::new()
                }
                (false, _) => {
                    for (number, _) in &by_name {
                        let name = &images[*number].file_name;
                        let reason = format!("the picture {name} is not there; {} is another entry's", path.display());
                        problems.push(Problem::rejected(json, None, reason));
                    }
                    by_path
                }
            };
            if held.len() > 1 {
                let reason =
                    format!("{} entries are of it: {}; their labels were put together", held.len(), names(&held));
                problems.push(Problem::mended(&path, None, reason));
            }
            entries.insert(path, held.into_iter().map(|(number, _)| number).collect());
        }
        entries
    }

    /// Pictures that lie where others of the set do and that neither this file nor another one beside it lists.
    pub(super) fn unlisted(&self, json: &Path, listed: &BTreeMap<PathBuf, Vec<usize>>) -> Vec<Problem> {
        let folders: BTreeSet<&Path> = listed.keys().filter_map(|path| path.parent()).collect();
        let lies_there = |path: &&PathBuf| path.parent().is_some_and(|folder| folders.contains(folder));
        let mut lost: Vec<&PathBuf> =
            self.lookup.all().filter(|path| !listed.contains_key(*path)).filter(lies_there).collect();
        if !lost.is_empty() {
            let others = names_beside(json);
            lost.retain(|path| {
                !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| others.contains(name))
            });
        }
        let reason = || format!("{} does not list it, and so it is not known what is in it", json.display());
        lost.into_iter().map(|path| Problem::rejected(path, None, reason())).collect()
    }
}

/// The file names that the other COCO files in a file's folder list: a folder of pictures may be of all of them.
fn names_beside(json: &Path) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Listing {
        images: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        file_name: String,
    }
    let beside = json.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let files = fs::read_dir(beside).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_other = |path: &PathBuf| path.extension().is_some_and(|end| end == "json") && tidied(path) != tidied(json);
    let mut names = BTreeSet::new();
    for file in files.filter(is_other) {
        // What is no such file lists nothing.
        let bytes = walk::read_bounded(&file, walk::COCO).ok().and_then(Result::ok).flatten();
        let listing = bytes.and_then(|bytes| serde_json::from_slice::<Listing>(&bytes).ok());
        for image in listing.into_iter().flat_map(|listing| listing.images) {
            let name = spellings(&image.file_name).pop();
            names.extend(name.and_then(|name| Some(name.file_name()?.to_str()?.to_owned())));
        }
    }
    names
}
