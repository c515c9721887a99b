//! A run from its first batch to its last, in a folder of its own: `args.yaml`, `results.csv` and `weights/`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::crops::{Batch, Crops, Order, Pick};
use super::judge::{Aim, judge};
use super::loss;
use super::mine;
use super::network::{MARGIN, Network};
use super::options::{Loss, Options};
use super::results::{self, Row};
use super::start;
use crate::learn::dataset::Split;
use crate::learn::train::loader::ahead;
use crate::learn::train::network::{sound, to_weights};
use crate::learn::train::optimiser::{Mean, Method, Optimiser};
use crate::learn::train::results::dated;
use crate::learn::train::run::{Begin, Ended, Files, LONGEST, kind, rare};
use crate::learn::train::schedule::Schedule;
use crate::learn::train::state::{self, Stand};
use crate::learn::train::{TrainError, pictures};
use crate::vision::Runtime;
use crate::vision::checkpoint::{self, Weights};
use crate::vision::dino::{LINEAR, state};
use crate::vision::keep_blocks;

/// What a run is to do.
pub struct Request<'a> {
    /// What the weights are to be good for.
    pub aim: Aim,
    /// What to learn from.
    pub train: &'a Crops<'a>,
    /// What to choose by.
    pub val: &'a Crops<'a>,
    /// The labels' names.
    pub names: &'a [String],
    /// The run's folder, which is there.
    pub dir: &'a Path,
    /// The settings.
    pub options: &'a Options,
    /// Where to compute.
    pub device: Device,
    /// Set from outside: the run stops after the batch it is at, and can go on from there.
    pub stop: &'a AtomicBool,
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
        /// The epoch's mean loss so far.
        loss: f64,
        /// Crops of the batch.
        crops: u64,
    },
    /// So many crops were looked at for labels that are alike, of how many.
    Mined(usize, usize),
    /// So many crops were judged, of how many.
    Judged(usize, usize),
    /// An epoch ended.
    Epoch(Box<Row>),
}

/// Trains.
///
/// # Errors
/// A crop cannot be read, the weights do not fit, the disk refuses, numbers are not finite any more, or libtorch fails. What
/// was kept last can be gone on from.
pub fn train(request: &Request, begin: Begin, tell: &mut dyn FnMut(&Told)) -> Result<Ended, TrainError> {
    request.options.check().map_err(TrainError::Setting)?;
    request.options.fitness.suits(request.aim).map_err(TrainError::Setting)?;
    keep_blocks();
    let (mut run, mut optimiser) = Run::new(request, begin)?;
    while run.stand.epoch < request.options.epochs {
        if run.stand.is_over(request.options.patience) {
            break;
        }
        if !run.epoch(&mut optimiser, tell)? {
            return Ok(Ended::of(&run.stand, true));
        }
        run.judge(&optimiser, tell)?;
    }
    Ok(Ended::of(&run.stand, false))
}

struct Run<'a> {
    /// Kept open: the folder is this process's.
    _taken: std::fs::File,
    request: &'a Request<'a>,
    files: Files,
    pick: Pick,
    count: u64,
    schedule: Schedule,
    class_weights: Option<Tensor>,
    stand: Stand,
    network: Network,
    mean: Mean,
    /// What the weights say of themselves.
    about: Weights,
    since: Instant,
}

