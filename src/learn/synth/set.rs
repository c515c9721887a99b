//! Writing a set of drawn photographs: pictures, outlines, and which pack each outline is of.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use image::codecs::jpeg::JpegEncoder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::design::{Form, Pack, one_of, stirred};
use super::scene::{Photograph, photograph};
use crate::learn::dataset::making::Making;
pub use crate::learn::dataset::tables::INSTANCES;
use crate::learn::dataset::{DatasetError, Object, Outline, Split, layout};

/// The one class.
pub const CLASS: &str = "pack";
/// Pictures in a set at most; their names have six digits.
pub const MOST_IMAGES: u32 = 1_000_000;

/// What is to be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Order {
    /// Pictures, 1 to a million.
    pub images: u32,
    /// Designs, 1 or more, look-alikes counted.
    pub packs: u32,
    /// The number of the first design; those of other sets of the seed can be left out.
    pub first: u32,
    /// Of designs and pictures.
    pub seed: u64,
    /// Share to choose by, 0 to 1.
    pub val: f64,
    /// Share to judge by, 0 to 1; with `val` no more than 1.
    pub test: f64,
}

/// What was drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Pictures in train, val and test.
    pub pictures: [u32; 3],
    /// Of those without a pack.
    pub background: u32,
    /// Packs that are labelled.
    pub instances: u32,
}

/// A line of [`INSTANCES`]: a label and which pack it is of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The picture, from the set's folder.
    pub image: String,
    /// The line of the picture's labels, from 0.
    pub row: usize,
    /// The design's number.
    pub pack: u32,
    /// What it is called.
    pub label: String,
    /// How it is packed.
    pub form: Form,
    /// Share of it that is visible.
    pub visible: f32,
    /// How its print is turned, degrees clockwise.
    pub rotation: f32,
}

impl Order {
    /// Whether it can be drawn.
    ///
    /// # Errors
    /// A sentence that names the value which is wrong.
    pub fn check(&self) -> Result<(), String> {
        let Self { images, packs, first, val, test, .. } = *self;
        if images == 0 || images > MOST_IMAGES {
            return Err(format!("{images} images cannot be drawn; ask for 1 to {MOST_IMAGES}"));
        }
        if packs == 0 || first.checked_add(packs).is_none() {
            return Err(format!("{packs} packs from design {first} on cannot be drawn; ask for 1 or more, below 2^32"));
        }
        let share = |share: f64| (0.0..=1.0).contains(&share);
        if !share(val) || !share(test) || val + test > 1.0 {
            return Err(format!(
                "val {val} and test {test} are no shares; give numbers from 0 to 1, together at most 1"
            ));
        }
        Ok(())
    }

    /// What a picture is for: the first are to learn from, the last to judge by.
    fn split(&self, number: u32) -> Split {
        let count = |share: f64| (f64::from(self.images) * share).round() as u32;
        let (val, test) = (count(self.val), count(self.test));
        if number >= self.images.saturating_sub(test) {
            Split::Test
        } else if number >= self.images.saturating_sub(test).saturating_sub(val) {
            Split::Val
        } else {
            Split::Train
        }
    }

    /// A picture of the set, with the numbers of the designs that it was given.
    #[must_use]
    pub fn picture(&self, number: u32) -> (Photograph, Vec<u32>) {
        // Other designs of a seed lie in other places, too.
        let seed = stirred(&[self.seed, u64::from(self.first), u64::from(number)]);
        let mut rng = SmallRng::seed_from_u64(seed);
        let count = match rng.random_range(0..100) {
            0..3 => 0,
            3..25 => 1,
            25..45 => 2,
            45..63 => 3,
            63..76 => 4,
            76..86 => 5,
            86..92 => 6,
            92..96 => 7,
            _ => 8,
        };
        let mut numbers: Vec<u32> = (0..count).map(|_| self.first + rng.random_range(0..self.packs)).collect();
        if count > 1 && rng.random_bool(0.15) {
            // A look-alike beside its partner.
            let partner = numbers[0] ^ 1;
            if (self.first..self.first + self.packs).contains(&partner) {
                numbers[1] = partner;
            }
        }
        // Smaller ones are more: they are what networks are fed.
        let long = 480 + (800.0 * rng.random::<f32>().powf(1.7)).round() as u32;
        let share = one_of(&mut rng, &[0.75, 0.75, 2.0 / 3.0, 0.5625, 1.0]);
        let short = (f64::from(long) * share).round().max(480.0_f64.min(f64::from(long))) as u32;
        let (width, height) = if rng.random_bool(0.6) { (long, short) } else { (short, long) };
        let packs: Vec<Pack> = numbers.iter().map(|number| Pack::numbered(self.seed, *number)).collect();
        (photograph(&packs, width, height, seed), numbers)
    }
}

