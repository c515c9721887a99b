//! A training run from its first batch to its last, in a folder of its own: `args.yaml`, `results.csv` and `weights/`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::loader::{Batch, Order, Read, Shelf, batches};
use super::loss::loss;
use super::network::{Network, sound, to_weights};
use super::optimiser::{Mean, Optimiser};
use super::options::{Fitness, Mixed, Options};
use super::pictures;
use super::results::{self, Row};
use super::schedule::Schedule;
use super::state::{self, Kept, Stand};
use crate::domain::Detection;
use crate::learn::augment::Recipe;
use crate::learn::dataset::{Dataset, Fate, Item, Kind as DataKind, Split};
use crate::learn::evaluate::{Figures, Judged, Labelled, judging};
use crate::vision::checkpoint::{self, Weights};
use crate::vision::device::{Runtime, instructions};
use crate::vision::yolo::Plan;
use crate::vision::{DetectOptions, Detector, keep_blocks};

/// Gradients longer than this together are shortened to it (Ultralytics' value).
pub const LONGEST: f64 = 10.0;

/// What a run is to do.
pub struct Request<'a> {
    /// What to learn from, and to judge by.
    pub data: &'a Dataset,
    /// Where it was read from: for messages.
    pub data_path: &'a Path,
    /// Reads a picture.
    pub read: &'a Read<'a>,
    /// The run's folder, which is there.
    pub dir: &'a Path,
    /// The settings.
    pub options: &'a Options,
    /// Where to compute.
    pub device: Device,
    /// Set from outside: the run stops after the batch it is at, and can go on from there.
    pub stop: &'a AtomicBool,
}

/// What a run begins with.
pub enum Begin {
    /// Weights, their classes those of the data.
    Weights(Weights),
    /// What `weights/last.state` keeps.
    Resume,
}

/// What a run tells while it goes on.
#[derive(Clone, Debug)]
pub enum Told {
    /// A batch was learnt from.
    Batch {
        /// The epoch, from 0.
        epoch: u64,
        /// The batch, from 0, and how many there are.
        batch: (u64, u64),
        /// The epoch's mean losses so far: boxes, masks, classes, distances.
        losses: [f64; 4],
        /// Pictures of the batch.
        pictures: u64,
    },
    /// A picture was judged: which, of how many.
    Judged(usize, usize),
    /// An epoch ended.
    Epoch(Box<Row>),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Whether it was stopped before its end and can go on.
    pub stopped: bool,
    /// Epochs done.
    pub epochs: u64,
    /// The best epoch, from 1, and its fitness.
    pub best: Option<(u64, f64)>,
}

impl Ended {
    /// How a run ended that stands there.
    #[must_use]
    pub fn of(stand: &Stand, stopped: bool) -> Self {
        let best = stand.best.map(|fitness| (stand.best_epoch + 1, fitness));
        Self { stopped, epochs: stand.epoch, best }
    }
}

/// The run's files.
#[derive(Debug)]
pub struct Files {
    /// The folder of `best` and `last`.
    pub weights: PathBuf,
    /// The table, a line an epoch.
    pub results: PathBuf,
}

impl Files {
    /// Those of a run's folder.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self { weights: dir.join("weights"), results: dir.join("results.csv") }
    }

    /// The state to go on from.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.weights.join("last.state")
    }
}

