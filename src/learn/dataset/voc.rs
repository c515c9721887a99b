//! Pascal VOC: an `.xml` file a picture, in `Annotations/` beside `JPEGImages/`, or beside the pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::upright::{self, Meant};
use super::walk::{self, pictures_below};
use super::{Dataset, DatasetError, Item, Kind, Object, Outline, Problem, Split};

/// Whether a folder holds such files.
pub(super) fn looks_like(dir: &Path) -> bool {
    dir.join("Annotations").is_dir() || annotations(dir).is_ok_and(|files| !files.is_empty())
}

fn annotations(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let inner = dir.join("Annotations");
    let dir = if inner.is_dir() { &inner } else { dir };
    let entries = fs::read_dir(dir).map_err(DatasetError::io("read", dir))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|path| path.extension().is_some_and(|e| e == "xml")).collect();
    files.sort();
    Ok(files)
}

/// Reads a folder of such files; classes are numbered by name.
///
/// `ImageSets/Main/{train,val,test}.txt` say what is for what where they are; without them all is to learn from.
///
/// # Errors
/// A folder cannot be read; there are no pictures.
pub fn read(dir: &Path) -> Result<Dataset, DatasetError> {
    let found = pictures_below(dir)?;
    let mut problems = found.problems;
    let images: BTreeMap<String, PathBuf> =
        found.pictures.into_iter().filter_map(|path| Some((stem(&path)?, path))).collect();
    let splits = splits(dir)?;
    let mut read = Vec::new();
    for file in annotations(dir)? {
        let text =
            match walk::read_bounded(&file, walk::LABELS)?.map(|bytes| String::from_utf8(bytes.unwrap_or_default())) {
                Ok(Ok(text)) => text,
                Ok(Err(_)) => {
                    problems.push(Problem::rejected(&file, None, "it is not text in UTF-8"));
                    continue;
                }
                Err(reason) => {
                    problems.push(Problem::rejected(&file, None, reason));
                    continue;
                }
            };
        let annotation = match parse(&file, &text) {
            Ok((annotation, doubts)) => {
                problems.extend(doubts);
                annotation
            }
            Err(reason) => {
                problems.push(Problem::rejected(&file, None, reason));
                continue;
            }
        };
        let named = annotation.picture.as_deref().and_then(|name| stem(Path::new(name)));
        let Some(image) = stem(&file).and_then(|stem| images.get(&stem)).or_else(|| images.get(&named?)) else {
            let name = annotation.picture.unwrap_or_default();
            problems.push(Problem::rejected(&file, None, format!("its picture `{name}` is not there")));
            continue;
        };
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
                problems.push(Problem::doubtful(&file, reason));
            }
            Some((_, Meant::Upright)) | None => {}
        }
        read.push((image.clone(), objects));
    }
    if read.is_empty() {
        return Err(DatasetError::empty(dir, &problems));
    }
    let classes: BTreeSet<&String> =
        read.iter().flat_map(|(_, objects)| objects.iter().map(|(name, _)| name)).collect();
    let names: Vec<String> = classes.into_iter().cloned().collect();
    let item = |(image, objects): (PathBuf, Vec<(String, Outline)>)| {
        let object = |(name, outline): (String, Outline)| Object {
            class: names.binary_search(&name).unwrap_or_default() as u32,
            outline: Some(outline),
        };
        let split = stem(&image).and_then(|stem| splits.get(&stem).copied()).unwrap_or(Split::Train);
        Item { image, split, objects: objects.into_iter().map(object).collect() }
    };
    let items = read.into_iter().map(item).collect();
    Ok(Dataset { kind: Kind::Detect, names, items, problems })
}

fn stem(path: &Path) -> Option<String> {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
}

fn splits(dir: &Path) -> Result<BTreeMap<String, Split>, DatasetError> {
    let mut splits = BTreeMap::new();
    for split in Split::ALL {
        let list = dir.join("ImageSets/Main").join(format!("{}.txt", split.name()));
        if list.is_file() {
            let text = walk::text(&list, walk::LIST)?;
            splits.extend(text.split_whitespace().map(|stem| (stem.to_owned(), split)));
        }
    }
    Ok(splits)
}

struct Annotation {
    picture: Option<String>,
    /// Of the picture, pixels: width and height.
    size: (u32, u32),
    objects: Vec<(String, Outline)>,
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
            }
            Err(reason) => problems.push(Problem::rejected(file, Some(line), reason)),
        }
    }
    let size = (width as u32, height as u32);
    Ok((Annotation { picture: child(root, "filename"), size, objects }, problems))
}
