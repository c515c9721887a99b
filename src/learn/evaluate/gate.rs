//! Holding figures against a gate: pass, fail, or too little evidence to tell.

mod figures;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::display_safe;
pub use figures::{names, of_classifier, of_detector, of_embedder};

/// Objects, pictures or probes that a figure must rest on, unless the gate says otherwise.
const EVIDENCE: u64 = 100;
/// Untested classes that are named.
const NAMED: usize = 5;

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
    /// Classes or labels that it should speak of, too, but of which nothing is there.
    pub untested: Vec<String>,
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
    /// enough. Of a figure that is not among them there is no evidence at all; whether there can be one of that name is
    /// for [`Gate::fits`] to say.
    #[must_use]
    pub fn judge(&self, figures: &[Figure]) -> Verdict {
        let one = |(name, limit): (&String, &Limit)| match figures.iter().find(|figure| figure.name == *name) {
            Some(figure) => check(figure, limit, limit.evidence.unwrap_or(self.evidence)),
            None => Check {
                figure: name.clone(),
                outcome: Outcome::InsufficientEvidence,
                reason: "nothing is there that it could be taken from".into(),
            },
        };
        let checks: Vec<Check> = self.figures.iter().map(one).collect();
        let outcome = checks.iter().map(|check| check.outcome).max().unwrap_or(Outcome::InsufficientEvidence);
        Verdict { outcome, checks }
    }
}

fn check(figure: &Figure, limit: &Limit, evidence: u64) -> Check {
    let found = held(figure, limit, evidence);
    // The worst of all may be one that was never asked about; but what is bad already will not get better by it.
    if figure.untested.is_empty() || found.outcome == Outcome::Fail {
        return found;
    }
    let mut named: Vec<String> = figure.untested.iter().take(NAMED).map(|name| display_safe(name)).collect();
    if figure.untested.len() > NAMED {
        named.push(format!("{} more", figure.untested.len() - NAMED));
    }
    let reason = format!("{}; {} are not tested at all: {}", found.reason, figure.untested.len(), named.join(", "));
    Check { outcome: Outcome::InsufficientEvidence, reason, ..found }
}