/// Trains.
///
/// # Errors
/// The data cannot be learnt from, a picture cannot be read, the disk refuses, numbers are not finite any more, or libtorch
/// fails. What was kept last can be gone on from.
pub fn train(request: &Request, begin: Begin, tell: &mut dyn FnMut(&Told)) -> Result<Ended, TrainError> {
    request.options.check().map_err(TrainError::Setting)?;
    keep_blocks();
    let mut run = Run::new(request, begin)?;
    let room = request.options.cache_mb << 20;
    let items = |split| request.data.of(split).collect::<Vec<&Item>>();
    let (train, val) = (items(Split::Train), items(Split::Val));
    let share = room / (train.len() + val.len()).max(1) as u64 * val.len() as u64;
    let judged = Shelf::new(val, request.read, request.options.imgsz, share);
    let shelf = Shelf::new(train, request.read, request.options.imgsz, room - share);
    let count = shelf.len().div_ceil(request.options.batch) as u64;
    let steps = request.options.epochs * shelf.len().div_ceil(request.options.batch.max(request.options.nbs)) as u64;
    let (method, rate, momentum, bias) = request.options.method(steps, run.network.plan.classes);
    let schedule = Schedule::new(&request.options.into(), count, (rate, momentum, bias));
    let state = std::mem::take(&mut run.optimiser_state);
    let mut optimiser = Optimiser::resumed(method, &state, run.stand.steps);
    if run.stand.number == 0 {
        // From now on there is something to go on from; and a disk that is too small is found at once.
        run.keep(&optimiser)?;
    }
    let weights = class_weights(request);
    while run.stand.epoch < request.options.epochs {
        if run.stand.is_over(request.options.patience) {
            break;
        }
        if !run.epoch(&shelf, &schedule, &mut optimiser, &weights, count, tell)? {
            return Ok(Ended::of(&run.stand, true));
        }
        if !run.judge(&judged, &schedule, &mut optimiser, count, tell)? {
            return Ok(Ended::of(&run.stand, true));
        }
    }
    Ok(Ended::of(&run.stand, false))
}

/// Whether a network, outlining or not, can learn from a set.
///
/// # Errors
/// A sentence about what the set lacks, and the remedy.
pub fn suits(data: &Dataset, path: &Path, outlines: bool) -> Result<(), TrainError> {
    let unfit = |why: &str| Err(TrainError::Data { path: path.to_owned(), why: why.into() });
    let without = |split: Split| data.of(split).next().is_none();
    if without(Split::Train) {
        return unfit("it has no pictures to learn from (`train`); `sightline dataset split` divides a set");
    }
    if without(Split::Val) {
        return unfit(if data.problems.iter().any(|problem| problem.fate == Fate::Leak) {
            "all pictures to choose by (`val`) are among those to learn from, and count as such; give `val` others \
             (`sightline dataset split` divides a set)"
        } else {
            "it has no pictures to choose by (`val`); `sightline dataset split` divides a set"
        });
    }
    if data.of(Split::Train).all(|item| item.objects.is_empty()) {
        return unfit(
            "none of its pictures to learn from has a label; look where the labels lie (`labels/` beside `images/`)",
        );
    }
    if data.of(Split::Val).all(|item| item.objects.is_empty()) {
        return unfit(
            "none of its pictures to choose by (`val`) has a label, so that every epoch would be as good as the other; label \
             some",
        );
    }
    match data.kind {
        DataKind::Classify => {
            unfit("its labels are classes of whole pictures; a detector learns from boxes or outlines")
        }
        DataKind::Detect if outlines => unfit(
            "its labels are boxes, but a segmenting network learns outlines; take a detecting one (for example `--model \
             yolov8n`)",
        ),
        _ => Ok(()),
    }
}

/// How much more rare classes count, by `cls_pw`.
fn class_weights(request: &Request) -> Vec<f32> {
    let balance = request.data.balance();
    let count = |class: u32| balance.get(&class).and_then(|of| of.get(&Split::Train)).copied().unwrap_or(0) as f64;
    let counts: Vec<f64> = (0..request.data.names.len() as u32).map(count).collect();
    rare(&counts, request.options.cls_pw)
}

/// How much more rare classes count, by their objects to learn from: the mean over classes is 1, which a class without any
/// counts, too (as with Ultralytics). Empty where all count the same.
#[must_use]
pub fn rare(counts: &[f64], power: f64) -> Vec<f32> {
    let met: Vec<f64> = counts.iter().filter(|count| **count > 0.0).map(|count| count.powf(-power)).collect();
    if power == 0.0 || met.is_empty() {
        return Vec::new();
    }
    let mean = met.iter().sum::<f64>() / met.len() as f64;
    counts.iter().map(|count| if *count > 0.0 { (count.powf(-power) / mean) as f32 } else { 1.0 }).collect()
}

