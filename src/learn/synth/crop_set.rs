//! Writing a set of crops: what an embedder learns from and is judged by, a folder a pack.

use std::fs;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::design::{Pack, stirred};
use super::set::each;
use crate::learn::dataset::making::Making;
use crate::learn::dataset::{DatasetError, Split};
use crate::vision::CropPolicy;

/// Crops in a set at most.
pub const MOST_CROPS: u32 = 10_000_000;

/// What a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A design: what an embedder tells apart.
    Pack,
    /// A strength with its unit, on whatever pack: what a network learns reading by.
    Strength,
}

/// What is to be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Order {
    /// What a folder stands for.
    pub by: By,
    /// Designs, 2 or more, look-alikes counted.
    pub packs: u32,
    /// Crops of each, 1 or more.
    pub crops: u32,
    /// A crop's side in pixels, a multiple of 14.
    pub side: u32,
    /// Whether the background is grey, as behind a detector that outlines.
    pub masked: bool,
    /// Whether packs lie level, as behind a detector that outlines where the engine aligns.
    pub align: bool,
    /// Whether crops are stretched to a square rather than filled up to one.
    pub stretched: bool,
    /// Whether those that lie level are upright, too: for an embedder that is asked with four rotations.
    pub upright: bool,
    /// Share of the designs that stand in look-alike pairs, 0 to 1.
    pub pairs: f64,
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
        let Self { packs, crops, first, val, test, pairs, .. } = *self;
        self.policy().check().map_err(|fault| fault.to_string())?;
        // Where none has a look-alike, every other number is left out.
        if packs < 2 || packs.checked_mul(2).is_none_or(|most| first.checked_add(most).is_none()) {
            return Err(format!("{packs} packs from design {first} on cannot be drawn; ask for 2 or more, below 2^31"));
        }
        if crops == 0 || packs.checked_mul(crops).is_none_or(|all| all > MOST_CROPS) {
            return Err(format!(
                "{crops} crops of each of {packs} packs cannot be drawn; ask for 1 or more, all together at most {MOST_CROPS}"
            ));
        }
        let share = |share: f64| (0.0..=1.0).contains(&share);
        if !share(pairs) {
            return Err(format!("pairs {pairs} is no share; give a number from 0 to 1"));
        }
        if self.upright && !self.align {
            return Err("only packs that lie level can be upright; ask for `--align` as well".into());
        }
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
        CropPolicy {
            input_size: self.side,
            mask_background: self.masked,
            align: self.align,
            square: !self.stretched,
            ..CropPolicy::default()
        }
    }

    /// The designs' numbers, rising: pairs are spread evenly among those that stand alone, an even number of them before each,
    /// so that a set in twos has every pair in one.
    #[must_use]
    pub fn designs(&self) -> Vec<u32> {
        // An odd number at first is the second of a pair that began before.
        let first = self.first.next_multiple_of(2);
        let mut numbers: Vec<u32> =
            (self.pairs >= 1.0 && first > self.first).then_some(self.first).into_iter().collect();
        let (mut of_pairs, all) = (0.0, self.packs as usize);
        for look in 0..self.packs {
            if numbers.len() >= all {
                break;
            }
            numbers.push(first + look * 2);
            let due = of_pairs + 2.0 <= self.pairs * (numbers.len() + 1) as f64 + 1e-9;
            if self.pairs >= 1.0 || (due && !numbers.len().is_multiple_of(2)) {
                numbers.push(first + look * 2 + 1);
                of_pairs += 2.0;
            }
        }
        numbers.truncate(all);
        numbers
    }

    /// What a design (by its place among `numbers`) is for: the first are to learn from, the last to judge by.
    fn split(&self, numbers: &[u32], design: u32) -> Split {
        let count = |share: f64| (f64::from(self.packs) * share).round() as u32;
        let (val, test) = (count(self.val), count(self.test));
        // A pair lies on the side of its first.
        let place = design as usize;
        let second = place > 0 && numbers[place] % 2 == 1 && numbers[place - 1] + 1 == numbers[place];
        let pair = design - u32::from(second);
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
/// what it is called itself, so that look-alikes follow each other; or a folder a strength. The same order gives the same bytes, on however many
/// threads. `drawn` is called after each design. Gives the number of designs in train, val and test.
///
/// # Errors
/// The order cannot be drawn; the folder is there already; the file system refuses, or is full. The folder is then not
/// made.
pub fn write(order: &Order, dir: &Path, threads: usize, drawn: impl Fn() + Sync) -> Result<[u32; 3], DatasetError> {
    order.check().map_err(|detail| DatasetError::Order { detail })?;
    let making = Making::begin(dir)?;
    let numbers = order.designs();
    let split = |design: u32| order.split(&numbers, design);
    each(order.packs, threads, |design| {
        let done = one(order, numbers[design as usize], split(design), making.path());
        drawn();
        done
    })?;
    making.finish(dir)?;
    let mut designs = [0; 3];
    (0..order.packs).for_each(|design| designs[split(design) as usize] += 1);
    Ok(designs)
}

/// Draws the crops of a design.
fn one(order: &Order, number: u32, split: Split, dir: &Path) -> Result<(), DatasetError> {
    let pack = Pack::numbered(order.seed, number);
    let (name, before) = match order.by {
        By::Pack => (format!("{number:06} {}", pack.label()), String::new()),
        By::Strength => (pack.strength_label(), format!("{number:06}-")),
    };
    let folder = dir.join(split.name()).join(name);
    fs::create_dir_all(&folder).map_err(DatasetError::io("make", &folder))?;
    let policy = order.policy();
    for crop in 0..order.crops {
        let seed = stirred(&[order.seed, u64::from(number), u64::from(crop), 4]);
        let quality = SmallRng::seed_from_u64(seed).random_range(70..=95);
        let path = folder.join(format!("{before}{crop:03}.jpg"));
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, quality)
            .encode_image(&pack.crop(&policy, order.upright, seed))
            .map_err(|error| DatasetError::description(&path, error.to_string()))?;
        fs::write(&path, bytes).map_err(DatasetError::io("write", &path))?;
    }
    Ok(())
}
