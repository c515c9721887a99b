//! The models' folder: `<name>.safetensors` and its card `<name>.card.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::CheckpointError;
use super::recognise::Task;
use super::weights::Weights;
use super::{safe, slurp};
use crate::domain::ImageId;
use crate::files;
use crate::vision::precision::Comparison;

/// A card of more bytes is none.
const LARGEST_CARD: u64 = 1 << 20;

/// The licence of weights whose file states none.
pub const UNKNOWN_LICENCE: &str = "unknown: ask whoever gave you the file";

/// What stands beside each model in `models/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The model's name: the file's name without `.safetensors`.
    pub name: String,
    /// The SHA-256 of the `.safetensors` file.
    pub sha256: ImageId,
    /// The SHA-256 over the weights alone.
    pub fingerprint: ImageId,
    /// What it does.
    pub task: Task,
    /// For example `yolov8n-seg`.
    pub architecture: String,
    /// The names of the classes; empty for an embedder.
    pub classes: Vec<String>,
    /// The number of parameters.
    pub parameters: u64,
    /// `fp16`, `fp32`, ….
    pub dtype: String,
    /// Where the weights come from.
    pub origin: String,
    /// On what terms they may be used.
    pub licence: String,
    /// What was measured on them, by name; empty until `evaluate` has run.
    pub metrics: Value,
    /// What comparisons of faster precisions with fp32 found, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub precision: Vec<Comparison>,
}

/// A model in the models' folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Its card, where there is a readable one.
    pub card: Option<Card>,
    /// What is the matter with it, if anything.
    pub problem: Option<String>,
}

/// Converts a model file to `models_dir/<name>.safetensors` with a card, and returns the card.
///
/// Importing the same weights again under the same name changes nothing but the card. Other weights of that name are
/// refused, or with `over` kept beside under the name `<name>.replaced-<first digits of their hash>`.
///
/// # Errors
/// When the file cannot be read or is no known model, the name is taken by other weights or no name
/// for a file, or the folder cannot be written.
pub fn import(
    src: &Path,
    models_dir: &Path,
    name: &str,
    licence: Option<&str>,
    over: bool,
) -> Result<Card, CheckpointError> {
    let mut checkpoint = super::read(src)?;
    if let Some(licence) = licence {
        checkpoint.weights.meta.insert("licence".into(), licence.to_owned());
    }
    let file = src.file_name().map(|name| crate::domain::display_safe(&name.to_string_lossy())).unwrap_or_default();
    let origin = checkpoint.weights.meta.get("origin").cloned();
    let origin = origin.unwrap_or_else(|| format!("imported from {file} (sha256 {})", checkpoint.info.sha256));
    checkpoint.weights.meta.insert("origin".into(), origin);
    // What was measured on these very weights stays true under another name.
    let fingerprint = checkpoint.info.fingerprint;
    let cards = [card(src), read_card(models_dir, name).ok()].into_iter().flatten();
    let metrics = cards.filter(|card| card.fingerprint == fingerprint).map(|card| card.metrics).next();
    write(&checkpoint.weights, models_dir, name, if over { Over::SetAside } else { Over::Refuse }, metrics)
}

/// Writes weights as a model of the folder, with its card. Licence and origin are those in `meta`.
///
/// # Errors
/// As [`import`].
pub fn save(weights: &Weights, models_dir: &Path, name: &str) -> Result<Card, CheckpointError> {
    write(weights, models_dir, name, Over::Refuse, None)
}

/// Writes weights in place of those that lie there under the name, with what was measured on them: what a training run
/// does with its own files.
///
/// # Errors
/// As [`import`].
pub fn keep(weights: &Weights, dir: &Path, name: &str, metrics: Value) -> Result<Card, CheckpointError> {
    write(weights, dir, name, Over::Replace, Some(metrics))
}

/// What becomes of other weights that lie under the name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Refuse,
    SetAside,
    Replace,
}

fn write(
    weights: &Weights,
    models_dir: &Path,
    name: &str,
    over: Over,
    metrics: Option<Value>,
) -> Result<Card, CheckpointError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(CheckpointError::Name(crate::domain::display_safe(name)));
    }
    let path = models_dir.join(format!("{name}.safetensors"));
    let bytes = safe::write(weights).map_err(|fault| fault.at(&path))?;
    let sha256 = ImageId(Sha256::digest(&bytes).into());
    let info = super::recognise(weights, bytes.len() as u64, sha256).map_err(|fault| fault.at(&path))?;
    if over != Over::Replace
        && path.exists()
        && !super::read(&path).is_ok_and(|there| there.info.fingerprint == info.fingerprint)
    {
        if over == Over::Refuse {
            return Err(CheckpointError::Taken { name: name.to_owned(), folder: models_dir.to_owned() });
        }
        set_aside(models_dir, name)?;
    }
    // What was compared on these very bytes stays true.
    let compared = read_card(models_dir, name).map(|card| card.precision).unwrap_or_default();
    let card = Card {
        precision: compared.into_iter().filter(|one| one.weights == sha256).collect(),
        name: name.to_owned(),
        sha256,
        fingerprint: info.fingerprint,
        task: info.task,
        architecture: info.architecture,
        classes: info.names.unwrap_or_default(),
        parameters: info.parameters,
        dtype: info.dtype,
        origin: weights.meta.get("origin").cloned().unwrap_or_else(|| "unknown".into()),
        licence: info.licence.unwrap_or_else(|| UNKNOWN_LICENCE.into()),
        metrics: metrics.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
    };
    let card_path = models_dir.join(format!("{name}.card.json"));
    let failed = |source: std::io::Error| CheckpointError::Write { path: card_path.clone(), source };
    let text = serde_json::to_vec_pretty(&card).map_err(|error| failed(std::io::Error::other(error)))?;
    std::fs::create_dir_all(models_dir)
        .map_err(|source| CheckpointError::Write { path: models_dir.to_owned(), source })?;
    replace(&path, &bytes)?;
    replace(&card_path, &text)?;
    Ok(card)
}

