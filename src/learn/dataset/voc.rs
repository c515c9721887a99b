//! Pascal VOC: an `.xml` file a picture, in `Annotations/` beside `JPEGImages/`, or beside the pictures.

mod lists;
mod places;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use places::{Named, Places, of_each};

use super::upright::{self, Meant};
use super::walk::{self, pictures_below};
use super::{Dataset, DatasetError, Fate, Item, Kind, Object, Outline, Problem, Split};

/// Whether a folder holds such files.
pub(super) fn looks_like(dir: &Path) -> bool {
    let is_one = |path: PathBuf| path.extension().is_some_and(|end| end == "xml");
    let holds = |dir: &Path| fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|entry| is_one(entry.path())));
    dir.join("Annotations").is_dir() || holds(dir)
}

/// Reads a folder of such files; classes are numbered by name. A file's picture is the one that its `folder` and `filename`
/// name, or that lies where the file itself does; else the only one of its name.
///
/// `ImageSets/Main/{train,val,test}.txt` say what is for what where they are; what none of them names is to learn from.
///
/// # Errors
/// A folder cannot be read; there are no pictures.
pub fn read(dir: &Path) -> Result<Dataset, DatasetError> {
    let inner = dir.join("Annotations");
    let annotations = if inner.is_dir() { &*inner } else { dir };
    let found = pictures_below(dir)?;
    let mut problems = found.problems;
    let places = Places::new(dir, annotations, found.pictures);
    // Pictures of files that cannot be used are not called unlabelled.
    let (mut read, mut named) = (Vec::new(), BTreeSet::new());
    for file in walk::files_below(annotations, "xml")? {
        let (annotation, mut doubts) = match text(&file)?.and_then(|text| parse(&file, &text)) {
            Ok(parsed) => parsed,
            Err(reason) => {
                problems.push(Problem::rejected(&file, None, reason));
                named.extend(places.beside(&file).cloned());
                continue;
            }
        };
        let (image, sure) = match places.find(&file, &annotation.picture) {
            Ok((image, sure, doubt)) => {
                doubts.extend(doubt.map(|doubt| Problem::doubtful(&file, doubt)));
                (image, sure)
            }
            Err(reason) => {
                problems.push(Problem::rejected(&file, None, reason));
                continue;
            }
        };
        read.push((image, file.clone(), sure, (file, annotation, doubts)));
    }
    let (mut labelled, mut folders) = (Vec::new(), BTreeSet::new());
    let (mut outlined, mut difficult) = (0, 0);
    for (image, held) in of_each(read, &mut problems) {
        named.insert(image.clone());
        folders.extend(image.parent().map(Path::to_owned));
        let Some((file, annotation, doubts)) = held else { continue };
        // With none of its labels left it would pass for a picture of nothing.
        let is_lost = annotation.objects.is_empty() && doubts.iter().any(|doubt| doubt.fate == Fate::LeftOut);
        problems.extend(doubts);
        if is_lost {
            problems.push(Problem::rejected(&image, None, "none of its labels can be used"));
            continue;
        }
        outlined += annotation.outlined;
        difficult += annotation.difficult;
        let objects = turned(&file, &image, annotation, &mut problems);
        labelled.push((image, objects));
    }
    let is_lost =
        |path: &&PathBuf| !named.contains(*path) && path.parent().is_some_and(|folder| folders.contains(folder));
    let reason = "no XML file is of it, and so it is not known what is in it";
    problems.extend(places.lookup.all().filter(is_lost).map(|path| Problem::rejected(path, None, reason)));
    if labelled.is_empty() {
        return Err(DatasetError::empty(dir, &problems));
    }
    if outlined > 0 {
        let reason = format!("{outlined} objects have an outline (`polygon`), of which the box alone is read");
        problems.push(Problem::mended(dir, None, reason));
    }
    if difficult > 0 {
        let reason = format!("{difficult} objects are marked `difficult`; they are taken as all others are");
        problems.push(Problem::doubtful(dir, reason));
    }
    let pictures: Vec<PathBuf> = labelled.iter().map(|(image, _)| image.clone()).collect();
    let splits = lists::splits(dir, &pictures, &mut problems)?;
    let classes: BTreeSet<&String> =
        labelled.iter().flat_map(|(_, objects)| objects.iter().map(|(name, _)| name)).collect();
    let names: Vec<String> = classes.into_iter().cloned().collect();
    let item = |(image, objects): (PathBuf, Vec<(String, Outline)>)| {
        let object = |(name, outline): (String, Outline)| Object {
            class: names.binary_search(&name).unwrap_or_default() as u32,
            outline: Some(outline),
        };
        let split = splits.get(&image).copied().unwrap_or(Split::Train);
        Item { image, split, objects: objects.into_iter().map(object).collect(), crowds: Vec::new() }
    };
    let items = labelled.into_iter().map(item).collect();
    Ok(Dataset { kind: Kind::Detect, names, items, problems })
}

