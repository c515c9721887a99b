//! Holding figures against a gate: pass, fail, or too little evidence to tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Figures;
use super::classes;
use super::identification::{self, Share};
use crate::learn::dataset::Kind;
use crate::learn::embed::judge::NEIGHBOURS;
use crate::learn::metrics::retrieval::Ranking;
use crate::learn::metrics::{coco, semantic, ultralytics};
use crate::vision::checkpoint::Task;

/// A detector's figures, of boxes and of masks, by the two protocols.
const SCORES: [&str; 6] = ["precision", "recall", "f1", "map50", "map75", "map50_95"];
const BY_COCO: [&str; 6] = ["coco_ap", "coco_ap50", "coco_ap75", "coco_ap_small", "coco_ap_medium", "coco_ap_large"];
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

/// Objects, pictures or probes that a figure must rest on, unless the gate says otherwise.
const EVIDENCE: u64 = 100;

/// What is asked of figures, as it stands in the gate's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Objects, pictures or probes that each figure must rest on.
    #[serde(default = "evidence")]
    pub evidence: u64,
    /// By a figure's name: what it must be.
    pub figures: BTreeMap<String, Limit>,
}

fn evidence() -> u64 {
    EVIDENCE
}

/// What one figure must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The least.
    pub at_least: Option<f64>,
    /// The most.
    pub at_most: Option<f64>,
    /// What this figure must rest on, instead of what the gate says.
    pub evidence: Option<u64>,
}

/// A figure, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Objects, pictures or probes that it was taken from.
    pub evidence: u64,
    /// Where it is a share: what it may be in truth, by one-sided 95% bounds.
    pub bounds: Option<[f64; 2]>,
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is as asked.
    Pass,
    /// There is too little to tell by.
    InsufficientEvidence,
    /// It is not.
    Fail,
}

/// What came of one figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The figure's name.
    pub figure: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, in a sentence.
    pub reason: String,
}

/// What came of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The worst of them.
    pub outcome: Outcome,
    /// One for each figure asked for.
    pub checks: Vec<Check>,
}

impl Gate {
    /// Reads a gate.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "for example\nevidence: 200\nfigures:\n  masks.map50: {at_least: 0.95}";
        let said = |error: serde_saphyr::Error| {
            let message = error.to_string();
            // The rest draws the line, and tells what a caller of the library could do.
            let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
            format!("{}; {EXAMPLE}", message.split(", set DuplicateKeyPolicy").next().unwrap_or_default())
        };
        let gate: Self = serde_saphyr::from_str(text).map_err(said)?;
        if gate.figures.is_empty() {
            return Err(format!("it asks for nothing; {EXAMPLE}"));
        }
        for (name, limit) in &gate.figures {
            let stated = [limit.at_least, limit.at_most];
            if stated == [None, None] {
                return Err(format!("`{name}` has neither at_least nor at_most; give it one"));
            }
            // Every figure is a share or a mean of shares.
            if let Some(value) = stated.into_iter().flatten().find(|value| !(0.0..=1.0).contains(value)) {
                return Err(format!("`{name}`: a limit must be a number between 0 and 1, not {value}"));
            }
            if let (Some(least), Some(most)) = (limit.at_least, limit.at_most)
                && least > most
            {
                return Err(format!("`{name}` can't be at least {least} and at most {most}"));
            }
        }
        if [Some(gate.evidence)]
            .into_iter()
            .chain(gate.figures.values().map(|limit| limit.evidence))
            .flatten()
            .any(|n| n == 0)
        {
            return Err("evidence: 0 would let a figure pass that rests on nothing; ask for 1 at least".into());
        }
        Ok(gate)
    }

    /// Whether every figure it asks for is one of `known`: to be told before judging, which takes long.
    ///
    /// # Errors
    /// A sentence that names a figure which there is not, and those that there are.
    pub fn fits(&self, known: &[String]) -> Result<(), String> {
        match self.figures.keys().find(|name| !known.contains(*name)) {
            Some(name) => Err(format!("there is no figure `{name}` here; there are {}", known.join(", "))),
            None => Ok(()),
        }
    }

    /// Holds figures against it.
    ///
    /// A share passes where even its one-sided 95% bound does, and fails where the bound on the other side does; in
    /// between there is too little evidence. Other figures have no bound: they are taken as they are, where they rest on
    /// enough.
    ///
    /// # Errors
    /// A sentence that names a figure which there is not.
    pub fn judge(&self, figures: &[Figure]) -> Result<Verdict, String> {
        let mut checks = Vec::new();
        for (name, limit) in &self.figures {
            let Some(figure) = figures.iter().find(|figure| figure.name == *name) else {
                let known: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
                return Err(format!("there is no figure `{name}` here; there are {}", known.join(", ")));
            };
            checks.push(check(figure, limit, limit.evidence.unwrap_or(self.evidence)));
        }
        let outcome = checks.iter().map(|check| check.outcome).max().unwrap_or(Outcome::InsufficientEvidence);
        Ok(Verdict { outcome, checks })
    }
}