/// Gives a model and its card another name, under which no other lies.
fn set_aside(models_dir: &Path, name: &str) -> Result<(), CheckpointError> {
    let path = models_dir.join(format!("{name}.safetensors"));
    let hash = hex::encode(Sha256::digest(slurp(&path)?));
    for kind in ["safetensors", "card.json"] {
        let (from, to) = (format!("{name}.{kind}"), format!("{name}.replaced-{}.{kind}", &hash[..12]));
        match std::fs::rename(models_dir.join(from), models_dir.join(&to)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CheckpointError::Write { path: models_dir.join(to), source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where a model's card is: beside its file.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    path.with_extension("card.json")
}

/// The card beside a model's file; none where there is no sound one.
#[must_use]
pub fn card(path: &Path) -> Option<Card> {
    serde_json::from_slice(&files::read_within(&beside(path), LARGEST_CARD).ok()?).ok()
}

/// Whether the card beside a model's file says that it was never trained.
#[must_use]
pub fn is_untrained(path: &Path) -> bool {
    card(path).is_some_and(|card| card.origin.contains("untrained"))
}

/// Puts the outcome of a comparison into the card beside a model's file, in the place of an earlier one of the same
/// kind. False where there is no card to put it into (a file outside a models' folder).
///
/// # Errors
/// When the card is damaged or about other weights, or cannot be written.
pub fn record(path: &Path, found: &Comparison) -> Result<bool, CheckpointError> {
    let kind = |one: &Comparison| (one.weights, one.candidate, one.machine.clone(), one.input_size);
    amend(path, found.weights, |card| {
        card.precision.retain(|one| kind(one) != kind(found));
        card.precision.push(found.clone());
    })
}

/// Puts what was found by judging a model into the card beside its file, under a name of its own. False where there is
/// no card to put it into.
///
/// # Errors
/// As [`record`].
pub fn record_figures(path: &Path, weights: ImageId, name: &str, figures: Value) -> Result<bool, CheckpointError> {
    amend(path, weights, |card| {
        if !card.metrics.is_object() {
            card.metrics = Value::Object(serde_json::Map::new());
        }
        // What training itself measured has names of its own and stays.
        let own = card.metrics.get(name).is_some_and(|there| !there.is_object());
        let name = if own { format!("{name} (evaluate)") } else { name.to_owned() };
        card.metrics[name.as_str()] = figures;
    })
}

fn amend(path: &Path, weights: ImageId, change: impl FnOnce(&mut Card)) -> Result<bool, CheckpointError> {
    let Some(mut card) = amendable(path, weights)? else { return Ok(false) };
    change(&mut card);
    let card_path = beside(path);
    let text = serde_json::to_vec_pretty(&card)
        .map_err(|error| CheckpointError::Write { path: card_path.clone(), source: std::io::Error::other(error) })?;
    replace(&card_path, &text)?;
    Ok(true)
}

/// The card beside a model's file, if there is one: whether something can be put into it, to be told before long work.
///
/// # Errors
/// When the card is damaged or about other weights.
pub fn amendable(path: &Path, weights: ImageId) -> Result<Option<Card>, CheckpointError> {
    let path = beside(path);
    if !path.exists() {
        return Ok(None);
    }
    let card: Card = serde_json::from_slice(&slurp(&path)?).map_err(|error| CheckpointError::Write {
        path: path.clone(),
        source: std::io::Error::other(format!("it is not valid: {error}")),
    })?;
    if card.sha256 != weights {
        return Err(CheckpointError::Stale { path, about: card.sha256.short() });
    }
    Ok(Some(card))
}

/// The models in a folder, by name. A missing folder has none.
///
/// # Errors
/// When the folder cannot be listed.
pub fn list(models_dir: &Path) -> Result<Vec<Listed>, CheckpointError> {
    let failed = |source| CheckpointError::Read { path: models_dir.to_owned(), source };
    let entries = match std::fs::read_dir(models_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut models = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".safetensors"));
        if let Some(name) = name.filter(|name| !name.starts_with('.')) {
            let (card, problem) = match read_card(models_dir, name) {
                Ok(card) => (Some(card), None),
                Err(problem) => (None, Some(problem)),
            };
            models.push(Listed { name: name.to_owned(), path: path.clone(), card, problem });
        }
    }
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(models)
}

fn read_card(models_dir: &Path, name: &str) -> Result<Card, String> {
    let path = models_dir.join(format!("{name}.card.json"));
    let bytes = slurp(&path).map_err(|error| error.to_string())?;
    let card: Card = serde_json::from_slice(&bytes).map_err(|error| format!("its card is not valid: {error}"))?;
    if card.name != name {
        return Err(format!("its card is of `{}`", crate::domain::display_safe(&card.name)));
    }
    Ok(card)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    files::put(path, bytes).map_err(|source| CheckpointError::Write { path: path.to_owned(), source })
}
