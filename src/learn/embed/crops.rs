//! Where labelled crops come from, and which of them make a batch: the same for a seed, an epoch and a place.

use std::path::{Path, PathBuf};

use image::RgbImage;
use rand::seq::SliceRandom as _;
use sha2::{Digest as _, Sha256};
use tch::Tensor;

use super::judge::Aim;
use crate::learn::augment::crops::{Changes, change, quarters};
use crate::learn::dataset::{Dataset, Kind, Split};
use crate::learn::train::TrainError;
use crate::learn::train::cache::PictureCache;
use crate::learn::train::loader::{Read, dice};
use crate::learn::train::state::file;
use crate::vision::CropPolicy;
use crate::vision::dino::fit;

/// Crops at the network's size.
pub struct Crops<'a> {
    /// Files, each with its label; read once as far as memory allows.
    items: Vec<(PathBuf, u32)>,
    read: &'a Read<'a>,
    policy: CropPolicy,
    /// The places of each label's crops.
    by_label: Vec<Vec<usize>>,
    labels: Vec<u32>,
    kept: PictureCache,
}

/// What the network is shown at once.
#[derive(Debug)]
pub struct Batch {
    /// RGB bytes, `[crops, side, side, 3]`.
    pub pixels: Vec<u8>,
    /// A crop's side.
    pub side: u32,
    /// A label each.
    pub labels: Vec<u32>,
}

/// Which crops make a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// So many labels, so many crops of each.
    Balanced {
        /// Labels.
        labels: usize,
        /// Crops of each.
        each: usize,
        /// Labels that come together: runs of so many that follow each other by number. 1 for any.
        together: usize,
    },
    /// So many crops, each once an epoch.
    Shuffled(usize),
}

/// What the batches of an epoch are made by.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Which crops make a batch.
    pub pick: Pick,
    /// How much is changed.
    pub changes: Changes,
    /// Whether all crops of a label are turned by the same right angles, and those of labels that come together alike.
    pub upright: bool,
    /// Balanced: the labels in the order whose runs come together; by number where it is empty.
    pub line: &'a [u32],
}

impl<'a> Crops<'a> {
    /// Crops in files, each with its label, `classes` labels in all; up to `room` bytes of them stay in memory.
    #[must_use]
    pub fn new(items: Vec<(PathBuf, u32)>, read: &'a Read<'a>, classes: usize, policy: CropPolicy, room: u64) -> Self {
        let labels: Vec<u32> = items.iter().map(|(_, label)| *label).collect();
        let mut by_label = vec![Vec::new(); classes];
        for (place, label) in labels.iter().enumerate() {
            if let Some(of) = by_label.get_mut(*label as usize) {
                of.push(place);
            }
        }
        let kept = PictureCache::new(labels.len(), room);
        Self { items, read, policy, by_label, labels, kept }
    }

    /// How many crops an epoch has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Takes the crops' names, sizes and labels into a digest.
    pub fn digest(&self, hash: &mut Sha256) {
        for (path, label) in &self.items {
            file(hash, path);
            hash.update(label.to_le_bytes());
        }
    }

    /// A label each.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The places of each label's crops, by its number.
    #[must_use]
    pub fn by_label(&self) -> &[Vec<usize>] {
        &self.by_label
    }

    /// Some crops as they are, `[crops, side, side, 3]` bytes.
    ///
    /// # Errors
    /// One cannot be read, or libtorch fails.
    pub fn together(&self, places: &[usize]) -> Result<Tensor, TrainError> {
        let mut pixels = Vec::new();
        for place in places {
            pixels.extend_from_slice(self.crop(*place)?.as_raw());
        }
        let side = i64::from(self.policy.input_size);
        Ok(Tensor::f_from_data_size(&pixels, &[places.len() as i64, side, side, 3], tch::Kind::Uint8)?)
    }

    /// How many crops each label has.
    #[must_use]
    pub fn counts(&self) -> Vec<usize> {
        self.by_label.iter().map(Vec::len).collect()
    }

    /// Batches of an epoch.
    #[must_use]
    pub fn batches(&self, pick: Pick) -> usize {
        self.len().div_ceil(self.size(pick)).max(1)
    }

    /// Crops of a full batch.
    #[must_use]
    pub fn size(&self, pick: Pick) -> usize {
        match pick {
            Pick::Balanced { labels, each, .. } => self.balanced(labels) * each,
            Pick::Shuffled(crops) => crops,
        }
    }

