//! Judging detectors: by pictures with boxes or outlines.

use serde_json::{Value, json};

use super::{Asked, Set, gate};
use crate::cli::dataset::Reader;
use crate::cli::output::Out;
use crate::cli::{CliError, Ended};
use crate::domain::{Detection, display_safe};
use crate::files;
use crate::learn::augment::Marked;
use crate::learn::dataset::{self, Item, Outline, coco as coco_file};
use crate::learn::evaluate::gate::of_detector;
use crate::learn::evaluate::pixels::Pixels;
use crate::learn::evaluate::{Judged, Labelled, judging};
use crate::learn::metrics::{Picture, coco, ultralytics};
use crate::learn::train::pictures;
use crate::vision::checkpoint::Checkpoint;
use crate::vision::{Detect as _, Detector, Runtime};

/// Detections below this are background where pixels are counted: what an engine takes for found by default.
const SURE: f32 = 0.25;
/// Pictures that are judged at once.
const TOGETHER: usize = 8;

pub(super) fn run(out: &mut Out, set: &Set, model: &Checkpoint, runtime: Runtime, imgsz: u32, asked: &Asked) -> Ended {
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
    let mut all = Vec::with_capacity(items.len());
    let mut pixels = judged.masks.is_some().then(|| Pixels::new(classes, SURE));
    for some in items.chunks(TOGETHER) {
        let pictures: Vec<Labelled> = some.iter().map(|item| labelled(&set.reader, item)).collect::<Result<_, _>>()?;
        let found = judged.add(&detector, &pictures, &looked, None)?;
        if let Some(pixels) = &mut pixels {
            for (picture, found) in pictures.iter().zip(&found) {
                pixels.add(&picture.objects, found, picture.pixels.dimensions())?;
            }
        }
        all.extend(found);
    }
    let figures = judged.figures();
    let pixels = pixels.map(|pixels| pixels.scores()).transpose().map_err(CliError::failed)?;
    if let Some(dir) = asked.dir {
        pictures::figures(dir, &figures, &judged, &data.names)?;
        let path = dir.join("predictions.json");
        let text = serde_json::to_vec(&predictions(set, &all)?).map_err(CliError::failed)?;
        files::put(&path, &text)
            .map_err(|error| CliError::Failed(format!("cannot write {}: {error}", path.display())))?;
    }
    let by_coco = |pictures: &[Picture], scores: &ultralytics::Scores| {
        let matched = coco::Matched::of(pictures);
        (matched.scores(), matched.rates(scores.confidence))
    };
    let (coco_boxes, boxes_by_size) = by_coco(&judged.boxes, &figures.boxes);
    let of_masks = judged.masks.as_deref().zip(figures.masks.as_ref());
    let (coco_masks, masks_by_size) = of_masks.map(|(pictures, scores)| by_coco(pictures, scores)).unzip();
    let by_coco = [Some((&coco_boxes, &boxes_by_size)), coco_masks.as_ref().zip(masks_by_size.as_ref())];
    let by_name = of_detector(&figures, &data.names, by_coco, pixels.as_ref());
    let verdict = asked.held(set, model, &by_name)?;
    if out.json {
        out.value(&json!({
            "pictures": items.len(), "split": split, "classes": data.names,
            "ultralytics": { "boxes": scores(&figures.boxes), "masks": figures.masks.as_ref().map(scores) },
            "coco": { "boxes": coco_boxes, "masks": coco_masks },
            "by_size": { "boxes": boxes_by_size, "masks": masks_by_size }, "pixels": pixels, "gate": verdict,
        }))?;
        return gate::ended(out, verdict);
    }
    let of_boxes = (&figures.boxes, &coco_boxes, &boxes_by_size);
    let of_masks = figures.masks.as_ref().zip(coco_masks.as_ref()).zip(masks_by_size.as_ref());
    let of_masks = of_masks.map(|((scores, by_coco), by_size)| (scores, by_coco, by_size));
    for (what, of) in [("boxes", Some(of_boxes)), ("masks", of_masks)] {
        let Some((scores, by_coco, by_size)) = of else { continue };
        out.line(format!("{what}, {} pictures of `{}`", items.len(), split.name()))?;
        table(out, scores, by_coco, &data.names)?;
        sizes(out, by_size)?;
    }
    if let Some(scores) = &pixels {
        out.line(format!(
            "pixels by class, from a confidence of {SURE}: mean IoU {:.4}, accuracy {:.4}, mean F1 {:.4}",
            scores.mean_iou, scores.pixel_accuracy, scores.mean_f1
        ))?;
    }
    gate::ended(out, verdict)
}

