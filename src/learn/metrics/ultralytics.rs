//! The protocol by which Ultralytics' validator judges: average precision over 101 recalls read by straight lines, and
//! precision, recall and F1 at the confidence where the smoothed mean F1 is highest. Written from its documented
//! definition and from what it prints; equal to it (`tests/golden/metrics.py`).

use std::collections::BTreeSet;

use serde::Serialize;

use super::shape::{Picture, Truth};

/// Overlaps asked for: 0.50 to 0.95 in steps of 0.05.
const OVERLAPS: usize = 10;
/// Confidences at which the curves are read.
const POINTS: usize = 1000;
/// Keeps divisions by nothing from happening.
const TINY: f64 = 1e-16;

/// The figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Mean precision of the classes at [`Scores::confidence`].
    pub precision: f64,
    /// Mean recall of the classes there.
    pub recall: f64,
    /// Mean F1 of the classes there.
    pub f1: f64,
    /// The confidence where the smoothed mean F1 is highest, 0 to 1.
    pub confidence: f64,
    /// Mean average precision at an overlap of 0.50.
    pub map50: f64,
    /// At 0.75.
    pub map75: f64,
    /// Over all overlaps.
    pub map50_95: f64,
    /// Each class that is there.
    pub classes: Vec<ClassScore>,
    /// Precision, recall and F1 by confidence, for plots.
    #[serde(skip)]
    pub curves: Curves,
}

/// A class's figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// The class's number.
    pub class: u32,
    /// Objects of it.
    pub truths: usize,
    /// Right answers by answers, at the confidence of all.
    pub precision: f64,
    /// Right answers by objects.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// Average precision at an overlap of 0.50.
    pub ap50: f64,
    /// At 0.75.
    pub ap75: f64,
    /// Over all overlaps.
    pub ap: f64,
}

/// A class's curves at [`POINTS`] confidences from 0 to 1, and precision by recall at an overlap of 0.50.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// The classes, in the order of the others.
    pub classes: Vec<u32>,
    /// Precision by confidence.
    pub precision: Vec<Vec<f64>>,
    /// Recall by confidence.
    pub recall: Vec<Vec<f64>>,
    /// F1 by confidence.
    pub f1: Vec<Vec<f64>>,
    /// Precision by recall.
    pub precision_by_recall: Vec<Vec<f64>>,
}

/// An answer and the overlaps at which it is right, a bit each.
struct Answer {
    class: u32,
    score: f64,
    right: u16,
}

/// Judges pictures: the answers as the validator gets them, at a confidence of 0.001 and suppressed at 0.7.
#[must_use]
pub fn score(pictures: &[Picture]) -> Scores {
    let mut answers: Vec<Answer> = pictures.iter().flat_map(matched).collect();
    answers.sort_by(|a, b| b.score.total_cmp(&a.score));
    let present: BTreeSet<u32> = pictures.iter().flat_map(counted).map(|t| t.class).collect();
    let mut scores = Scores::default();
    let mut average: Vec<[f64; OVERLAPS]> = Vec::new();
    for &class in &present {
        let truths = pictures.iter().flat_map(counted).filter(|t| t.class == class).count();
        let mine: Vec<&Answer> = answers.iter().filter(|answer| answer.class == class).collect();
        let curves = &mut scores.curves;
        curves.classes.push(class);
        average.push(one_class(&mine, truths, curves));
        scores.classes.push(ClassScore {
            class,
            truths,
            precision: 0.0,
            recall: 0.0,
            f1: 0.0,
            ap50: 0.0,
            ap75: 0.0,
            ap: 0.0,
        });
    }
    if scores.classes.is_empty() {
        return scores;
    }
    let curves = &scores.curves;
    let mean_f1: Vec<f64> = (0..POINTS).map(|i| mean(curves.f1.iter().map(|curve| curve[i]))).collect();
    let smooth = smoothed(&mean_f1, 0.1);
    // The first of equals.
    let best = (0..POINTS).rev().max_by(|&a, &b| smooth[a].total_cmp(&smooth[b])).unwrap_or(0);
    for (number, class) in scores.classes.iter_mut().enumerate() {
        class.precision = curves.precision[number][best];
        class.recall = curves.recall[number][best];
        class.f1 = curves.f1[number][best];
        class.ap50 = average[number][0];
        class.ap75 = average[number][5];
        class.ap = mean(average[number].iter().copied());
    }
    scores.confidence = at(best);
    scores.precision = mean(scores.classes.iter().map(|c| c.precision));
    scores.recall = mean(scores.classes.iter().map(|c| c.recall));
    scores.f1 = mean(scores.classes.iter().map(|c| c.f1));
    scores.map50 = mean(average.iter().map(|ap| ap[0]));
    scores.map75 = mean(average.iter().map(|ap| ap[5]));
    scores.map50_95 = mean(scores.classes.iter().map(|c| c.ap));
    scores
}

/// What is to be found: this protocol knows no crowds.
fn counted(picture: &Picture) -> impl Iterator<Item = &Truth> {
    picture.truths.iter().filter(|truth| !truth.crowd)
}

