//! Writing a set of crops: what an embedder learns from and is judged by, a folder a pack.

use std::fs;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::design::{Pack, stirred};
use super::set::each;
use crate::learn::dataset::{DatasetError, Split, layout};
use crate::vision::CropPolicy;

/// Crops in a set at most.
pub const MOST_CROPS: u32 = 10_000_000;

/// What is to be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Order {
    /// Designs, 2 or more, look-alikes counted.
    pub packs: u32,
    /// Crops of each, 1 or more.
    pub crops: u32,
    /// A crop's side in pixels, a multiple of 14.
    pub side: u32,
    /// Whether the background is grey, as behind a detector that outlines.
    pub masked: bool,
    /// The number of the first design; those of other sets of the seed can be left out.
    pub first: u32,
    /// Of designs and pictures.
    pub seed: u64,
    /// Share of the designs to choose by, 0 to 1: none of them is learnt from, and look-alikes stay together.
    pub val: f64,
    /// Share of the designs to judge by, 0 to 1; with `val` no more than 1.
    pub test: f64,
}

impl Order {
    /// Whether it can be drawn.
    ///
    /// # Errors
    /// A sentence that names the value which is wrong.
    pub fn check(&self) -> Result<(), String> {
        let Self { packs, crops, first, val, test, .. } = *self;
        self.policy().check().map_err(|fault| fault.to_string())?;
        if packs < 2 || first.checked_add(packs).is_none() {
            return Err(format!("{packs} packs from design {first} on cannot be drawn; ask for 2 or more, below 2^32"));
        }
        if crops == 0 || packs.checked_mul(crops).is_none_or(|all| all > MOST_CROPS) {
            return Err(format!(
                "{crops} crops of each of {packs} packs cannot be drawn; ask for 1 or more, all together at most {MOST_CROPS}"
            ));
        }
        let share = |share: f64| (0.0..=1.0).contains(&share);
        if !share(val) || !share(test) || val + test > 1.0 {
            return Err(format!(
                "val {val} and test {test} are no shares; give numbers from 0 to 1, together at most 1"
            ));
        }
        Ok(())
    }

    /// How crops are cut: as the engine does.
    #[must_use]
    pub fn policy(&self) -> CropPolicy {
        CropPolicy { input_size: self.side, mask_background: self.masked, ..CropPolicy::default() }
    }

    /// What a design (from 0) is for: the first are to learn from, the last to judge by.
    fn split(&self, design: u32) -> Split {
        let count = |share: f64| (f64::from(self.packs) * share).round() as u32;
        let (val, test) = (count(self.val), count(self.test));
        // A pair lies on the side of its first.
        let pair = if (self.first + design).is_multiple_of(2) { design } else { design.saturating_sub(1) };
        if pair >= self.packs.saturating_sub(test) {
            Split::Test
        } else if pair >= self.packs.saturating_sub(test).saturating_sub(val) {
            Split::Val
        } else {
            Split::Train
        }
    }
}

/// Draws a set into a new folder: `train/`, `val/` and `test/`, and in each a folder a design, called by its number and
/// what it is called itself, so that look-alikes follow each other. The same order gives the same bytes, on however many
/// threads. `drawn` is called after each design. Gives the number of designs in train, val and test.
///
/// # Errors
/// The order cannot be drawn; the folder is there already; the file system refuses, or is full. The folder is then not
/// made.
pub fn write(order: &Order, dir: &Path, threads: usize, drawn: impl Fn() + Sync) -> Result<[u32; 3], DatasetError> {
    order.check().map_err(|detail| DatasetError::Order { detail })?;
    let making = layout::Making::begin(dir)?;
    each(order.packs, threads, |design| {
        let done = one(order, design, making.path());
        drawn();
        done
    })?;
    making.finish(dir)?;
    let mut designs = [0; 3];
    (0..order.packs).for_each(|design| designs[order.split(design) as usize] += 1);
    Ok(designs)
}

/// Draws the crops of a design.
fn one(order: &Order, design: u32, dir: &Path) -> Result<(), DatasetError> {
    let number = order.first + design;
    let pack = Pack::numbered(order.seed, number);
    let folder = dir.join(order.split(design).name()).join(format!("{number:06} {}", pack.label()));
    fs::create_dir_all(&folder).map_err(DatasetError::io("make", &folder))?;
    let policy = order.policy();
    for crop in 0..order.crops {
        let seed = stirred(&[order.seed, u64::from(number), u64::from(crop), 4]);
        let quality = SmallRng::seed_from_u64(seed).random_range(70..=95);
        let path = folder.join(format!("{crop:03}.jpg"));
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, quality)
            .encode_image(&pack.crop(&policy, seed))
            .map_err(|error| DatasetError::description(&path, error.to_string()))?;
        fs::write(&path, bytes).map_err(DatasetError::io("write", &path))?;
    }
    Ok(())
}