/// Figures of one kind by both protocols.
fn table(
    out: &mut Out,
    scores: &ultralytics::Scores,
    by_coco: &coco::Scores,
    names: &[String],
) -> Result<(), CliError> {
    out.line("  class                          objects       P       R      F1   mAP50   mAP75 mAP50-95")?;
    let line = |name: &str, count: usize, figures: [f64; 6]| {
        let figures: Vec<String> = figures.iter().map(|figure| format!("{figure:7.4}")).collect();
        format!("  {name:<28} {count:>9} {}", figures.join(" "))
    };
    let all = scores.classes.iter().map(|class| class.truths).sum();
    let ultralytics::Scores { precision, recall, f1, map50, map75, map50_95, .. } = *scores;
    out.line(line("all", all, [precision, recall, f1, map50, map75, map50_95]))?;
    for class in &scores.classes {
        let name = names.get(class.class as usize).map_or("", String::as_str);
        let figures = [class.precision, class.recall, class.f1, class.ap50, class.ap75, class.ap];
        out.line(line(name, class.truths, figures))?;
    }
    let of = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let [ap, ap50, ap75] = [by_coco.ap, by_coco.ap50, by_coco.ap75].map(of);
    let [one, ten, hundred] = by_coco.ar.map(of);
    out.line(format!(
        "  by pycocotools' protocol: AP {ap} AP50 {ap50} AP75 {ap75}, AR of 1, 10, 100: {one} {ten} {hundred}"
    ))?;
    for (what, sizes) in [("AP", by_coco.ap_by_size), ("AR", by_coco.ar_by_size)] {
        let [small, medium, large] = sizes.map(of);
        out.line(format!("  {what} by size: small {small}, medium {medium}, large {large}"))?;
    }
    Ok(())
}

/// Figures by the size of objects, of all classes.
fn sizes(out: &mut Out, rates: &coco::Rates) -> Result<(), CliError> {
    for (what, rate) in ["small", "medium", "large"].into_iter().zip(&rates.sizes) {
        let Some(coco::Rate { truths, precision, recall, f1 }) = rate else { continue };
        let precision = precision.map_or("-".to_owned(), |value| format!("{value:.4}"));
        let confidence = rates.confidence;
        out.line(format!(
            "  {what:<6} {truths:>6} objects, at a confidence of {confidence:.3}: P {precision}, R {recall:.4}, F1 {f1:.4}"
        ))?;
    }
    Ok(())
}

/// What was found, as COCO tools take it: a line of the file for each object, with the numbers that the set's own COCO file has,
/// or those that `dataset export --format coco` gives.
fn predictions(set: &Set, found: &[Vec<Detection>]) -> Result<Vec<Value>, CliError> {
    let numbers = coco_file::numbers(&set.path, &set.data, set.split)?;
    let rounded = |value: f32, by: f64| (f64::from(value) * by).round() / by;
    let one = |item: &Item, found: &Detection| {
        let [left, top, right, bottom] = found.bounding_box.0;
        let bbox = [left, top, right - left, bottom - top].map(|value| rounded(value, 1e3));
        let mut value = json!({
            "image_id": numbers.pictures.get(&item.image),
            "file_name": item.image.file_name().unwrap_or_default().to_string_lossy(),
            "category_id": numbers.categories.get(found.class as usize), "bbox": bbox,
            "score": rounded(found.confidence, 1e7),
        });
        if let Some(mask) = &found.mask {
            value["segmentation"] = json!(mask);
        }
        value
    };
    let all = set.items().into_iter().zip(found);
    Ok(all.flat_map(|(item, found)| found.iter().map(|found| one(item, found)).collect::<Vec<_>>()).collect())
}

fn scores(scores: &ultralytics::Scores) -> Value {
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
    let marks = |objects: &[dataset::Object]| objects.iter().filter_map(mark).collect();
    Ok(Labelled { objects: marks(&item.objects), crowds: marks(&item.crowds), pixels: clean.image })
}
