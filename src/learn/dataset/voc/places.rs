//! Which picture a Pascal VOC file is of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::Problem;
use super::super::lookup::{Lookup, some, spellings};

/// What a file says of its picture.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) folder: Option<String>,
    pub(super) filename: Option<String>,
}

/// How sure it is that a file is of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sure {
    /// Only one picture of the set has the name.
    Name,
    /// The picture lies where the file says, or where the file's own path leads.
    Place,
    /// Both.
    Both,
}

/// The pictures below a set's folder, and where they may lie.
pub(super) struct Places<'a> {
    dir: &'a Path,
    /// Where the annotations are.
    annotations: &'a Path,
    pub(super) lookup: Lookup,
}

impl<'a> Places<'a> {
    pub(super) fn new(dir: &'a Path, annotations: &'a Path, mut pictures: Vec<PathBuf>) -> Self {
        // The format's masks are called like the pictures that they are of.
        let masks = ["SegmentationClass", "SegmentationObject"].map(|name| dir.join(name));
        pictures.retain(|picture| !masks.iter().any(|masks| picture.starts_with(masks)));
        Self { dir, annotations, lookup: Lookup::of(pictures) }
    }

    /// The folders in which the picture of a file may lie, the nearest first.
    fn folders(&self, file: &Path, folder: Option<&str>) -> Vec<PathBuf> {
        // Below the annotations a file lies as its picture lies below the pictures.
        let below =
            file.parent().and_then(|parent| parent.strip_prefix(self.annotations).ok()).unwrap_or(Path::new(""));
        let roots = [self.dir.join("JPEGImages"), self.dir.join("images"), self.dir.to_owned()];
        let mut folders: Vec<PathBuf> = Vec::new();
        if self.annotations == self.dir {
            folders.push(self.dir.join(below));
        }
        folders.extend(roots.iter().map(|root| root.join(below)));
        let named = folder.map(spellings).unwrap_or_default();
        folders.extend(named.iter().flat_map(|named| roots.iter().map(move |root| root.join(named))));
        folders.extend(roots);
        folders
    }

    /// The picture that lies where a file's own path leads: its name with another extension.
    pub(super) fn beside(&self, file: &Path) -> Option<&PathBuf> {
        let stem = file.file_stem()?;
        // Only where it is: whatever else has the name may be of another file.
        let here = if self.annotations == self.dir { 1 } else { 3 };
        self.folders(file, None).iter().take(here).find_map(|folder| self.lookup.with_stem_in(folder, stem))
    }

    /// The picture of a file, how sure that is, and what is doubtful about it.
    pub(super) fn find(&self, file: &Path, named: &Named) -> Result<(PathBuf, Sure, Option<String>), String> {
        let own = self.beside(file);
        let names = named.filename.as_deref().map(spellings).unwrap_or_default();
        let folders = self.folders(file, named.folder.as_deref());
        let places = || names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        let by_stem = |place: PathBuf| self.lookup.with_stem_in(place.parent()?, place.file_stem()?);
        let said = places().find_map(|place| self.lookup.at(&place)).or_else(|| places().find_map(by_stem));
        let name = named.filename.as_deref().unwrap_or_default();
        match (said, own) {
            (Some(said), Some(own)) if said == own => return Ok((said.clone(), Sure::Both, None)),
            (Some(said), Some(own)) => {
                let doubt =
                    format!("it names {}, and {} has its own name; the former is taken", said.display(), own.display());
                return Ok((said.clone(), Sure::Place, Some(doubt)));
            }
            (Some(said), None) => return Ok((said.clone(), Sure::Place, None)),
            (None, Some(own)) => {
                let doubt =
                    format!("its picture `{name}` is not there; {}, which has its own name, is taken", own.display());
                return Ok((own.clone(), Sure::Place, Some(doubt).filter(|_| !name.is_empty())));
            }
            (None, None) => {}
        }
        let found = match names.last().and_then(|name| name.file_name()) {
            Some(name) => self.lookup.called(name),
            None => self.lookup.with_stem(file.file_stem().unwrap_or_default()),
        };
        match Some(found).filter(|found| !found.is_empty()) {
            Some([one]) => Ok((one.clone(), Sure::Name, None)),
            Some(several) => Err(format!(
                "{} pictures may be its: {}; write into `folder` and `filename` which is",
                several.len(),
                some(several)
            )),
            None => Err(format!("its picture `{name}` is not there")),
        }
    }
}

/// Of several files that lead to a picture the one that does so most surely is its; none where two do so alike.
pub(super) fn of_each<T>(
    found: Vec<(PathBuf, PathBuf, Sure, T)>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<PathBuf, Option<T>> {
    let mut by_picture: BTreeMap<PathBuf, Vec<(PathBuf, Sure, T)>> = BTreeMap::new();
    for (picture, file, sure, what) in found {
        by_picture.entry(picture).or_default().push((file, sure, what));
    }
    let one = |(picture, mut files): (PathBuf, Vec<(PathBuf, Sure, T)>)| {
        files.sort_by_key(|(_, sure, _)| std::cmp::Reverse(*sure));
        if let [(_, first, _), (_, second, _), ..] = files.as_slice()
            && first == second
        {
            let names: Vec<PathBuf> = files.into_iter().map(|(file, _, _)| file).collect();
            let reason = format!("{} files are of it, and it is not known which: {}", names.len(), some(&names));
            problems.push(Problem::rejected(&picture, None, reason));
            return (picture, None);
        }
        let mut files = files.into_iter();
        let held = files.next();
        let whose = held.as_ref().map(|(file, _, _)| file.display().to_string()).unwrap_or_default();
        for (file, _, _) in files {
            let reason = format!("the picture that it leads to, {}, is of {whose}", picture.display());
            problems.push(Problem::rejected(&file, None, reason));
        }
        (picture, held.map(|(_, _, what)| what))
    };
    by_picture.into_iter().map(one).collect()
}
