//! The `train` command: the model tells what is trained.

mod detect;
mod embed;
mod show;
mod tune;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::arguments::Train as Command;
use super::dataset::Reader;
use super::output::{Out, tell};
use super::{CliError, Ended, Outcome};
use crate::config::Config;
use crate::domain::{RawPath, display_safe};
use crate::files;
use crate::learn::dataset::{self, Dataset, Fate, Problem, Split};
use crate::learn::train::TrainError;
use crate::learn::train::run::{Begin, Ended as RunEnded, Files};
use crate::vision::checkpoint::{self, Checkpoint};
use crate::vision::{Precision, Runtime};

/// Labels left out that are named; `sightline dataset check` lists all.
const SHOWN: usize = 20;
/// The parts of a set that a run looks at.
const USED: [Split; 2] = [Split::Train, Split::Val];
/// The keys of `args.yaml` that are not settings.
const DATA: &str = "data";
const MODEL: &str = "model";
const TUNE: &str = "tune";
/// An `args.yaml` of more bytes is none.
const LARGEST: u64 = 1 << 20;

impl From<TrainError> for CliError {
    fn from(error: TrainError) -> Self {
        match &error {
            TrainError::Setting(_) | TrainError::Data { .. } | TrainError::Weights(_) | TrainError::Class { .. } => {
                Self::Usage(error.to_string())
            }
            TrainError::NotFinite => Self::Diverged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Command) -> Ended {
    if let Some(dir) = &command.resume {
        let args = args_of(dir)?;
        return if embed::was_meant(&args) {
            embed::resume(out, workspace, dir)
        } else {
            detect::resume(out, workspace, dir)
        };
    }
    let file = file_of(workspace, &command.model)?;
    if embed::is_meant(&command.model, file.as_ref()) {
        return embed::begin(out, workspace, command, file);
    }
    if command.head.is_some() {
        return Err(CliError::Usage(format!(
            "--head makes a classifier of a DINOv2, and `{}` is none; name one (for example --model dinov2_vits14)",
            command.model
        )));
    }
    detect::begin(out, workspace, command, file)
}

/// The model's file; none where the model is the name of an architecture, to begin with random weights.
fn file_of(workspace: &Path, model: &str) -> Result<Option<Checkpoint>, CliError> {
    let path = weights_at(workspace, Path::new(model));
    if !is_name(model) && !model.contains(['.', '/']) && !path.exists() {
        return Err(CliError::Usage(format!(
            "there is no architecture and no file `{}`; to begin from nothing there are yolov8{{n,s,m,l,x}}[-seg] and \
             dinov2_vit{{s,b,l,g}}14",
            display_safe(model)
        )));
    }
    if is_name(model) { Ok(None) } else { Ok(Some(checkpoint::read(&path)?)) }
}

/// Whether a model is an architecture's name; a file of such a name is not meant.
fn is_name(model: &str) -> bool {
    !model.contains(['.', '/']) && (model.starts_with("yolov8") || model.starts_with("dinov2"))
}

/// Where weights are that are named: in the folder where the command was given, else in the workspace.
pub(super) fn weights_at(workspace: &Path, path: &Path) -> PathBuf {
    if path.is_file() { path.to_owned() } else { workspace.join(path) }
}

/// The set that is named, and where it is.
fn set_of(workspace: &Path, command: &Command) -> Result<(PathBuf, Dataset), CliError> {
    let path = command.data.clone().unwrap_or_default();
    let path = std::path::absolute(&path).map_err(CliError::failed)?;
    if path.file_name().is_some_and(|name| name.as_encoded_bytes().contains(&b'=')) && !path.exists() {
        return Err(CliError::Usage("what to learn from is missing: `sightline train DATA KEY=VALUE…`".into()));
    }
    let mut data = dataset::read(&path)?;
    Reader::of(&Config::load(workspace)?).leave_out_unreadable(&mut data, &USED);
    usable(&data, command.despite_problems)?;
    Ok((path, data))
}

/// Refuses a set with labels or pictures that were left out while reading, or lists them and goes on.
pub(super) fn usable(data: &Dataset, despite: bool) -> Result<(), CliError> {
    let left_out: Vec<&Problem> = data.problems.iter().filter(|problem| problem.fate == Fate::LeftOut).collect();
    let Some(first) = left_out.first() else { return Ok(()) };
    let more = left_out.len() - 1;
    if !despite {
        let more = if more > 0 { format!("; and {more} more like it") } else { String::new() };
        return Err(CliError::Usage(format!(
            "{first}{more}; correct the set (`sightline dataset check` lists them all), or go on without them: \
             --despite-problems"
        )));
    }
    left_out.iter().take(SHOWN).for_each(|problem| tell(&problem.to_string()));
    tell(&format!("{} in all are left out", left_out.len()));
    Ok(())
}

/// What the weights' cards say of their origin.
fn origin(command: &Command) -> String {
    let data = command.data.as_deref().and_then(Path::file_name).map(|name| RawPath(name.into()).to_string());
    let mut words: Vec<String> = ["train".to_owned()].into_iter().chain(data).chain(command.options.clone()).collect();
    words.extend(command.head.as_ref().map(|head| format!("--head {}", format!("{head:?}").to_lowercase())));
    let said = format!("`{}`", words.join(" "));
    origin_of(&command.model, Some(&command.origin.as_ref().map_or(said.clone(), |more| format!("{said}; {more}"))))
}

fn origin_of(model: &str, more: Option<&str>) -> String {
    let text = more.map(|text| format!("; {text}")).unwrap_or_default();
    // Where a machine keeps its files is nobody else's business: the run, `weights/` and the file are enough.
    let parts: Vec<&str> = model.split('/').collect();
    let from = if model.starts_with('/') { parts[parts.len().saturating_sub(3)..].join("/") } else { model.to_owned() };
    format!("trained by sightline {} from {from}{text}", env!("CARGO_PKG_VERSION"))
}

/// The model that a run began with.
fn model_of(args: &Map<String, Value>) -> String {
    args.get(MODEL).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A run that is about to begin, or to go on.
struct Prepared {
    dir: PathBuf,
    data_path: PathBuf,
    data: Dataset,
    begin: Begin,
}

/// Makes a new run's folder and writes its settings: `own` are those that are no options.
fn begin_folder(
    workspace: &Path,
    command: &Command,
    data: &Path,
    own: &[(&str, Value)],
    options: &impl Serialize,
) -> Result<PathBuf, CliError> {
    // Where there is nothing to compute on, no folder is left behind.
    Runtime::open(Config::load(workspace)?.device, Precision::Fp32, None).map_err(CliError::failed)?;
    let dir = folder(&workspace.join(&command.runs), command.name.as_deref())?;
    let mut own = own.to_vec();
    own.extend(command.tune.map(|count| (TUNE, count.into())));
    // A run may be gone on with from anywhere.
    let model = if is_name(&command.model) {
        command.model.clone()
    } else {
        let path = weights_at(workspace, Path::new(&command.model));
        std::path::absolute(path).map_err(CliError::failed)?.display().to_string()
    };
    write_args(&dir, data, &model, &own, options)?;
    Ok(dir)
}

/// Writes a run's settings into its folder.
fn write_args(
    dir: &Path,
    data: &Path,
    model: &str,
    own: &[(&str, Value)],
    options: &impl Serialize,
) -> Result<(), CliError> {
    let mut args = Map::new();
    args.insert(DATA.into(), Value::from(data.to_string_lossy().into_owned()));
    args.insert(MODEL.into(), Value::from(model));
    args.extend(own.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    if let Value::Object(map) = serde_json::to_value(options).map_err(CliError::failed)? {
        args.extend(map);
    }
    // JSON's scalars are YAML's.
    let text: String = args.iter().map(|(key, value)| format!("{key}: {}\n", scalar(value))).collect();
    let path = dir.join("args.yaml");
    Ok(files::put(&path, text.as_bytes()).map_err(TrainError::io("write", &path))?)
}

/// A value as it is typed: what is kept in 32 bits is not shown with the digits of 64.
fn scalar(value: &Value) -> String {
    let short = value.as_f64().map(|number| number as f32).filter(|short| Some(f64::from(*short)) == value.as_f64());
    match short {
        Some(short) if value.is_f64() => format!("{short:?}"),
        _ => value.to_string(),
    }
}

/// The settings of a run that is there.
fn args_of(dir: &Path) -> Result<Map<String, Value>, CliError> {
    let path = dir.join("args.yaml");
    let text = files::text_within(&path, LARGEST).map_err(|error| {
        CliError::NotFound(format!("{}: {error}; name the folder of a run, for example runs/train", path.display()))
    })?;
    serde_saphyr::from_str(&text).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))
}

/// A run that goes on, from its settings.
fn run_folder<T: DeserializeOwned>(
    workspace: &Path,
    dir: &Path,
    args: Map<String, Value>,
) -> Result<(Prepared, T), CliError> {
    let path = dir.join("args.yaml");
    let unreadable = |error: String| CliError::Failed(format!("{}: {error}", path.display()));
    let is_search = tune::count_of(&args).is_some();
    let data = args.get(DATA).and_then(Value::as_str).ok_or_else(|| unreadable("it names no data".into()))?;
    let data_path = PathBuf::from(data);
    let options = serde_json::from_value(Value::Object(args)).map_err(|error| unreadable(error.to_string()))?;
    let state = Files::of(dir).state();
    if !state.is_file() && !is_search {
        return Err(CliError::NotFound(format!(
            "{}: it is not there: the run is over, or was stopped before its first was kept; begin one anew",
            state.display()
        )));
    }
    let mut data = dataset::read(&data_path)?;
    // As when it began.
    Reader::of(&Config::load(workspace)?).leave_out_unreadable(&mut data, &USED);
    Ok((Prepared { dir: dir.to_owned(), data_path, data, begin: Begin::Resume }, options))
}

/// What every run needs while it goes on.
struct Going {
    reader: Reader,
    runtime: Runtime,
    stop: Arc<AtomicBool>,
}

impl Going {
    /// `resumes`: whether a run that is stopped can go on; one that cannot simply ends with Ctrl-C.
    fn new(workspace: &Path, dir: &Path, resumes: bool) -> Result<Self, CliError> {
        let config = Config::load(workspace)?;
        let runtime = Runtime::open(config.device, Precision::Fp32, None).map_err(CliError::failed)?;
        let dir = dir.display();
        let resume = format!("; Ctrl-C stops after the batch, `sightline train --resume {dir}` goes on");
        tell(&format!("{dir}: on {}{}", runtime.place(), if resumes { resume.as_str() } else { "" }));
        let stop = if resumes { stop_on_signals()? } else { Arc::default() };
        Ok(Self { reader: Reader::of(&config), runtime, stop })
    }

    /// Stops a run that is not to go on, or all where Ctrl-C was pressed.
    fn heed(&self, stop: &AtomicBool, goes_on: bool) {
        if !goes_on || self.stop.load(Ordering::Relaxed) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    fn read(&self, path: &Path) -> Result<RgbImage, String> {
        self.reader.read(path).map(|(_, clean)| clean.image)
    }
}

/// Tells how a run of so many epochs ended; where nobody reads, the exit code does.
fn told(out: &mut Out, dir: &Path, ended: &RunEnded, epochs: u64) -> Ended {
    if out.json {
        let best = ended.best.map(|(epoch, fitness)| json!({ "epoch": epoch, "fitness": fitness }));
        out.offer_value(
            &json!({ "run": dir, "stopped": ended.stopped, "epochs": ended.epochs, "of": epochs, "best": best }),
        )?;
    } else if ended.stopped {
        out.offer(&format!(
            "stopped in epoch {}; `sightline train --resume {}` goes on",
            ended.epochs + 1,
            dir.display()
        ));
    } else {
        let best = ended
            .best
            .map(|(epoch, fitness)| format!(", best epoch {epoch} (fitness {fitness:.4})"))
            .unwrap_or_default();
        let many = if ended.epochs == 1 { "" } else { "s" };
        let early = if ended.epochs < epochs {
            format!(" of {epochs}, ended early for none was better (`patience`)")
        } else {
            String::new()
        };
        let weights = dir.join("weights/best.safetensors");
        out.offer(&format!("{} epoch{many}{early}{best}: {}", ended.epochs, weights.display()));
    }
    // A run that was stopped is not done: what would follow it must not.
    Ok(if ended.stopped { Outcome::NotOk } else { Outcome::Done })
}

/// Makes the run's folder: the name given, or the next free one.
fn folder(runs: &Path, name: Option<&str>) -> Result<PathBuf, CliError> {
    let make = |dir: &Path| std::fs::create_dir(dir);
    let failed = |dir: &Path, error: std::io::Error| {
        CliError::Failed(format!("cannot make {}: {error}; choose another folder (--runs)", dir.display()))
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if let Some(name) = name.filter(|name| name.is_empty() || name.starts_with('.') || !name.bytes().all(plain)) {
        return Err(CliError::Usage(format!("`{}` is no name: letters, digits, - _ . only", display_safe(name))));
    }
    std::fs::create_dir_all(runs).map_err(|error| failed(runs, error))?;
    if let Some(name) = name {
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

/// Whether this process was begun so that the end of its terminal does not concern it (`nohup`).
fn outlives_its_terminal() -> bool {
    // SAFETY: all-zero bytes are a `sigaction`, and with no new one named the present one is only told.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// A flag that the first Ctrl-C, SIGTERM or SIGHUP (a connection that broke) sets; the second ends the process.
fn stop_on_signals() -> Result<Arc<AtomicBool>, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, outlives) = (stop.clone(), outlives_its_terminal());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::failed)?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                let asked = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
                let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = asked else {
                    return tell("signals cannot be waited for; Ctrl-C ends the run at once");
                };
                for second in [false, true] {
                    tokio::select! {
                        _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv(), if !outlives => {}
                    }
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
