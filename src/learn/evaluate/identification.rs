//! Judging an embedder the way the engine uses it: some pictures of a label are enrolled in four rotations, the others
//! are asked about, and labels of which nothing is enrolled are strangers that must get no answer.

use std::collections::BTreeMap;

use image::RgbImage;
use serde::Serialize;

use crate::domain::Thresholds;
use crate::learn::embed::crops::Crops;
use crate::learn::metrics::retrieval::{Answer, Operating, best_within, lower_bound, open_set, upper_bound};
use crate::learn::train::TrainError;
use crate::vision::{Embedder, rotations};

/// Crops that are embedded at once.
const TOGETHER: usize = 32;
/// Confusions that are told.
const CONFUSIONS: usize = 20;
/// Leads that are tried for a suggestion: up to 0.4, in steps of 0.005.
const LEADS: u32 = 80;

/// Who is enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Terms {
    /// Pictures of each label that are enrolled, 1 or more: the first of the set; the others are asked about.
    pub enrolled: usize,
    /// Share of the labels of which nothing is enrolled, 0 to 1: the last by name.
    pub strangers: f64,
    /// When an answer is given.
    pub thresholds: Thresholds,
    /// The most wrong answers, as a share of all probes, that suggested thresholds may allow.
    pub most_wrong: f64,
}

/// A share that was seen, and what it may be in truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub of: u64,
    /// In so many.
    pub all: u64,
    /// The share, 0 where there are none.
    pub share: f64,
    /// The one-sided 95% lower bound (Clopper and Pearson, 1934).
    pub lower: f64,
    /// The one-sided 95% upper bound.
    pub upper: f64,
}

impl Share {
    /// Of so many in so many.
    #[must_use]
    pub fn new(of: u64, all: u64) -> Self {
        let share = if all == 0 { 0.0 } else { of as f64 / all as f64 };
        Self { of, all, share, lower: lower_bound(of, all), upper: upper_bound(of, all) }
    }
}

/// A label's own figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfLabel {
    /// The label's number.
    pub label: u32,
    /// Of its probes, those that were answered rightly.
    pub recall: Share,
    /// Those that were answered wrongly.
    pub wrong: u64,
}

/// A label that was taken for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// What it was.
    pub label: u32,
    /// The nearest label.
    pub nearest: u32,
    /// How often.
    pub probes: u64,
    /// How often it was answered so, rather than abstained on.
    pub answered: u64,
}

/// Thresholds that would have done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Suggestion {
    /// `decision.min_similarity` and `decision.min_margin`.
    pub thresholds: Thresholds,
    /// Of the enrolled labels' probes, the share that gets an answer.
    pub coverage: f64,
    /// Of all probes, the share that gets a wrong one.
    pub wrong_accept: f64,
}

/// How well labels are told, and strangers kept out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Who was enrolled, and when an answer was given.
    pub terms: Terms,
    /// Labels that were enrolled.
    pub labels: usize,
    /// Labels that were not.
    pub strangers: usize,
    /// Of the enrolled labels' probes, those whose nearest label is the right one: no threshold.
    pub recall_at_1: Share,
    /// Those that have the right one among the five nearest.
    pub recall_at_5: Share,
    /// Of the enrolled labels' probes, those that get an answer.
    pub coverage: Share,
    /// Of all probes, those that get a wrong one.
    pub wrong_accept: Share,
    /// Of the enrolled labels' probes, those that get another label.
    pub wrong_label: Share,
    /// Of the strangers' probes, those that get any.
    pub wrong_stranger: Share,
    /// Each enrolled label with probes, the worst lower bound first.
    pub by_label: Vec<OfLabel>,
    /// Enrolled labels that have no picture left to ask about, by their numbers.
    pub untested: Vec<u32>,
    /// What was nearest and wrong, the most frequent first.
    pub confusions: Vec<Confusion>,
    /// What thresholds would have given the most answers at no more than the wrong ones allowed; none where no threshold
    /// would. To be chosen on other pictures than those they are judged by.
    pub suggestion: Option<Suggestion>,
    /// What each least similarity does at the least lead in use.
    #[serde(skip)]
    pub curve: Vec<Operating>,
}

/// A probe with its nearest labels, each by its nearest enrolled vector.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    label: u32,
    enrolled: bool,
    nearest: Vec<(u32, f32)>,
}

impl Asked {
    fn best(&self) -> (u32, f32) {
        self.nearest.first().copied().unwrap_or((u32::MAX, -1.0))
    }

    /// The lead over the next label, as [`crate::domain::decide`] counts it.
    fn lead(&self) -> f32 {
        self.best().1 - self.nearest.get(1).map_or(-1.0, |next| next.1)
    }

    fn is_right(&self) -> bool {
        self.enrolled && self.best().0 == self.label
    }

    fn is_answered(&self, thresholds: Thresholds) -> bool {
        self.best().1 >= thresholds.min_similarity && self.lead() >= thresholds.min_margin
    }
}