/// The confidence of a point of the curves.
fn at(point: usize) -> f64 {
    point as f64 / (POINTS - 1) as f64
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for value in values {
        (sum, count) = (sum + value, count + 1);
    }
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// The answers of a picture and where each is right: at each overlap, pairs of one class in the order of their overlap;
/// an answer keeps the truth it overlaps most, then a truth keeps the surest of its answers.
fn matched(picture: &Picture) -> Vec<Answer> {
    let mut order: Vec<usize> = (0..picture.found.len()).collect();
    order.sort_by(|&a, &b| picture.found[b].score.total_cmp(&picture.found[a].score));
    let mut answers: Vec<Answer> = order
        .iter()
        .map(|&i| Answer { class: picture.found[i].class, score: picture.found[i].score, right: 0 })
        .collect();
    // For each answer, its truths of the same class with their overlaps, the best first.
    let best: Vec<Option<(usize, f64)>> = order
        .iter()
        .map(|&i| {
            let found = &picture.found[i];
            let same =
                picture.truths.iter().enumerate().filter(|(_, truth)| !truth.crowd && truth.class == found.class);
            let overlaps = same.map(|(n, truth)| (n, found.shape.overlap(&truth.shape, false)));
            overlaps.fold(None, |best: Option<(usize, f64)>, next| match best {
                Some(best) if best.1 >= next.1 => Some(best),
                _ => Some(next),
            })
        })
        .collect();
    for t in 0..OVERLAPS {
        let least = 0.5 + 0.05 * t as f64;
        let mut taken = BTreeSet::new();
        for (answer, best) in answers.iter_mut().zip(&best) {
            if let Some((truth, overlap)) = best
                && *overlap >= least
                && taken.insert(*truth)
            {
                answer.right |= 1 << t;
            }
        }
    }
    answers
}

/// Adds a class's curves; gives its average precision at each overlap.
fn one_class(answers: &[&Answer], truths: usize, curves: &mut Curves) -> [f64; OVERLAPS] {
    let mut average = [0.0; OVERLAPS];
    if answers.is_empty() {
        for curve in [&mut curves.precision, &mut curves.recall, &mut curves.f1, &mut curves.precision_by_recall] {
            curve.push(vec![0.0; POINTS]);
        }
        return average;
    }
    let points = |t: usize| -> (Vec<f64>, Vec<f64>) {
        let mut right = 0_u32;
        let each = answers.iter().enumerate().map(|(n, answer)| {
            right += u32::from(answer.right >> t & 1 == 1);
            (f64::from(right) / (truths as f64 + TINY), f64::from(right) / (n + 1) as f64)
        });
        each.unzip()
    };
    for (t, average) in average.iter_mut().enumerate() {
        let (recall, precision) = points(t);
        let (recall, precision) = envelope(&recall, &precision);
        // The area under straight lines between 101 recalls.
        let read: Vec<f64> = (0..101).map(|i| interpolated(f64::from(i) / 100.0, &recall, &precision)).collect();
        *average = read.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0 * 0.01).sum();
        if t == 0 {
            let by_recall = (0..POINTS).map(|i| interpolated(at(i), &recall, &precision));
            curves.precision_by_recall.push(by_recall.collect());
        }
    }
    let (recall, precision) = points(0);
    // By falling confidence, hence read at its negative.
    let scores: Vec<f64> = answers.iter().map(|answer| -answer.score).collect();
    let read = |values: &[f64], before: f64| -> Vec<f64> {
        let value = |i: usize| if -at(i) < scores[0] { before } else { interpolated(-at(i), &scores, values) };
        (0..POINTS).map(value).collect()
    };
    let (recall, precision) = (read(&recall, 0.0), read(&precision, 1.0));
    curves.f1.push(recall.iter().zip(&precision).map(|(r, p)| 2.0 * p * r / (p + r + TINY)).collect());
    curves.recall.push(recall);
    curves.precision.push(precision);
    average
}

/// Points from recall 0 to 1, precision never falling towards lower recall, and nothing past the highest recall.
fn envelope(recall: &[f64], precision: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let wrapped = |first: f64, values: &[f64], last: [f64; 2]| -> Vec<f64> {
        std::iter::once(first).chain(values.iter().copied()).chain(last).collect()
    };
    let highest = recall.last().copied().unwrap_or(0.0);
    let (recall, mut precision) = (wrapped(0.0, recall, [highest, 1.0]), wrapped(1.0, precision, [0.0, 0.0]));
    for i in (1..precision.len()).rev() {
        precision[i - 1] = precision[i - 1].max(precision[i]);
    }
    (recall, precision)
}

/// The value at `x` on straight lines between points of rising `xs`; of equal ones the last; outside, the nearest.
fn interpolated(x: f64, xs: &[f64], ys: &[f64]) -> f64 {
    let after = xs.partition_point(|point| *point <= x);
    let Some(before) = after.checked_sub(1) else {
        return ys.first().copied().unwrap_or(0.0);
    };
    if after == xs.len() {
        return ys[before];
    }
    let slope = (ys[after] - ys[before]) / (xs[after] - xs[before]);
    slope * (x - xs[before]) + ys[before]
}

/// A running mean over a share of the curve, its ends held.
fn smoothed(values: &[f64], share: f64) -> Vec<f64> {
    // An odd number of points; numpy rounds halves to even.
    let width = (values.len() as f64 * share * 2.0).round_ties_even() as usize / 2 + 1;
    let half = width / 2;
    let reach = |i: usize, by: usize| values[(i + by).saturating_sub(half).min(values.len() - 1)];
    (0..values.len()).map(|i| (0..width).map(|by| reach(i, by)).sum::<f64>() / width as f64).collect()
}