struct Run<'a> {
    /// Kept open: the folder is this process's.
    _taken: std::fs::File,
    request: &'a Request<'a>,
    files: Files,
    stand: Stand,
    network: Network,
    mean: Mean,
    optimiser_state: std::collections::BTreeMap<String, Tensor>,
    /// What the weights say of themselves.
    about: Weights,
    since: Instant,
}

impl<'a> Run<'a> {
    fn new(request: &'a Request<'a>, begin: Begin) -> Result<Self, TrainError> {
        let taken = state::take(request.dir)?;
        let files = Files::of(request.dir);
        let data = state::digest(request.data);
        let options = state::settings(request.options)?;
        std::fs::create_dir_all(&files.weights).map_err(TrainError::io("make", &files.weights))?;
        let (weights, kept) = match begin {
            Begin::Weights(weights) => (weights, None),
            Begin::Resume => {
                let kept = state::load(&files.state(), request.device)?;
                (kept.weights.clone(), Some(kept))
            }
        };
        let mut about = Weights { names: weights.names.clone(), meta: weights.meta.clone(), ..Weights::default() };
        about.state_input_size(request.options.imgsz);
        let plan = Plan::of(&weights).map_err(|fault| TrainError::Weights(fault.to_string()))?;
        if plan.classes as usize != request.data.names.len() {
            let (has, needs) = (plan.classes, request.data.names.len());
            return Err(TrainError::Weights(format!("the network has {has} classes, the data {needs}")));
        }
        suits(request.data, request.data_path, plan.segments())?;
        let mut network = Network::new(&weights, request.device, kind(request.options.amp, request.device))?;
        let frozen = request.options.freeze;
        let layer = |name: &str| name.split('.').nth(1).and_then(|layer| layer.parse::<usize>().ok());
        network.freeze(|name| layer(name).is_some_and(|layer| layer < frozen))?;
        let since = Instant::now();
        let Some(kept) = kept else {
            let mean = Mean::new(network.tensors())?;
            let stand = Stand { data, options, stepped: -1, ..Stand::default() };
            let optimiser_state = std::collections::BTreeMap::new();
            return Ok(Self { _taken: taken, request, files, stand, network, mean, optimiser_state, about, since });
        };
        let Kept { stand, mean, mut optimiser, .. } = kept;
        if stand.options != options {
            return Err(state::other_settings(request.dir));
        }
        if stand.data != data {
            let why = format!(
                "the labels, or the names or sizes of the files, in {} are not those it began with, so it would not be the \
                 same run; bring them back, or {}",
                request.data_path.display(),
                state::instead(request.dir)
            );
            return Err(TrainError::Resume { path: request.dir.to_owned(), why });
        }
        let best = files.weights.join("best.safetensors");
        if stand.best.is_some() && !best.is_file() {
            let why = format!(
                "its best weights, of epoch {}, are not there any more; put {} back, or begin a new run from the last ones",
                stand.best_epoch + 1,
                best.display()
            );
            return Err(TrainError::Resume { path: request.dir.to_owned(), why });
        }
        network.put_gradients(&mut optimiser)?;
        let mean = Mean::resumed(mean, stand.updates);
        results::write(&files.results, &results::columns(plan.segments()), &stand.rows)?;
        Ok(Self { _taken: taken, request, files, stand, network, mean, optimiser_state: optimiser, about, since })
    }

