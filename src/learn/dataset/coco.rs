//! COCO's `instances` files: pictures, annotations and categories in one JSON.

mod file;
mod parts;
mod places;
mod shape;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use file::{Annotation, Image};
pub(super) use parts::{described, files, read_parts};
pub(super) use places::lies_apart;
use places::{Places, split_of};
use shape::{Shape, shape};
pub use write::write;

use super::upright::{self, Meant};
use super::{Dataset, DatasetError, Fate, Item, Kind, Object, Outline, Problem, Split, walk};

/// Reads a file. Its pictures are looked for by their paths: beside it, in `images/` beside it or above it, and in folders there
/// that are called like its part (`train2017`); else by their file names, where no two have the same.
///
/// # Errors
/// It cannot be read, is no such file, or has no pictures.
pub fn read(path: &Path) -> Result<Dataset, DatasetError> {
    let (file, odd) = file::read(path)?;
    let mut problems = odd.problems;
    unambiguous(path, "pictures", file.images.iter().map(|image| (image.id, image.file_name.as_str())))?;
    unambiguous(path, "categories", file.categories.iter().map(|category| (category.id, category.name.as_str())))?;
    let mut categories = file.categories;
    categories.sort_by_key(|category| category.id);
    let classes: BTreeMap<i64, u32> = (0..).zip(&categories).map(|(class, category)| (category.id, class)).collect();
    let (places, links) = Places::around(path)?;
    problems.extend(links);
    let mut seen = BTreeSet::new();
    let again = file.annotations.iter().filter(|annotation| !seen.insert(annotation.id)).count();
    if again > 0 {
        let reason =
            format!("{again} annotations have an id that another has; all are taken, other programs lose them");
        problems.push(Problem::doubtful(path, reason));
    }
    let mut labelled: BTreeMap<i64, Vec<&Annotation>> = BTreeMap::new();
    for annotation in &file.annotations {
        labelled.entry(annotation.image_id).or_default().push(annotation);
    }
    let split = split_of(path);
    let entries = places.of(path, &file.images, &mut problems);
    let (mut items, mut taken) = (Vec::new(), Taken::default());
    for (picture, entries) in entries.iter().filter(|(_, entries)| !entries.is_empty()) {
        let mut item = Item { image: picture.clone(), split, objects: Vec::new(), crowds: Vec::new() };
        let before = problems.len();
        for image in entries.iter().map(|entry| &file.images[*entry]) {
            let meant = meant(path, picture, image, &mut problems);
            for annotation in labelled.get(&image.id).into_iter().flatten() {
                let about = format!("annotation {}, picture {}", annotation.id, image.file_name);
                match object(annotation, image, meant, &classes, &mut taken) {
                    Ok((object, mended)) => {
                        let mended = mended.map(|what| Problem::mended(path, None, format!("{about}: {what}")));
                        problems.extend(mended);
                        let row = if annotation.iscrowd == 0 { &mut item.objects } else { &mut item.crowds };
                        // Where two entries are of a picture, a label may be in both.
                        if entries.len() == 1 || !row.contains(&object) {
                            row.push(object);
                        }
                    }
                    Err(reason) => problems.push(Problem::rejected(path, None, format!("{about}: {reason}"))),
                }
            }
        }
        // With none of its labels left it would pass for a picture of nothing.
        let is_lost = problems[before..].iter().any(|problem| problem.fate == Fate::LeftOut)
            || entries.iter().any(|entry| odd.pictures.contains(&file.images[*entry].id));
        if is_lost && item.objects.is_empty() && item.crowds.is_empty() {
            problems.push(Problem::rejected(picture, None, "none of its labels can be used"));
        } else {
            items.push(item);
        }
    }
    let known: BTreeSet<i64> = file.images.iter().map(|image| image.id).collect();
    for (image, annotations) in labelled.iter().filter(|(image, _)| !known.contains(image)) {
        let reason = format!("{} annotations are of picture {image}, which is not listed", annotations.len());
        problems.push(Problem::rejected(path, None, reason));
    }
    problems.extend(places.unlisted(path, &entries));
    if items.is_empty() {
        return Err(DatasetError::empty(path, &problems));
    }
    let kind = taken.kind();
    problems.extend(taken.told(kind).into_iter().map(|(fate, reason)| Problem {
        file: path.to_owned(),
        line: None,
        fate,
        reason,
    }));
    if kind == Kind::Segment {
        items.iter_mut().flat_map(|item| item.objects.iter_mut().chain(&mut item.crowds)).for_each(cornered);
    }
    let names = categories.into_iter().map(|category| category.name).collect();
    Ok(Dataset { kind, names, items, problems })
}

/// What kinds of labels were taken, for what is told of all of them at once.
#[derive(Default)]
struct Taken {
    boxes: usize,
    outlines: usize,
    traced: usize,
    crowds: usize,
}

impl Taken {
    fn kind(&self) -> Kind {
        if self.outlines >= self.boxes && self.outlines > 0 { Kind::Segment } else { Kind::Detect }
    }

    fn told(&self, kind: Kind) -> Vec<(Fate, String)> {
        let Self { boxes, traced, crowds, .. } = self;
        let mut told = Vec::new();
        if kind == Kind::Segment && *boxes > 0 {
            told.push((Fate::Mended, format!("{boxes} boxes became outlines of four corners")));
        }
        if *traced > 0 {
            told.push((Fate::Mended, format!("{traced} masks of runs became outlines along their pixels")));
        }
        if *crowds > 0 {
            let reason =
                "regions are crowds (`iscrowd`): they are kept apart from the objects, and only COCO files hold them";
            told.push((Fate::Kept, format!("{crowds} {reason}")));
        }
        told
    }
}

