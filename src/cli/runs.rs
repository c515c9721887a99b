//! The `runs` group: what training gave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::arguments::Runs as Command;
use super::output::Out;
use super::{CliError, Ended, Outcome};
use crate::domain::RawPath;

/// Columns that are shown of a run's best epoch, where it has them: a detector's, an embedder's, a classifier's.
const SHOWN: [&str; 8] = [
    "metrics/mAP50(B)",
    "metrics/mAP50-95(B)",
    "metrics/mAP50(M)",
    "metrics/mAP50-95(M)",
    "metrics/recall@1",
    "metrics/mAP",
    "metrics/accuracy_top1",
    "metrics/accuracy_top5",
];
/// A run's settings and results are read up to so many bytes.
const MOST: u64 = 16 << 20;

/// A run as its folder tells it.
struct Run {
    name: String,
    args: Map<String, Value>,
    columns: Vec<String>,
    rows: Vec<Vec<f64>>,
    /// From the card of its best weights.
    best_epoch: Option<f64>,
}

impl Run {
    fn read(dir: &Path) -> Result<Self, CliError> {
        let text = |file: &str| {
            let path = dir.join(file);
            crate::files::text_within(&path, MOST)
                .map_err(|error| CliError::NotFound(format!("{}: {error}; is it the folder of a run?", path.display())))
        };
        let args = text("args.yaml")?;
        let args = serde_saphyr::from_str(&args)
            .map_err(|error| CliError::Failed(format!("{}: {error}", dir.join("args.yaml").display())))?;
        // A run that has not ended an epoch has none.
        let results = text("results.csv").unwrap_or_default();
        let mut lines = results.lines();
        let columns = lines.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        let numbers = |line: &str| line.split(',').map(|value| value.trim().parse().unwrap_or(f64::NAN)).collect();
        let name = dir.file_name().map(|name| RawPath(PathBuf::from(name)).to_string()).unwrap_or_default();
        let card: Value =
            text("weights/best.card.json").ok().and_then(|card| serde_json::from_str(&card).ok()).unwrap_or_default();
        let best_epoch = card["metrics"]["epoch"].as_f64();
        Ok(Self { name, args, columns, rows: lines.map(numbers).collect(), best_epoch })
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The row of the best epoch, as the run itself chose it.
    fn best(&self) -> Option<&Vec<f64>> {
        let best = self.best_epoch?;
        self.rows.iter().find(|row| row.first() == Some(&best))
    }

    fn value(&self) -> Value {
        let best: BTreeMap<&str, f64> = self
            .best()
            .map(|row| {
                let shown = SHOWN.iter().chain(&["epoch"]);
                shown.filter_map(|name| Some((*name, *row.get(self.column(name)?)?))).collect()
            })
            .unwrap_or_default();
        let seconds = self.column("time").and_then(|at| self.rows.last()?.get(at).copied());
        json!({ "name": self.name, "epochs": self.rows.len(), "of": self.args.get("epochs"), "seconds": seconds, "best": best,
            "args": self.args })
    }
}

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Command) -> Ended {
    match command {
        Command::List { runs } => list(out, &workspace.join(runs)),
        Command::Show { run } => show(out, &placed(workspace, run)),
        Command::Compare { runs } => {
            compare(out, &runs.iter().map(|run| placed(workspace, run)).collect::<Vec<PathBuf>>())
        }
    }
}

/// A run's folder as it is named, or by the name that `runs list` tells: what else there is of that name, a set perhaps, is
/// no run.
fn placed(workspace: &Path, run: &Path) -> PathBuf {
    let named = workspace.join("runs").join(run);
    let is_name = run.components().count() == 1 && named.is_dir();
    if is_name && !run.join("args.yaml").is_file() { named } else { run.to_owned() }
}

fn list(out: &mut Out, runs: &Path) -> Ended {
    let entries = std::fs::read_dir(runs).map_err(|error| {
        CliError::NotFound(format!("{}: {error}; `sightline train` makes runs there", runs.display()))
    })?;
    let mut dirs: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|dir| dir.join("args.yaml").is_file()).collect();
    dirs.sort();
    if dirs.is_empty() {
        return Err(CliError::NotFound(format!("{}: there is no run; `sightline train` makes them", runs.display())));
    }
    let mut shown = Vec::new();
    for dir in &dirs {
        match Run::read(dir) {
            Ok(run) => shown.push(run),
            Err(error) => super::warn(&error.to_string()),
        }
    }
    if out.json {
        shown.iter().try_for_each(|run| out.value(&run.value()))?;
    } else {
        out.line("run                        epochs  best  figures of the best epoch")?;
        shown.iter().try_for_each(|run| line(out, run))?;
    }
    Ok(Outcome::Done)
}