    /// Labels of a balanced batch: never more than there are.
    fn balanced(&self, labels: usize) -> usize {
        labels.min(self.by_label.iter().filter(|of| !of.is_empty()).count()).max(1)
    }

    /// A crop as it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn crop(&self, place: usize) -> Result<RgbImage, TrainError> {
        if let Some(kept) = self.kept.get(place) {
            return Ok(kept);
        }
        let path = &self.items[place].0;
        let picture = (self.read)(path).map_err(|why| TrainError::Picture { path: path.clone(), why })?;
        let fitted = fit(&picture, &self.policy);
        self.kept.keep(place, &fitted);
        Ok(fitted)
    }

    /// The places of a batch's crops, each with what it is turned alike with: a run of labels, or nothing else.
    fn places(&self, order: &Order, number: usize) -> Vec<(usize, u64)> {
        match order.pick {
            Pick::Shuffled(crops) => {
                let mut all: Vec<usize> = (0..self.len()).collect();
                all.shuffle(&mut dice(order.seed, order.epoch, u64::MAX));
                let own = |place: usize| (place, u64::from(self.labels[place]));
                all.into_iter().skip(number * crops).take(crops).map(own).collect()
            }
            Pick::Balanced { labels, each, together } => {
                let labels = self.balanced(labels);
                let there: Vec<(usize, u64)> = self.line(order, together);
                // Rounds through all labels, each in an order of its own, so that every one has its turn.
                let round = |round: usize| {
                    let mut runs: Vec<&[(usize, u64)]> = there.chunks(together.max(1)).collect();
                    runs.shuffle(&mut dice(order.seed, order.epoch, u64::MAX - 1 - round as u64));
                    runs.concat()
                };
                let mut chosen: Vec<(usize, u64)> = Vec::with_capacity(labels);
                let mut turn = number * labels;
                let mut going = round(turn / there.len());
                while chosen.len() < labels {
                    let label = going[turn % there.len()];
                    if !chosen.contains(&label) {
                        chosen.push(label);
                    }
                    turn += 1;
                    if turn.is_multiple_of(there.len()) {
                        going = round(turn / there.len());
                    }
                }
                let mut rng = dice(order.seed, order.epoch, u64::MAX / 2 + number as u64);
                let mut places = Vec::with_capacity(labels * each);
                for (label, run) in chosen {
                    let mut of = self.by_label[label].clone();
                    of.shuffle(&mut rng);
                    // A label of few crops shows some more than once: they are changed in different ways.
                    places.extend(of.iter().cycle().take(each).map(|place| (*place, run)));
                }
                places
            }
        }
    }

    /// The labels that have crops, in the order whose runs come together, each with its run's number.
    fn line(&self, order: &Order, together: usize) -> Vec<(usize, u64)> {
        let has = |label: &usize| self.by_label.get(*label).is_some_and(|of| !of.is_empty());
        let numbered = |(place, label): (usize, usize)| (label, (place / together.max(1)) as u64);
        let labels: Vec<usize> = match order.line {
            [] => (0..self.by_label.len()).collect(),
            line => line.iter().map(|label| *label as usize).collect(),
        };
        labels.into_iter().filter(has).enumerate().map(numbered).collect()
    }

    /// A batch of an epoch.
    ///
    /// # Errors
    /// A crop cannot be read.
    pub fn batch(&self, order: &Order, number: usize) -> Result<Batch, TrainError> {
        let places = self.places(order, number);
        let side = self.policy.input_size;
        let mut batch = Batch { pixels: Vec::new(), side, labels: Vec::with_capacity(places.len()) };
        for (at, (place, run)) in places.into_iter().enumerate() {
            let at = (number * self.size(order.pick) + at) as u64;
            let crop = self.crop(place)?;
            let mut rng = dice(order.seed, order.epoch, at);
            let mut turn = quarters(&order.changes, &mut rng);
            if order.upright {
                let alike = u64::MAX / 4 + ((number as u64) << 32) + run;
                turn = quarters(&order.changes, &mut dice(order.seed, order.epoch, alike));
            }
            let changed = change(&crop, turn, &order.changes, &mut rng);
            batch.pixels.extend_from_slice(changed.as_raw());
            batch.labels.push(self.labels[place]);
        }
        Ok(batch)
    }
}

impl Batch {
    /// The crops, for showing.
    #[must_use]
    pub fn pictures(&self) -> Vec<RgbImage> {
        let bytes = (self.side * self.side * 3) as usize;
        let picture = |bytes: &[u8]| RgbImage::from_raw(self.side, self.side, bytes.to_vec());
        self.pixels.chunks_exact(bytes).filter_map(picture).collect()
    }
}

