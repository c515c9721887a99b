//! Training of embedders and classifiers.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::show::Show;
use super::{Going, Prepared, args_of, begin_folder, origin, run_folder, set_of, told};
use crate::cli::arguments::{Head, Train as Command};
use crate::cli::output::{Out, tell};
use crate::cli::{CliError, Ended, Outcome};
use crate::learn::dataset::Dataset;
use crate::learn::embed::crops::of_set;
use crate::learn::embed::judge::Aim;
use crate::learn::embed::options::Options;
use crate::learn::embed::probe::probe;
use crate::learn::embed::run::{Request, Told, train};
use crate::learn::embed::start;
use crate::learn::train::run::Begin;
use crate::vision::checkpoint::{self, Checkpoint, Task, Weights};
use crate::vision::dino::{PATCH, Plan};

/// The keys of `args.yaml` that are not settings.
const TASK: &str = "task";
const HEAD: &str = "head";

/// What a run is for, and how it goes about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Embed,
    Linear,
    Full,
}

impl Way {
    fn of(head: Option<Head>) -> Self {
        match head {
            None => Self::Embed,
            Some(Head::Linear) => Self::Linear,
            Some(Head::Full) => Self::Full,
        }
    }

    fn aim(self) -> Aim {
        if self == Self::Embed { Aim::Embed } else { Aim::Classify }
    }
}

/// Whether a model is an embedder or a classifier: an architecture's name, or what a file holds.
pub(super) fn is_meant(model: &str, file: Option<&Checkpoint>) -> bool {
    match file {
        Some(checkpoint) => matches!(checkpoint.info.task, Task::Embed | Task::Classify),
        None => model.starts_with("dinov2"),
    }
}

/// Whether the run of these settings is one.
pub(super) fn was_meant(args: &Map<String, Value>) -> bool {
    matches!(args.get(TASK).and_then(Value::as_str), Some("embed" | "classify"))
}

/// A new run.
pub(super) fn begin(out: &mut Out, workspace: &Path, command: &Command, file: Option<Checkpoint>) -> Ended {
    let options = Options::from_pairs(&command.options).map_err(CliError::Usage)?;
    let (data_path, data) = set_of(command)?;
    // A classifier that is trained on stays one.
    let is_classifier = file.as_ref().is_some_and(|file| file.info.task == Task::Classify);
    let way = Way::of(command.head.or(is_classifier.then_some(Head::Full)));
    let mut weights = weights(command, file, &options)?;
    weights.meta.insert("origin".into(), origin(command));
    // What cannot be learnt from, or by, leaves no folder behind.
    options.fitness.suits(way.aim()).map_err(CliError::Usage)?;
    crops_fit(&data, &data_path, way)?;
    let task = if way == Way::Embed { "embed" } else { "classify" };
    let head = match way {
        Way::Embed => Value::Null,
        Way::Linear => "linear".into(),
        Way::Full => "full".into(),
    };
    let own = [(TASK, task.into()), (HEAD, head)];
    let dir = begin_folder(workspace, command, &data_path, &own, &options)?;
    let prepared = Prepared { dir, data_path, data, begin: Begin::Weights(weights) };
    go(out, workspace, prepared, &options, way)
}

/// A run that goes on, with the settings it had.
pub(super) fn resume(out: &mut Out, workspace: &Path, dir: &Path) -> Ended {
    let args = args_of(dir)?;
    let way = match args.get(HEAD).and_then(Value::as_str) {
        Some("linear") => {
            return Err(CliError::Usage(format!(
                "{}: a linear probe is solved in one go, there is nothing to go on with; begin it anew",
                dir.display()
            )));
        }
        Some(_) => Way::Full,
        None => Way::Embed,
    };
    let (prepared, options): (Prepared, Options) = run_folder(dir, args)?;
    go(out, workspace, prepared, &options, way)
}

fn crops_fit(data: &Dataset, path: &Path, way: Way) -> Result<(), CliError> {
    let options = Options::default();
    let never = |_: &Path| Err(String::new());
    of_set(data, path, way.aim(), (options.policy(), 0), &never).map(drop).map_err(CliError::from)
}

fn go(out: &mut Out, workspace: &Path, prepared: Prepared, options: &Options, way: Way) -> Ended {
    let going = Going::new(workspace, &prepared, way != Way::Linear)?;
    let read = |path: &Path| going.read(path);
    let policy = (options.policy(), options.cache_mb << 20);
    let [learnt, judged] = of_set(&prepared.data, &prepared.data_path, way.aim(), policy, &read)?;
    let request = Request {
        aim: way.aim(),
        train: &learnt,
        val: &judged,
        names: &prepared.data.names,
        dir: &prepared.dir,
        options,
        device: going.runtime.device,
        stop: &going.stop,
    };
    let mut show = Show::new(out, if way == Way::Linear { 1 } else { options.epochs });
    match (way, prepared.begin) {
        (Way::Linear, Begin::Weights(weights)) => {
            let row = probe(&request, weights, &mut |done, of| show.done(done, of));
            show.end()?;
            let (row, best) = (row?, prepared.dir.join("weights/best.safetensors"));
            if out.json {
                out.value(&json!({ "run": prepared.dir, "fitness": row.fitness, "metrics": row.figures.metrics() }))?;
            } else {
                out.line(format!("{} ({:.1} s): {}", row.figures.line(), row.seconds, best.display()))?;
            }
            Ok(Outcome::Done)
        }
        (_, begin) => {
            let ended = train(&request, begin, &mut |told| show_told(&mut show, told));
            show.end()?;
            told(out, &prepared.dir, &ended?)
        }
    }
}

fn show_told(show: &mut Show, told: &Told) {
    match told {
        Told::Batch { epoch, batch, loss, .. } => show.batch(*epoch, *batch, format!("loss {loss:.4}")),
        Told::Judged(done, of) => show.judged(*done, *of),
        Told::Epoch(row) => {
            let value = json!({
                "epoch": row.epoch, "seconds": row.seconds, "train": row.loss, "fitness": row.fitness,
                "best": row.best, "metrics": row.figures.metrics(),
            });
            let best = if row.best { " *" } else { "" };
            let (figures, epochs) = (row.figures.line(), show.epochs);
            show.epoch(&value, &format!("epoch {}/{epochs} loss {:.4} | {figures}{best}", row.epoch, row.loss));
        }
    }
}

/// What a run begins with: an architecture's random weights, or a file's.
fn weights(command: &Command, file: Option<Checkpoint>, options: &Options) -> Result<Weights, CliError> {
    if let Some(file) = file {
        let Checkpoint { weights, info: checkpoint::ModelInfo { architecture, .. } } = file;
        tell(&format!("{}: {architecture}", command.model));
        return Ok(weights);
    }
    let model = &command.model;
    let grid = options.imgsz as usize / PATCH;
    let plan = Plan::named(model, grid).ok_or_else(|| {
        CliError::Usage(format!(
            "`{model}` is no architecture that is known: dinov2_vits14, dinov2_vitb14, dinov2_vitl14, dinov2_vitg14, or any \
             width (a multiple of 64) and depth, as dinov2_vit192x8_14; each also with _reg"
        ))
    })?;
    Ok(start::scratch(&plan, options.seed))
}
