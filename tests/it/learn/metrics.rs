//! Every figure against its reference: tests/golden/metrics.py ran them, metrics.json holds what they said.

use serde::Deserialize;
use sightline::domain::Rle;
use sightline::learn::metrics::classification::{
    Area, Confusion, Quality, average_precision, calibration_error, one_against_rest, roc_auc,
};
use sightline::learn::metrics::retrieval::lower_bound;
use sightline::learn::metrics::semantic::Counter;
use sightline::learn::metrics::shape::Runs;
use sightline::learn::metrics::{Found, Picture, Shape, Truth, coco, ultralytics};

#[derive(Deserialize)]
struct Golden {
    pictures: Vec<Drawn>,
    coco: Kinds,
    ultralytics: Validator,
    classification: Classified,
    bounds: Vec<(u64, u64, f64)>,
}

#[derive(Deserialize)]
struct Drawn {
    truths: Vec<Thing>,
    found: Vec<Thing>,
}

#[derive(Deserialize)]
struct Thing {
    class: u32,
    #[serde(rename = "box")]
    bounds: [f64; 4],
    mask: Rle,
    #[serde(default)]
    crowd: bool,
    #[serde(default)]
    score: f64,
}

#[derive(Deserialize)]
struct Kinds {
    bbox: Coco,
    segm: Coco,
}

#[derive(Deserialize)]
struct Coco {
    stats: [f64; 12],
    classes: Vec<f64>,
}

#[derive(Deserialize)]
struct Validator {
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    ap: Vec<Vec<f64>>,
    classes: Vec<u32>,
}

#[derive(Deserialize)]
struct Classified {
    truths: Vec<usize>,
    answers: Vec<usize>,
    scores: Vec<Vec<f64>>,
    figures: Figures,
}

#[derive(Deserialize)]
struct Figures {
    accuracy: f64,
    #[serde(rename = "macro")]
    plain: [f64; 3],
    micro: [f64; 3],
    weighted: [f64; 3],
    each: Vec<[f64; 3]>,
    confusion: Vec<Vec<u64>>,
    roc_auc: Vec<f64>,
    average_precision: Vec<f64>,
    pixel_iou: Vec<f64>,
    calibration_error: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../golden/metrics.json")).unwrap()
}

fn pictures(golden: &Golden, masks: bool) -> Vec<Picture> {
    let shape = |thing: &Thing| {
        if masks { Shape::Mask(Runs::of(&thing.mask).unwrap()) } else { Shape::Box(thing.bounds) }
    };
    let picture = |drawn: &Drawn| Picture {
        truths: drawn
            .truths
            .iter()
            .map(|t| Truth { class: t.class, shape: shape(t), area: shape(t).area(), crowd: t.crowd })
            .collect(),
        found: drawn.found.iter().map(|f| Found { class: f.class, shape: shape(f), score: f.score }).collect(),
    };
    golden.pictures.iter().map(picture).collect()
}

#[track_caller]
fn close(what: &str, ours: f64, theirs: f64, within: f64) {
    assert!((ours - theirs).abs() <= within, "{what}: {ours}, the reference says {theirs}");
}

#[test]
fn the_coco_protocol_is_pycocotools() {
    let golden = golden();
    for (masks, theirs) in [(false, &golden.coco.bbox), (true, &golden.coco.segm)] {
        let ours = coco::score(&pictures(&golden, masks));
        let [small, medium, large] = ours.ap_by_size;
        let figures = [ours.ap, ours.ap50, ours.ap75, small, medium, large].into_iter().chain(ours.ar);
        let names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];
        for ((name, ours), theirs) in names.iter().zip(figures.chain(ours.ar_by_size)).zip(theirs.stats) {
            // pycocotools says -1 where there is nothing to find.
            println!("{name} masks={masks}: {ours:?}, pycocotools {theirs}");
            close(name, ours.unwrap_or(-1.0), theirs, 1e-6);
        }
        for class in &ours.classes {
            close("AP of a class", class.ap.unwrap(), theirs.classes[class.class as usize], 1e-6);
        }
    }
}

