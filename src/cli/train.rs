//! The `train` command.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::arguments::Train as Command;
use super::dataset::Reader;
use super::output::{Out, tell};
use super::{CliError, Ended, Outcome};
use crate::config::Config;
use crate::domain::display_safe;
use crate::files;
use crate::learn::dataset::{self, Dataset, Fate, Problem};
use crate::learn::train::TrainError;
use crate::learn::train::options::Options;
use crate::learn::train::results::Row;
use crate::learn::train::run::{Begin, Files, Request, Told, suits, train};
use crate::learn::train::{start, state};
use crate::vision::yolo::Plan;
use crate::vision::{Precision, Runtime, Weights, checkpoint};

/// Labels left out that are named; `sightline dataset check` lists all.
const SHOWN: usize = 20;
/// The keys of `args.yaml` that are not settings.
const DATA: &str = "data";
const MODEL: &str = "model";
/// An `args.yaml` of more bytes is none.
const LARGEST: u64 = 1 << 20;

impl From<TrainError> for CliError {
    fn from(error: TrainError) -> Self {
        match &error {
            TrainError::Setting(_) | TrainError::Data { .. } | TrainError::Weights(_) | TrainError::Class { .. } => {
                Self::Usage(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Command) -> Ended {
    let config = Config::load(workspace)?;
    let reader = Reader::of(&config);
    let (dir, data_path, options, begin, data) = match &command.resume {
        Some(dir) => resumed(dir)?,
        None => begun(workspace, command)?,
    };
    let read = |path: &Path| reader.read(path).map(|(_, clean)| clean.image);
    let runtime = Runtime::open(config.device, Precision::Fp32, None).map_err(CliError::failed)?;
    let stop = stop_on_signals()?;
    let request = Request {
        data: &data,
        data_path: &data_path,
        read: &read,
        dir: &dir,
        options: &options,
        device: runtime.device,
        stop: &stop,
    };
    tell(&format!(
        "{}: on {}; Ctrl-C stops after the batch, `sightline train --resume {}` goes on",
        dir.display(),
        runtime.place(),
        dir.display()
    ));
    let mut show = Show::new(out, &options);
    let ended = train(&request, begin, &mut |told| show.told(told));
    show.end()?;
    let ended = ended?;
    let best = ended.best.map(|(epoch, fitness)| json!({ "epoch": epoch, "fitness": fitness }));
    if out.json {
        out.value(&json!({ "run": dir, "stopped": ended.stopped, "epochs": ended.epochs, "best": best }))?;
    } else if ended.stopped {
        out.line(format!(
            "stopped in epoch {}; `sightline train --resume {}` goes on",
            ended.epochs + 1,
            dir.display()
        ))?;
    } else {
        let best = ended
            .best
            .map(|(epoch, fitness)| format!(", best epoch {epoch} (fitness {fitness:.4})"))
            .unwrap_or_default();
        out.line(format!("{} epochs{best}: {}", ended.epochs, dir.join("weights/best.safetensors").display()))?;
    }
    // A run that was stopped is not done: what would follow it must not.
    Ok(if ended.stopped { Outcome::NotOk } else { Outcome::Done })
}

/// Refuses a set with labels that were left out while reading, or lists them and goes on.
pub(super) fn usable(data: &Dataset, despite: bool) -> Result<(), CliError> {
    let left_out: Vec<&Problem> = data.problems.iter().filter(|problem| problem.fate == Fate::LeftOut).collect();
    let Some(first) = left_out.first() else { return Ok(()) };
    let more = left_out.len() - 1;
    if !despite {
        let more = if more > 0 { format!("; and {more} more like it") } else { String::new() };
        return Err(CliError::Usage(format!(
            "{first}{more}; correct the labels (`sightline dataset check` lists them all), or go on without them: \
             --despite-problems"
        )));
    }
    left_out.iter().take(SHOWN).for_each(|problem| tell(&problem.to_string()));
    tell(&format!("{} labels are left out", left_out.len()));
    Ok(())
}

type Prepared = (PathBuf, PathBuf, Options, Begin, Dataset);

/// A new run: its folder made, its settings written.
fn begun(workspace: &Path, command: &Command) -> Result<Prepared, CliError> {
    let options = Options::from_pairs(&command.options).map_err(CliError::Usage)?;
    let data_path = command.data.clone().unwrap_or_default();
    let data_path = std::path::absolute(&data_path).map_err(CliError::failed)?;
    if data_path.file_name().is_some_and(|name| name.as_encoded_bytes().contains(&b'=')) && !data_path.exists() {
        return Err(CliError::Usage("what to learn from is missing: `sightline train DATA KEY=VALUE…`".into()));
    }
    let data = dataset::read(&data_path)?;
    usable(&data, command.despite_problems)?;
    let weights = weights(workspace, &command.model, &data, options.seed, command.origin.as_deref())?;
    let segments = Plan::of(&weights).is_ok_and(|plan| plan.segments());
    suits(&data, &data_path, segments)?;
    let runs = workspace.join(&command.runs);
    let dir = folder(&runs, command.name.as_deref())?;
    let mut args = Map::new();
    args.insert(DATA.into(), Value::from(data_path.to_string_lossy().into_owned()));
    args.insert(MODEL.into(), Value::from(command.model.clone()));
    if let Value::Object(map) = serde_json::to_value(&options).map_err(CliError::failed)? {
        args.extend(map);
    }
    // JSON's scalars are YAML's.
    let text: String = args.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
    state::put(&dir.join("args.yaml"), text.as_bytes())?;
    Ok((dir, data_path, options, Begin::Weights(weights), data))
}

/// A run that goes on, with the settings it had.
fn resumed(dir: &Path) -> Result<Prepared, CliError> {
    let path = dir.join("args.yaml");
    let text = files::text_within(&path, LARGEST).map_err(|error| {
        CliError::NotFound(format!("{}: {error}; name the folder of a run, for example runs/train", path.display()))
    })?;
    let unreadable = |error: String| CliError::Failed(format!("{}: {error}", path.display()));
    let args: Map<String, Value> = serde_saphyr::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let data = args.get(DATA).and_then(Value::as_str).ok_or_else(|| unreadable("it names no data".into()))?;
    let data_path = PathBuf::from(data);
    let options: Options =
        serde_json::from_value(Value::Object(args)).map_err(|error| unreadable(error.to_string()))?;
    let state = Files::of(dir).state();
    if !state.is_file() {
        return Err(CliError::NotFound(format!(
            "{}: it is not there: the run was stopped before its first was kept; begin it anew",
            state.display()
        )));
    }
    let data = dataset::read(&data_path)?;
    Ok((dir.to_owned(), data_path, options, Begin::Resume, data))
}

/// What a run begins with: an architecture's random weights, or a file's.
fn weights(
    workspace: &Path,
    model: &str,
    data: &Dataset,
    seed: u64,
    origin: Option<&str>,
) -> Result<Weights, CliError> {
    let classes = u32::try_from(data.names.len()).unwrap_or(u32::MAX);
    let scratch = model.strip_prefix("yolov8").and_then(|rest| {
        let (size, segments) = rest.strip_suffix("-seg").map_or((rest, false), |size| (size, true));
        Plan::published(size, classes, segments)
    });
    let mut weights = if let Some(plan) = scratch {
        start::scratch(&plan, data.names.clone(), seed)
    } else {
        let path = workspace.join(model);
        if !path.exists() && !model.contains(['/', '.']) {
            return Err(CliError::Usage(format!(
                "there is no architecture and no file `{}`; to begin from nothing there are yolov8{{n,s,m,l,x}}[-seg]",
                display_safe(model)
            )));
        }
        let there = checkpoint::read(&path)?;
        let (weights, taken) = start::from_checkpoint(&there.weights, data.names.clone(), seed)
            .map_err(|why| CliError::Usage(format!("{}: {why}; training begins with a YOLOv8", path.display())))?;
        tell(&format!("{}: {taken} of {} tensors taken over", path.display(), weights.tensors.len()));
        weights
    };
    let origin = origin.map(|text| format!("; {text}")).unwrap_or_default();
    let origin = format!("trained by sightline {} from {model}{origin}", env!("CARGO_PKG_VERSION"));
    weights.meta.insert("origin".into(), origin);
    Ok(weights)
}

/// Makes the run's folder: the name given, or the next free one.
fn folder(runs: &Path, name: Option<&str>) -> Result<PathBuf, CliError> {
    let make = |dir: &Path| std::fs::create_dir(dir);
    let failed = |dir: &Path, error: std::io::Error| {
        CliError::Failed(format!("cannot make {}: {error}; choose another folder (--runs)", dir.display()))
    };
    std::fs::create_dir_all(runs).map_err(|error| failed(runs, error))?;
    if let Some(name) = name {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(CliError::Usage(format!("`{}` is no name: letters, digits, - _ . only", display_safe(name))));
        }
        let dir = runs.join(name);
        return match make(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(CliError::Refused(format!(
                "{} is there already; take another name, or go on with it: --resume",
                dir.display()
            ))),
            other => other.map(|()| dir.clone()).map_err(|error| failed(&dir, error)),
        };
    }
    for number in 1.. {
        let dir = runs.join(if number == 1 { "train".to_owned() } else { format!("train-{number}") });
        match make(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| dir.clone()).map_err(|error| failed(&dir, error)),
        }
    }
    Err(CliError::Failed("there is no free name for the run".into()))
}

/// A flag that the first Ctrl-C or SIGTERM sets; the second ends the process.
fn stop_on_signals() -> Result<Arc<AtomicBool>, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::failed)?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return tell("signals cannot be waited for; Ctrl-C ends the run at once");
                };
                for second in [false, true] {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                    if second {
                        // SAFETY: it only ends the process; destructors would pull libtorch away from under its threads.
                        unsafe { libc::_exit(130) };
                    }
                    flag.store(true, Ordering::Relaxed);
                    tell("stopping after this batch; again to end at once (what was kept last stays)");
                }
            });
        })
        .map_err(CliError::failed)?;
    Ok(stop)
}

