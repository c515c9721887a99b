//! Batches, made ahead by threads of their own: the same for a seed, an epoch and a place, whoever makes them and when.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use image::RgbImage;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::TrainError;
use super::assign::Wanted;
use super::cache::PictureCache;
use super::loss::Targets;
use crate::learn::augment::{Marked, Recipe, Sample, Scene, area, bounds, compose, fill};
use crate::learn::dataset::{Item, Outline};
use crate::vision::letterbox;

/// Reads a picture, upright; says why not.
pub type Read<'a> = dyn Fn(&Path) -> Result<RgbImage, String> + Sync + 'a;

/// Pixels of the outlines' maps are so many pixels of the input wide.
pub const SHRINK: usize = 4;

/// Pictures with labels, read once as far as memory allows.
pub struct Shelf<'a> {
    items: Vec<&'a Item>,
    read: &'a Read<'a>,
    size: u32,
    kept: PictureCache,
}

impl<'a> Shelf<'a> {
    /// Pictures whose longer side is to be `size` pixels; up to `room` bytes of them stay in memory.
    #[must_use]
    pub fn new(items: Vec<&'a Item>, read: &'a Read<'a>, size: u32, room: u64) -> Self {
        let kept = PictureCache::new(items.len(), room);
        Self { items, read, size, kept }
    }

    /// How many pictures there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn pixels(&self, place: usize) -> Result<RgbImage, TrainError> {
        if let Some(kept) = self.kept.get(place) {
            return Ok(kept);
        }
        let path = &self.items[place].image;
        let picture = (self.read)(path).map_err(|why| TrainError::Picture { path: path.clone(), why })?;
        let pixels = letterbox::scaled(&picture, self.size);
        self.kept.keep(place, &pixels);
        Ok(pixels)
    }

    /// A picture at the size of the shelf, with its objects.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn scene(&self, place: usize) -> Result<Scene, TrainError> {
        let pixels = self.pixels(place)?;
        let (width, height) = (pixels.width() as f32, pixels.height() as f32);
        let mut objects = Vec::new();
        for object in &self.items[place].objects {
            let (shares, outlined) = match &object.outline {
                Some(Outline::Polygon(points)) => (points.clone(), true),
                Some(outline @ Outline::Box(_)) => {
                    let [l, t, r, b] = outline.corners();
                    (vec![[l, t], [r, t], [r, b], [l, b]], false)
                }
                None => continue,
            };
            let corners = shares.iter().map(|[x, y]| [x * width, y * height]).collect();
            objects.push(Marked { class: object.class, corners, outlined });
        }
        Ok(Scene { pixels, objects })
    }

    /// A sample of a picture, with others where four are to be in one.
    ///
    /// # Errors
    /// A picture cannot be read.
    pub fn sample(&self, place: usize, recipe: &Recipe, rng: &mut StdRng) -> Result<Sample, TrainError> {
        let scene = self.scene(place)?;
        let mut others = Vec::new();
        if recipe.mosaic > 0.0 && rng.random_bool(f64::from(recipe.mosaic)) {
            for _ in 0..3 {
                others.push(self.scene(rng.random_range(0..self.items.len()))?);
            }
        }
        Ok(compose(&scene, &others, recipe, self.size, rng))
    }
}

/// What the network is shown at once.
#[derive(Debug)]
pub struct Batch {
    /// RGB bytes, `[pictures, size, size, 3]`.
    pub pixels: Vec<u8>,
    /// A picture's side.
    pub size: u32,
    /// What is in them.
    pub targets: Targets,
}

impl Batch {
    /// How many pictures it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.objects.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.objects.is_empty()
    }

    /// A batch of samples; `outlines` says whether masks are learnt.
    #[must_use]
    pub fn of(samples: &[Sample], size: u32, outlines: bool) -> Self {
        let mut pixels = Vec::with_capacity(samples.len() * (size * size * 3) as usize);
        let (mut objects, mut masks) = (Vec::new(), Vec::new());
        for sample in samples {
            pixels.extend_from_slice(sample.pixels.as_raw());
            let wanted = |marked: &Marked| Wanted { class: marked.class, corners: bounds(&marked.corners) };
            objects.push(sample.objects.iter().map(wanted).collect());
            if outlines {
                masks.push(map(&sample.objects, size, size));
            }
        }
        Self { pixels, size, targets: Targets { objects, masks: outlines.then_some(masks) } }
    }
}