/// What an entry's labels mean, by its size and the picture's.
fn meant(json: &Path, picture: &Path, image: &Image, problems: &mut Vec<Problem>) -> Meant {
    let Some(stored) = upright::stored(picture) else { return Meant::Upright };
    let meant = upright::meant(stored, (image.width, image.height));
    if meant == Meant::Other {
        let ((w, h), (width, height)) = (stored.size, (image.width, image.height));
        let json = json.display();
        let reason = format!(
            "{json} says that it has {width} x {height} pixels, it has {w} x {h}; its labels are taken as shares"
        );
        problems.push(Problem::doubtful(picture, reason));
    }
    meant
}

/// An annotation's object, and what was mended of it.
fn object(
    annotation: &Annotation,
    image: &Image,
    meant: Meant,
    classes: &BTreeMap<i64, u32>,
    taken: &mut Taken,
) -> Result<(Object, Option<String>), String> {
    let Some(&class) = classes.get(&annotation.category_id) else {
        return Err(format!("there is no category {}", annotation.category_id));
    };
    let Shape { outline, traced, mended } = shape(annotation, image)?;
    taken.traced += usize::from(traced);
    match outline {
        _ if annotation.iscrowd != 0 => taken.crowds += 1,
        Outline::Box(_) => taken.boxes += 1,
        Outline::Polygon(_) => taken.outlines += 1,
    }
    let outline = match meant {
        Meant::Stored(by) => upright::turned(&outline, by),
        Meant::Upright | Meant::Other => outline,
    };
    Ok((Object { class, outline: Some(outline) }, mended))
}

/// A picture, and the fields of its entry.
type Said = (PathBuf, Map<String, Value>);

/// What a file says of its pictures, whatever it is called.
///
/// # Errors
/// It cannot be read, or is no such file.
pub(super) fn said(path: &Path) -> Result<Vec<Said>, DatasetError> {
    #[derive(Deserialize)]
    struct Listing {
        images: Vec<Map<String, Value>>,
    }
    let bytes = walk::needed(path, walk::COCO)?;
    let listing: Listing = serde_json::from_slice(file::text(&bytes))
        .map_err(|error| DatasetError::description(path, format!("it is no COCO file: {error}")))?;
    // Entries that are none are left out.
    let one = |fields: Map<String, Value>| {
        serde_json::from_value::<Image>(Value::from(fields.clone())).ok().map(|image| (image, fields))
    };
    let (images, listed): (Vec<Image>, Vec<Map<String, Value>>) = listing.images.into_iter().filter_map(one).unzip();
    let entries = Places::around(path)?.0.of(path, &images, &mut Vec::new());
    let fields = |(picture, entries): (PathBuf, Vec<usize>)| {
        let fields = entries.into_iter().filter_map(|entry| listed.get(entry).cloned());
        fields.map(move |fields| (picture.clone(), fields)).collect::<Vec<_>>()
    };
    Ok(entries.into_iter().flat_map(fields).collect())
}

/// The numbers by which COCO tools know pictures and classes.
pub struct Numbers {
    /// Each picture's, by its path.
    pub pictures: BTreeMap<PathBuf, i64>,
    /// The classes', in their order.
    pub categories: Vec<i64>,
}

/// The numbers of the pictures of a part of a set that was read from `set`: those in its COCO file, where it has one, or else
/// those that [`write()`] gives them.
///
/// # Errors
/// The file cannot be read, or is no such file.
pub fn numbers(set: &Path, dataset: &Dataset, split: Split) -> Result<Numbers, DatasetError> {
    let Some(path) = parts::of_split(set, split) else {
        let pictures = dataset.of(split).map(|item| item.image.clone()).zip(1..).collect();
        return Ok(Numbers { pictures, categories: (1..).take(dataset.names.len()).collect() });
    };
    let (file, _) = file::read(&path)?;
    let mut categories: Vec<i64> = file.categories.iter().map(|category| category.id).collect();
    categories.sort_unstable();
    let entries = Places::around(&path)?.0.of(&path, &file.images, &mut Vec::new());
    let number = |(picture, entries): (PathBuf, Vec<usize>)| Some((picture, file.images.get(*entries.first()?)?.id));
    Ok(Numbers { pictures: entries.into_iter().filter_map(number).collect(), categories })
}

/// Refuses a file in which two of a kind have the same id: what is labelled with it cannot be told.
fn unambiguous<'a>(path: &Path, what: &str, ids: impl Iterator<Item = (i64, &'a str)>) -> Result<(), DatasetError> {
    let mut names: BTreeMap<i64, &str> = BTreeMap::new();
    for (id, name) in ids {
        if let Some(other) = names.insert(id, name) {
            let detail = format!("two {what} have the id {id}, {other:?} and {name:?}; give each an id of its own");
            return Err(DatasetError::description(path, detail));
        }
    }
    Ok(())
}

fn cornered(object: &mut Object) {
    if let Some(outline @ Outline::Box(_)) = &object.outline {
        let [left, top, right, bottom] = outline.corners();
        object.outline = Some(Outline::Polygon(vec![[left, top], [right, top], [right, bottom], [left, bottom]]));
    }
}
