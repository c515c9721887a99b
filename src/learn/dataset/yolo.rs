//! YOLO's layout: a `data.yaml`, pictures below `images/`, a text file of labels for each below `labels/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::parts::{apart_from, parts_in};
use super::walk::{self, Found, is_picture, pictures_below, tidied};
use super::{Dataset, DatasetError, Fate, Item, Kind, Object, Outline, Problem, Split};

/// How far outside the picture a coordinate may lie: rounding, not a mistake.
const SLACK: f32 = 0.01;
/// Classes at most: more is a number that went wrong.
const MOST_CLASSES: u64 = 100_000;

/// The description in a folder; whatever has its name, for reading it to refuse what is no file.
pub(super) fn description(dir: &Path) -> Option<PathBuf> {
    let usual = ["data.yaml", "data.yml", "dataset.yaml"].map(|name| dir.join(name));
    usual.into_iter().find(|path| path.symlink_metadata().is_ok())
}

/// Whether a folder is read as such a set: by its description, or by its folders.
pub(super) fn is_one(dir: &Path) -> bool {
    description(dir).is_some() || (dir.join("images").is_dir() && dir.join("labels").is_dir())
}

/// Reads a set by its description.
///
/// # Errors
/// The description is no YAML, lacks classes or splits, or names folders that are not there.
pub fn read(yaml: &Path) -> Result<Dataset, DatasetError> {
    let text = walk::text(yaml, walk::DESCRIPTION)?;
    let mut yaml_1_2 = serde_saphyr::Options::default();
    // A class may be called `yes` or `no`.
    yaml_1_2.strict_booleans = true;
    let described: Value = serde_saphyr::from_str_with_options(&text, yaml_1_2)
        .map_err(|error| DatasetError::description(yaml, error.to_string()))?;
    if described.get("kpt_shape").is_some_and(|shape| !shape.is_null()) {
        let detail = "it describes key points (`kpt_shape`), which are not read and would pass for outlines; label boxes or \
                      outlines";
        return Err(DatasetError::description(yaml, detail));
    }
    let names = names(yaml, &described)?;
    let beside = yaml.parent().unwrap_or(Path::new("."));
    let root = match described.get("path").and_then(Value::as_str) {
        // Relative to the file; Ultralytics looks below its own folder of data sets, too, which nobody else has.
        Some(path) => beside.join(path),
        None => beside.to_owned(),
    };
    let (mut splits, mut folders, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (split, keys) in
        [(Split::Train, &["train"][..]), (Split::Val, &["val", "validation"]), (Split::Test, &["test"])]
    {
        let Some(value) = keys.iter().find_map(|key| described.get(*key)).filter(|value| !value.is_null()) else {
            continue;
        };
        let mut images = Vec::new();
        for place in places(yaml, split, value)? {
            let (found, folder) = images_at(yaml, &root, &place)?;
            problems.extend(found.problems);
            folders.extend(folder.map(|folder| (folder, found.pictures.clone())));
            images.extend(found.pictures);
        }
        splits.push((split, images));
    }
    if splits.is_empty() {
        return Err(DatasetError::description(
            yaml,
            "it names no `train`, `val` or `test`; add the folders of pictures",
        ));
    }
    problems.extend(without_picture(&folders)?);
    let images = root.join("images");
    if images.is_dir() {
        let known = splits.iter().flat_map(|(_, images)| images.iter().cloned()).collect();
        // A description may leave some out on purpose.
        problems.extend(apart_from(&tidied(&images), &known, Fate::Kept)?);
    }
    assemble(yaml, names, splits, problems)
}

/// Reads `images/` and `labels/` without a description; classes are named by `classes.txt` where there is one.
///
/// # Errors
/// A folder cannot be read; there are no pictures.
pub fn read_folders(dir: &Path) -> Result<Dataset, DatasetError> {
    let images = dir.join("images");
    let mut parts = parts_in(&images)?;
    if parts.is_empty() {
        parts.push((Split::Train, images.clone()));
    }
    let (mut splits, mut folders, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (split, folder) in parts {
        let found = pictures_below(&folder)?;
        problems.extend(found.problems);
        folders.push((folder, found.pictures.clone()));
        splits.push((split, found.pictures));
    }
    problems.extend(without_picture(&folders)?);
    let known = splits.iter().flat_map(|(_, images)| images.iter().cloned()).collect();
    problems.extend(apart_from(&images, &known, Fate::LeftOut)?);
    let listed = dir.join("classes.txt");
    let names = if listed.is_file() {
        let text = walk::text(&listed, walk::LABELS)?;
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    } else {
        // As many as the labels use.
        let most = splits.iter().flat_map(|(_, images)| images).filter_map(|image| highest_class(&labels_at(image).0));
        (0..=most.max().unwrap_or(0)).map(|class| format!("class {class}")).collect()
    };
    assemble(dir, names, splits, problems)
}

fn highest_class(labels: &Path) -> Option<u32> {
    let bytes = walk::read_bounded(labels, walk::LABELS).ok()?.ok()??;
    let text = String::from_utf8_lossy(&bytes);
    let numbers = text.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    // A larger number is a mistake, which reading the labels names.
    numbers.filter(|class| u64::from(*class) < MOST_CLASSES).max()
}

/// Label files below the places where those of folders of pictures are, that no picture has the name of.
fn without_picture(folders: &[(PathBuf, Vec<PathBuf>)]) -> Result<Vec<Problem>, DatasetError> {
    const OTHERS: [&str; 6] = ["classes.txt", "labels.txt", "train.txt", "val.txt", "test.txt", "README.txt"];
    let known: BTreeSet<PathBuf> = folders.iter().flat_map(|(_, pictures)| pictures).map(|p| labels_at(p).0).collect();
    let mut lost = BTreeSet::new();
    for (folder, _) in folders {
        let Some(place) = label_path(&folder.join("picture.jpg")).parent().map(Path::to_owned) else { continue };
        let labels = walk::files_below(&place, "txt")?;
        let other = |path: &Path| path.file_name().and_then(|name| name.to_str()).is_some_and(|n| OTHERS.contains(&n));
        lost.extend(labels.into_iter().filter(|path| !known.contains(path) && !other(path)));
    }
    let reason = "there is no picture of this name";
    Ok(lost.iter().map(|path| Problem::rejected(path, None, reason)).collect())
}

fn assemble(
    source: &Path,
    names: Vec<String>,
    splits: Vec<(Split, Vec<PathBuf>)>,
    mut problems: Vec<Problem>,
) -> Result<Dataset, DatasetError> {
    let (mut items, mut seen) = (Vec::new(), BTreeMap::new());
    let (mut boxes, mut outlines, mut twice) = (0_usize, 0_usize, BTreeMap::new());
    for (split, images) in splits {
        for image in images {
            if let Some(first) = seen.get(&image) {
                // The same folder as `train` and `val`: a small set's way of saying that there is no other.
                *twice.entry((*first, split)).or_insert(0_usize) += usize::from(*first != split);
                continue;
            }
            let (labels, is_odd) = labels_at(&image);
            if is_odd {
                let reason = "other programs do not read labels with an extension in capitals; call it .txt";
                problems.push(Problem::doubtful(&labels, reason));
            }
            let (objects, doubts) = match walk::read_bounded(&labels, walk::LABELS)? {
                Ok(Some(bytes)) => labels_of(&labels, &bytes, names.len()),
                // No file: background.
                Ok(None) => (Vec::new(), Vec::new()),
                Err(reason) => (Vec::new(), vec![Problem::rejected(&labels, None, reason)]),
            };
            // With none of its labels left it would pass for a picture of nothing.
            let is_lost = objects.is_empty() && doubts.iter().any(|doubt| doubt.fate == Fate::LeftOut);
            problems.extend(doubts);
            if is_lost {
                problems.push(Problem::rejected(&image, None, "none of its labels can be used"));
                seen.insert(image, split);
                continue;
            }
            boxes += objects.iter().filter(|object| matches!(object.outline, Some(Outline::Box(_)))).count();
            outlines += objects.iter().filter(|object| matches!(object.outline, Some(Outline::Polygon(_)))).count();
            seen.insert(image.clone(), split);
            items.push(Item { image, split, objects, crowds: Vec::new() });
        }
    }
    for ((first, again), pictures) in twice.into_iter().filter(|(_, pictures)| *pictures > 0) {
        let (first, again) = (first.name(), again.name());
        let reason = format!("{pictures} pictures are in both {first} and {again}; they are taken for {first} only");
        problems.push(Problem::leak(source, reason));
    }
    if items.is_empty() {
        return Err(DatasetError::empty(source, &problems));
    }
    let kind = if outlines > boxes { Kind::Segment } else { Kind::Detect };
    if boxes > 0 && outlines > 0 {
        let what = match kind {
            Kind::Segment => "boxes count as outlines of four corners",
            _ => "outlines count as the boxes around them",
        };
        let reason = format!("some label files have boxes ({boxes}), others outlines ({outlines}); {what}");
        problems.push(Problem::doubtful(source, reason));
    }
    Ok(Dataset { kind, names, items, problems })
}

fn names(yaml: &Path, described: &Value) -> Result<Vec<String>, DatasetError> {
    let wrong = |detail: String| DatasetError::description(yaml, detail);
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let count = described.get("nc").and_then(Value::as_u64);
    let names: Vec<String> = match described.get("names") {
        Some(Value::Array(names)) => names.iter().map(text).collect(),
        Some(Value::Object(names)) => {
            let numbered = names.iter().map(|(key, name)| {
                let number = key
                    .parse::<usize>()
                    .map_err(|_| wrong(format!("`names` has the key `{key}`, which is no number")))?;
                Ok((number, text(name)))
            });
            let numbered: BTreeMap<usize, String> = numbered.collect::<Result<_, DatasetError>>()?;
            if let Some((place, (number, _))) =
                numbered.iter().enumerate().find(|(place, (number, _))| place != *number)
            {
                return Err(wrong(format!(
                    "`names` has {number} where {place} should be; number the classes from 0 on"
                )));
            }
            numbered.into_values().collect()
        }
        None => match count {
            Some(count) if count > MOST_CLASSES => {
                return Err(wrong(format!("`nc` is {count}; there can be {MOST_CLASSES} classes at most")));
            }
            Some(count) => (0..count).map(|class| format!("class {class}")).collect(),
            None => return Err(wrong("it has neither `names` nor `nc`; list the classes under `names`".into())),
        },
        Some(other) => return Err(wrong(format!("`names` is {other}; write a list, or numbers with names"))),
    };
    if names.is_empty() {
        return Err(wrong("`names` is empty; list the classes".into()));
    }
    if names.len() as u64 > MOST_CLASSES {
        return Err(wrong(format!("`names` has {}; there can be {MOST_CLASSES} classes at most", names.len())));
    }
    if let Some(count) = count.filter(|count| *count != names.len() as u64) {
        return Err(wrong(format!("`nc` is {count}, but `names` has {}; make them agree", names.len())));
    }
    Ok(names)
}

/// A split's folders and lists.
fn places(yaml: &Path, split: Split, value: &Value) -> Result<Vec<String>, DatasetError> {
    let wrong = || DatasetError::description(yaml, format!("`{}` is neither a path nor a list of paths", split.name()));
    match value {
        Value::String(place) => Ok(vec![place.clone()]),
        Value::Array(places) => places.iter().map(|p| p.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

/// The pictures at a place, and the place where it is a folder.
fn images_at(yaml: &Path, root: &Path, place: &str) -> Result<(Found, Option<PathBuf>), DatasetError> {
    let at = tidied(&root.join(place));
    if at.is_dir() {
        return Ok((pictures_below(&at)?, Some(at)));
    }
    if at.is_file() && !is_picture(&at) {
        let text = walk::text(&at, walk::LIST)?;
        let beside = at.parent().unwrap_or(root);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        // `./` means beside the list; anything else is relative to the set's root, as Ultralytics has it.
        let image = |line: &str| match line.strip_prefix("./") {
            Some(rest) => beside.join(rest),
            None => root.join(line),
        };
        let pictures = lines.map(|line| {
            let image = tidied(&image(line));
            if image.is_file() {
                return Ok(image);
            }
            Err(DatasetError::description(&at, format!("{} is not there; mend the list", image.display())))
        });
        return Ok((Found { pictures: pictures.collect::<Result<_, _>>()?, problems: Vec::new() }, None));
    }
    Err(DatasetError::description(yaml, format!("{} is not there; mend the path in it", at.display())))
}

/// Where a picture's labels are: the last `images` of its path is `labels`, and its extension `.txt`.
#[must_use]
pub fn label_path(image: &Path) -> PathBuf {
    let parts: Vec<_> = image.components().collect();
    let last = parts.iter().rposition(|part| part.as_os_str() == "images");
    let path: PathBuf = parts
        .iter()
        .enumerate()
        .map(|(i, part)| if Some(i) == last { "labels".as_ref() } else { part.as_os_str() })
        .collect();
    path.with_extension("txt")
}

/// The file of a picture's labels, and whether its extension is in capitals.
fn labels_at(image: &Path) -> (PathBuf, bool) {
    let usual = label_path(image);
    let odd = ["TXT", "Txt"].map(|extension| usual.with_extension(extension));
    match odd.into_iter().find(|odd| !usual.exists() && odd.is_file()) {
        Some(odd) => (odd, true),
        None => (usual, false),
    }
}

/// Reads the labels of one picture. Lines that cannot be used are left out, each with its reason; a file that mixes boxes
/// and outlines is left out as a whole.
#[must_use]
pub fn labels_of(path: &Path, bytes: &[u8], classes: usize) -> (Vec<Object>, Vec<Problem>) {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return (Vec::new(), vec![Problem::rejected(path, None, "it is not text")]);
    };
    let (mut objects, mut problems, mut rows) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (number, line) in (1..).zip(text.lines()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.is_empty() {
            continue;
        }
        match row(&fields, classes) {
            Err(reason) => problems.push(Problem::rejected(path, Some(number), reason)),
            Ok(_) if !rows.insert(fields.join(" ")) => {
                problems.push(Problem::rejected(path, Some(number), "the same label stands further up"));
            }
            Ok((object, mended)) => {
                problems.extend(mended.map(|reason| Problem::mended(path, Some(number), reason)));
                objects.push(object);
            }
        }
    }
    let boxes = objects.iter().filter(|object| matches!(object.outline, Some(Outline::Box(_)))).count();
    if boxes > 0 && boxes < objects.len() {
        let reason = format!(
            "it mixes {boxes} boxes (5 numbers) with {} outlines (7 or more); make all of its lines one or the other",
            objects.len() - boxes
        );
        problems.push(Problem::rejected(path, None, reason));
        objects.clear();
    }
    (objects, problems)
}

/// One line's object, and what was mended of it.
fn row(fields: &[&str], classes: usize) -> Result<(Object, Option<String>), String> {
    let numbers = fields.iter().map(|field| {
        let number: f32 =
            field.parse().map_err(|_| format!("`{}` is no number", crate::domain::display_safe(field)))?;
        if number.is_finite() { Ok(number) } else { Err(format!("`{field}` is not finite")) }
    });
    let numbers: Vec<f32> = numbers.collect::<Result<_, String>>()?;
    let class = numbers[0];
    if class < 0.0 || class.fract() != 0.0 {
        return Err(format!("the class `{}` is not a whole number from 0 on", fields[0]));
    }
    if class >= classes as f32 {
        return Err(format!(
            "class {class} is out of range; there are {classes} classes, 0 to {}",
            classes.saturating_sub(1)
        ));
    }
    let places = &numbers[1..];
    if let Some(odd) = places.iter().find(|place| !(-SLACK..=1.0 + SLACK).contains(*place)) {
        return Err(format!("{odd} is outside of the picture; coordinates are shares of its size, 0 to 1"));
    }
    let inside = |place: &f32| place.clamp(0.0, 1.0);
    let moved = places.iter().any(|place| inside(place) != *place);
    let mut is_cut = false;
    let outline = match places.len() {
        4 => {
            let [x, y, w, h] = [places[0], places[1], places[2], places[3]];
            if w <= 0.0 || h <= 0.0 {
                return Err(format!("the box is {w} wide and {h} high"));
            }
            let bounds = [inside(&x), inside(&y), inside(&w), inside(&h)];
            let [left, top, right, bottom] = Outline::Box(bounds).corners();
            // Rounding puts some corners a little outside, and there they stay.
            if [left, top, right, bottom].iter().any(|edge| !(-SLACK..=1.0 + SLACK).contains(edge)) {
                let [left, top, right, bottom] = [left, top, right, bottom].map(|edge| edge.clamp(0.0, 1.0));
                is_cut = true;
                Outline::Box([(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top])
            } else {
                Outline::Box(bounds)
            }
        }
        n if n >= 6 && n % 2 == 0 => {
            let points: Vec<[f32; 2]> = places.chunks_exact(2).map(|p| [inside(&p[0]), inside(&p[1])]).collect();
            let outline = Outline::Polygon(points);
            let [left, top, right, bottom] = outline.corners();
            if right <= left || bottom <= top {
                return Err("the outline has no area".into());
            }
            outline
        }
        n => return Err(format!("it has {} numbers; a box has 5, an outline 7 or more, an odd count", n + 1)),
    };
    let mended = match (is_cut, moved) {
        (true, _) => Some("the box reached out of the picture and was cut off there".to_owned()),
        (false, true) => Some("coordinates a little outside of the picture were moved to its edge".to_owned()),
        (false, false) => None,
    };
    Ok((Object { class: class as u32, outline: Some(outline) }, mended))
}
