//! What a run goes on from, in one file that is there whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::TrainError;
use super::network::{copied, to_data};
use super::optimiser::{Mean, Optimiser};
use crate::files::{self, Unread};
use crate::learn::dataset::{Dataset, Outline};
use crate::vision::checkpoint::{self, Weights, to_tensor};

/// Under this name the numbers stand in the file.
const KEY: &str = "training";
/// Under this one, the digest of all tensors and numbers.
const DIGEST: &str = "sha256";
/// A state of more bytes is none: it holds the weights three or four times over.
const LARGEST: u64 = 16 << 30;

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stand {
    /// The digest of what is learnt from and judged by: names and sizes of files, and labels.
    pub data: String,
    /// The settings it began with, as JSON.
    pub options: String,
    /// The epoch it is in, from 0.
    pub epoch: u64,
    /// The epoch's batch that comes next, from 0.
    pub batch: u64,
    /// Batches of the whole run so far.
    pub number: u64,
    /// The batch of the last step.
    pub stepped: i64,
    /// Steps.
    pub steps: u64,
    /// How often the mean of the weights was moved.
    pub updates: u64,
    /// The epoch's losses so far, added up: boxes, masks, classes, distances; or the one there is, first.
    pub losses: [f64; 4],
    /// The best fitness so far.
    pub best: Option<f64>,
    /// The epoch it was in.
    pub best_epoch: u64,
    /// Seconds the run took so far.
    pub seconds: f64,
    /// The lines of `results.csv` so far.
    pub rows: Vec<String>,
    /// The labels in the order that the epoch's batches follow, where the network was asked for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<u32>,
}

impl Stand {
    /// Whether the run has gone on for `patience` epochs without a better one; 0 is for ever.
    #[must_use]
    pub fn is_over(&self, patience: u64) -> bool {
        patience > 0 && self.best.is_some() && self.epoch.saturating_sub(self.best_epoch + 1) >= patience
    }
}

/// A run that goes on.
#[derive(Debug)]
pub struct Kept {
    /// Where it stood.
    pub stand: Stand,
    /// Its weights.
    pub weights: Weights,
    /// The mean of its weights, by name.
    pub mean: BTreeMap<String, Tensor>,
    /// The optimiser's tensors and gathered gradients, by name.
    pub optimiser: BTreeMap<String, Tensor>,
}

/// The digest of a set: its classes, its files' names and sizes, its labels. Not the pixels, which would all have to be read.
#[must_use]
pub fn digest(data: &Dataset) -> String {
    let mut hash = Sha256::new();
    hash.update(data.names.join("\0"));
    for item in &data.items {
        file(&mut hash, &item.image);
        hash.update(format!("{}\0", item.split.name()));
        for object in &item.objects {
            hash.update(object.class.to_le_bytes());
            let numbers: Vec<f32> = match &object.outline {
                Some(Outline::Box(bounds)) => bounds.to_vec(),
                Some(Outline::Polygon(points)) => points.iter().flatten().copied().collect(),
                None => Vec::new(),
            };
            numbers.iter().for_each(|number| hash.update(number.to_le_bytes()));
        }
    }
    hex::encode(hash.finalize())
}

/// Takes a picture's name and size into a digest.
pub fn file(hash: &mut Sha256, path: &Path) {
    hash.update(path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default());
    let bytes = std::fs::metadata(path).map_or(u64::MAX, |about| about.len());
    hash.update(format!("\0{bytes}\0"));
}

/// What can be done in the place of going on with a run.
#[must_use]
pub fn instead(dir: &Path) -> String {
    let last = dir.join("weights/last.safetensors");
    if last.is_file() {
        format!("begin a new run from its weights (`--model {}`)", last.display())
    } else {
        "begin it anew".into()
    }
}

/// A run whose settings were changed.
#[must_use]
pub fn other_settings(dir: &Path) -> TrainError {
    let why = format!(
        "its `args.yaml` is not what it began with, so it would not be the same run; bring it back, or {}",
        instead(dir)
    );
    TrainError::Resume { path: dir.to_owned(), why }
}

/// A run's settings as they are kept: to be held against those it goes on with.
///
/// # Errors
/// They cannot be written as JSON.
pub fn settings(options: &impl Serialize) -> Result<String, TrainError> {
    serde_json::to_string(options).map_err(|error| TrainError::Setting(error.to_string()))
}

