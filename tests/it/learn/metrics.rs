//! Every figure against its reference: tests/golden/metrics.py ran them, metrics.json holds what they said.

use std::collections::BTreeMap;

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
    coco: Kinds<Coco>,
    ultralytics: Kinds<Validator>,
    classification: Classified,
    bounds: Vec<(u64, u64, f64)>,
    polygons: Vec<Polygon>,
}

/// An outline and the mask that pycocotools makes of it.
#[derive(Deserialize)]
struct Polygon {
    #[serde(flatten)]
    mask: Rle,
    /// x and y in turn.
    corners: Vec<f32>,
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
struct Kinds<T> {
    bbox: T,
    segm: T,
}

#[derive(Deserialize)]
struct Coco {
    stats: [f64; 12],
    classes: Vec<f64>,
    /// Of each class's small, medium and large objects: objects, answers that count, right answers.
    sizes: Vec<[[usize; 3]; 3]>,
}

#[derive(Deserialize)]
struct Validator {
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    ap: Vec<Vec<f64>>,
    classes: Vec<u32>,
    mean: Means,
}

#[derive(Deserialize)]
struct Means {
    precision: f64,
    recall: f64,
    map50: f64,
    map75: f64,
    map50_95: f64,
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
    /// By how many bins.
    calibration_error: BTreeMap<usize, f64>,
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

/// As [`close`], and a line of the table of what was compared.
#[track_caller]
fn agree(what: &str, ours: f64, theirs: f64, within: f64) {
    println!("{what:<32} {ours:<12.9} {theirs:<12.9} {:.1e}", (ours - theirs).abs());
    close(what, ours, theirs, within);
}

#[test]
fn the_coco_protocol_is_pycocotools() {
    let golden = golden();
    for (masks, theirs) in [(false, &golden.coco.bbox), (true, &golden.coco.segm)] {
        let matched = coco::Matched::of(&pictures(&golden, masks));
        let ours = matched.scores();
        let [small, medium, large] = ours.ap_by_size;
        let figures = [ours.ap, ours.ap50, ours.ap75, small, medium, large].into_iter().chain(ours.ar);
        let names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];
        for ((name, ours), theirs) in names.iter().zip(figures.chain(ours.ar_by_size)).zip(theirs.stats) {
            // pycocotools says -1 where there is nothing to find.
            let what = if masks { "masks" } else { "boxes" };
            agree(&format!("{what}, pycocotools' {name}"), ours.unwrap_or(-1.0), theirs, 1e-6);
        }
        for class in &ours.classes {
            close("AP of a class", class.ap.unwrap(), theirs.classes[class.class as usize], 1e-6);
        }
        // The confidence of tests/golden/metrics.py.
        let rates = matched.rates(0.4);
        assert_eq!(rates.classes.len(), theirs.sizes.len());
        for class in &rates.classes {
            for (size, (rate, counts)) in class.sizes.iter().zip(theirs.sizes[class.class as usize]).enumerate() {
                let [truths, answers, right] = counts.map(|count| count as f64);
                let Some(rate) = rate else {
                    assert_eq!(counts[0], 0);
                    continue;
                };
                let what = |figure: &str| format!("class {}, size {size}, {figure}", class.class);
                assert_eq!((rate.truths, rate.precision.is_none()), (counts[0], counts[1] == 0));
                agree(&what("precision"), rate.precision.unwrap_or(0.0), right / answers.max(1.0), 1e-9);
                agree(&what("recall"), rate.recall, right / truths, 1e-9);
                agree(&what("F1"), rate.f1, 2.0 * right / (answers + truths), 1e-9);
            }
        }
    }
}

#[test]
fn outlines_have_pycocotools_pixels() {
    let mut pixels = 0;
    for Polygon { mask, corners } in golden().polygons {
        let corners: Vec<[f32; 2]> = corners.as_chunks::<2>().0.to_vec();
        let theirs = Runs::of(&mask).unwrap();
        let ours = Runs::within(&corners, (mask.size[1], mask.size[0]));
        assert_eq!(ours, theirs, "{:?}, {corners:?}", mask.size);
        pixels += ours.area();
    }
    assert!(pixels > 30_000, "{pixels}");
}

#[test]
fn the_ultralytics_protocol_is_its_validator() {
    let golden = golden();
    for (masks, theirs) in [(false, &golden.ultralytics.bbox), (true, &golden.ultralytics.segm)] {
        let mut pictures = pictures(&golden, masks);
        // That protocol knows no crowds: to the reference they are objects as others are.
        pictures.iter_mut().flat_map(|picture| &mut picture.truths).for_each(|truth| truth.crowd = false);
        let ours = ultralytics::score(&pictures);
        let what = if masks { "masks" } else { "boxes" };
        assert_eq!(ours.classes.iter().map(|class| class.class).collect::<Vec<_>>(), theirs.classes);
        for (n, class) in ours.classes.iter().enumerate() {
            for (figure, ours, theirs) in [
                ("precision", class.precision, theirs.precision[n]),
                ("recall", class.recall, theirs.recall[n]),
                ("F1", class.f1, theirs.f1[n]),
                ("AP50", class.ap50, theirs.ap[n][0]),
                ("AP75", class.ap75, theirs.ap[n][5]),
                ("AP50-95", class.ap, theirs.ap[n].iter().sum::<f64>() / 10.0),
            ] {
                agree(&format!("{what}, class {}, {figure}", class.class), ours, theirs, 1e-4);
            }
        }
        let Means { precision, recall, map50, map75, map50_95 } = theirs.mean;
        agree(&format!("{what}, precision"), ours.precision, precision, 1e-4);
        agree(&format!("{what}, recall"), ours.recall, recall, 1e-4);
        agree(&format!("{what}, mAP50"), ours.map50, map50, 1e-4);
        agree(&format!("{what}, mAP75"), ours.map75, map75, 1e-4);
        agree(&format!("{what}, mAP50-95"), ours.map50_95, map50_95, 1e-4);
    }
}

#[test]
fn classifiers_are_judged_as_by_scikit_learn() {
    let Classified { truths, answers, scores, figures } = golden().classification;
    let ours = Confusion::of(&truths, &answers, 5).unwrap();
    assert_eq!(ours.counts, figures.confusion);
    let same = |what: &str, ours: Quality, theirs: [f64; 3]| {
        agree(&format!("{what}, precision"), ours.precision, theirs[0], 1e-9);
        agree(&format!("{what}, recall"), ours.recall, theirs[1], 1e-9);
        agree(&format!("{what}, F1"), ours.f1, theirs[2], 1e-9);
    };
    agree("accuracy", ours.accuracy(), figures.accuracy, 1e-9);
    same("macro", ours.macro_mean(), figures.plain);
    same("micro", ours.micro_mean(), figures.micro);
    same("weighted", ours.weighted_mean(), figures.weighted);
    ours.classes().into_iter().zip(figures.each).for_each(|(ours, theirs)| same("a class", ours, theirs));
    for (area, theirs, what) in [
        (roc_auc as Area, &figures.roc_auc, "ROC-AUC"),
        (average_precision as Area, &figures.average_precision, "PR-AUC"),
    ] {
        let (each, mean) = one_against_rest(&truths, &scores, 5, area).unwrap();
        assert_eq!(each[4], None, "a class that is never there has no curve");
        each.iter().flatten().zip(theirs).for_each(|(ours, theirs)| agree(what, *ours, *theirs, 1e-9));
        agree(&format!("{what}, mean"), mean.unwrap(), theirs.iter().sum::<f64>() / 4.0, 1e-9);
    }
    let sure = scores.iter().zip(&truths).map(|(row, truth)| {
        let best = (0..5).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        (row[best], best == *truth)
    });
    let sure: Vec<(f64, bool)> = sure.collect();
    for (bins, theirs) in figures.calibration_error {
        let ours = calibration_error(&sure, bins).unwrap();
        agree(&format!("calibration error, {bins} bins"), ours, theirs, 1e-9);
    }
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
    ours.iou
        .iter()
        .flatten()
        .zip(&figures.pixel_iou)
        .for_each(|(ours, theirs)| agree("pixels, IoU", *ours, *theirs, 1e-9));
    agree("pixels, mean IoU", ours.mean_iou, figures.pixel_iou[..4].iter().sum::<f64>() / 4.0, 1e-9);
    agree("pixels, accuracy", ours.pixel_accuracy, figures.accuracy, 1e-9);
    agree("pixels, F1", ours.mean_f1, figures.plain[2], 1e-9);
}

#[test]
fn lower_bounds_are_scipys() {
    for (right, all, theirs) in golden().bounds {
        agree(&format!("95% bound, {right} of {all}"), lower_bound(right, all), theirs, 1e-9);
    }
}