/// Judges an embedder; `vectors` are those of the crops as they are. None where no label has a picture left to ask about.
///
/// # Errors
/// A crop cannot be read, or the network fails.
pub fn identify(
    embedder: &Embedder,
    crops: &Crops,
    vectors: &[Vec<f32>],
    terms: Terms,
) -> Result<Option<Report>, TrainError> {
    let mut by_label: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    crops.labels().iter().enumerate().for_each(|(place, label)| by_label.entry(*label).or_default().push(place));
    let known = by_label.len() - ((by_label.len() as f64 * terms.strangers).round() as usize).min(by_label.len());
    let (mut enrolled, mut probes) = (Vec::new(), Vec::new());
    for (number, (label, places)) in by_label.iter().enumerate() {
        let taken = if number < known { terms.enrolled.min(places.len()) } else { 0 };
        enrolled.extend(places[..taken].iter().map(|place| (*label, *place)));
        probes.extend(places[taken..].iter().map(|place| (*label, number < known, *place)));
    }
    if enrolled.is_empty() || !probes.iter().any(|(_, enrolled, _)| *enrolled) {
        return Ok(None);
    }
    let mut gallery: Vec<(u32, Vec<f32>)> = Vec::with_capacity(enrolled.len() * 4);
    for some in enrolled.chunks(TOGETHER / 4) {
        let mut turned: Vec<RgbImage> = Vec::with_capacity(TOGETHER);
        for (_, place) in some {
            turned.extend(rotations(&crops.crop(*place)?));
        }
        let labels = some.iter().flat_map(|(label, _)| [*label; 4]);
        let found = embedder.embed(&turned)?;
        gallery.extend(labels.zip(found.iter().map(|vector| vector.as_slice().to_vec())));
    }
    let asked: Vec<Asked> = probes
        .iter()
        .map(|(label, enrolled, place)| Asked {
            label: *label,
            enrolled: *enrolled,
            nearest: nearest(&gallery, &vectors[*place]),
        })
        .collect();
    let untested = by_label.iter().take(known).filter(|(_, places)| places.len() <= terms.enrolled);
    let untested = untested.map(|(label, _)| *label).collect();
    Ok(Some(Report { untested, ..report(&asked, known, by_label.len() - known, terms) }))
}

/// The labels by their nearest vector, the nearest first, six at most.
fn nearest(gallery: &[(u32, Vec<f32>)], probe: &[f32]) -> Vec<(u32, f32)> {
    let mut best: BTreeMap<u32, f32> = BTreeMap::new();
    for (label, vector) in gallery {
        let similarity = vector.iter().zip(probe).map(|(a, b)| a * b).sum::<f32>();
        let seen = best.entry(*label).or_insert(f32::MIN);
        *seen = seen.max(similarity);
    }
    let mut sorted: Vec<(u32, f32)> = best.into_iter().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    sorted.truncate(6);
    sorted
}

fn report(asked: &[Asked], labels: usize, strangers: usize, terms: Terms) -> Report {
    let count = |which: &dyn Fn(&Asked) -> bool| asked.iter().filter(|a| which(a)).count() as u64;
    let answered = |a: &Asked| a.is_answered(terms.thresholds);
    let (known, all) = (count(&|a| a.enrolled), asked.len() as u64);
    let among = |a: &Asked, k: usize| a.enrolled && a.nearest.iter().take(k).any(|(label, _)| *label == a.label);
    let mut of: BTreeMap<u32, [u64; 3]> = BTreeMap::new();
    let mut confused: BTreeMap<(u32, u32), [u64; 2]> = BTreeMap::new();
    for a in asked {
        if a.enrolled {
            let [right, wrong, probes] = of.entry(a.label).or_default();
            *right += u64::from(answered(a) && a.is_right());
            *wrong += u64::from(answered(a) && !a.is_right());
            *probes += 1;
        }
        // Every stranger has a nearest label; only those that got an answer were taken for it.
        if !a.is_right() && (a.enrolled || answered(a)) {
            let [probes, given] = confused.entry((a.label, a.best().0)).or_default();
            *probes += 1;
            *given += u64::from(answered(a));
        }
    }
    let mut by_label: Vec<OfLabel> = of
        .into_iter()
        .map(|(label, [right, wrong, probes])| OfLabel { label, recall: Share::new(right, probes), wrong })
        .collect();
    by_label.sort_by(|a, b| a.recall.lower.total_cmp(&b.recall.lower).then(a.label.cmp(&b.label)));
    let mut confusions: Vec<Confusion> = confused
        .into_iter()
        .map(|((label, nearest), [probes, answered])| Confusion { label, nearest, probes, answered })
        .collect();
    confusions.sort_by_key(|c| std::cmp::Reverse((c.answered, c.probes)));
    confusions.truncate(CONFUSIONS);
    Report {
        terms,
        labels,
        strangers,
        recall_at_1: Share::new(count(&|a| among(a, 1)), known),
        recall_at_5: Share::new(count(&|a| among(a, 5)), known),
        coverage: Share::new(count(&|a| a.enrolled && answered(a)), known),
        wrong_accept: Share::new(count(&|a| answered(a) && !a.is_right()), all),
        wrong_label: Share::new(count(&|a| a.enrolled && answered(a) && !a.is_right()), known),
        wrong_stranger: Share::new(count(&|a| !a.enrolled && answered(a)), all - known),
        by_label,
        untested: Vec::new(),
        confusions,
        suggestion: suggestion(asked, terms.most_wrong),
        curve: curve(asked, terms.thresholds.min_margin),
    }
}

