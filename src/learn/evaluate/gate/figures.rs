//! The figures that a gate can ask for, by name, with what each rests on.

use super::Figure;
use crate::learn::dataset::Kind;
use crate::learn::embed::judge::NEIGHBOURS;
use crate::learn::evaluate::identification::{self, Share};
use crate::learn::evaluate::{Figures, classes};
use crate::learn::metrics::retrieval::Ranking;
use crate::learn::metrics::{coco, semantic, ultralytics};
use crate::vision::checkpoint::Task;

/// A detector's figures, of boxes and of masks, by the two protocols.
const SCORES: [&str; 6] = ["precision", "recall", "f1", "map50", "map75", "map50_95"];
const BY_COCO: [&str; 3] = ["coco_ap", "coco_ap50", "coco_ap75"];
/// Of small, medium and large objects.
const BY_SIZE: [&str; 3] = ["coco_ap_small", "coco_ap_medium", "coco_ap_large"];
/// Of a detector's masks, by the classes of pixels.
const PIXELS: [&str; 3] = ["mean_iou", "accuracy", "mean_f1"];
const WORST_CLASS: &str = "worst_class_recall";
/// A classifier's that are no shares.
const CLASSES: [&str; 6] = ["precision", "recall", "f1", "roc_auc", "pr_auc", "calibration_error"];
const ACCURACY: &str = "accuracy";
/// An embedder's, as the engine uses it.
const IDENTIFIED: [&str; 6] =
    ["recall_at_1", "recall_at_5", "coverage", "wrong_accept", "wrong_label", "wrong_stranger"];
const WORST_LABEL: &str = "worst_label_recall";

pub(super) fn plain(name: &str, value: f64, evidence: u64) -> Figure {
    Figure { name: name.to_owned(), value, evidence, bounds: None, untested: Vec::new() }
}

pub(super) fn shared(name: &str, share: Share) -> Figure {
    Figure { bounds: Some([share.lower, share.upper]), ..plain(name, share.share, share.all) }
}

/// The names of all figures that judging such a model may give, by a set of such labels.
#[must_use]
pub fn names(task: Task, kind: Kind) -> Vec<String> {
    let detector = |what: &str| -> Vec<String> {
        let all = SCORES.into_iter().chain(BY_COCO).chain(BY_SIZE).chain([WORST_CLASS]);
        all.map(|figure| format!("{what}.{figure}")).collect()
    };
    match task {
        Task::Detect => detector("boxes"),
        Task::Segment if kind != Kind::Segment => detector("boxes"),
        Task::Segment => {
            let pixels = PIXELS.map(|figure| format!("pixels.{figure}")).to_vec();
            [detector("boxes"), detector("masks"), pixels].concat()
        }
        Task::Classify => [ACCURACY, WORST_CLASS].into_iter().chain(CLASSES).map(str::to_owned).collect(),
        Task::Embed => {
            let neighbours = NEIGHBOURS.map(|k| format!("neighbours.recall_at_{k}"));
            let identified = IDENTIFIED.into_iter().chain([WORST_LABEL]);
            let identified = identified.map(|figure| format!("identification.{figure}"));
            neighbours.into_iter().chain(["neighbours.map".to_owned()]).chain(identified).collect()
        }
    }
}