/// The outlines of a picture of `width` by `height` pixels in one map, smaller ones over larger ones.
#[must_use]
pub fn map(objects: &[Marked], width: u32, height: u32) -> Vec<u16> {
    let (columns, rows) = (width as usize / SHRINK, height as usize / SHRINK);
    let mut map = vec![0; columns * rows];
    let mut order: Vec<usize> = (0..objects.len().min(usize::from(u16::MAX) - 1)).collect();
    order.sort_by(|a, b| area(&objects[*b].corners).total_cmp(&area(&objects[*a].corners)));
    for place in order {
        let corners: Vec<[f32; 2]> =
            objects[place].corners.iter().map(|corner| corner.map(|c| c / SHRINK as f32)).collect();
        fill(&corners, columns, rows, |pixel| map[pixel] = place as u16 + 1);
    }
    map
}

/// What the batches of an epoch are made by.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Pictures a batch.
    pub batch: usize,
    /// The first batch that is wanted: those before it were seen before a run stopped.
    pub from: usize,
    /// How much is changed.
    pub recipe: Recipe,
    /// Whether masks are learnt.
    pub outlines: bool,
    /// Threads.
    pub workers: usize,
}

/// The batches of an epoch, in their order, while threads of `scope` make the next ones.
pub fn batches<'scope, 'env: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    shelf: &'env Shelf<'env>,
    order: Order,
) -> impl Iterator<Item = Result<Batch, TrainError>> + use<'scope, 'env> {
    let mut places: Vec<usize> = (0..shelf.len()).collect();
    places.shuffle(&mut dice(order.seed, order.epoch, u64::MAX));
    let places = Arc::new(places);
    let count = places.len().div_ceil(order.batch);
    ahead(scope, order.from..count, order.workers, move |number| make(shelf, &places, number, &order))
}

/// What `make` gives for each number, in their order, while `workers` threads of `scope` make the next ones.
pub fn ahead<'scope, 'env: 'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    numbers: Range<usize>,
    workers: usize,
    make: impl Fn(usize) -> T + Send + Sync + 'scope,
) -> impl Iterator<Item = T> {
    let make = Arc::new(make);
    let workers = workers.clamp(1, numbers.len().max(1));
    let first = numbers.start;
    let receivers: Vec<Receiver<T>> = (0..workers)
        .map(|worker| {
            let (sender, receiver) = sync_channel(1);
            let (make, numbers) = (make.clone(), numbers.clone());
            scope.spawn(move || {
                for number in numbers.skip(worker).step_by(workers) {
                    // Nobody waits any more: the run has stopped.
                    if sender.send(make(number)).is_err() {
                        return;
                    }
                }
            });
            receiver
        })
        .collect();
    numbers.map_while(move |number| receivers[(number - first) % workers].recv().ok())
}

fn make(shelf: &Shelf, places: &[usize], number: usize, order: &Order) -> Result<Batch, TrainError> {
    let from = number * order.batch;
    let to = (from + order.batch).min(places.len());
    let mut samples = Vec::with_capacity(to - from);
    for (at, place) in (from..to).zip(&places[from..to]) {
        let mut rng = dice(order.seed, order.epoch, at as u64);
        samples.push(shelf.sample(*place, &order.recipe, &mut rng)?);
    }
    Ok(Batch::of(&samples, shelf.size, order.outlines))
}

/// Random numbers of a run, an epoch and a place.
#[must_use]
pub fn dice(seed: u64, epoch: u64, place: u64) -> StdRng {
    let mut bytes = [0; 32];
    for (to, from) in bytes.chunks_exact_mut(8).zip([seed, epoch, place, 0x7374_6570]) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    StdRng::from_seed(bytes)
}
