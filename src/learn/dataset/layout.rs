//! Writing a set in YOLO's layout: pictures upright, labels beside them, a `data.yaml`, all or nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Dataset, DatasetError, Item, Kind, Object, Outline, Split};

/// What is to be written of a picture.
pub enum Picture {
    /// Its file as it is.
    AsItIs,
    /// Other bytes, with their extension: a copy that lies upright.
    Upright(Vec<u8>, &'static str),
}

/// Writes a set into a new folder: `images/<split>/`, `labels/<split>/` and `data.yaml`; or, for classes of whole pictures,
/// `<split>/<class>/`. `picture` says what is to be written of each file.
///
/// # Errors
/// The folder is there already; the file system refuses; a picture cannot be read. The folder is then not made.
pub fn write(
    dataset: &Dataset,
    dir: &Path,
    picture: impl Fn(&Path) -> Result<Picture, DatasetError>,
) -> Result<(), DatasetError> {
    if dir.exists() {
        let detail = "it is there already; name a folder that is not, so that nothing is written over";
        return Err(DatasetError::description(dir, detail));
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(DatasetError::io("make", parent))?;
    // Made beside its place, so that a half-written set never has its name.
    let making = tempfile::Builder::new()
        .prefix(".dataset-")
        .tempdir_in(parent)
        .map_err(DatasetError::io("make a folder in", parent))?;
    let mut taken = BTreeSet::new();
    for item in &dataset.items {
        let written = picture(&item.image)?;
        let extension = match &written {
            Picture::AsItIs => item.image.extension().and_then(|e| e.to_str()).unwrap_or("jpg").to_ascii_lowercase(),
            Picture::Upright(_, extension) => (*extension).to_owned(),
        };
        let folder = match dataset.kind {
            Kind::Classify => PathBuf::from(item.split.name()).join(class_of(dataset, item)),
            Kind::Detect | Kind::Segment => Path::new("images").join(item.split.name()),
        };
        let name = unique(&mut taken, &folder, &item.image);
        let to = making.path().join(&folder).join(format!("{name}.{extension}"));
        make_parent(&to)?;
        match written {
            Picture::AsItIs => fs::copy(&item.image, &to).map(drop).map_err(DatasetError::io("copy", &item.image))?,
            Picture::Upright(bytes, _) => fs::write(&to, bytes).map_err(DatasetError::io("write", &to))?,
        }
        if dataset.kind != Kind::Classify && !item.objects.is_empty() {
            let labels = making.path().join("labels").join(item.split.name()).join(format!("{name}.txt"));
            make_parent(&labels)?;
            fs::write(&labels, rows(&item.objects)).map_err(DatasetError::io("write", &labels))?;
        }
    }
    if dataset.kind != Kind::Classify {
        let path = making.path().join("data.yaml");
        fs::write(&path, description(dataset)).map_err(DatasetError::io("write", &path))?;
    }
    let made = making.keep();
    fs::rename(&made, dir).map_err(DatasetError::io("put into place", dir))
}

fn class_of(dataset: &Dataset, item: &Item) -> String {
    let class = item.objects.first().map_or(0, |object| object.class as usize);
    dataset.names.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
}

fn make_parent(path: &Path) -> Result<(), DatasetError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(DatasetError::io("make", parent))
}

/// The file's stem, with a number where another picture of the folder has it.
fn unique(taken: &mut BTreeSet<PathBuf>, folder: &Path, image: &Path) -> String {
    let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut name = stem.clone();
    let mut number = 2;
    while !taken.insert(folder.join(&name)) {
        name = format!("{stem}-{number}");
        number += 1;
    }
    name
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

/// `data.yaml`; names are JSON strings, which are YAML.
fn description(dataset: &Dataset) -> String {
    let mut text = String::from("path: .\n");
    for split in Split::ALL {
        if dataset.of(split).next().is_some() {
            text.push_str(&format!("{0}: images/{0}\n", split.name()));
        }
    }
    text.push_str("names:\n");
    for (number, name) in dataset.names.iter().enumerate() {
        text.push_str(&format!("  {number}: {}\n", serde_json::Value::from(name.as_str())));
    }
    text
}