    /// Learns from the rest of an epoch. False where it was stopped within; then all is kept.
    fn epoch(
        &mut self,
        shelf: &Shelf,
        schedule: &Schedule,
        optimiser: &mut Optimiser,
        weights: &[f32],
        count: u64,
        tell: &mut dyn FnMut(&Told),
    ) -> Result<bool, TrainError> {
        let options = self.request.options;
        let epoch = self.stand.epoch;
        let recipe = if options.is_whole(epoch) { Recipe { mosaic: 0.0, ..options.augment } } else { options.augment };
        let order = Order {
            seed: options.seed,
            epoch,
            batch: options.batch,
            from: self.stand.batch as usize,
            recipe,
            outlines: self.network.plan.segments(),
            workers: options.workers,
        };
        std::thread::scope(|scope| {
            for batch in batches(scope, shelf, order) {
                let batch = batch?;
                if self.stand.number == 0 {
                    let names = &self.request.data.names;
                    pictures::save(&self.request.dir.join("train_batch.png"), &pictures::batch(&batch, names))?;
                }
                self.learn(&batch, schedule, optimiser, weights)?;
                self.stand.batch += 1;
                let losses = self.stand.losses.map(|sum| sum / self.stand.batch as f64);
                let at = (self.stand.batch - 1, count);
                tell(&Told::Batch { epoch, batch: at, losses, pictures: batch.len() as u64 });
                if self.request.stop.load(Ordering::Relaxed) {
                    self.keep(optimiser)?;
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn learn(
        &mut self,
        batch: &Batch,
        schedule: &Schedule,
        optimiser: &mut Optimiser,
        weights: &[f32],
    ) -> Result<(), TrainError> {
        let (side, pictures) = (i64::from(batch.size), batch.len() as i64);
        let pixels = Tensor::f_from_data_size(&batch.pixels, &[pictures, side, side, 3], Kind::Uint8)?;
        let heads = self.network.forward(&pixels, true)?;
        let loss = loss(&heads, &batch.targets, (side, side), &self.request.options.gains(), weights)?;
        if loss.parts.iter().any(|part| !part.is_finite()) {
            return Err(TrainError::NotFinite);
        }
        loss.total.f_backward()?;
        let number = self.stand.number;
        if number as i64 - self.stand.stepped >= schedule.gather(number) as i64 {
            let length = optimiser.step(self.network.tensors(), &schedule.pace(self.stand.epoch, number), LONGEST)?;
            if !length.is_finite() {
                return Err(TrainError::NotFinite);
            }
            self.mean.update(self.network.tensors())?;
            self.stand.stepped = number as i64;
        }
        self.stand.number += 1;
        self.stand.losses.iter_mut().zip(loss.parts).for_each(|(sum, part)| *sum += part);
        Ok(())
    }

    /// Keeps all that is needed to go on.
    fn keep(&mut self, optimiser: &Optimiser) -> Result<(), TrainError> {
        self.stand.steps = optimiser.steps();
        self.stand.updates = self.mean.updates();
        let before = self.stand.seconds;
        self.stand.seconds += self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        // Gradients that a step was made by are spent.
        let spent = self.stand.stepped + 1 >= self.stand.number as i64;
        let pending = if spent { std::collections::BTreeMap::new() } else { self.network.gradients() };
        let weights = self.network.weights()?;
        state::save(&self.files.state(), &self.stand, weights, pending, &self.mean, optimiser)
            .inspect_err(|_| self.stand.seconds = before)
    }

    /// Judges the mean of the weights, and keeps what the epoch gave. False where it was stopped within.
    fn judge(
        &mut self,
        shelf: &Shelf,
        schedule: &Schedule,
        optimiser: &mut Optimiser,
        count: u64,
        tell: &mut dyn FnMut(&Told),
    ) -> Result<bool, TrainError> {
        let options = self.request.options;
        let mut weights = to_weights(self.mean.tensors(), self.about.names.clone())?;
        weights.meta = self.about.meta.clone();
        let runtime = Runtime { device: self.request.device, kind: Kind::Float };
        let detector = Detector::new(&weights, runtime)?;
        let mut judged = Judged::new(self.network.plan.segments());
        let looked = judging(options.imgsz);
        let mut first = None;
        for from in (0..shelf.len()).step_by(options.batch) {
            if self.request.stop.load(Ordering::Relaxed) {
                self.keep(optimiser)?;
                return Ok(false);
            }
            let to = (from + options.batch).min(shelf.len());
            let (pictures, found) =
                judge_some(&mut judged, &detector, shelf, from..to, &looked, options).map_err(TrainError::learnt)?;
            first.get_or_insert_with(|| pictures::found(&pictures, &found, &self.request.data.names));
            tell(&Told::Judged(to, shelf.len()));
        }
        if judged.losses().iter().any(|loss| !loss.is_finite()) {
            return Err(TrainError::NotFinite);
        }
        let figures = judged.figures();
        let fitness = fitness(&figures, options.fitness);
        let epoch = self.stand.epoch;
        let pace = schedule.pace(epoch, self.stand.number.saturating_sub(1));
        let better = self.stand.best.is_none_or(|best| fitness > best);
        if better {
            (self.stand.best, self.stand.best_epoch) = (Some(fitness), epoch);
        }
        let row = Row {
            epoch: epoch + 1,
            seconds: self.stand.seconds + self.since.elapsed().as_secs_f64(),
            train: self.stand.losses.map(|sum| sum / count as f64),
            val: judged.losses(),
            rates: pace.rates,
            figures,
            fitness,
            best: better,
        };
        self.stand.rows.push(row.line());
        (self.stand.epoch, self.stand.batch, self.stand.losses) = (epoch + 1, 0, [0.0; 4]);
        let halved = sound(weights)?;
        let metrics = row.metrics();
        let kept = |name: &str| {
            checkpoint::keep(&halved, &self.files.weights, name, metrics.clone()).map_err(TrainError::Keep)
        };
        if better {
            kept("best")?;
            pictures::figures(self.request.dir, &row.figures, &judged, &self.request.data.names)?;
            if let Some(sheet) = &first {
                pictures::save(&self.request.dir.join("val_found.png"), sheet)?;
            }
        }
        kept("last")?;
        self.keep(optimiser)?;
        let columns = results::columns(self.network.plan.segments());
        results::write(&self.files.results, &columns, &self.stand.rows)?;
        pictures::results(self.request.dir, &columns, &self.stand.rows)?;
        tell(&Told::Epoch(Box::new(row)));
        Ok(true)
    }
}

fn judge_some(
    judged: &mut Judged,
    detector: &Detector,
    shelf: &Shelf,
    places: std::ops::Range<usize>,
    looked: &DetectOptions,
    options: &Options,
) -> Result<(Vec<Labelled>, Vec<Vec<Detection>>), TrainError> {
    let labelled = |place| {
        let scene = shelf.scene(place)?;
        // Epochs are judged by Ultralytics' protocol, which knows no crowds.
        Ok(Labelled { pixels: scene.pixels, objects: scene.objects, crowds: Vec::new() })
    };
    let pictures: Vec<Labelled> = places.map(labelled).collect::<Result<_, TrainError>>()?;
    let found = judged.add(detector, &pictures, looked, Some(&options.gains()))?;
    Ok((pictures, found))
}

/// How good an epoch is.
#[must_use]
pub fn fitness(figures: &Figures, by: Fitness) -> f64 {
    let both = |of: &dyn Fn(&crate::learn::metrics::ultralytics::Scores) -> f64| {
        of(&figures.boxes) + figures.masks.as_ref().map_or(0.0, of)
    };
    match by {
        Fitness::Map => both(&|scores| 0.1 * scores.map50 + 0.9 * scores.map50_95),
        Fitness::Map50 => both(&|scores| scores.map50),
        Fitness::WorstRecall => {
            let scores = figures.masks.as_ref().unwrap_or(&figures.boxes);
            scores.classes.iter().map(|class| class.recall).fold(f64::INFINITY, f64::min).min(1.0)
        }
    }
}

/// What layers count in.
#[must_use]
pub fn kind(mixed: Mixed, device: Device) -> Kind {
    match mixed {
        Mixed::Fp32 => Kind::Float,
        Mixed::Bf16 => Kind::BFloat16,
        Mixed::Auto if device.is_cuda() || instructions().is_some() => Kind::BFloat16,
        Mixed::Auto => Kind::Float,
    }
}