fn check(figure: &Figure, limit: &Limit, evidence: u64) -> Check {
    let Figure { name, value, evidence: seen, bounds } = figure;
    let said = |outcome, reason: String| Check { figure: name.clone(), outcome, reason };
    if *seen < evidence {
        return said(Outcome::InsufficientEvidence, format!("it rests on {seen}, {evidence} are asked for"));
    }
    // A figure that is no number is never good.
    if !value.is_finite() {
        return said(Outcome::Fail, "it is no number".into());
    }
    let [lower, upper] = bounds.unwrap_or([*value, *value]);
    let mut worst = said(Outcome::Pass, String::new());
    let limits = [
        limit.at_least.map(|least| (lower >= least, upper >= least, format!("at least {least} is asked for"), lower)),
        limit.at_most.map(|most| (upper <= most, lower <= most, format!("at most {most} is asked for"), upper)),
    ];
    for (is_sure, is_possible, asked, bound) in limits.into_iter().flatten() {
        let (outcome, reason) = match (is_sure, is_possible, bounds) {
            (true, _, None) => (Outcome::Pass, format!("{value:.4}, {asked}")),
            (true, _, Some(_)) => (Outcome::Pass, format!("{value:.4}, with 95% certainty {bound:.4}, {asked}")),
            (false, true, _) => (
                Outcome::InsufficientEvidence,
                format!("{value:.4} of {seen}, but with 95% certainty only {bound:.4}, {asked}; judge by more"),
            ),
            (false, false, _) => (Outcome::Fail, format!("{value:.4} of {seen}, {asked}")),
        };
        if outcome >= worst.outcome {
            worst = said(outcome, reason);
        }
    }
    worst
}

fn plain(name: &str, value: f64, evidence: u64) -> Figure {
    Figure { name: name.to_owned(), value, evidence, bounds: None }
}

fn shared(name: &str, share: Share) -> Figure {
    let bounds = Some([share.lower, share.upper]);
    Figure { name: name.to_owned(), value: share.share, evidence: share.all, bounds }
}

