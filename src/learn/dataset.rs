//! Sets of pictures with labels: read from the field's formats, written to them, every doubt about a label listed.
//!
//! Coordinates are shares of the upright picture's width and height, as in YOLO files.

pub mod check;
pub mod coco;
mod csv;
pub mod folders;
pub mod layout;
mod lookup;
pub(in crate::learn) mod making;
mod mask;
pub mod parts;
mod problem;
pub mod sheet;
pub mod split;
pub mod tables;
pub(in crate::learn) mod trace;
mod upright;
pub mod versions;
pub mod voc;
mod walk;
pub mod yolo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use problem::{DatasetError, Fate, Problem};

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose by.
    Val,
    /// To judge by, once.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// `train`, `val`, `test`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq)]
pub enum Outline {
    /// Centre and size: `x`, `y`, `width`, `height`.
    Box([f32; 4]),
    /// Corners of its outline, three or more.
    Polygon(Vec<[f32; 2]>),
}

impl Outline {
    /// The box around it: left, top, right, bottom.
    #[must_use]
    pub fn corners(&self) -> [f32; 4] {
        match self {
            Self::Box([x, y, w, h]) => [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0],
            Self::Polygon(points) => {
                points.iter().fold([f32::MAX, f32::MAX, f32::MIN, f32::MIN], |[l, t, r, b], [x, y]| {
                    [l.min(*x), t.min(*y), r.max(*x), b.max(*y)]
                })
            }
        }
    }
}

/// A labelled object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The class's number.
    pub class: u32,
    /// Where it is; none where the label is the whole picture's.
    pub outline: Option<Outline>,
}

/// A picture of the set.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The file.
    pub image: PathBuf,
    /// What it is for.
    pub split: Split,
    /// What is in it; with no crowds either it is background.
    pub objects: Vec<Object>,
    /// Regions of many objects of a class that are not told apart. They are apart from the objects, so that nobody learns from them;
    /// what is found in them is neither right nor wrong.
    pub crowds: Vec<Object>,
}

impl Item {
    /// Whether nothing is labelled in it.
    #[must_use]
    pub fn is_background(&self) -> bool {
        self.objects.is_empty() && self.crowds.is_empty()
    }
}

/// What the labels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Boxes.
    Detect,
    /// Outlines.
    Segment,
    /// A class a picture.
    Classify,
}

/// A set of pictures with labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What the labels are.
    pub kind: Kind,
    /// The classes' names, by number.
    pub names: Vec<String>,
    /// The pictures, by path.
    pub items: Vec<Item>,
    /// Labels that were mended or left out.
    pub problems: Vec<Problem>,
}

impl Dataset {
    /// Leaves out the pictures of which something is wrong, and lists them with the other problems; `found` is what was found out
    /// about each, in their order.
    pub fn leave_out(&mut self, found: Vec<Result<(), String>>) {
        let mut found = found.into_iter();
        let Self { items, problems, .. } = self;
        items.retain(|item| match found.next() {
            Some(Err(reason)) => {
                problems.push(Problem::rejected(&item.image, None, reason));
                false
            }
            _ => true,
        });
    }

    /// Leaves out crowds, for what cannot hold them or learn from them, and the pictures in which nothing else is: without them
    /// they would pass for pictures of nothing. Both are listed with the other problems.
    pub fn leave_out_crowds(&mut self) {
        let Self { items, problems, .. } = self;
        items.retain_mut(|item| {
            let crowds = std::mem::take(&mut item.crowds).len();
            if crowds == 0 {
                return true;
            }
            let is_kept = !item.objects.is_empty();
            let what = if is_kept { "they are" } else { "nothing else is in it, and it is" };
            let reason = format!("{crowds} of its regions are crowds, which only COCO files hold: {what} left out");
            problems.push(Problem::rejected(&item.image, None, reason));
            is_kept
        });
    }

    /// Pictures of a split.
    pub fn of(&self, split: Split) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.split == split)
    }

    /// Objects of each class, in each split.
    #[must_use]
    pub fn balance(&self) -> BTreeMap<u32, BTreeMap<Split, usize>> {
        let mut balance: BTreeMap<u32, BTreeMap<Split, usize>> = BTreeMap::new();
        for item in &self.items {
            for object in &item.objects {
                *balance.entry(object.class).or_default().entry(item.split).or_default() += 1;
            }
        }
        balance
    }
}

/// Reads a set of any known format, told by what lies there: a YOLO `.yaml` (or a folder with one, or with `images/` and
/// `labels/`), a COCO `.json`, a folder of Pascal VOC `.xml` files, a folder of class folders.
///
/// # Errors
/// It is none of these, cannot be read, names what is not there, or has classes that cannot be told apart by their names.
pub fn read(path: &Path) -> Result<Dataset, DatasetError> {
    let dataset = any(path)?;
    if let Some(detail) = mistaken_name(&dataset.names) {
        return Err(DatasetError::description(path, detail));
    }
    Ok(dataset)
}

/// What is wrong with the names of classes: reports, plots and gates know a class by its name alone.
fn mistaken_name(names: &[String]) -> Option<String> {
    let mut seen = BTreeMap::new();
    names.iter().enumerate().find_map(|(class, name)| {
        if name.trim().is_empty() {
            return Some(format!("class {class} has no name; give it one"));
        }
        let other = seen.insert(name, class)?;
        Some(format!("classes {other} and {class} are both called {name:?}; give each a name of its own"))
    })
}

fn any(path: &Path) -> Result<Dataset, DatasetError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    if path.is_file() {
        return match extension.as_str() {
            "yaml" | "yml" => yolo::read(path),
            "json" => coco::read(path),
            _ => Err(DatasetError::Unknown(path.to_owned())),
        };
    }
    if !path.is_dir() {
        if path.exists() {
            let detail = "it is neither a file nor a folder; name a data.yaml, a COCO .json, or a folder";
            return Err(DatasetError::description(path, detail));
        }
        return Err(DatasetError::Missing(path.to_owned()));
    }
    if let Some(yaml) = yolo::description(path) {
        return yolo::read(&yaml);
    }
    if yolo::is_one(path) {
        return yolo::read_folders(path);
    }
    let parts = coco::described(path);
    if !parts.is_empty() {
        return coco::read_parts(path, &parts);
    }
    if voc::looks_like(path) {
        return voc::read(path);
    }
    folders::read(path)
}