/// The crops of a set of class folders: those to learn from, and those to choose by. They share the memory.
///
/// # Errors
/// The set is of another kind, has too few labels or pictures, or none of a class.
pub fn of_set<'a>(
    data: &Dataset,
    path: &Path,
    aim: Aim,
    (policy, room): (CropPolicy, u64),
    read: &'a Read<'a>,
) -> Result<[Crops<'a>; 2], TrainError> {
    let fault = |why: String| TrainError::Data { path: path.to_owned(), why };
    if data.kind != Kind::Classify {
        return Err(fault(
            "its labels lie in pictures, but this network learns from whole ones: a folder a class with the crops in it (or a \
             detector, for example `--model yolov8n-seg`)"
                .into(),
        ));
    }
    let part = |split: Split| {
        let items = data.of(split).filter_map(|item| Some((item.image.clone(), item.objects.first()?.class)));
        items.collect::<Vec<(PathBuf, u32)>>()
    };
    let (train, val) = (part(Split::Train), part(Split::Val));
    for (items, what) in [(&train, "to learn from (`train`)"), (&val, "to choose by (`val`)")] {
        if items.is_empty() {
            return Err(fault(format!("it has no pictures {what}; `sightline dataset split` divides a set")));
        }
    }
    let share = room / (train.len() + val.len()) as u64 * val.len() as u64;
    let crops = |items, room| Crops::new(items, read, data.names.len(), policy, room);
    let (train, val) = (crops(train, room - share), crops(val, share));
    let counts = train.counts();
    if counts.iter().filter(|count| **count > 0).count() < 2 {
        return Err(fault(
            "it has one class only; two are needed to tell anything apart: add pictures of another".into(),
        ));
    }
    match aim {
        Aim::Classify => {
            if let Some(class) = counts.iter().position(|count| *count == 0) {
                return Err(fault(format!(
                    "class `{}` has no picture to learn from (`train`); add some, or take the class out of the set",
                    data.names[class]
                )));
            }
        }
        Aim::Embed => {
            if val.counts().iter().all(|count| *count < 2) {
                return Err(fault(
                    "no label has two pictures to choose by (`val`), so that one could find the other; give `val` more"
                        .into(),
                ));
            }
        }
    }
    Ok([train, val])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use std::collections::BTreeSet;

    use image::Rgb;

    use super::*;

    #[test]
    fn a_balanced_batch_has_so_many_of_each_and_every_label_has_its_turn() {
        let policy = CropPolicy { input_size: 28, ..CropPolicy::default() };
        let items = (0..42).map(|n| (PathBuf::from(n.to_string()), n / 6)).collect();
        let read = |path: &Path| {
            let value: u8 = path.to_string_lossy().parse().map_err(|_| "no number".to_owned())?;
            Ok(RgbImage::from_pixel(28, 28, Rgb([value, 0, 0])))
        };
        let crops = Crops::new(items, &read, 7, policy, 0);
        let pick = Pick::Balanced { labels: 3, each: 4, together: 1 };
        let order = Order { seed: 5, epoch: 2, pick, changes: Changes::none(), upright: false, line: &[] };
        assert_eq!((crops.len(), crops.batches(pick)), (42, 4));
        let mut met = BTreeSet::new();
        for number in 0..4 {
            let batch = crops.batch(&order, number).unwrap();
            assert_eq!(batch.labels.len(), 12);
            for label in &batch.labels {
                assert_eq!(batch.labels.iter().filter(|other| *other == label).count(), 4);
                met.insert(*label);
            }
            let again = crops.batch(&order, number).unwrap();
            assert_eq!((batch.labels, batch.pixels), (again.labels, again.pixels));
        }
        assert_eq!(met.len(), 7, "12 turns are enough for 7 labels");
        let few = Pick::Balanced { labels: 100, each: 2, together: 1 };
        assert_eq!(crops.batch(&Order { pick: few, ..order }, 0).unwrap().labels.len(), 14);
    }

    #[test]
    fn labels_that_follow_each_other_come_together_where_asked_for() {
        let policy = CropPolicy { input_size: 14, ..CropPolicy::default() };
        let items = (0..18).map(|n| (PathBuf::from(n.to_string()), n / 3)).collect();
        let read = |_: &Path| Ok(RgbImage::new(14, 14));
        let crops = Crops::new(items, &read, 6, policy, 0);
        let pick = Pick::Balanced { labels: 2, each: 1, together: 2 };
        let order = Order { seed: 5, epoch: 2, pick, changes: Changes::none(), upright: false, line: &[] };
        let pairs: BTreeSet<Vec<u32>> = (0..3).map(|number| crops.batch(&order, number).unwrap().labels).collect();
        assert_eq!(pairs, BTreeSet::from([vec![0, 1], vec![2, 3], vec![4, 5]]));
        // In an order that the network was asked for, those come together that follow each other in it.
        let order = Order { line: &[3, 0, 5, 1, 4, 2], ..order };
        let pairs: BTreeSet<Vec<u32>> = (0..3).map(|number| crops.batch(&order, number).unwrap().labels).collect();
        assert_eq!(pairs, BTreeSet::from([vec![3, 0], vec![5, 1], vec![4, 2]]));
    }

    #[test]
    fn upright_labels_that_come_together_are_turned_alike() {
        let policy = CropPolicy { input_size: 14, ..CropPolicy::default() };
        let items = (0..40).map(|n| (PathBuf::from(n.to_string()), n / 2)).collect();
        let read = |_: &Path| Ok(RgbImage::from_fn(14, 14, |x, y| Rgb([x as u8, y as u8, 0])));
        let crops = Crops::new(items, &read, 20, policy, 1 << 20);
        let pick = Pick::Balanced { labels: 20, each: 2, together: 2 };
        let changes = Changes { turn: 1.0, ..Changes::none() };
        let line: Vec<u32> = (0..10).flat_map(|n| [n, 19 - n]).collect();
        let order = Order { seed: 5, epoch: 0, pick, changes, upright: true, line: &line };
        let batch = crops.batch(&order, 0).unwrap();
        let corners: Vec<[u8; 3]> = batch.pictures().iter().map(|picture| picture.get_pixel(0, 0).0).collect();
        for (labels, corners) in batch.labels.chunks(4).zip(corners.chunks(4)) {
            assert_eq!(labels[0] + labels[2], 19, "{labels:?}");
            assert!(corners.iter().all(|corner| *corner == corners[0]), "{labels:?}: {corners:?}");
        }
        assert_eq!(corners.iter().collect::<BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn upright_crops_of_a_label_are_turned_alike_and_labels_in_every_way() {
        let policy = CropPolicy { input_size: 14, ..CropPolicy::default() };
        let items = (0..80).map(|n| (PathBuf::from(n.to_string()), n / 4)).collect();
        let read = |_: &Path| Ok(RgbImage::from_fn(14, 14, |x, y| Rgb([x as u8, y as u8, 0])));
        let crops = Crops::new(items, &read, 20, policy, 1 << 20);
        let pick = Pick::Balanced { labels: 20, each: 3, together: 1 };
        let changes = Changes { turn: 1.0, ..Changes::none() };
        let order = Order { seed: 5, epoch: 0, pick, changes, upright: true, line: &[] };
        let corners = |order: &Order| -> Vec<[u8; 3]> {
            let batch = crops.batch(order, 0).unwrap();
            batch.pictures().iter().map(|picture| picture.get_pixel(0, 0).0).collect()
        };
        let alike = corners(&order);
        assert!(alike.chunks(3).all(|of_one| of_one.iter().all(|corner| *corner == of_one[0])), "{alike:?}");
        assert_eq!(alike.iter().collect::<BTreeSet<_>>().len(), 4);
        let each = corners(&Order { upright: false, ..order });
        assert!(each.chunks(3).any(|of_one| of_one[0] != of_one[1]), "{each:?}");
    }

    #[test]
    fn a_shuffled_epoch_shows_each_crop_once() {
        let items: Vec<(PathBuf, u32)> = (0..10).map(|n| (PathBuf::from(n.to_string()), n % 3)).collect();
        let read = |path: &std::path::Path| {
            let value: u8 = path.to_string_lossy().parse().map_err(|_| "no number".to_owned())?;
            Ok(RgbImage::from_pixel(14, 14, Rgb([value, 0, 0])))
        };
        let policy = CropPolicy { input_size: 14, ..CropPolicy::default() };
        let crops = Crops::new(items, &read, 3, policy, 1 << 20);
        let order =
            Order { seed: 1, epoch: 0, pick: Pick::Shuffled(4), changes: Changes::none(), upright: false, line: &[] };
        let mut seen: Vec<u8> = Vec::new();
        for number in 0..crops.batches(order.pick) {
            let batch = crops.batch(&order, number).unwrap();
            seen.extend(batch.pictures().iter().map(|picture| picture.get_pixel(0, 0).0[0]));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<u8>>());
    }
}