/// Takes a run's folder for this process, until the file that is given back is dropped.
///
/// # Errors
/// Another process trains in it, or the disk refuses.
pub fn take(dir: &Path) -> Result<File, TrainError> {
    let path = dir.join(".lock");
    let file = File::create(&path).map_err(TrainError::io("make", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(TrainError::Resume {
            path: dir.to_owned(),
            why: "another process trains in it; wait for its end, or stop it".into(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(TrainError::io("lock", &path)(error)),
    }
}

/// Writes a run's state in place of an earlier one: the weights, and the gradients gathered that no step was made by yet.
///
/// # Errors
/// The disk refuses (an earlier state stays as it was), or libtorch fails.
pub fn save(
    path: &Path,
    stand: &Stand,
    weights: Weights,
    pending: BTreeMap<String, Tensor>,
    mean: &Mean,
    optimiser: &Optimiser,
) -> Result<(), TrainError> {
    let mut all = weights;
    let own = std::mem::take(&mut all.tensors);
    all.tensors.extend(own.into_iter().map(|(name, tensor)| (format!("now.{name}"), tensor)));
    for (name, tensor) in mean.tensors() {
        all.tensors.insert(format!("mean.{name}"), to_data(tensor)?);
    }
    for (name, tensor) in optimiser.state().into_iter().chain(pending) {
        all.tensors.insert(name, to_data(&tensor)?);
    }
    let text = serde_json::to_string(stand).map_err(|error| TrainError::Weights(error.to_string()))?;
    all.meta.insert(KEY.into(), text);
    all.meta.insert(DIGEST.into(), whole(&all));
    let bytes = checkpoint::to_bytes(&all).map_err(|fault| TrainError::Weights(fault.to_string()))?;
    files::put(path, &bytes).map_err(TrainError::io("write", path))
}

/// The digest of everything a state holds: names, shapes, kinds, bytes, and what is said of it.
fn whole(all: &Weights) -> String {
    let mut hash = Sha256::new();
    for (name, tensor) in &all.tensors {
        hash.update(format!("{name}\0{:?}\0{:?}\0{}\0", tensor.shape, tensor.dtype, tensor.bytes.len()));
        hash.update(&tensor.bytes);
    }
    all.meta.iter().for_each(|(key, value)| hash.update(format!("{key}\0{}\0{value}", value.len())));
    hash.update(format!("{:?}", all.names));
    hex::encode(hash.finalize())
}

/// Reads a run's state.
///
/// # Errors
/// It cannot be read, or is none.
pub fn load(path: &Path, device: Device) -> Result<Kept, TrainError> {
    let none = |why: String| TrainError::Resume { path: path.to_owned(), why };
    let bytes = files::read_within(path, LARGEST).map_err(|unread| match unread {
        Unread::Io(error) => TrainError::io("read", path)(error),
        other => none(other.to_string()),
    })?;
    let mut all =
        checkpoint::parse(&bytes).map_err(|fault| none(format!("it is no state of a training run: {fault}")))?;
    // A tensor with a wrong bit is a tensor like any other: the run would go on, and end elsewhere.
    let digest = all.meta.remove(DIGEST);
    if digest != Some(whole(&all)) {
        let dir = path.parent().and_then(Path::parent).unwrap_or(path);
        return Err(none(format!(
            "it was changed since it was written, or written by an earlier build (its digest differs): copy it from a backup, \
             or {}",
            instead(dir)
        )));
    }
    let stand = all.meta.get(KEY).ok_or_else(|| none("it is no state of a training run".into()))?;
    let stand = serde_json::from_str(stand).map_err(|error| none(format!("its state cannot be read: {error}")))?;
    let meta = all.meta.into_iter().filter(|(key, _)| key != KEY).collect();
    let mut kept = Kept {
        stand,
        weights: Weights { meta, ..Weights::default() },
        mean: BTreeMap::new(),
        optimiser: BTreeMap::new(),
    };
    kept.weights.names = all.names;
    for (name, tensor) in all.tensors {
        if let Some(name) = name.strip_prefix("now.") {
            kept.weights.tensors.insert(name.to_owned(), tensor);
        } else if let Some(name) = name.strip_prefix("mean.") {
            kept.mean.insert(name.to_owned(), copied(&to_tensor(&tensor, device, Kind::Float)?)?);
        } else {
            kept.optimiser.insert(name, copied(&to_tensor(&tensor, device, Kind::Float)?)?);
        }
    }
    Ok(kept)
}