impl<'a> Run<'a> {
    fn new(request: &'a Request<'a>, begin: Begin) -> Result<(Self, Optimiser), TrainError> {
        let options = request.options;
        let taken = state::take(request.dir)?;
        let settings = state::settings(options)?;
        let files = Files::of(request.dir);
        std::fs::create_dir_all(&files.weights).map_err(TrainError::io("make", &files.weights))?;
        let (weights, kept) = match begin {
            Begin::Weights(weights) => (headed(weights, request)?, None),
            Begin::Resume => {
                let kept = state::load(&files.state(), request.device)?;
                (kept.weights.clone(), Some(kept))
            }
        };
        let head = if request.aim == Aim::Classify { LINEAR[0] } else { MARGIN };
        if let Some(labels) = weights.get(head).and_then(|head| head.shape.first().copied())
            && labels != request.names.len()
        {
            let why =
                format!("it was begun with {labels} labels, the data has {} now; begin anew", request.names.len());
            return Err(TrainError::Resume { path: request.dir.to_owned(), why });
        }
        let mut network = Network::new(&weights, request.device, kind(options.amp, request.device))?;
        let first = if options.last_blocks == 0 { 0 } else { network.plan.depth.saturating_sub(options.last_blocks) };
        network.learn_from(first)?;
        let pick = match request.aim {
            Aim::Embed => {
                Pick::Balanced { labels: options.labels, each: options.per_label, together: options.together }
            }
            Aim::Classify => Pick::Shuffled(options.batch),
        };
        let count = request.train.batches(pick) as u64;
        let terms = options.terms(request.train.size(pick));
        let schedule = Schedule::new(&terms, count, (options.lr0, options.momentum, 0.0));
        let counts: Vec<f64> = request.train.counts().into_iter().map(|count| count as f64).collect();
        let rare = rare(&counts, options.cls_pw);
        let class_weights = (request.aim == Aim::Classify && !rare.is_empty())
            .then(|| Tensor::f_from_slice(&rare)?.f_to_device(request.device))
            .transpose()?;
        let data = digest(request);
        let (stand, mean, optimiser) = match kept {
            None => {
                let stand = Stand { data, options: settings, stepped: -1, ..Stand::default() };
                (stand, Mean::new(network.tensors())?, Optimiser::new(Method::AdamW))
            }
            Some(kept) => {
                if kept.stand.options != settings {
                    return Err(state::other_settings(request.dir));
                }
                if kept.stand.data != data {
                    let why = format!(
                        "its pictures or labels are not what it began with, so it would not be the same run; bring them back, \
                         or {}",
                        state::instead(request.dir)
                    );
                    return Err(TrainError::Resume { path: request.dir.to_owned(), why });
                }
                crate::learn::train::results::write(&files.results, &results::columns(request.aim), &kept.stand.rows)?;
                let optimiser = Optimiser::resumed(Method::AdamW, &kept.optimiser, kept.stand.steps);
                let mean = Mean::resumed(kept.mean, kept.stand.updates);
                (kept.stand, mean, optimiser)
            }
        };
        let about = Weights { names: weights.names, meta: weights.meta, ..Weights::default() };
        let since = Instant::now();
        let run = Self {
            _taken: taken,
            request,
            files,
            pick,
            count,
            schedule,
            class_weights,
            stand,
            network,
            mean,
            about,
            since,
        };
        Ok((run, optimiser))
    }

