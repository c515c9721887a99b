//! Training of YOLOv8.

use std::path::Path;

use serde_json::json;

use super::show::Show;
use super::tune::{self, After, One, Search, effective};
use super::{
    Going, Prepared, args_of, begin_folder, file_of, model_of, origin, origin_of, run_folder, set_of, told, write_args,
};
use crate::cli::arguments::Train as Command;
use crate::cli::output::{Out, tell};
use crate::cli::{CliError, Ended};
use crate::learn::dataset::{Dataset, Kind};
use crate::learn::train::options::Options;
use crate::learn::train::run::{Begin, Ended as RunEnded, Request, Told, suits, train};
use crate::learn::train::start;
use crate::learn::tune::DETECTOR;
use crate::vision::Weights;
use crate::vision::checkpoint::Checkpoint;
use crate::vision::yolo::Plan;

/// A new run.
pub(super) fn begin(out: &mut Out, workspace: &Path, command: &Command, file: Option<Checkpoint>) -> Ended {
    let options = Options::from_pairs(&command.options).map_err(CliError::Usage)?;
    let asked = |key: &&str| command.options.iter().any(|pair| pair.split('=').next() == Some(*key));
    for key in options.without_effect().into_iter().filter(|key| *key != "mosaic").filter(asked) {
        tell(&format!("`{key}` has no effect: `optimizer=auto` chooses it; name one (for example optimizer=adamw)"));
    }
    let (data_path, data) = set_of(workspace, command)?;
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
    if data.kind == Kind::Segment && !Plan::of(&weights).is_ok_and(|plan| plan.segments()) {
        tell(&format!(
            "{}: it finds boxes, so outlines are learnt as their boxes; one with -seg learns outlines",
            command.model
        ));
    }
    if options.augment.mosaic > 0.0 && options.is_whole(0) {
        tell(&format!(
            "no pictures are put together by four: the last `close_mosaic={}` epochs go without, and there are {} (as with \
             Ultralytics); `close_mosaic=0` has them to the end",
            options.close_mosaic, options.epochs
        ));
    }
    let dir = begin_folder(workspace, command, &data_path, &[], &options)?;
    let prepared = Prepared { dir, data_path, data, begin: Begin::Weights(weights.clone()) };
    match command.tune {
        Some(count) => search(out, workspace, &prepared, (&options, &command.model), &weights, count),
        None => go(out, workspace, prepared, &options),
    }
}

/// A run that goes on, with the settings it had.
pub(super) fn resume(out: &mut Out, workspace: &Path, dir: &Path) -> Ended {
    let args = args_of(dir)?;
    let (count, model) = (tune::count_of(&args), model_of(&args));
    let (prepared, options): (Prepared, Options) = run_folder(workspace, dir, args)?;
    let Some(count) = count else { return go(out, workspace, prepared, &options) };
    let mut weights = weights(&model, file_of(workspace, &model)?, &prepared.data, options.seed)?;
    weights.meta.insert("origin".into(), origin_of(&model, None));
    search(out, workspace, &prepared, (&options, &model), &weights, count)
}

fn go(out: &mut Out, workspace: &Path, prepared: Prepared, options: &Options) -> Ended {
    let going = Going::new(workspace, &prepared.dir, true)?;
    let (data, dir) = ((&prepared.data, prepared.data_path.as_path()), prepared.dir);
    let one = One { dir: dir.clone(), options: options.clone(), begin: prepared.begin, stop: &going.stop };
    let ended = once(out, &going, data, one, &mut |_, _| true)?;
    told(out, &dir, &ended, options.epochs)
}

/// A search over settings.
fn search(
    out: &mut Out,
    workspace: &Path,
    prepared: &Prepared,
    (options, model): (&Options, &str),
    weights: &Weights,
    count: usize,
) -> Ended {
    let going = Going::new(workspace, &prepared.dir, true)?;
    let data = (&prepared.data, prepared.data_path.as_path());
    let (epochs, seed) = (options.epochs, options.seed);
    let ranges = &effective(DETECTOR, &options.without_effect());
    let search = Search { dir: &prepared.dir, count, ranges, epochs, seed, stop: &going.stop };
    search.go(out, options, weights, &mut |out, one: One<Options>, after| {
        one.options.check().map_err(CliError::Usage)?;
        write_args(&one.dir, data.1, model, &[], &one.options)?;
        once(out, &going, data, one, after)
    })
}

/// One run.
fn once(
    out: &mut Out,
    going: &Going,
    (data, data_path): (&Dataset, &Path),
    one: One<Options>,
    after: &mut After,
) -> Result<RunEnded, CliError> {
    let read = |path: &Path| going.read(path);
    let (options, stop) = (&one.options, one.stop);
    let request = Request { data, data_path, read: &read, dir: &one.dir, options, device: going.runtime.device, stop };
    let (mut show, mut outlines) = (Show::new(out, options.epochs), false);
    let ended = train(&request, one.begin, &mut |told| {
        show_told(&mut show, &mut outlines, told);
        let goes_on = if let Told::Epoch(row) = told { after(row.epoch, row.fitness) } else { true };
        going.heed(stop, goes_on);
    });
    show.end()?;
    Ok(ended?)
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