/// Draws a set into a new folder: `images/` and `labels/` with `train/`, `val/`, `test/`, a `data.yaml`, and
/// [`INSTANCES`]. The same order gives the same bytes, on however many threads. `drawn` is called after each picture.
///
/// # Errors
/// The order cannot be drawn; the folder is there already; the file system refuses, or is full. The folder is then not
/// made.
pub fn write(order: &Order, dir: &Path, threads: usize, drawn: impl Fn() + Sync) -> Result<Summary, DatasetError> {
    order.check().map_err(|detail| DatasetError::Order { detail })?;
    let making = Making::begin(dir)?;
    for folder in ["images", "labels"] {
        for split in Split::ALL.into_iter().filter(|split| (0..order.images).any(|n| order.split(n) == *split)) {
            let path = making.path().join(folder).join(split.name());
            fs::create_dir_all(&path).map_err(DatasetError::io("make", &path))?;
        }
    }
    let done = each(order.images, threads, |number| {
        let lines = one(order, number, making.path());
        drawn();
        lines
    })?;
    let (mut summary, mut text) = (Summary::default(), String::new());
    for (number, lines) in (0..).zip(&done) {
        summary.pictures[order.split(number) as usize] += 1;
        summary.background += u32::from(lines.is_empty());
        summary.instances += lines.len() as u32;
        for line in lines {
            let line = serde_json::to_string(line)
                .map_err(|error| DatasetError::description(Path::new(INSTANCES), error.to_string()))?;
            text.push_str(&line);
            text.push('\n');
        }
    }
    let put = |name: &str, text: String| {
        let path = making.path().join(name);
        fs::write(&path, text).map_err(DatasetError::io("write", &path))
    };
    put(INSTANCES, text)?;
    let splits = Split::ALL.into_iter().filter(|split| summary.pictures[*split as usize] > 0);
    put("data.yaml", layout::description(splits, &[CLASS.to_owned()]))?;
    making.finish(dir)?;
    Ok(summary)
}

/// Does something for each number below `count` on so many threads, and gives what came of it in their order; the first
/// that fails stops the rest.
pub(super) fn each<T: Send>(
    count: u32,
    threads: usize,
    one: impl Fn(u32) -> Result<T, DatasetError> + Sync,
) -> Result<Vec<T>, DatasetError> {
    let (next, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let done: Mutex<Vec<(u32, T)>> = Mutex::new(Vec::with_capacity(count as usize));
    let failed: Mutex<Option<DatasetError>> = Mutex::new(None);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            match one(number) {
                Ok(value) => done.lock().unwrap_or_else(PoisonError::into_inner).push((number, value)),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| (0..threads.max(1)).for_each(|_| drop(scope.spawn(work))));
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// Draws and writes one picture with its labels.
fn one(order: &Order, number: u32, dir: &Path) -> Result<Vec<Line>, DatasetError> {
    let (photograph, numbers) = order.picture(number);
    let quality = SmallRng::seed_from_u64(stirred(&[order.seed, u64::from(number), 3])).random_range(60..=95);
    let split = order.split(number).name();
    let image = format!("images/{split}/{number:06}.jpg");
    let path = dir.join(&image);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode_image(&photograph.picture)
        .map_err(|error| DatasetError::description(&path, error.to_string()))?;
    fs::write(&path, bytes).map_err(DatasetError::io("write", &path))?;
    let mut objects = Vec::new();
    let mut lines = Vec::new();
    for (row, instance) in photograph.instances.into_iter().enumerate() {
        let number = numbers[instance.pack];
        let pack = Pack::numbered(order.seed, number);
        objects.push(Object { class: 0, outline: Some(Outline::Polygon(instance.outline)) });
        lines.push(Line {
            image: image.clone(),
            row,
            pack: number,
            label: pack.label(),
            form: pack.form(),
            visible: rounded(instance.visible, 1e3),
            rotation: rounded(instance.rotation, 1e1),
        });
    }
    if !objects.is_empty() {
        let path = dir.join("labels").join(split).join(format!("{number:06}.txt"));
        fs::write(&path, layout::rows(&objects)).map_err(DatasetError::io("write", &path))?;
    }
    Ok(lines)
}

fn rounded(value: f32, steps: f32) -> f32 {
    (value * steps).round() / steps
}
