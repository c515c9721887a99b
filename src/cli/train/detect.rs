//! Training of YOLOv8.

use std::path::Path;

use serde_json::json;

use super::show::Show;
use super::{Going, Prepared, args_of, begin_folder, origin, run_folder, set_of, told};
use crate::cli::arguments::Train as Command;
use crate::cli::output::{Out, tell};
use crate::cli::{CliError, Ended};
use crate::learn::dataset::{Dataset, Kind};
use crate::learn::train::options::Options;
use crate::learn::train::run::{Begin, Request, Told, suits, train};
use crate::learn::train::start;
use crate::vision::Weights;
use crate::vision::checkpoint::Checkpoint;
use crate::vision::yolo::Plan;

/// A new run.
pub(super) fn begin(out: &mut Out, workspace: &Path, command: &Command, file: Option<Checkpoint>) -> Ended {
    let options = Options::from_pairs(&command.options).map_err(CliError::Usage)?;
    let (data_path, data) = set_of(command)?;
    if data.kind == Kind::Classify {
        return Err(CliError::Usage(format!(
            "{}: it is folders of whole pictures, but a YOLOv8 learns where objects are; train an embedder on it \
             (--model dinov2_vits14) or a classifier (--model dinov2_vits14 --head linear)",
            data_path.display()
        )));
    }
    let mut weights = weights(&command.model, file, &data, options.seed)?;
    weights.meta.insert("origin".into(), origin(command));
    suits(&data, &data_path, Plan::of(&weights).is_ok_and(|plan| plan.segments()))?;
    let dir = begin_folder(workspace, command, &data_path, &[], &options)?;
    go(out, workspace, Prepared { dir, data_path, data, begin: Begin::Weights(weights) }, &options)
}

/// A run that goes on, with the settings it had.
pub(super) fn resume(out: &mut Out, workspace: &Path, dir: &Path) -> Ended {
    let (prepared, options): (Prepared, Options) = run_folder(dir, args_of(dir)?)?;
    go(out, workspace, prepared, &options)
}

fn go(out: &mut Out, workspace: &Path, prepared: Prepared, options: &Options) -> Ended {
    let going = Going::new(workspace, &prepared, true)?;
    let read = |path: &Path| going.read(path);
    let request = Request {
        data: &prepared.data,
        data_path: &prepared.data_path,
        read: &read,
        dir: &prepared.dir,
        options,
        device: going.runtime.device,
        stop: &going.stop,
    };
    let (mut show, mut outlines) = (Show::new(out, options.epochs), false);
    let ended = train(&request, prepared.begin, &mut |told| show_told(&mut show, &mut outlines, told));
    show.end()?;
    told(out, &prepared.dir, &ended?)
}

fn show_told(show: &mut Show, outlines: &mut bool, told: &Told) {
    match told {
        Told::Batch { epoch, batch, losses, .. } => {
            *outlines |= losses[1] > 0.0;
            show.batch(*epoch, *batch, shown(losses, *outlines));
        }
        Told::Judged(done, of) => show.judged(*done, *of),
        Told::Epoch(row) => {
            let value = json!({
                "epoch": row.epoch, "seconds": row.seconds, "train": row.train, "val": row.val, "fitness": row.fitness,
                "best": row.best, "metrics": row.metrics(),
            });
            let of = |scores: &crate::learn::metrics::ultralytics::Scores| {
                format!(
                    "P {:.3} R {:.3} mAP50 {:.3} mAP50-95 {:.3}",
                    scores.precision, scores.recall, scores.map50, scores.map50_95
                )
            };
            let masks = row.figures.masks.as_ref().map(|scores| format!(" | masks {}", of(scores))).unwrap_or_default();
            let best = if row.best { " *" } else { "" };
            let (epochs, losses, boxes) = (show.epochs, shown(&row.train, *outlines), of(&row.figures.boxes));
            show.epoch(&value, &format!("epoch {}/{epochs} {losses} | boxes {boxes}{masks}{best}", row.epoch));
        }
    }
}

fn shown([boxes, masks, classes, distances]: &[f64; 4], outlines: bool) -> String {
    let masks = if outlines { format!(" seg {masks:.3}") } else { String::new() };
    format!("box {boxes:.3}{masks} cls {classes:.3} dfl {distances:.3}")
}

/// What a run begins with: an architecture's random weights, or a file's.
fn weights(model: &str, file: Option<Checkpoint>, data: &Dataset, seed: u64) -> Result<Weights, CliError> {
    Ok(if let Some(there) = file {
        let (weights, taken) = start::from_checkpoint(&there.weights, data.names.clone(), seed)
            .map_err(|why| CliError::Usage(format!("{model}: {why}; training begins with a YOLOv8 or a DINOv2")))?;
        tell(&format!("{model}: {taken} of {} tensors taken over", weights.tensors.len()));
        weights
    } else {
        let classes = u32::try_from(data.names.len()).unwrap_or(u32::MAX);
        let scratch = model.strip_prefix("yolov8").and_then(|rest| {
            let (size, segments) = rest.strip_suffix("-seg").map_or((rest, false), |size| (size, true));
            Plan::published(size, classes, segments)
        });
        let plan = scratch.ok_or_else(|| {
            CliError::Usage(format!(
                "`{model}` is no architecture that is known: yolov8n, s, m, l or x, each also with -seg"
            ))
        })?;
        start::scratch(&plan, data.names.clone(), seed)
    })
}
