//! Training of embedders and classifiers.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::show::Show;
use super::tune::{self, After, One, Search, effective};
use super::{
    Going, Prepared, args_of, begin_folder, file_of, model_of, origin, origin_of, run_folder, set_of, told, write_args,
};
use crate::cli::arguments::{Head, Train as Command};
use crate::cli::output::{Out, tell};
use crate::cli::{CliError, Ended, Outcome};
use crate::learn::dataset::Dataset;
use crate::learn::embed::crops::of_set;
use crate::learn::embed::judge::Aim;
use crate::learn::embed::options::Options;
use crate::learn::embed::probe::probe;
use crate::learn::embed::run::{Request, Told, train};
use crate::learn::embed::scratch::scratch;
use crate::learn::train::run::{Begin, Ended as RunEnded};
use crate::learn::tune::EMBEDDER;
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
            None | Some(Head::None) => Self::Embed,
            Some(Head::Linear) => Self::Linear,
            Some(Head::Full) => Self::Full,
        }
    }

    /// What `args.yaml` says of it.
    fn own(self) -> [(&'static str, Value); 2] {
        let (task, head) = match self {
            Self::Embed => ("embed", Value::Null),
            Self::Linear => ("classify", "linear".into()),
            Self::Full => ("classify", "full".into()),
        };
        [(TASK, task.into()), (HEAD, head)]
    }

    fn name(self) -> &'static str {
        match self {
            Self::Embed => "an embedder that learns by this loss",
            Self::Linear => "a linear probe",
            Self::Full => "a classifier",
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
    let mut options = Options::from_pairs(&command.options).map_err(CliError::Usage)?;
    if let Some(file) = &file {
        follow(&mut options, &file.info, command);
    }
    let (data_path, data) = set_of(workspace, command)?;
    // A classifier that is trained on stays one.
    let is_classifier = file.as_ref().is_some_and(|file| file.info.task == Task::Classify);
    let way = Way::of(command.head.or(is_classifier.then_some(Head::Full)));
    let idle = options.without_effect(way.aim(), way == Way::Linear);
    let keys = command.options.iter().filter_map(|pair| pair.split_once('=').map(|(key, _)| key));
    for key in keys.filter(|key| idle.contains(key)) {
        tell(&format!("`{key}` has no effect on {}", way.name()));
    }
    let mut weights = weights(&command.model, file, &options)?;
    let blocks = Plan::of(&weights).map_or(usize::MAX, |plan| plan.depth);
    if options.last_blocks > blocks {
        let last = options.last_blocks;
        return Err(CliError::Usage(format!("last_blocks={last}: the network has {blocks} blocks; 0 is for all")));
    }
    weights.meta.insert("origin".into(), origin(command));
    // What cannot be learnt from, or by, leaves no folder behind.
    options.fitness.suits(way.aim()).map_err(CliError::Usage)?;
    crops_fit(&data, &data_path, way)?;
    let own = way.own();
    if command.tune.is_some() && way == Way::Linear {
        return Err(CliError::Usage(
            "a linear probe is solved in one go, there is nothing to search; leave --tune out".into(),
        ));
    }
    let dir = begin_folder(workspace, command, &data_path, &own, &options)?;
    let prepared = Prepared { dir, data_path, data, begin: Begin::Weights(weights.clone()) };
    match command.tune {
        Some(count) => search(out, workspace, &prepared, (&options, &command.model, way), &weights, count),
        None => go(out, workspace, prepared, &options, way),
    }
}

/// Takes over how the weights' own crops were made, where nothing else is asked for: their input's side and their kind.
fn follow(options: &mut Options, weights: &checkpoint::ModelInfo, command: &Command) {
    let asked = |key: &str| command.options.iter().any(|pair| pair.split('=').next() == Some(key));
    let before = options.clone();
    let flags: [(&str, &mut bool, Option<bool>); 3] = [
        ("mask_background", &mut options.mask_background, weights.mask_background),
        ("align", &mut options.align, weights.align),
        ("square", &mut options.square, weights.square),
    ];
    for (key, flag, stated) in flags {
        *flag = stated.filter(|_| !asked(key)).unwrap_or(*flag);
    }
    options.imgsz = weights.input_size.filter(|_| !asked("imgsz")).unwrap_or(options.imgsz);
    if *options != before {
        let Options { imgsz, mask_background, align, square, .. } = options;
        tell(&format!(
            "as these weights were trained: imgsz={imgsz} mask_background={mask_background} align={align} square={square}"
        ));
    }
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
    let (count, model) = (tune::count_of(&args), model_of(&args));
    let (prepared, options): (Prepared, Options) = run_folder(workspace, dir, args)?;
    let Some(count) = count else { return go(out, workspace, prepared, &options, way) };
    let mut weights = weights(&model, file_of(workspace, &model)?, &options)?;
    weights.meta.insert("origin".into(), origin_of(&model, None));
    search(out, workspace, &prepared, (&options, &model, way), &weights, count)
}

fn crops_fit(data: &Dataset, path: &Path, way: Way) -> Result<(), CliError> {
    let options = Options::default();
    let never = |_: &Path| Err(String::new());
    of_set(data, path, way.aim(), (options.policy(), 0), &never).map(drop).map_err(CliError::from)
}

fn go(out: &mut Out, workspace: &Path, prepared: Prepared, options: &Options, way: Way) -> Ended {
    let going = Going::new(workspace, &prepared.dir, way != Way::Linear)?;
    let data = (&prepared.data, prepared.data_path.as_path());
    if way != Way::Linear {
        let dir = prepared.dir;
        let one = One { dir: dir.clone(), options: options.clone(), begin: prepared.begin, stop: &going.stop };
        let ended = once(out, &going, data, way, one, &mut |_, _| true)?;
        return told(out, &dir, &ended, options.epochs);
    }
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
    let Begin::Weights(weights) = prepared.begin else {
        return Err(CliError::Failed(format!("{}: a linear probe is begun anew", prepared.dir.display())));
    };
    let show = Show::new(out, 1);
    let row = probe(&request, weights, &mut |done, of| show.done(done, of));
    show.end()?;
    let (row, best) = (row?, prepared.dir.join("weights/best.safetensors"));
    if out.json {
        out.offer_value(&json!({ "run": prepared.dir, "fitness": row.fitness, "metrics": row.figures.metrics() }))?;
    } else {
        out.offer(&format!("{} ({:.1} s): {}", row.figures.line(), row.seconds, best.display()));
    }
    Ok(Outcome::Done)
}

/// A search over settings.
fn search(
    out: &mut Out,
    workspace: &Path,
    prepared: &Prepared,
    (options, model, way): (&Options, &str, Way),
    weights: &Weights,
    count: usize,
) -> Ended {
    let going = Going::new(workspace, &prepared.dir, true)?;
    let data = (&prepared.data, prepared.data_path.as_path());
    let (epochs, seed) = (options.epochs, options.seed);
    let ranges = &effective(EMBEDDER, options.without_effect(way.aim(), false));
    let search = Search { dir: &prepared.dir, count, ranges, epochs, seed, stop: &going.stop };
    search.go(out, options, weights, &mut |out, one: One<Options>, after| {
        one.options.check().map_err(CliError::Usage)?;
        write_args(&one.dir, data.1, model, &way.own(), &one.options)?;
        once(out, &going, data, way, one, after)
    })
}

/// One run.
fn once(
    out: &mut Out,
    going: &Going,
    (data, data_path): (&Dataset, &Path),
    way: Way,
    one: One<Options>,
    after: &mut After,
) -> Result<RunEnded, CliError> {
    let read = |path: &Path| going.read(path);
    let (options, stop) = (&one.options, one.stop);
    let policy = (options.policy(), options.cache_mb << 20);
    let [learnt, judged] = of_set(data, data_path, way.aim(), policy, &read)?;
    let request = Request {
        aim: way.aim(),
        train: &learnt,
        val: &judged,
        names: &data.names,
        dir: &one.dir,
        options,
        device: going.runtime.device,
        stop,
    };
    let mut show = Show::new(out, options.epochs);
    let ended = train(&request, one.begin, &mut |told| {
        show_told(&mut show, told);
        let goes_on = if let Told::Epoch(row) = told { after(row.epoch, row.fitness) } else { true };
        going.heed(stop, goes_on);
    });
    show.end()?;
    Ok(ended?)
}

fn show_told(show: &mut Show, told: &Told) {
    match told {
        Told::Batch { epoch, batch, loss, .. } => show.batch(*epoch, *batch, format!("loss {loss:.4}")),
        Told::Mined(done, of) => show.mined(*done, *of),
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
fn weights(model: &str, file: Option<Checkpoint>, options: &Options) -> Result<Weights, CliError> {
    if let Some(file) = file {
        let Checkpoint { weights, info: checkpoint::ModelInfo { architecture, .. } } = file;
        tell(&format!("{model}: {architecture}"));
        return Ok(weights);
    }
    let grid = options.imgsz as usize / PATCH;
    let plan = Plan::named(model, grid).ok_or_else(|| {
        CliError::Usage(format!(
            "`{model}` is no architecture that is known: dinov2_vits14, dinov2_vitb14, dinov2_vitl14, dinov2_vitg14, or any \
             width (a multiple of 64) and depth, as dinov2_vit192x8_14; each also with _reg"
        ))
    })?;
    scratch(&plan, options.seed).map_err(|error| CliError::Failed(error.to_string()))
}
