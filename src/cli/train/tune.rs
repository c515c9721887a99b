//! `train --tune N`: many runs, each in a folder of its own below the search's, and a record of what they gave.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::output::{Out, tell};
use crate::cli::{CliError, Ended, Outcome};
use crate::files;
use crate::learn::train::TrainError;
use crate::learn::train::run::{Begin, Ended as RunEnded, Files};
use crate::learn::tune::{Line, Range, Settings, Trial, given, is_hopeless, propose, read};
use crate::vision::Weights;

/// The record's name in the search's folder.
const RECORD: &str = "tune.jsonl";
/// A record of more bytes is none.
const LARGEST: u64 = 64 << 20;

/// Told each epoch and its fitness; says whether the run is to go on.
pub(super) type After<'a> = dyn FnMut(u64, f64) -> bool + 'a;

/// Does one run of a search.
pub(super) type Run<'a, O> = dyn FnMut(&mut Out, One<O>, &mut After) -> Result<RunEnded, CliError> + 'a;

/// A search.
pub(super) struct Search<'a> {
    /// Its folder.
    pub(super) dir: &'a Path,
    /// How many trials.
    pub(super) count: usize,
    /// What is searched over.
    pub(super) ranges: &'a [Range],
    /// How long a trial is.
    pub(super) epochs: u64,
    /// Of what is drawn.
    pub(super) seed: u64,
    /// Set by Ctrl-C.
    pub(super) stop: &'a AtomicBool,
}

/// One run of a search.
pub(super) struct One<'a, O> {
    /// Its folder.
    pub(super) dir: PathBuf,
    /// What it is told.
    pub(super) options: O,
    /// What it begins with.
    pub(super) begin: Begin,
    /// Set where it is to end.
    pub(super) stop: &'a AtomicBool,
}

impl Search<'_> {
    /// Goes through the trials that are not over; `run` does one.
    pub(super) fn go<O: Serialize + DeserializeOwned>(
        &self,
        out: &mut Out,
        options: &O,
        weights: &Weights,
        run: &mut Run<O>,
    ) -> Ended {
        let base = serde_json::to_value(options).map_err(CliError::failed)?;
        let as_given = given(self.ranges, &base);
        let mut record = Record::open(self.dir)?;
        loop {
            let past: Vec<Trial> = record.trials.iter().filter(|trial| trial.ended).cloned().collect();
            if past.len() >= self.count {
                break;
            }
            let number = past.len() + 1;
            let settings = match record.trials.get(past.len()) {
                Some(begun) => begun.settings.clone(),
                None => propose(self.ranges, &as_given, &past, self.count, self.seed),
            };
            tell(&format!("trial {number} of {}: {}", self.count, pairs(&settings)));
            let dir = self.dir.join(format!("trial-{number:03}"));
            let mut told = base.clone();
            settings.iter().for_each(|(key, value)| told[key] = json!(value));
            let begin = begin(&dir, weights)?;
            let told: O = serde_json::from_value(told).map_err(CliError::failed)?;
            if matches!(begin, Begin::Weights(_)) {
                record.add(Line::Begun { trial: number, settings })?;
                record.trials[number - 1].curve.clear();
            }
            let stop = AtomicBool::new(false);
            let (mut pruned, mut failed) = (false, None);
            let ended = run(out, One { dir: dir.clone(), options: told, begin, stop: &stop }, &mut |epoch, fitness| {
                failed = record.add(Line::Epoch { trial: number, epoch, fitness }).err();
                pruned = is_hopeless(&record.trials[number - 1], &past, self.epochs);
                !pruned && failed.is_none()
            });
            if let Some(error) = failed {
                return Err(error);
            }
            // Settings that nothing can be learnt by are found by trying; the others are still to be tried.
            let stopped = match ended {
                Ok(ended) => ended.stopped,
                Err(CliError::Diverged(_)) => {
                    tell(&format!("trial {number} is over: its loss or weights are not finite numbers any more"));
                    pruned = true;
                    false
                }
                Err(error) => return Err(error),
            };
            if stopped && !pruned {
                out.offer(&format!(
                    "stopped in trial {number} of {}; `sightline train --resume {}` goes on",
                    self.count,
                    self.dir.display()
                ));
                return Ok(Outcome::NotOk);
            }
            record.add(Line::Ended { trial: number, pruned })?;
            // What is over is not gone on with.
            let _gone_already = std::fs::remove_file(Files::of(&dir).state());
            if self.stop.load(Ordering::Relaxed) && number < self.count {
                out.offer(&format!("stopped; `sightline train --resume {}` goes on", self.dir.display()));
                return Ok(Outcome::NotOk);
            }
        }
        self.told(out, &record.trials)
    }

    fn told(&self, out: &mut Out, trials: &[Trial]) -> Ended {
        let mut ranked: Vec<(usize, &Trial, f64)> =
            trials.iter().enumerate().filter_map(|(n, trial)| Some((n + 1, trial, trial.best()?))).collect();
        ranked.sort_by(|a, b| b.2.total_cmp(&a.2));
        let weights = |number: usize| self.dir.join(format!("trial-{number:03}/weights/best.safetensors"));
        if out.json {
            let all: Vec<Value> = ranked
                .iter()
                .map(|(number, trial, fitness)| {
                    json!({ "trial": number, "fitness": fitness, "epochs": trial.curve.len(), "pruned": trial.pruned,
                        "settings": trial.settings, "weights": weights(*number) })
                })
                .collect();
            out.value(&json!({ "run": self.dir, "trials": all }))?;
            return Ok(Outcome::Done);
        }
        out.line("trial  fitness  epochs")?;
        for (number, trial, fitness) in &ranked {
            let pruned = if trial.pruned { "  ended early" } else { "" };
            out.line(format!("{number:>5}  {fitness:7.4}  {:>6}{pruned}", trial.curve.len()))?;
        }
        if let Some((number, trial, _)) = ranked.first() {
            out.line(format!("best: trial {number}, {}", weights(*number).display()))?;
            out.line(pairs(&trial.settings))?;
        }
        Ok(Outcome::Done)
    }
}

