//! COCO's `instances` files: pictures, annotations and categories in one JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::upright::{self, Meant};
use super::walk::{self, Found, pictures_below};
use super::{Dataset, DatasetError, Item, Kind, Object, Outline, Problem, Split};

/// How far a corner may lie outside of its picture, as a share of the side, without a word: rounding puts some there.
const OUTSIDE: f64 = 0.01;

/// The first `instances_….json` in a folder's `annotations/`, where there are any.
pub(super) fn described(dir: &Path) -> Option<PathBuf> {
    let is_one = |name: &str| name.starts_with("instances_") && name.ends_with(".json");
    let entries = std::fs::read_dir(dir.join("annotations")).ok()?.flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one)).map(|entry| entry.path()).min()
}

/// The file, as far as it is read and written.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Image {
    id: i64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Category {
    id: i64,
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Annotation {
    id: i64,
    image_id: i64,
    category_id: i64,
    #[serde(default)]
    bbox: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segmentation: Option<Segmentation>,
    #[serde(default)]
    area: f64,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs(serde_json::Value),
}

/// Reads a file. Its pictures are sought beside it, in `images/` beside it or above it, by their names.
///
/// # Errors
/// It cannot be read, is no such file, or has no pictures.
pub fn read(path: &Path) -> Result<Dataset, DatasetError> {
    let bytes = walk::needed(path, walk::COCO)?;
    let file: File = serde_json::from_slice(&bytes)
        .map_err(|error| DatasetError::description(path, format!("it is no COCO file: {error}")))?;
    unambiguous(path, "pictures", file.images.iter().map(|image| (image.id, image.file_name.as_str())))?;
    unambiguous(path, "categories", file.categories.iter().map(|category| (category.id, category.name.as_str())))?;
    let mut categories = file.categories;
    categories.sort_by_key(|category| category.id);
    let classes: BTreeMap<i64, u32> = (0..).zip(&categories).map(|(class, category)| (category.id, class)).collect();
    let (places, mut problems) = places(path)?;
    let split = split_of(path);
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
    let (mut items, mut outlines, mut boxes) = (Vec::new(), 0_usize, 0_usize);
    for image in &file.images {
        let about = |id: i64| format!("annotation {id}, picture {}", image.file_name);
        let Some(found) = places.get(file_name(&image.file_name)) else {
            problems.push(Problem::rejected(path, None, format!("the picture {} is not there", image.file_name)));
            labelled.remove(&image.id);
            continue;
        };
        let meant = upright::stored(found).map_or(Meant::Upright, |stored| {
            let meant = upright::meant(stored, (image.width, image.height));
            if meant == Meant::Other {
                let ((w, h), (width, height)) = (stored.size, (image.width, image.height));
                let reason = format!("{path} says that it has {width} x {height} pixels, it has {w} x {h}; its labels are taken as shares", path = path.display());
                problems.push(Problem::doubtful(found, reason));
            }
            meant
        });
        let mut objects = Vec::new();
        for annotation in labelled.remove(&image.id).unwrap_or_default() {
            let Some(&class) = classes.get(&annotation.category_id) else {
                let reason = format!("{}: there is no category {}", about(annotation.id), annotation.category_id);
                problems.push(Problem::rejected(path, None, reason));
                continue;
            };
            match outline(annotation, image) {
                Ok((outline, mended)) => {
                    let mended = mended.map(|what| format!("{}: {what}", about(annotation.id)));
                    problems.extend(mended.map(|reason| Problem::mended(path, None, reason)));
                    match outline {
                        Outline::Box(_) => boxes += 1,
                        Outline::Polygon(_) => outlines += 1,
                    }
                    let outline = match meant {
                        Meant::Stored(by) => upright::turned(&outline, by),
                        Meant::Upright | Meant::Other => outline,
                    };
                    objects.push(Object { class, outline: Some(outline) });
                }
                Err(reason) => {
                    problems.push(Problem::rejected(path, None, format!("{}: {reason}", about(annotation.id))));
                }
            }
        }
        items.push(Item { image: found.clone(), split, objects });
    }
    for (image, annotations) in labelled {
        let reason = format!("{} annotations are of picture {image}, which is not listed", annotations.len());
        problems.push(Problem::rejected(path, None, reason));
    }
    if items.is_empty() {
        return Err(DatasetError::empty(path, &problems));
    }
    items.sort_by(|a, b| a.image.cmp(&b.image));
    let kind = if outlines >= boxes && outlines > 0 { Kind::Segment } else { Kind::Detect };
    if kind == Kind::Segment && boxes > 0 {
        problems.push(Problem::mended(path, None, format!("{boxes} boxes became outlines of four corners")));
        items.iter_mut().flat_map(|item| &mut item.objects).for_each(cornered);
    }
    let names = categories.into_iter().map(|category| category.name).collect();
    Ok(Dataset { kind, names, items, problems })
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

fn file_name(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// Pictures that may be meant, by their file names; and links, which are not followed.
fn places(path: &Path) -> Result<(BTreeMap<String, PathBuf>, Vec<Problem>), DatasetError> {
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = beside.parent().map(|above| above.join("images"));
    let (mut places, mut problems) = (BTreeMap::new(), Vec::new());
    for dir in above.into_iter().filter(|dir| dir.is_dir()).chain([beside.to_owned()]) {
        let Found { pictures, problems: links } = pictures_below(&dir)?;
        problems.extend(links);
        for picture in pictures {
            if let Some(name) = picture.file_name().and_then(|name| name.to_str()) {
                places.insert(name.to_owned(), picture.clone());
            }
        }
    }
    Ok((places, problems))
}

/// What the file's name says.
fn split_of(path: &Path) -> Split {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if name.contains("val") {
        Split::Val
    } else if name.contains("test") {
        Split::Test
    } else {
        Split::Train
    }
}

fn outline(annotation: &Annotation, image: &Image) -> Result<(Outline, Option<String>), String> {
    let (width, height) = (f64::from(image.width.max(1)), f64::from(image.height.max(1)));
    if annotation.iscrowd != 0 {
        return Err("it is a crowd, which cannot be learnt from".into());
    }
    let share = |x: f64, y: f64| [(x / width).clamp(0.0, 1.0) as f32, (y / height).clamp(0.0, 1.0) as f32];
    let far =
        |x: f64, y: f64| [x / width, y / height].into_iter().any(|share| !(-OUTSIDE..=1.0 + OUTSIDE).contains(&share));
    let cut = || "it reached out of the picture and was cut off there".to_owned();
    match &annotation.segmentation {
        Some(Segmentation::Polygons(parts)) if !parts.is_empty() => {
            let mut polygons = Vec::new();
            for part in parts {
                if part.len() < 6 || part.len() % 2 == 1 || part.iter().any(|v| !v.is_finite()) {
                    return Err(format!(
                        "a part of its outline has {} numbers; pairs are needed, three or more",
                        part.len()
                    ));
                }
                polygons.push(part.chunks_exact(2).map(|p| share(p[0], p[1])).collect::<Vec<_>>());
            }
            let outside = parts.iter().flat_map(|part| part.chunks_exact(2)).any(|p| far(p[0], p[1]));
            let parts = polygons.len();
            let outline = Outline::Polygon(joined(polygons));
            let [left, top, right, bottom] = outline.corners();
            if right <= left || bottom <= top {
                return Err("its outline has no area in the picture".into());
            }
            let mended = [(parts > 1).then(|| format!("its {parts} parts were joined by lines")), outside.then(cut)];
            Ok((outline, together(mended)))
        }
        segmentation => {
            let &[x, y, w, h] = annotation.bbox.as_slice() else {
                return Err("it has neither an outline of corners nor a box".into());
            };
            let ([left, top], [right, bottom]) = (share(x, y), share(x + w, y + h));
            // A comparison with NaN is false, and false must not pass.
            if !(right > left && bottom > top) {
                return Err(format!("its box [{x}, {y}, {w}, {h}] has no area in the picture"));
            }
            let runs = matches!(segmentation, Some(Segmentation::Runs(_)));
            let bounds = Outline::Box([(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]);
            let mended = [
                runs.then(|| "its mask of runs became its box".to_owned()),
                (far(x, y) || far(x + w, y + h)).then(cut),
            ];
            Ok((bounds, together(mended)))
        }
    }
}

/// What was mended, in one sentence; none where nothing was.
fn together(mended: [Option<String>; 2]) -> Option<String> {
    let all: Vec<String> = mended.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// One outline around several parts: each next part is reached from the nearest corner so far, and left the same way.
fn joined(mut parts: Vec<Vec<[f32; 2]>>) -> Vec<[f32; 2]> {
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    let mut parts = parts.into_iter();
    let mut whole = parts.next().unwrap_or_default();
    for part in parts {
        let distance = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        let pairs = (0..whole.len()).flat_map(|i| (0..part.len()).map(move |j| (i, j)));
        let nearest = pairs.min_by(|a, b| distance(whole[a.0], part[a.1]).total_cmp(&distance(whole[b.0], part[b.1])));
        let Some((from, to)) = nearest else { continue };
        let way: Vec<[f32; 2]> = part[to..].iter().chain(&part[..=to]).copied().chain([whole[from]]).collect();
        whole.splice(from + 1..from + 1, way);
    }
    whole
}

/// A set as a COCO file; `size` gives each picture's width and height in pixels, upright.
///
/// # Errors
/// A picture's size cannot be told.
pub fn write(
    dataset: &Dataset,
    split: Split,
    size: impl Fn(&Path) -> Result<(u32, u32), DatasetError>,
) -> Result<String, DatasetError> {
    let mut file = File { images: Vec::new(), annotations: Vec::new(), categories: Vec::new() };
    file.categories.extend((1..).zip(&dataset.names).map(|(id, name)| Category { id, name: name.clone() }));
    for (id, item) in (1..).zip(dataset.of(split)) {
        let (width, height) = size(&item.image)?;
        let name = item.image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        file.images.push(Image { id, file_name: name, width, height });
        for object in &item.objects {
            let Some(outline) = &object.outline else { continue };
            let (w, h) = (f64::from(width), f64::from(height));
            let [left, top, right, bottom] = outline.corners().map(f64::from);
            let bbox = vec![left * w, top * h, (right - left) * w, (bottom - top) * h];
            let (segmentation, area) = match outline {
                Outline::Box(_) => (None, bbox[2] * bbox[3]),
                Outline::Polygon(points) => {
                    let flat: Vec<f64> =
                        points.iter().flat_map(|[x, y]| [f64::from(*x) * w, f64::from(*y) * h]).collect();
                    let area = shoelace(&flat);
                    (Some(Segmentation::Polygons(vec![flat])), area)
                }
            };
            let number = file.annotations.len() as i64 + 1;
            let category_id = i64::from(object.class) + 1;
            file.annotations.push(Annotation {
                id: number,
                image_id: id,
                category_id,
                bbox,
                segmentation,
                area,
                iscrowd: 0,
            });
        }
    }
    serde_json::to_string(&file)
        .map_err(|error| DatasetError::description(Path::new("the COCO file"), error.to_string()))
}

/// The area within a closed outline.
fn shoelace(flat: &[f64]) -> f64 {
    let points: Vec<&[f64]> = flat.chunks_exact(2).collect();
    let next = points.iter().cycle().skip(1);
    (points.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f64>() / 2.0).abs()
}