/// A file's text; the inner error says in words why it has none.
fn text(file: &Path) -> Result<Result<String, String>, DatasetError> {
    let bytes = walk::read_bounded(file, walk::LABELS)?;
    Ok(bytes.and_then(|bytes| {
        String::from_utf8(bytes.unwrap_or_default()).map_err(|_| "it is not text in UTF-8".to_owned())
    }))
}

/// A file's objects in the upright picture.
fn turned(file: &Path, image: &Path, annotation: Annotation, problems: &mut Vec<Problem>) -> Vec<(String, Outline)> {
    let mut objects = annotation.objects;
    match upright::stored(image).map(|stored| (stored, upright::meant(stored, annotation.size))) {
        Some((_, Meant::Stored(by))) => {
            objects.iter_mut().for_each(|(_, outline)| *outline = upright::turned(outline, by));
        }
        Some((stored, Meant::Other)) => {
            let ((w, h), (width, height)) = (stored.size, annotation.size);
            let reason = format!(
                "it says that its picture has {width} x {height} pixels, it has {w} x {h}; its labels are taken as shares"
            );
            problems.push(Problem::doubtful(file, reason));
        }
        Some((_, Meant::Upright)) | None => {}
    }
    objects
}

struct Annotation {
    picture: Named,
    /// Of the picture, pixels: width and height.
    size: (u32, u32),
    objects: Vec<(String, Outline)>,
    /// Objects with an outline of corners, and those that are marked as difficult.
    outlined: usize,
    difficult: usize,
}

/// Corners count pixels from 1, both ends inside, as in the challenge's development kit.
fn parse(file: &Path, text: &str) -> Result<(Annotation, Vec<Problem>), String> {
    let document = roxmltree::Document::parse(text).map_err(|error| format!("it is no XML: {error}"))?;
    let root = document.root_element();
    let child = |node: roxmltree::Node<'_, '_>, name: &str| {
        node.children()
            .find(|child| child.has_tag_name(name))
            .and_then(|child| child.text())
            .map(|t| t.trim().to_owned())
    };
    let number = |node: roxmltree::Node<'_, '_>, name: &str| -> Result<f32, String> {
        let text = child(node, name).ok_or_else(|| format!("`{name}` is missing"))?;
        text.parse()
            .ok()
            .filter(|n: &f32| n.is_finite())
            .ok_or_else(|| format!("`{name}` is `{text}`, which is no number"))
    };
    let size = root.children().find(|node| node.has_tag_name("size")).ok_or("`size` is missing")?;
    let (width, height) = (number(size, "width")?, number(size, "height")?);
    if width < 1.0 || height < 1.0 {
        return Err(format!("its picture is said to be {width} x {height}"));
    }
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    let (mut outlined, mut difficult) = (0, 0);
    for node in root.children().filter(|node| node.has_tag_name("object")) {
        let line = document.text_pos_at(node.range().start).row as usize;
        let read = || -> Result<(String, Outline, bool), String> {
            let name = child(node, "name").filter(|name| !name.is_empty()).ok_or("its `name` is missing")?;
            let bounds = node.children().find(|n| n.has_tag_name("bndbox")).ok_or("its `bndbox` is missing")?;
            let corners = [
                number(bounds, "xmin")? - 1.0,
                number(bounds, "ymin")? - 1.0,
                number(bounds, "xmax")?,
                number(bounds, "ymax")?,
            ];
            let [left, top] = [corners[0].clamp(0.0, width), corners[1].clamp(0.0, height)];
            let [right, bottom] = [corners[2].clamp(0.0, width), corners[3].clamp(0.0, height)];
            if right <= left || bottom <= top {
                return Err(format!("the box of `{name}` has no area in the picture"));
            }
            let bounds = [
                (left + right) / 2.0 / width,
                (top + bottom) / 2.0 / height,
                (right - left) / width,
                (bottom - top) / height,
            ];
            // One pixel over the edge is how the format counts.
            let moved = corners[0] < -1.0 || corners[1] < -1.0 || corners[2] > width || corners[3] > height;
            Ok((name, Outline::Box(bounds), moved))
        };
        match read() {
            Ok((name, outline, moved)) => {
                if moved {
                    problems.push(Problem::mended(
                        file,
                        Some(line),
                        format!("the box of `{name}` was cut off at the picture's edge"),
                    ));
                }
                objects.push((name, outline));
                outlined += usize::from(node.children().any(|child| child.has_tag_name("polygon")));
                difficult += usize::from(child(node, "difficult").is_some_and(|value| value != "0"));
            }
            Err(reason) => problems.push(Problem::rejected(file, Some(line), reason)),
        }
    }
    let size = (width as u32, height as u32);
    let picture = Named { folder: child(root, "folder"), filename: child(root, "filename") };
    Ok((Annotation { picture, size, objects, outlined, difficult }, problems))
}