/// The figures of a detector that a gate can ask for; `names` are those of all its classes. By COCO's protocol: of boxes,
/// then of masks.
#[must_use]
pub fn of_detector(
    figures: &Figures,
    names: &[String],
    by_coco: [Option<(&coco::Scores, &coco::Rates)>; 2],
    pixels: Option<&semantic::Scores>,
) -> Vec<Figure> {
    let mut all = Vec::new();
    let both = [("boxes", Some(&figures.boxes)), ("masks", figures.masks.as_ref())];
    for ((what, scores), by_coco) in both.into_iter().zip(by_coco) {
        let Some(scores) = scores else { continue };
        let objects: u64 = scores.classes.iter().map(|class| class.truths as u64).sum();
        let values = [scores.precision, scores.recall, scores.f1, scores.map50, scores.map75, scores.map50_95];
        let stated = SCORES.into_iter().zip(values);
        all.extend(stated.map(|(figure, value)| plain(&format!("{what}.{figure}"), value, objects)));
        // The recalls of several classes together are a mean of shares, which has no bound; that of one is a share.
        if let [only] = scores.classes.as_slice() {
            let name = format!("{what}.recall");
            all.iter_mut().filter(|figure| figure.name == name).for_each(|figure| *figure = recall(&name, only));
        }
        let worst = scores.classes.iter().map(|class| recall(&format!("{what}.{WORST_CLASS}"), class)).min_by(lower);
        let is_tested = |class: usize| scores.classes.iter().any(|tested| tested.class as usize == class);
        let untested = names.iter().enumerate().filter(|(class, _)| !is_tested(*class));
        let untested = untested.map(|(_, name)| name.clone()).collect();
        all.extend(worst.map(|worst| Figure { untested, ..worst }));
        let Some((by, rates)) = by_coco else { continue };
        let of_all = BY_COCO.into_iter().zip([by.ap, by.ap50, by.ap75]).map(|(figure, value)| (figure, value, objects));
        let seen = rates.sizes.map(|rate| rate.map_or(0, |rate| rate.truths as u64));
        let of_sizes = BY_SIZE.into_iter().zip(by.ap_by_size).zip(seen).map(|((figure, value), n)| (figure, value, n));
        for (figure, value, objects) in of_all.chain(of_sizes) {
            all.extend(value.map(|value| plain(&format!("{what}.{figure}"), value, objects)));
        }
        if let Some(pixels) = pixels.filter(|_| what == "masks") {
            let values = [pixels.mean_iou, pixels.pixel_accuracy, pixels.mean_f1];
            let named = PIXELS.into_iter().zip(values);
            all.extend(named.map(|(figure, value)| plain(&format!("pixels.{figure}"), value, objects)));
        }
    }
    all
}

/// A class's recall: a share of its objects.
fn recall(name: &str, class: &ultralytics::ClassScore) -> Figure {
    let found = (class.recall * class.truths as f64).round() as u64;
    // Its value is read off a curve, and is a share to within a hair only.
    Figure { value: class.recall, ..shared(name, Share::new(found, class.truths as u64)) }
}

/// By what least can be said: of few objects that were all found less than of many of which some were not.
fn lower(a: &Figure, b: &Figure) -> std::cmp::Ordering {
    let of = |figure: &Figure| figure.bounds.map_or(figure.value, |[lower, _]| lower);
    of(a).total_cmp(&of(b))
}

/// The figures of a classifier that a gate can ask for.
#[must_use]
pub fn of_classifier(report: &classes::Report) -> Vec<Figure> {
    let pictures = report.pictures as u64;
    let right = report.confusion.counts.iter().enumerate().map(|(class, row)| row[class]).sum();
    let mut all = vec![shared(ACCURACY, Share::new(right, pictures))];
    let worst = report.confusion.counts.iter().enumerate().filter_map(|(class, row)| {
        let seen: u64 = row.iter().sum();
        (seen > 0).then(|| shared(WORST_CLASS, Share::new(row[class], seen)))
    });
    let untested = report.classes.iter().filter(|class| class.pictures == 0).map(|class| class.name.clone()).collect();
    all.extend(worst.min_by(lower).map(|worst| Figure { untested, ..worst }));
    let macro_mean = &report.macro_mean;
    let values = [
        Some(macro_mean.precision),
        Some(macro_mean.recall),
        Some(macro_mean.f1),
        report.roc_auc,
        report.pr_auc,
        Some(report.calibration_error),
    ];
    all.extend(CLASSES.into_iter().zip(values).filter_map(|(name, value)| Some(plain(name, value?, pictures))));
    all
}

/// The figures of an embedder that a gate can ask for; `names` are those of the set's labels.
#[must_use]
pub fn of_embedder(ranking: &Ranking, identified: Option<&identification::Report>, names: &[String]) -> Vec<Figure> {
    let probes = ranking.probes as u64;
    let mut all: Vec<Figure> = ranking
        .recall_at
        .iter()
        .map(|(k, recall)| plain(&format!("neighbours.recall_at_{k}"), *recall, probes))
        .collect();
    all.push(plain("neighbours.map", ranking.mean_average_precision, probes));
    if let Some(report) = identified {
        let shares = [
            report.recall_at_1,
            report.recall_at_5,
            report.coverage,
            report.wrong_accept,
            report.wrong_label,
            report.wrong_stranger,
        ];
        all.extend(
            IDENTIFIED
                .into_iter()
                .zip(shares)
                .map(|(figure, share)| shared(&format!("identification.{figure}"), share)),
        );
        if let Some(worst) = report.by_label.first() {
            let name = |label: &u32| names.get(*label as usize).cloned().unwrap_or_default();
            let untested = report.untested.iter().map(name).collect();
            all.push(Figure { untested, ..shared(&format!("identification.{WORST_LABEL}"), worst.recall) });
        }
    }
    all
}
