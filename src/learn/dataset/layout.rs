//! Writing a set: pictures upright, labels in YOLO's layout or as COCO files, all or nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::making::Making;
use super::tables::Tables;
use super::walk::tidied;
use super::{Dataset, DatasetError, Item, Kind, Object, Outline, Split, coco};

/// What is to be written of a picture.
pub struct Picture {
    /// Its bytes.
    pub bytes: Bytes,
    /// Pixels, upright: width and height.
    pub size: (u32, u32),
}

/// Where a picture's bytes come from.
pub enum Bytes {
    /// Its file as it is.
    AsItIs,
    /// Others, with their extension: a copy that lies upright.
    Upright(Vec<u8>, &'static str),
}

/// How labels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A file a picture below `labels/`, and a `data.yaml`; for classes of whole pictures a folder a class.
    Yolo,
    /// `annotations/instances_<split>.json`.
    Coco,
}

/// Writes a set into a new folder, pictures in `images/<split>/`; or, for classes of whole pictures, in
/// `<split>/<class>/`; `tables` go along. `picture` says what is to be written of each file.
///
/// # Errors
/// The folder is there already, or would lie among the set's own pictures; the format cannot hold such labels (crowds: see
/// [`Dataset::leave_out_crowds`]); the file system refuses; a picture cannot be read. The folder is then not made.
pub fn write(
    dataset: &Dataset,
    dir: &Path,
    format: Format,
    tables: &Tables,
    picture: impl Fn(&Path) -> Result<Picture, DatasetError>,
) -> Result<(), DatasetError> {
    if format == Format::Coco && dataset.kind == Kind::Classify {
        let detail = "its labels are of whole pictures, which COCO files do not hold; export it as yolo".to_owned();
        return Err(DatasetError::Order { detail });
    }
    if format != Format::Coco && dataset.items.iter().any(|item| !item.crowds.is_empty()) {
        let detail = "some of its regions are crowds, which only COCO files hold; export it as coco".to_owned();
        return Err(DatasetError::Order { detail });
    }
    apart(dataset, dir)?;
    if dataset.kind == Kind::Classify {
        distinct(dataset)?;
    }
    let making = Making::begin(dir)?;
    let (mut taken, mut sizes, mut places) = (BTreeSet::new(), BTreeMap::new(), HashMap::new());
    let mut written = Dataset { items: Vec::new(), problems: Vec::new(), ..dataset.clone() };
    for item in &dataset.items {
        let Picture { bytes, size } = picture(&item.image)?;
        let extension = match &bytes {
            Bytes::AsItIs => item.image.extension().and_then(|e| e.to_str()).unwrap_or("jpg").to_ascii_lowercase(),
            Bytes::Upright(_, extension) => (*extension).to_owned(),
        };
        let folder = match dataset.kind {
            Kind::Classify => PathBuf::from(item.split.name()).join(class_of(dataset, item)),
            Kind::Detect | Kind::Segment => Path::new("images").join(item.split.name()),
        };
        let name = unique(&mut taken, &folder, &item.image);
        let place = folder.join(format!("{name}.{extension}"));
        let to = making.path().join(&place);
        make_parent(&to)?;
        match bytes {
            Bytes::AsItIs => fs::copy(&item.image, &to).map(drop).map_err(DatasetError::io("copy", &item.image))?,
            Bytes::Upright(bytes, _) => fs::write(&to, bytes).map_err(DatasetError::io("write", &to))?,
        }
        if format == Format::Yolo && dataset.kind != Kind::Classify && !item.objects.is_empty() {
            let labels = making.path().join("labels").join(item.split.name()).join(format!("{name}.txt"));
            make_parent(&labels)?;
            fs::write(&labels, rows(&item.objects)).map_err(DatasetError::io("write", &labels))?;
        }
        places.insert(tidied(&item.image), place.clone());
        if format == Format::Coco {
            sizes.insert(place.clone(), size);
            written.items.push(Item { image: place, ..item.clone() });
        }
    }
    let put = |name: &Path, text: String| {
        let path = making.path().join(name);
        make_parent(&path)?;
        fs::write(&path, text).map_err(DatasetError::io("write", &path))
    };
    tables.carried(&places)?.into_iter().try_for_each(|(name, text)| put(Path::new(name), text))?;
    let parts = || Split::ALL.into_iter().filter(|split| dataset.of(*split).next().is_some());
    match format {
        Format::Coco => {
            for split in parts() {
                let size = |path: &Path| {
                    let size = sizes.get(path).copied();
                    size.ok_or_else(|| DatasetError::description(path, "it was not written"))
                };
                let name = format!("annotations/instances_{}.json", split.name());
                put(Path::new(&name), coco::write(&written, split, size)?)?;
            }
        }
        Format::Yolo if dataset.kind != Kind::Classify => {
            put(Path::new("data.yaml"), description(parts(), &dataset.names))?;
        }
        Format::Yolo => {}
    }
    making.finish(dir)
}