/// What is shown while a run goes on: a bar on a terminal, a line an epoch (and a minute) elsewhere.
struct Show<'a> {
    out: &'a mut Out,
    bar: Option<ProgressBar>,
    epochs: u64,
    outlines: bool,
    spoken: Instant,
    failed: Result<(), CliError>,
}

impl<'a> Show<'a> {
    fn new(out: &'a mut Out, options: &Options) -> Self {
        let bar = (std::io::stderr().is_terminal() && !out.json).then(|| {
            let bar = ProgressBar::new(1);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg} ETA {eta}") {
                bar.set_style(style);
            }
            bar
        });
        Self { out, bar, epochs: options.epochs, outlines: false, spoken: Instant::now(), failed: Ok(()) }
    }

    fn told(&mut self, told: &Told) {
        match told {
            Told::Batch { epoch, batch: (batch, count), losses, .. } => {
                self.outlines |= losses[1] > 0.0;
                let losses = self.losses(losses);
                if let Some(bar) = &self.bar {
                    // The whole run's, so that the time left is the run's.
                    bar.set_length(self.epochs * count);
                    bar.set_position(epoch * count + batch + 1);
                    bar.set_prefix(format!("{}/{}", epoch + 1, self.epochs));
                    bar.set_message(losses);
                } else if !self.out.json && self.spoken.elapsed() > Duration::from_secs(60) {
                    self.spoken = Instant::now();
                    self.say(&format!("epoch {}/{} batch {}/{count} {losses}", epoch + 1, self.epochs, batch + 1));
                }
            }
            Told::Judged(done, of) => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("judged {done} of {of}"));
                }
            }
            Told::Epoch(row) => self.epoch(row),
        }
    }

    fn losses(&self, losses: &[f64; 4]) -> String {
        let [boxes, masks, classes, distances] = losses;
        let masks = if self.outlines { format!(" seg {masks:.3}") } else { String::new() };
        format!("box {boxes:.3}{masks} cls {classes:.3} dfl {distances:.3}")
    }

    fn epoch(&mut self, row: &Row) {
        self.spoken = Instant::now();
        if self.out.json {
            let shown = self.out.value(&json!({
                "epoch": row.epoch, "seconds": row.seconds, "train": row.train, "val": row.val, "fitness": row.fitness,
                "best": row.best, "metrics": row.metrics(),
            }));
            return self.note(shown);
        }
        let of = |scores: &crate::learn::metrics::ultralytics::Scores| {
            format!(
                "P {:.3} R {:.3} mAP50 {:.3} mAP50-95 {:.3}",
                scores.precision, scores.recall, scores.map50, scores.map50_95
            )
        };
        let masks = row.figures.masks.as_ref().map(|scores| format!(" | masks {}", of(scores))).unwrap_or_default();
        let best = if row.best { " *" } else { "" };
        let text = format!(
            "epoch {}/{} {} | boxes {}{masks}{best}",
            row.epoch,
            self.epochs,
            self.losses(&row.train),
            of(&row.figures.boxes)
        );
        self.say(&text);
    }

    fn say(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => {
                let shown = self.out.line(text);
                self.note(shown);
            }
        }
    }

    fn note(&mut self, shown: Result<(), CliError>) {
        if self.failed.is_ok() {
            self.failed = shown;
        }
    }

    fn end(self) -> Result<(), CliError> {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.failed
    }
}