/// What a trial begins with: what it had where it was stopped, else the weights that all begin with.
fn begin(dir: &Path, weights: &Weights) -> Result<Begin, CliError> {
    if Files::of(dir).state().is_file() && dir.join("args.yaml").is_file() {
        return Ok(Begin::Resume);
    }
    let failed = |error: std::io::Error| CliError::Failed(format!("{}: {error}", dir.display()));
    // One that was stopped before it kept anything.
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::create_dir(dir).map_err(failed)?;
    Ok(Begin::Weights(weights.clone()))
}

/// The record: lines that are only added to.
struct Record {
    path: PathBuf,
    text: String,
    trials: Vec<Trial>,
}

impl Record {
    fn open(dir: &Path) -> Result<Self, CliError> {
        let path = dir.join(RECORD);
        let mut text = match files::text_within(&path, LARGEST) {
            Ok(text) => text,
            Err(_) if !path.exists() => String::new(),
            Err(error) => return Err(CliError::Failed(format!("{}: {error}", path.display()))),
        };
        let trials = read(&text).map_err(|why| CliError::Failed(format!("{}: {why}", path.display())))?;
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        Ok(Self { path, text, trials })
    }

    fn add(&mut self, line: Line) -> Result<(), CliError> {
        self.text.push_str(&serde_json::to_string(&line).map_err(CliError::failed)?);
        self.text.push('\n');
        files::put(&self.path, self.text.as_bytes()).map_err(TrainError::io("write", &self.path))?;
        self.trials = read(&self.text).map_err(CliError::Failed)?;
        Ok(())
    }
}

/// The ranges of those settings that have an effect, told where some have none.
pub(super) fn effective(ranges: &[Range], idle: &[&str]) -> Vec<Range> {
    let (left_out, searched): (Vec<Range>, Vec<Range>) = ranges.iter().partition(|range| idle.contains(&range.key));
    if !left_out.is_empty() {
        let keys: Vec<&str> = left_out.iter().map(|range| range.key).collect();
        tell(&format!("not searched over, for with these settings they have no effect: {}", keys.join(", ")));
    }
    searched
}

/// How many trials a search has that goes on; none where a run is no search.
pub(super) fn count_of(args: &serde_json::Map<String, Value>) -> Option<usize> {
    args.get(super::TUNE).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok())
}

/// Settings as they are typed.
fn pairs(settings: &Settings) -> String {
    settings.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}