/// What comes of a figure by what it was taken from.
fn held(figure: &Figure, limit: &Limit, evidence: u64) -> Check {
    let Figure { name, value, evidence: seen, bounds, .. } = figure;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::figures::{plain, shared};
    use super::*;
    use crate::learn::dataset::Kind;
    use crate::learn::evaluate::Figures;
    use crate::learn::evaluate::classes::Answers;
    use crate::learn::evaluate::identification::{self, OfLabel, Share, Terms};
    use crate::learn::metrics::retrieval::Ranking;
    use crate::learn::metrics::{Found, Picture, Shape, Truth, coco, ultralytics};
    use crate::vision::checkpoint::Task;

    #[test]
    fn a_share_passes_by_its_bound_and_not_by_luck() {
        let gate = Gate::parse("figures:\n  wrong: {at_most: 0.005}\n  found: {at_least: 0.9}\n").unwrap();
        assert_eq!(gate.evidence, EVIDENCE);
        let judge = |wrong: Share, found: Share| gate.judge(&[shared("wrong", wrong), shared("found", found)]);
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
        let outcome = |value, evidence| gate.judge(&[plain("masks.map50", value, evidence)]).outcome;
        assert_eq!(outcome(0.9, 10), Outcome::Pass);
        assert_eq!(outcome(0.899, 10), Outcome::Fail);
        assert_eq!(outcome(f64::NAN, 10), Outcome::Fail);
        assert_eq!(outcome(0.95, 9), Outcome::InsufficientEvidence);
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
        let given = of_embedder(&ranking, None, &[]);
        assert!(given.iter().all(|figure| names(Task::Embed, Kind::Classify).contains(&figure.name)), "{given:?}");
    }

    fn named(count: u32) -> Vec<String> {
        (b'a'..).map(|letter| char::from(letter).to_string()).take(count as usize).collect()
    }

    /// What a detector gives that knows `names` and finds so many objects of a class, and misses so many.
    fn detected(names: u32, classes: &[(u32, usize, usize)]) -> Vec<Figure> {
        let shape = || Shape::Box([10.0, 10.0, 100.0, 100.0]);
        let one = |class, is_found: bool| Picture {
            truths: vec![Truth { class, area: 10_000.0, shape: shape(), crowd: false }],
            found: is_found.then(|| Found { class, shape: shape(), score: 0.9 }).into_iter().collect(),
        };
        let each = classes.iter().flat_map(|&(class, found, missed)| {
            std::iter::repeat_n(one(class, true), found).chain(std::iter::repeat_n(one(class, false), missed))
        });
        let pictures: Vec<Picture> = each.collect();
        let figures = Figures { boxes: ultralytics::score(&pictures), masks: None };
        let matched = coco::Matched::of(&pictures);
        let (scores, rates) = (matched.scores(), matched.rates(figures.boxes.confidence));
        of_detector(&figures, &named(names), [Some((&scores, &rates)), None], None)
    }

    fn checked(gate: &str, figures: &[Figure]) -> Vec<(Outcome, String)> {
        let verdict = Gate::parse(gate).unwrap().judge(figures);
        verdict.checks.into_iter().map(|check| (check.outcome, check.reason)).collect()
    }

    #[test]
    fn the_recall_of_one_class_alone_is_judged_by_its_bound() {
        // 95 in 100: with 95% certainty above 0.897 only.
        let one = |least: f64| {
            let gate = format!("figures:\n  boxes.recall: {{at_least: {least}}}");
            checked(&gate, &detected(1, &[(0, 95, 5)])).remove(0)
        };
        assert_eq!(one(0.89).0, Outcome::Pass);
        let (outcome, reason) = one(0.94);
        assert!(outcome == Outcome::InsufficientEvidence && reason.contains("judge by more"), "{reason}");
        assert_eq!(one(0.99).0, Outcome::Fail);
        // A mean of two such has no bound.
        let gate = "figures:\n  boxes.recall: {at_least: 0.94}";
        assert_eq!(checked(gate, &detected(2, &[(0, 95, 5), (1, 95, 5)]))[0].0, Outcome::Pass);
    }

    #[test]
    fn classes_of_which_nothing_is_there_are_no_evidence() {
        let gate = "figures:\n  boxes.worst_class_recall: {at_least: 0.9}";
        let judge = |names, classes: &[(u32, usize, usize)]| checked(gate, &detected(names, classes)).remove(0);
        assert_eq!(judge(2, &[(0, 200, 0), (1, 200, 0)]).0, Outcome::Pass);
        let (outcome, reason) = judge(8, &[(0, 200, 0), (2, 200, 0)]);
        assert_eq!(outcome, Outcome::InsufficientEvidence);
        assert!(reason.ends_with("; 6 are not tested at all: b, d, e, f, g, 1 more"), "{reason}");
        assert_eq!(judge(8, &[(0, 100, 100), (2, 200, 0)]).0, Outcome::Fail, "it will not get better");
        // The worst is the one of which least can be said, not the one with a few misses.
        assert_eq!(judge(2, &[(0, 990, 10), (1, 3, 0)]).1, "it rests on 3, 100 are asked for");

        let scores = vec![vec![0.8, 0.1, 0.1]; 150].into_iter().chain(vec![vec![0.1, 0.8, 0.1]; 150]).collect();
        let answers = Answers { truths: [[0; 150], [1; 150]].concat(), scores };
        let gate = "figures:\n  worst_class_recall: {at_least: 0.9}";
        let two = answers.report(&named(3)).unwrap();
        let (outcome, reason) = checked(gate, &of_classifier(&two)).remove(0);
        assert!(outcome == Outcome::InsufficientEvidence && reason.ends_with("1 are not tested at all: c"), "{reason}");
    }

    #[test]
    fn labels_with_nothing_left_to_ask_about_are_no_evidence() {
        let thresholds = crate::domain::Thresholds { min_similarity: 0.5, min_margin: 0.0 };
        let all = Share::new(200, 200);
        let mut report = identification::Report {
            terms: Terms { enrolled: 1, strangers: 0.0, thresholds, most_wrong: 0.0 },
            labels: 2,
            strangers: 0,
            recall_at_1: all,
            recall_at_5: all,
            coverage: all,
            wrong_accept: Share::new(0, 200),
            wrong_label: Share::new(0, 200),
            wrong_stranger: Share::new(0, 0),
            by_label: vec![OfLabel { label: 0, recall: all, wrong: 0 }],
            untested: Vec::new(),
            confusions: Vec::new(),
            suggestion: None,
            curve: Vec::new(),
        };
        let ranking =
            Ranking { probes: 200, recall_at: [(1, 1.0)].into(), worst_label_recall: 1.0, mean_average_precision: 1.0 };
        let gate = "figures:\n  identification.worst_label_recall: {at_least: 0.9}";
        let judge = |report: &_| checked(gate, &of_embedder(&ranking, Some(report), &named(2))).remove(0);
        assert_eq!(judge(&report).0, Outcome::Pass);
        report.untested = vec![1];
        let (outcome, reason) = judge(&report);
        assert!(outcome == Outcome::InsufficientEvidence && reason.ends_with("1 are not tested at all: b"), "{reason}");
        // Where nothing was identified at all, it is not evidence either.
        assert_eq!(checked(gate, &of_embedder(&ranking, None, &named(2)))[0].0, Outcome::InsufficientEvidence);
    }

    #[test]
    fn a_figure_without_a_value_leaves_the_others_judged() {
        let found = detected(1, &[(0, 150, 0)]);
        let known = names(Task::Detect, Kind::Detect);
        assert!(found.iter().all(|figure| known.contains(&figure.name)), "{found:?}");
        let gate = "figures:\n  boxes.coco_ap_large: {at_least: 0.9}\n  boxes.coco_ap_small: {at_least: 0.9}\n  \
                    boxes.map50: {at_least: 0.9}";
        let checks = checked(gate, &found);
        let outcomes: Vec<Outcome> = checks.iter().map(|(outcome, _)| *outcome).collect();
        assert_eq!(outcomes, [Outcome::Pass, Outcome::InsufficientEvidence, Outcome::Pass], "{checks:?}");
        assert_eq!(checks[1].1, "nothing is there that it could be taken from");
        // What is told of large objects rests on them alone.
        let large = found.iter().find(|figure| figure.name == "boxes.coco_ap_large").unwrap();
        assert_eq!(large.evidence, 150);
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
