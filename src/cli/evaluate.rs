//! The `evaluate` command: the model tells by what it is judged.

mod crops;
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
use crate::learn::augment::Marked;
use crate::learn::dataset::{self, Dataset, Item, Outline, Split};
use crate::learn::embed::judge::Aim;
use crate::learn::evaluate::gate::{Figure, Verdict, of_detector};
use crate::learn::evaluate::identification::Terms;
use crate::learn::evaluate::pixels::Pixels;
use crate::learn::evaluate::{Judged, Labelled, judging};
use crate::learn::metrics::{coco, ultralytics};
use crate::learn::train::pictures;
use crate::vision::checkpoint::{self, Checkpoint, Task};
use crate::vision::{Detect as _, Detector, Precision, Runtime, yolo};

/// Detections below this are background where pixels are counted: what an engine takes for found by default.
const SURE: f32 = 0.25;
/// Pictures that are judged at once.
const TOGETHER: usize = 8;

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
        self.gate.map(|gate| gate.judge(figures)).transpose()
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
        Task::Detect | Task::Segment => detector(out, &set, &model, runtime, imgsz, &asked),
        Task::Classify => crops::run(out, &set, &model, Aim::Classify, runtime, &asked),
        Task::Embed => crops::run(out, &set, &model, Aim::Embed, runtime, &asked),
    }
}

fn detector(out: &mut Out, set: &Set, model: &Checkpoint, runtime: Runtime, imgsz: u32, asked: &Asked) -> Ended {
    let (data, split, items) = (&set.data, set.split, set.items());
    if data.kind == dataset::Kind::Classify {
        return Err(CliError::Usage(format!(
            "{}: it is folders of whole pictures, but {} is judged by where objects are; name a classifier or an embedder \
             (--model)",
            set.path.display(),
            model.info.architecture
        )));
    }
    let detector = Detector::of(model, runtime).map_err(CliError::failed)?;
    let classes = detector.network().plan.classes as usize;
    if classes != data.names.len() {
        return Err(CliError::Usage(format!(
            "the model has {classes} classes, {} has {}; judge it by a set of its own classes",
            set.path.display(),
            data.names.len()
        )));
    }
    if items.iter().all(|item| item.objects.is_empty()) {
        let path = set.path.display();
        return Err(CliError::NotFound(format!(
            "{path}: nothing is labelled in `{}`: there is nothing to judge by",
            split.name()
        )));
    }
    // By number alone, one class's figures would stand under another's name.
    if let Some((class, (ours, theirs))) =
        detector.names().iter().zip(&data.names).enumerate().find(|(_, (ours, theirs))| ours != theirs)
    {
        return Err(CliError::Usage(format!(
            "class {class} is `{}` to the model and `{}` in {}; bring the names of the set into the model's order",
            display_safe(ours),
            display_safe(theirs),
            set.path.display()
        )));
    }
    let mut judged = Judged::new(detector.network().plan.segments() && data.kind == dataset::Kind::Segment);
    let looked = judging(imgsz);
    let mut pixels = judged.masks.is_some().then(|| Pixels::new(classes, SURE));
    for some in items.chunks(TOGETHER) {
        let pictures: Vec<Labelled> = some.iter().map(|item| labelled(&set.reader, item)).collect::<Result<_, _>>()?;
        let found = judged.add(&detector, &pictures, &looked, None)?;
        let Some(pixels) = &mut pixels else { continue };
        for (picture, found) in pictures.iter().zip(&found) {
            pixels.add(&picture.objects, found, picture.pixels.dimensions())?;
        }
    }
    let figures = judged.figures();
    let pixels = pixels.map(|pixels| pixels.scores()).transpose().map_err(CliError::failed)?;
    if let Some(dir) = asked.dir {
        pictures::figures(dir, &figures, &judged, &data.names)?;
    }
    let coco_boxes = coco::score(&judged.boxes);
    let coco_masks = judged.masks.as_deref().map(coco::score);
    let by_name = of_detector(&figures, [Some(&coco_boxes), coco_masks.as_ref()]);
    let verdict = asked.held(set, model, &by_name)?;
    if out.json {
        out.value(&json!({
            "pictures": items.len(), "split": split, "classes": data.names,
            "ultralytics": { "boxes": scores(&figures.boxes), "masks": figures.masks.as_ref().map(scores) },
            "coco": { "boxes": coco_boxes, "masks": coco_masks }, "pixels": pixels, "gate": verdict,
        }))?;
        return gate::ended(out, verdict);
    }
    for (what, scores, by_coco) in
        [("boxes", Some(&figures.boxes), Some(&coco_boxes)), ("masks", figures.masks.as_ref(), coco_masks.as_ref())]
    {
        let (Some(scores), Some(by_coco)) = (scores, by_coco) else { continue };
        out.line(format!("{what}, {} pictures of `{}`", items.len(), split.name()))?;
        out.line("  class                          objects       P       R      F1   mAP50 mAP50-95")?;
        let line = |name: &str, count: usize, figures: [f64; 5]| {
            let figures: Vec<String> = figures.iter().map(|figure| format!("{figure:7.4}")).collect();
            format!("  {name:<28} {count:>9} {}", figures.join(" "))
        };
        let all = scores.classes.iter().map(|class| class.truths).sum();
        out.line(line("all", all, [scores.precision, scores.recall, scores.f1, scores.map50, scores.map50_95]))?;
        for class in &scores.classes {
            let name = data.names.get(class.class as usize).map_or("", String::as_str);
            out.line(line(name, class.truths, [class.precision, class.recall, class.f1, class.ap50, class.ap]))?;
        }
        let of = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
        out.line(format!(
            "  by pycocotools' protocol: AP {} AP50 {} AP75 {}",
            of(by_coco.ap),
            of(by_coco.ap50),
            of(by_coco.ap75)
        ))?;
        let [small, medium, large] = by_coco.ap_by_size.map(of);
        out.line(format!("  AP by size: small {small}, medium {medium}, large {large}"))?;
    }
    if let Some(scores) = &pixels {
        out.line(format!(
            "pixels by class, from a confidence of {SURE}: mean IoU {:.4}, accuracy {:.4}, mean F1 {:.4}",
            scores.mean_iou, scores.pixel_accuracy, scores.mean_f1
        ))?;
    }
    gate::ended(out, verdict)
}

fn scores(scores: &ultralytics::Scores) -> serde_json::Value {
    json!({
        "precision": scores.precision, "recall": scores.recall, "f1": scores.f1, "confidence": scores.confidence,
        "map50": scores.map50, "map75": scores.map75, "map50_95": scores.map50_95, "classes": scores.classes,
    })
}

/// A picture with its labels in its own pixels.
fn labelled(reader: &Reader, item: &Item) -> Result<Labelled, CliError> {
    let (_, clean) = reader.read(&item.image).map_err(|why| {
        CliError::Failed(format!("{}: {why}; mend it or take it out of the set", item.image.display()))
    })?;
    let (width, height) = (clean.image.width() as f32, clean.image.height() as f32);
    let mark = |object: &dataset::Object| {
        let (shares, outlined) = match object.outline.as_ref()? {
            Outline::Polygon(points) => (points.clone(), true),
            outline @ Outline::Box(_) => {
                let [l, t, r, b] = outline.corners();
                (vec![[l, t], [r, t], [r, b], [l, b]], false)
            }
        };
        let corners = shares.iter().map(|[x, y]| [x * width, y * height]).collect();
        Some(Marked { class: object.class, corners, outlined })
    };
    Ok(Labelled { objects: item.objects.iter().filter_map(mark).collect(), pixels: clean.image })
}