/// The names of all figures that judging such a model may give, by a set of such labels.
#[must_use]
pub fn names(task: Task, kind: Kind) -> Vec<String> {
    let detector = |what: &str| -> Vec<String> {
        let all = SCORES.into_iter().chain(BY_COCO).chain([WORST_CLASS]);
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

/// The figures of a detector that a gate can ask for.
#[must_use]
pub fn of_detector(
    figures: &Figures,
    by_coco: [Option<&coco::Scores>; 2],
    pixels: Option<&semantic::Scores>,
) -> Vec<Figure> {
    let mut all = Vec::new();
    let both = [("boxes", Some(&figures.boxes)), ("masks", figures.masks.as_ref())];
    for ((what, scores), by_coco) in both.into_iter().zip(by_coco) {
        let Some(scores) = scores else { continue };
        let truths = |scores: &ultralytics::Scores| scores.classes.iter().map(|class| class.truths as u64).sum();
        let objects: u64 = truths(scores);
        let values = [scores.precision, scores.recall, scores.f1, scores.map50, scores.map75, scores.map50_95];
        let stated = SCORES.into_iter().zip(values);
        all.extend(stated.map(|(figure, value)| plain(&format!("{what}.{figure}"), value, objects)));
        if let Some(worst) = scores.classes.iter().min_by(|a, b| a.recall.total_cmp(&b.recall)) {
            // A share of the class's objects; the recalls of all classes together are a mean of such shares, which has no bound.
            let found = (worst.recall * worst.truths as f64).round() as u64;
            let share = Share::new(found, worst.truths as u64);
            all.push(Figure { value: worst.recall, ..shared(&format!("{what}.{WORST_CLASS}"), share) });
        }
        let Some(by) = by_coco else { continue };
        let [small, medium, large] = by.ap_by_size;
        for (figure, value) in BY_COCO.into_iter().zip([by.ap, by.ap50, by.ap75, small, medium, large]) {
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

/// The figures of a classifier that a gate can ask for.
#[must_use]
pub fn of_classifier(report: &classes::Report) -> Vec<Figure> {
    let pictures = report.pictures as u64;
    let right = report.confusion.counts.iter().enumerate().map(|(class, row)| row[class]).sum();
    let mut all = vec![shared(ACCURACY, Share::new(right, pictures))];
    let worst = report.confusion.counts.iter().enumerate().filter_map(|(class, row)| {
        let seen: u64 = row.iter().sum();
        (seen > 0).then(|| Share::new(row[class], seen))
    });
    all.extend(worst.min_by(|a, b| a.lower.total_cmp(&b.lower)).map(|share| shared(WORST_CLASS, share)));
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

/// The figures of an embedder that a gate can ask for.
#[must_use]
pub fn of_embedder(ranking: &Ranking, identified: Option<&identification::Report>) -> Vec<Figure> {
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
            all.push(shared(&format!("identification.{WORST_LABEL}"), worst.recall));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    #[test]
    fn a_share_passes_by_its_bound_and_not_by_luck() {
        let gate = Gate::parse("figures:\n  wrong: {at_most: 0.005}\n  found: {at_least: 0.9}\n").unwrap();
        assert_eq!(gate.evidence, EVIDENCE);
        let judge = |wrong: Share, found: Share| gate.judge(&[shared("wrong", wrong), shared("found", found)]).unwrap();
        let good = Share::new(980, 1000);
        assert_eq!(judge(Share::new(0, 598), good).outcome, Outcome::Pass);
        // None seen in 500, but one in 170 would not surprise.
        let few = judge(Share::new(0, 500), good);
        assert_eq!(few.outcome, Outcome::InsufficientEvidence);
        assert!(few.checks[1].reason.contains("judge by more"), "{:?}", few.checks);
        assert_eq!(judge(Share::new(20, 1000), good).outcome, Outcome::Fail);
        // The worst of all counts.
        assert_eq!(judge(Share::new(0, 500), Share::new(500, 1000)).outcome, Outcome::Fail);
        assert_eq!(judge(Share::new(0, 99), good).checks[1].reason, "it rests on 99, 100 are asked for");
    }

    #[test]
    fn figures_without_bounds_are_taken_as_they_are() {
        let gate = Gate::parse("evidence: 10\nfigures:\n  masks.map50: {at_least: 0.9, at_most: 1}\n").unwrap();
        let outcome = |value, evidence| gate.judge(&[plain("masks.map50", value, evidence)]).unwrap().outcome;
        assert_eq!(outcome(0.9, 10), Outcome::Pass);
        assert_eq!(outcome(0.899, 10), Outcome::Fail);
        assert_eq!(outcome(f64::NAN, 10), Outcome::Fail);
        assert_eq!(outcome(0.95, 9), Outcome::InsufficientEvidence);
        assert!(gate.judge(&[plain("boxes.map50", 1.0, 10)]).unwrap_err().contains("no figure `masks.map50` here"));
    }

    #[test]
    fn a_figure_that_there_is_not_is_named_before_anything_is_judged() {
        let gate = Gate::parse("figures:\n  masks.map50: {at_least: 0.9}\n").unwrap();
        assert_eq!(gate.fits(&names(Task::Segment, Kind::Segment)), Ok(()));
        for (task, kind) in [(Task::Detect, Kind::Segment), (Task::Segment, Kind::Detect)] {
            let why = gate.fits(&names(task, kind)).unwrap_err();
            assert!(why.contains("no figure `masks.map50`") && why.contains("boxes.coco_ap75"), "{why}");
        }
        // What judging gives has the names that are told.
        let recall_at = [(1, 0.5), (5, 1.0)].into();
        let ranking = Ranking { probes: 3, recall_at, worst_label_recall: 0.0, mean_average_precision: 0.5 };
        let given = of_embedder(&ranking, None);
        assert!(given.iter().all(|figure| names(Task::Embed, Kind::Classify).contains(&figure.name)), "{given:?}");
    }

    #[test]
    fn a_gate_that_asks_for_nothing_is_refused() {
        for (text, named) in [
            ("figures: {}", "asks for nothing"),
            ("figures:\n  map50: {}", "`map50` has neither"),
            ("figures:\n  map50: {at_leats: 1}", "at_leats"),
            ("figures:\n  map50: {at_least: .nan}", "must be a number"),
            ("figures:\n  map50: {at_least: 95}", "between 0 and 1, not 95"),
            ("figures:\n  map50: {at_least: 0.9, at_most: 0.8}", "at least 0.9 and at most 0.8"),
            ("figures:\n  map50: {at_least: 0.9, evidence: 0}", "rests on nothing"),
            ("evidence: 0\nfigures:\n  map50: {at_least: 0.9}", "rests on nothing"),
            ("limits: {}", "limits"),
            ("figures:\n  a: {at_least: 1}\n  a: {at_least: 0.5}", "duplicate mapping key: a; for example"),
            ("", "for example"),
        ] {
            let error = Gate::parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