/// Refuses a folder among the set's own pictures: there they would be in the set when it is read again.
fn apart(dataset: &Dataset, dir: &Path) -> Result<(), DatasetError> {
    // The nearest folder above that is there says where the new one would be.
    let whole = std::path::absolute(dir).map_err(DatasetError::io("look at", dir))?;
    let Some(above) = whole.ancestors().find_map(|above| fs::canonicalize(above).ok()) else { return Ok(()) };
    let folders: BTreeSet<&Path> = dataset.items.iter().filter_map(|item| item.image.parent()).collect();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if fs::canonicalize(folder).is_ok_and(|folder| above.starts_with(folder)) {
            let detail = format!("it lies in {}, among the set's own pictures; name another place", folder.display());
            return Err(DatasetError::description(dir, detail));
        }
    }
    Ok(())
}

fn class_of(dataset: &Dataset, item: &Item) -> String {
    let class = item.objects.first().map_or(0, |object| object.class as usize);
    dataset.names.get(class).map_or_else(|| format!("class {class}"), |name| file_safe(name))
}

fn make_parent(path: &Path) -> Result<(), DatasetError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(DatasetError::io("make", parent))
}

/// Refuses classes whose folders would be the same.
fn distinct(dataset: &Dataset) -> Result<(), DatasetError> {
    let mut taken: BTreeMap<String, &String> = BTreeMap::new();
    for name in &dataset.names {
        if let Some(other) = taken.insert(file_safe(name), name) {
            let detail = format!("the classes {other:?} and {name:?} would be the same folder; give one another name");
            return Err(DatasetError::description(Path::new("the set"), detail));
        }
    }
    Ok(())
}

/// The file's stem, with a number where another picture of the folder has it.
fn unique(taken: &mut BTreeSet<PathBuf>, folder: &Path, image: &Path) -> String {
    let stem = file_safe(&image.file_stem().unwrap_or_default().to_string_lossy());
    let mut name = stem.clone();
    let mut number = 2;
    while !taken.insert(folder.join(&name)) {
        name = format!("{stem}-{number}");
        number += 1;
    }
    name
}

/// A name that is only a name, and shows as what it is: nothing that leads elsewhere, moves a cursor or hides.
fn file_safe(name: &str) -> String {
    let plain = |c: char| {
        let mut buffer = [0; 4];
        let shown = crate::domain::display_safe(c.encode_utf8(&mut buffer));
        if c == '/' || shown.chars().ne([c]) { '_' } else { c }
    };
    let name: String = name.chars().map(plain).collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None if name.is_empty() => "_".into(),
        None => name,
    }
}

/// Labels, a line each.
#[must_use]
pub fn rows(objects: &[Object]) -> String {
    let mut text = String::new();
    for object in objects {
        let places: Vec<f32> = match &object.outline {
            Some(Outline::Box(bounds)) => bounds.to_vec(),
            Some(Outline::Polygon(points)) => points.iter().flatten().copied().collect(),
            None => continue,
        };
        text.push_str(&object.class.to_string());
        places.iter().for_each(|place| text.push_str(&format!(" {place}")));
        text.push('\n');
    }
    text
}

/// `data.yaml`; names are JSON strings, which are YAML. It names no `path`: what it names lies beside it, for sightline and for
/// Ultralytics, to whom `.` would be the folder that it was started in.
pub(in crate::learn) fn description(splits: impl Iterator<Item = Split>, names: &[String]) -> String {
    let mut text = String::new();
    splits.for_each(|split| text.push_str(&format!("{0}: images/{0}\n", split.name())));
    text.push_str("names:\n");
    for (number, name) in names.iter().enumerate() {
        text.push_str(&format!("  {number}: {}\n", serde_json::Value::from(name.as_str())));
    }
    text
}