/// What each least similarity does at a least lead.
fn curve(asked: &[Asked], lead: f32) -> Vec<Operating> {
    let score = |a: &Asked| if a.lead() >= lead { f64::from(a.best().1) } else { f64::NEG_INFINITY };
    let answers: Vec<Answer> =
        asked.iter().map(|a| Answer { enrolled: a.enrolled, right: a.is_right(), score: score(a) }).collect();
    open_set(&answers).into_iter().filter(|point| point.threshold.is_finite()).collect()
}

fn suggestion(asked: &[Asked], most_wrong: f64) -> Option<Suggestion> {
    let mut best: Option<Suggestion> = None;
    for step in 0..=LEADS {
        let lead = step as f32 * 0.005;
        let Some(point) = best_within(&curve(asked, lead), most_wrong) else { continue };
        // Of equal ones the larger lead: it is what keeps look-alikes apart.
        if best.is_none_or(|best| point.coverage >= best.coverage) {
            let thresholds = Thresholds { min_similarity: point.threshold as f32, min_margin: lead };
            best = Some(Suggestion { thresholds, coverage: point.coverage, wrong_accept: point.wrong_accept });
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(min_similarity: f32, min_margin: f32) -> Terms {
        let thresholds = Thresholds { min_similarity, min_margin };
        Terms { enrolled: 1, strangers: 0.25, thresholds, most_wrong: 0.0 }
    }

    fn asked(label: u32, enrolled: bool, nearest: &[(u32, f32)]) -> Asked {
        Asked { label, enrolled, nearest: nearest.to_vec() }
    }

    #[test]
    fn answers_are_counted_by_hand() {
        let probes = [
            asked(0, true, &[(0, 0.9), (1, 0.5)]),
            asked(0, true, &[(1, 0.9), (0, 0.88)]), // A look-alike: nearest wrong, but with too small a lead.
            asked(1, true, &[(0, 0.8), (1, 0.4)]),  // Wrong and sure.
            asked(1, true, &[(1, 0.6), (0, 0.2)]),  // Right, but too far.
            asked(9, false, &[(0, 0.75), (1, 0.1)]), // A stranger who gets in.
            asked(9, false, &[(0, 0.3), (1, 0.1)]),
        ];
        let found = report(&probes, 2, 1, terms(0.7, 0.05));
        let pair = |share: Share| (share.of, share.all);
        assert_eq!((pair(found.recall_at_1), pair(found.recall_at_5)), ((2, 4), (4, 4)));
        assert_eq!((pair(found.coverage), pair(found.wrong_accept)), ((2, 4), (2, 6)));
        assert_eq!((pair(found.wrong_label), pair(found.wrong_stranger)), ((1, 4), (1, 2)));
        let labels: Vec<_> = found.by_label.iter().map(|of| (of.label, pair(of.recall), of.wrong)).collect();
        assert_eq!(labels, [(1, (0, 2), 1), (0, (1, 2), 0)]);
        let first = Confusion { label: 1, nearest: 0, probes: 1, answered: 1 };
        assert!(found.confusions.contains(&first) && found.confusions.len() == 3, "{:?}", found.confusions);
        // Above 0.8 nobody is wrong but the look-alike, whom a lead of more than 0.02 holds back.
        let told = found.suggestion;
        assert!(told.is_some_and(|t| (t.coverage - 0.25).abs() < 1e-12 && t.wrong_accept == 0.0), "{told:?}");
        let told = told.map(|t| t.thresholds);
        assert!(told.is_some_and(|t| t.min_similarity > 0.8 && t.min_margin > 0.02), "{told:?}");
        assert!(found.curve.iter().all(|point| point.coverage <= 0.75), "the look-alike is never answered");
    }

    #[test]
    fn a_label_counts_by_its_nearest_vector() {
        let gallery = [(3, vec![1.0, 0.0]), (5, vec![0.6, 0.8]), (3, vec![0.0, 1.0])];
        assert_eq!(nearest(&gallery, &[0.0, 1.0]), [(3, 1.0), (5, 0.8)]);
    }

    #[test]
    fn bounds_of_a_share_hold_it() {
        let none = Share::new(0, 598);
        assert!(none.lower == 0.0 && none.upper < 0.005 && Share::new(0, 597).upper > 0.005);
        let half = Share::new(5, 10);
        assert!(half.lower < 0.5 && half.upper > 0.5 && (half.lower + half.upper - 1.0).abs() < 1e-9);
        assert_eq!((Share::new(0, 0).lower, Share::new(0, 0).upper), (0.0, 1.0));
    }
}