    /// Learns from the rest of an epoch. False where it was stopped within; then all is kept.
    fn epoch(&mut self, optimiser: &mut Optimiser, tell: &mut dyn FnMut(&Told)) -> Result<bool, TrainError> {
        let options = self.request.options;
        let (epoch, train) = (self.stand.epoch, self.request.train);
        if options.mine && self.stand.batch == 0 && self.request.aim == Aim::Embed {
            let mut goes_on = |done, of| {
                tell(&Told::Mined(done, of));
                !self.request.stop.load(Ordering::Relaxed)
            };
            let from = (options.seed, epoch);
            let Some(line) = mine::alike(&self.network, train, options.together, from, &mut goes_on)? else {
                self.keep(optimiser)?;
                return Ok(false);
            };
            self.stand.line = line;
        }
        let line = self.stand.line.clone();
        let (seed, changes, upright) = (options.seed, options.augment, options.upright);
        let order = Order { seed, epoch, pick: self.pick, changes, upright, line: &line };
        let numbers = self.stand.batch as usize..self.count as usize;
        std::thread::scope(|scope| {
            for batch in ahead(scope, numbers, options.workers, move |number| train.batch(&order, number)) {
                let batch = batch?;
                if self.stand.number == 0 {
                    let shown = pictures::sheet(&batch.pictures());
                    pictures::save(&self.request.dir.join("train_batch.png"), &shown)?;
                }
                self.learn(&batch, optimiser)?;
                self.stand.batch += 1;
                let loss = self.stand.losses[0] / self.stand.batch as f64;
                let at = (self.stand.batch - 1, self.count);
                tell(&Told::Batch { epoch, batch: at, loss, crops: batch.labels.len() as u64 });
                if self.request.stop.load(Ordering::Relaxed) {
                    self.keep(optimiser)?;
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn learn(&mut self, batch: &Batch, optimiser: &mut Optimiser) -> Result<(), TrainError> {
        let (side, crops) = (i64::from(batch.side), batch.labels.len() as i64);
        let pixels = Tensor::f_from_data_size(&batch.pixels, &[crops, side, side, 3], Kind::Uint8)?;
        let labels: Vec<i64> = batch.labels.iter().map(|label| i64::from(*label)).collect();
        let labels = Tensor::f_from_slice(&labels)?.f_to_device(self.request.device)?;
        let vectors = loss::unit(&self.network.forward(&pixels)?)?;
        let options = self.request.options;
        let loss = match (self.request.aim, options.loss) {
            (Aim::Classify, _) => {
                let [weight, bias] = LINEAR;
                let scores = loss::scores(&vectors, self.network.tensor(weight)?, self.network.tensor(bias)?)?;
                loss::classes(&scores, &labels, self.class_weights.as_ref())?
            }
            (Aim::Embed, Loss::Supcon) => loss::contrastive(&vectors, &labels, options.temperature)?,
            (Aim::Embed, Loss::Arcface) => {
                let directions = self.network.tensor(MARGIN)?;
                loss::angular(&vectors, directions, &labels, options.margin, options.margin_scale)?
            }
        };
        let value = loss.f_double_value(&[])?;
        if !value.is_finite() {
            return Err(TrainError::NotFinite);
        }
        loss.f_backward()?;
        let pace = self.schedule.pace(self.stand.epoch, self.stand.number);
        if !optimiser.step(self.network.tensors(), &pace, LONGEST)?.is_finite() {
            return Err(TrainError::NotFinite);
        }
        self.mean.update(self.network.tensors())?;
        self.stand.stepped = self.stand.number as i64;
        self.stand.number += 1;
        self.stand.losses[0] += value;
        Ok(())
    }

    /// Keeps all that is needed to go on.
    fn keep(&mut self, optimiser: &Optimiser) -> Result<(), TrainError> {
        self.stand.steps = optimiser.steps();
        self.stand.updates = self.mean.updates();
        let before = self.stand.seconds;
        self.stand.seconds += self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        let weights = self.saying(self.network.weights()?);
        // A batch is a step: nothing is pending.
        state::save(&self.files.state(), &self.stand, weights, [].into(), &self.mean, optimiser)
            .inspect_err(|_| self.stand.seconds = before)
    }

    /// Weights with what they say of themselves.
    fn saying(&self, weights: Weights) -> Weights {
        Weights { names: self.about.names.clone(), meta: self.about.meta.clone(), ..weights }
    }

    /// Judges the mean of the weights, and keeps what the epoch gave.
    fn judge(&mut self, optimiser: &Optimiser, tell: &mut dyn FnMut(&Told)) -> Result<(), TrainError> {
        let (options, request) = (self.request.options, self.request);
        let mut weights = self.saying(to_weights(self.mean.tensors(), None)?);
        if request.aim == Aim::Embed {
            start::bare(&mut weights);
        }
        let runtime = Runtime { device: request.device, kind: Kind::Float };
        let count = request.val.len();
        let mut judged = |done| tell(&Told::Judged(done, count));
        let judged = judge(&weights, request.aim, request.val, options.policy(), runtime, &mut judged)
            .map_err(TrainError::learnt)?;
        let fitness = judged.figures.fitness(options.fitness)?;
        let epoch = self.stand.epoch;
        let better = self.stand.best.is_none_or(|best| fitness > best);
        if better {
            (self.stand.best, self.stand.best_epoch) = (Some(fitness), epoch);
        }
        let row = Row {
            epoch: epoch + 1,
            seconds: self.stand.seconds + self.since.elapsed().as_secs_f64(),
            loss: self.stand.losses[0] / self.count as f64,
            rates: self.schedule.pace(epoch, self.stand.number.saturating_sub(1)).rates,
            figures: judged.figures.clone(),
            fitness,
            best: better,
        };
        self.stand.rows.push(row.line());
        (self.stand.epoch, self.stand.batch, self.stand.losses) = (epoch + 1, 0, [0.0; 4]);
        let halved = sound(weights)?;
        let metrics = dated(row.figures.metrics(), row.epoch, row.seconds);
        if better {
            kept(&halved, &self.files, "best", &metrics)?;
            results::draw(request.dir, &judged, request.val, request.names, Split::Val)?;
        }
        kept(&halved, &self.files, "last", &metrics)?;
        let columns = results::columns(request.aim);
        crate::learn::train::results::write(&self.files.results, &columns, &self.stand.rows)?;
        self.keep(optimiser)?;
        pictures::results(request.dir, &columns, &self.stand.rows)?;
        tell(&Told::Epoch(Box::new(row)));
        Ok(())
    }
}

/// The digest of what is learnt from and judged by.
fn digest(request: &Request) -> String {
    let mut hash = Sha256::new();
    hash.update(request.names.join("\0"));
    for crops in [request.train, request.val] {
        hash.update(format!("\0{}\0", crops.len()));
        crops.digest(&mut hash);
    }
    hex::encode(hash.finalize())
}

/// Keeps weights in a run's folder, with their card.
pub(super) fn kept(
    weights: &Weights,
    files: &Files,
    name: &str,
    metrics: &serde_json::Value,
) -> Result<(), TrainError> {
    Ok(checkpoint::keep(weights, &files.weights, name, metrics.clone()).map(drop)?)
}

/// Weights with the head that they are to be trained through.
fn headed(mut weights: Weights, request: &Request) -> Result<Weights, TrainError> {
    let plan = crate::vision::dino::Plan::of(&weights).map_err(|fault| TrainError::Weights(fault.to_string()))?;
    let (options, names) = (request.options, request.names);
    match (request.aim, options.loss) {
        (Aim::Classify, _) => start::linear(&mut weights, plan.width, names, options.seed),
        (Aim::Embed, loss) => {
            start::bare(&mut weights);
            if loss == Loss::Arcface {
                start::margin(&mut weights, plan.width, names.len(), options.seed);
            }
        }
    }
    state(&mut weights, &options.policy());
    Ok(weights)
}