fn line(out: &mut Out, run: &Run) -> Result<(), CliError> {
    let figure = |name: &&str| {
        let value = run.column(name).and_then(|at| run.best()?.get(at).copied())?;
        Some(format!("{} {value:.4}", short(name)))
    };
    let figures: Vec<String> = SHOWN.iter().filter_map(figure).collect();
    // A linear probe is solved in one go.
    let solved = run.args.get("head").and_then(Value::as_str) == Some("linear");
    let of = if solved { "1".into() } else { run.args.get("epochs").map_or("?".into(), Value::to_string) };
    let epochs = format!("{}/{of}", run.rows.len());
    let best = run.best().and_then(|row| row.first()).map_or("-".into(), |epoch| format!("{epoch}"));
    let figures = match run.args.get("tune").and_then(Value::as_u64) {
        Some(count) => format!("a search of {count} trials: runs list --runs on its folder"),
        None => figures.join("  "),
    };
    out.line(format!("{:<24} {epochs:>8} {best:>5}  {figures}", run.name))
}

/// A column's name without what it belongs to.
fn short(column: &str) -> &str {
    column.rsplit_once('/').map_or(column, |(_, name)| name)
}

fn show(out: &mut Out, dir: &Path) -> Ended {
    let run = Run::read(dir)?;
    if out.json {
        out.value(&run.value())?;
        return Ok(Outcome::Done);
    }
    for (key, value) in &run.args {
        out.line(format!("{key:<18} {value}"))?;
    }
    // Losses while learning and figures; rates and the other losses are in the file.
    if run.args.contains_key("tune") {
        let runs = dir.display();
        out.line(format!("its trials are runs of their own: `sightline runs list --runs {runs}`"))?;
        return Ok(Outcome::Done);
    }
    let shown: Vec<usize> = (0..run.columns.len())
        .filter(|at| ["train/", "metrics/"].iter().any(|of| run.columns[*at].starts_with(of)))
        .collect();
    let heads: Vec<String> = shown.iter().map(|at| format!("{:>13}", short(&run.columns[*at]))).collect();
    out.line(format!("epoch {}", heads.join(" ")))?;
    let best = run.best().and_then(|row| row.first().copied());
    for row in &run.rows {
        let values: Vec<String> = shown
            .iter()
            .map(|at| row.get(*at).map_or(format!("{:>13}", "-"), |value| format!("{value:>13.4}")))
            .collect();
        let epoch = row.first().copied().unwrap_or(f64::NAN);
        let mark = if Some(epoch) == best { " *" } else { "" };
        out.line(format!("{epoch:>5} {}{mark}", values.join(" ")))?;
    }
    out.line(format!("all columns: {}", dir.join("results.csv").display()))?;
    Ok(Outcome::Done)
}

fn compare(out: &mut Out, dirs: &[PathBuf]) -> Ended {
    let runs: Vec<Run> = dirs.iter().map(|dir| Run::read(dir)).collect::<Result<_, _>>()?;
    if out.json {
        runs.iter().try_for_each(|run| out.value(&run.value()))?;
        return Ok(Outcome::Done);
    }
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.args.keys()).collect();
    let mut rows = vec![("", runs.iter().map(|run| run.name.clone()).collect::<Vec<String>>())];
    for key in keys {
        let values: Vec<String> =
            runs.iter().map(|run| run.args.get(key).map_or("-".into(), Value::to_string)).collect();
        if values.windows(2).any(|pair| pair[0] != pair[1]) {
            rows.push((key, values));
        }
    }
    let best = |name: &str| -> Vec<String> {
        let of = |run: &Run| run.column(name).and_then(|at| run.best()?.get(at).copied());
        runs.iter().map(|run| of(run).map_or("-".into(), |value| format!("{value}"))).collect()
    };
    for name in ["epoch"].iter().chain(&SHOWN) {
        let values = best(name);
        if values.iter().any(|value| value != "-") {
            rows.push((name, values));
        }
    }
    // Paths are long: a column is as wide as what is in it.
    let wide = |run: usize| rows.iter().map(|(_, values)| values[run].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..runs.len()).map(wide).collect();
    for (name, values) in &rows {
        let cells: Vec<String> = values.iter().zip(&widths).map(|(value, width)| format!("{value:>width$}")).collect();
        out.line(format!("{name:<22} {}", cells.join("  ")))?;
    }
    Ok(Outcome::Done)
}
