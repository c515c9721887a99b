//! The `evaluate` command: the model tells by what it is judged.

mod crops;
mod detector;
mod embedders;
mod gate;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::arguments::Evaluate as Command;
use super::dataset::Reader;
use super::output::Out;
use super::train::{usable, weights_at};
use super::{CliError, Ended};
use crate::config::Config;
use crate::domain::display_safe;
use crate::learn::dataset::{self, Dataset, Item, Split};
use crate::learn::embed::judge::Aim;
use crate::learn::evaluate::gate::{Figure, Verdict};
use crate::learn::evaluate::identification::Terms;
use crate::vision::checkpoint::{self, Checkpoint, Task};
use crate::vision::{Precision, Runtime, yolo};

/// A part of a set.
struct Set {
    path: PathBuf,
    data: Dataset,
    split: Split,
    reader: Reader,
}

impl Set {
    fn items(&self) -> Vec<&Item> {
        self.data.of(self.split).collect()
    }
}

/// What else was asked for.
struct Asked<'a> {
    /// Where figures are drawn.
    dir: Option<&'a Path>,
    gate: Option<&'a gate::Named>,
    terms: Terms,
    /// The model's file, and the name under which its card is to have the figures.
    record: Option<(&'a Path, &'a str)>,
}

impl Asked<'_> {
    /// Holds figures against the gate, and writes them down where that was asked for.
    fn held(&self, set: &Set, model: &Checkpoint, figures: &[Figure]) -> Result<Option<Verdict>, CliError> {
        if let Some((path, name)) = self.record {
            let named: Map<String, Value> =
                figures.iter().map(|figure| (figure.name.clone(), figure.value.into())).collect();
            let value = json!({
                "pictures": set.items().len(), "split": set.split, "figures": named,
                "at": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            });
            checkpoint::record_figures(path, model.info.sha256, name, value)?;
        }
        Ok(self.gate.map(|gate| gate.judge(figures)))
    }
}

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Command) -> Ended {
    let config = Config::load(workspace)?;
    if command.enrolled == 0 || !(0.0..1.0).contains(&command.strangers) || !(0.0..=1.0).contains(&command.most_wrong) {
        return Err(CliError::Usage(
            "--enrolled must be 1 or more, --strangers a share from 0 to below 1, --most-wrong one from 0 to 1".into(),
        ));
    }
    if command.record.as_deref().is_some_and(|name| name.trim().is_empty() || display_safe(name) != name) {
        return Err(CliError::Usage(
            "--record takes a name that can be shown; write what was judged, as \"held out\"".into(),
        ));
    }
    let gate = command.gate.as_deref().map(gate::Named::read).transpose()?;
    if let Some(side) = command.imgsz.filter(|side| !yolo::possible(*side)) {
        return Err(CliError::Usage(format!("--imgsz {side} must be a multiple of 32 from 32 to 4096")));
    }
    let path =
        command.model.as_ref().map_or_else(|| config.models.detector.clone(), |path| weights_at(workspace, path));
    let model = checkpoint::read(&path)?;
    if command.record.is_some() && checkpoint::amendable(&path, model.info.sha256)?.is_none() {
        let path = path.display();
        return Err(CliError::Usage(format!(
            "--record: {path} has no card to put figures into; `model import` makes one"
        )));
    }
    if command.imgsz.is_some() && !matches!(model.info.task, Task::Detect | Task::Segment) {
        let architecture = &model.info.architecture;
        return Err(CliError::Usage(format!(
            "--imgsz is for detectors; {architecture} takes pictures of its own size"
        )));
    }
    let (mut data, reader) = (dataset::read(&command.data)?, Reader::of(&config));
    gate.as_ref().map(|gate| gate.fits(model.info.task, data.kind)).transpose()?;
    let split = Split::ALL.into_iter().find(|split| split.name() == command.split).unwrap_or(Split::Val);
    // What is told without looking at pictures has been told by now.
    reader.leave_out_unreadable(&mut data, &[split]);
    usable(&data, command.despite_problems)?;
    let set = Set { path: command.data.clone(), data, split, reader };
    if set.items().is_empty() {
        let (path, split) = (set.path.display(), split.name());
        return Err(CliError::NotFound(format!(
            "{path}: it has no pictures in `{split}`; choose another part (--split)"
        )));
    }
    let runtime = Runtime::open(config.device, Precision::Fp32, None).map_err(CliError::failed)?;
    if let Some(dir) = &command.out {
        let failed =
            |error| CliError::Failed(format!("cannot make {}: {error}; choose another (--out)", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let terms = Terms {
        enrolled: command.enrolled,
        strangers: command.strangers,
        thresholds: config.decision,
        most_wrong: command.most_wrong,
    };
    let asked = Asked {
        dir: command.out.as_deref(),
        gate: gate.as_ref(),
        terms,
        record: command.record.as_deref().map(|name| (path.as_path(), name)),
    };
    let imgsz = command.imgsz.or(model.info.input_size).unwrap_or(yolo::INPUT_SIZE);
    match model.info.task {
        Task::Detect | Task::Segment => detector::run(out, &set, &model, runtime, imgsz, &asked),
        Task::Classify => crops::run(out, &set, &model, Aim::Classify, runtime, &asked),
        Task::Embed => crops::run(out, &set, &model, Aim::Embed, runtime, &asked),
    }
}