#[test]
fn the_ultralytics_protocol_is_its_validator() {
    let golden = golden();
    let (ours, theirs) = (ultralytics::score(&pictures(&golden, false)), &golden.ultralytics);
    assert_eq!(ours.classes.iter().map(|class| class.class).collect::<Vec<_>>(), theirs.classes);
    for (n, class) in ours.classes.iter().enumerate() {
        println!("class {}: {class:?}; the validator: {:?}", class.class, theirs.ap[n]);
        close("precision", class.precision, theirs.precision[n], 1e-4);
        close("recall", class.recall, theirs.recall[n], 1e-4);
        close("F1", class.f1, theirs.f1[n], 1e-4);
        close("AP50", class.ap50, theirs.ap[n][0], 1e-4);
        close("AP", class.ap, theirs.ap[n].iter().sum::<f64>() / 10.0, 1e-4);
    }
    let mean = |t: usize| theirs.ap.iter().map(|ap| ap[t]).sum::<f64>() / theirs.ap.len() as f64;
    close("mAP50", ours.map50, mean(0), 1e-4);
    close("mAP75", ours.map75, mean(5), 1e-4);
}

#[test]
fn classifiers_are_judged_as_by_scikit_learn() {
    let Classified { truths, answers, scores, figures } = golden().classification;
    let ours = Confusion::of(&truths, &answers, 5).unwrap();
    assert_eq!(ours.counts, figures.confusion);
    let same = |what: &str, ours: Quality, theirs: [f64; 3]| {
        close(what, ours.precision, theirs[0], 1e-9);
        close(what, ours.recall, theirs[1], 1e-9);
        close(what, ours.f1, theirs[2], 1e-9);
    };
    close("accuracy", ours.accuracy(), figures.accuracy, 1e-9);
    same("macro", ours.macro_mean(), figures.plain);
    same("micro", ours.micro_mean(), figures.micro);
    same("weighted", ours.weighted_mean(), figures.weighted);
    ours.classes().into_iter().zip(figures.each).for_each(|(ours, theirs)| same("a class", ours, theirs));
    for (area, theirs) in [(roc_auc as Area, &figures.roc_auc), (average_precision as Area, &figures.average_precision)]
    {
        let (each, mean) = one_against_rest(&truths, &scores, 5, area).unwrap();
        assert_eq!(each[4], None, "a class that is never there has no curve");
        each.iter().flatten().zip(theirs).for_each(|(ours, theirs)| close("an area", *ours, *theirs, 1e-9));
        close("the mean area", mean.unwrap(), theirs.iter().sum::<f64>() / 4.0, 1e-9);
    }
    let sure = scores.iter().zip(&truths).map(|(row, truth)| {
        let best = (0..5).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        (row[best], best == *truth)
    });
    let error = calibration_error(&sure.collect::<Vec<_>>(), 10).unwrap();
    close("calibration", error, figures.calibration_error, 1e-9);
}

#[test]
fn pixels_are_judged_as_by_scikit_learn() {
    let Classified { mut truths, mut answers, figures, .. } = golden().classification;
    let mut counter = Counter::new(5, Some(255));
    truths.push(255);
    answers.push(3);
    let (first, second) = (truths.split_at(50), answers.split_at(50));
    counter.add(first.0, second.0).unwrap();
    counter.add(first.1, second.1).unwrap();
    let ours = counter.scores().unwrap();
    assert_eq!(ours.iou[4], None, "a class that is nowhere has no figure");
    ours.iou.iter().flatten().zip(&figures.pixel_iou).for_each(|(ours, theirs)| close("IoU", *ours, *theirs, 1e-9));
    close("mean IoU", ours.mean_iou, figures.pixel_iou[..4].iter().sum::<f64>() / 4.0, 1e-9);
    close("accuracy", ours.pixel_accuracy, figures.accuracy, 1e-9);
    close("F1", ours.mean_f1, figures.plain[2], 1e-9);
}

#[test]
fn lower_bounds_are_scipys() {
    for (right, all, theirs) in golden().bounds {
        close(&format!("{right} of {all}"), lower_bound(right, all), theirs, 1e-9);
    }
}
