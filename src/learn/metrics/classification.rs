//! Figures of classifiers, equal to scikit-learn's.

use serde::Serialize;

/// Why figures cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// Nothing to judge.
    #[error("there is nothing to judge: no answers were given")]
    Empty,
    /// Lists of different lengths.
    #[error("{truths} truths and {answers} answers do not fit together")]
    Length {
        /// Truths.
        truths: usize,
        /// Answers.
        answers: usize,
    },
    /// A class that is not there.
    #[error("class {class} is out of range; there are {classes}")]
    Class {
        /// The class.
        class: usize,
        /// How many there are.
        classes: usize,
    },
    /// A score that is no number.
    #[error("the score of answer {0} is not finite")]
    Score(usize),
}

/// Counts of truths (rows) answered as (columns).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// `counts[truth][answer]`.
    pub counts: Vec<Vec<u64>>,
}

/// One class, or a mean over classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Right answers by answers; 0 where none was given.
    pub precision: f64,
    /// Right answers by truths; 0 where there is none.
    pub recall: f64,
    /// Their harmonic mean; 0 where both are.
    pub f1: f64,
}

impl Confusion {
    /// Counts pairs of truth and answer.
    ///
    /// # Errors
    /// Empty or unequal lists; a class out of range.
    pub fn of(truths: &[usize], answers: &[usize], classes: usize) -> Result<Self, MetricError> {
        if truths.len() != answers.len() {
            return Err(MetricError::Length { truths: truths.len(), answers: answers.len() });
        }
        if truths.is_empty() {
            return Err(MetricError::Empty);
        }
        if let Some(&class) = truths.iter().chain(answers).find(|class| **class >= classes) {
            return Err(MetricError::Class { class, classes });
        }
        let mut counts = vec![vec![0; classes]; classes];
        truths.iter().zip(answers).for_each(|(truth, answer)| counts[*truth][*answer] += 1);
        Ok(Self { counts })
    }

    /// Truths of a class.
    #[must_use]
    pub fn support(&self, class: usize) -> u64 {
        self.counts[class].iter().sum()
    }

    fn answered(&self, class: usize) -> u64 {
        self.counts.iter().map(|row| row[class]).sum()
    }

    fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    fn right(&self) -> u64 {
        (0..self.counts.len()).map(|class| self.counts[class][class]).sum()
    }

    /// Right answers by all, 0 to 1.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        ratio(self.right(), self.total())
    }

    /// Each class.
    #[must_use]
    pub fn classes(&self) -> Vec<Quality> {
        let quality = |class: usize| {
            let right = self.counts[class][class];
            let (answered, there) = (self.answered(class), self.support(class));
            let f1 = ratio(2 * right, answered + there);
            Quality { precision: ratio(right, answered), recall: ratio(right, there), f1 }
        };
        (0..self.counts.len()).map(quality).collect()
    }

    /// The plain mean over the classes that are there or were answered.
    #[must_use]
    pub fn macro_mean(&self) -> Quality {
        let classes = self.classes();
        let met = (0..classes.len()).filter(|class| self.support(*class) + self.answered(*class) > 0);
        weighted(met.map(|class| (classes[class], 1.0)))
    }

    /// Over all answers together: each of the three is the accuracy.
    #[must_use]
    pub fn micro_mean(&self) -> Quality {
        let all = self.accuracy();
        Quality { precision: all, recall: all, f1: all }
    }

    /// The mean over classes, weighted by how often each is there.
    #[must_use]
    pub fn weighted_mean(&self) -> Quality {
        let classes = self.classes();
        weighted((0..classes.len()).map(|class| (classes[class], self.support(class) as f64)))
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn weighted(qualities: impl Iterator<Item = (Quality, f64)>) -> Quality {
    let (mut sum, mut total) = (Quality::default(), 0.0);
    for (quality, weight) in qualities {
        sum.precision += quality.precision * weight;
        sum.recall += quality.recall * weight;
        sum.f1 += quality.f1 * weight;
        total += weight;
    }
    if total == 0.0 {
        return Quality::default();
    }
    Quality { precision: sum.precision / total, recall: sum.recall / total, f1: sum.f1 / total }
}

/// A threshold's right and wrong acceptances so far, from the highest score down; equal scores fall together.
///
/// # Errors
/// Unequal lists; a score that is not finite.
pub fn steps(positive: &[bool], scores: &[f64]) -> Result<Vec<(u64, u64)>, MetricError> {
    if positive.len() != scores.len() {
        return Err(MetricError::Length { truths: positive.len(), answers: scores.len() });
    }
    if let Some(odd) = scores.iter().position(|score| !score.is_finite()) {
        return Err(MetricError::Score(odd));
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut right, mut wrong, mut steps) = (0, 0, Vec::new());
    for (place, &i) in order.iter().enumerate() {
        right += u64::from(positive[i]);
        wrong += u64::from(!positive[i]);
        #[allow(clippy::float_cmp, reason = "scores that are the same number fall together")]
        if order.get(place + 1).is_none_or(|&next| scores[next] != scores[i]) {
            steps.push((right, wrong));
        }
    }
    Ok(steps)
}

/// The area under the receiver's curve: how often a positive has a higher score than a negative. None without both kinds.
///
/// # Errors
/// Unequal lists; a score that is not finite.
pub fn roc_auc(positive: &[bool], scores: &[f64]) -> Result<Option<f64>, MetricError> {
    let steps = steps(positive, scores)?;
    let Some(&(positives, negatives)) = steps.last() else { return Ok(None) };
    if positives == 0 || negatives == 0 {
        return Ok(None);
    }
    let (mut area, mut before) = (0.0, (0, 0));
    for step in steps {
        area += (step.1 - before.1) as f64 * (step.0 + before.0) as f64 / 2.0;
        before = step;
    }
    Ok(Some(area / (positives as f64 * negatives as f64)))
}

/// Average precision: precision at each threshold, weighted by how much recall it adds. None without a positive.
///
/// # Errors
/// Unequal lists; a score that is not finite.
pub fn average_precision(positive: &[bool], scores: &[f64]) -> Result<Option<f64>, MetricError> {
    let steps = steps(positive, scores)?;
    let positives = steps.last().map_or(0, |(right, _)| *right);
    if positives == 0 {
        return Ok(None);
    }
    let (mut sum, mut before) = (0.0, 0);
    for (right, wrong) in steps {
        sum += (right - before) as f64 / positives as f64 * ratio(right, right + wrong);
        before = right;
    }
    Ok(Some(sum))
}

/// [`roc_auc`] or [`average_precision`].
pub type Area = fn(&[bool], &[f64]) -> Result<Option<f64>, MetricError>;

/// A curve's area for each class against the rest, and its plain mean over the classes that have one.
///
/// `scores[answer][class]`.
///
/// # Errors
/// Unequal lists; a class out of range; a score that is not finite.
pub fn one_against_rest(
    truths: &[usize],
    scores: &[Vec<f64>],
    classes: usize,
    area: Area,
) -> Result<(Vec<Option<f64>>, Option<f64>), MetricError> {
    if truths.len() != scores.len() {
        return Err(MetricError::Length { truths: truths.len(), answers: scores.len() });
    }
    if let Some(&class) = truths.iter().find(|class| **class >= classes) {
        return Err(MetricError::Class { class, classes });
    }
    if let Some(odd) = scores.iter().position(|row| row.len() != classes) {
        return Err(MetricError::Length { truths: classes, answers: scores[odd].len() });
    }
    let each = (0..classes).map(|class| {
        let positive: Vec<bool> = truths.iter().map(|truth| *truth == class).collect();
        let column: Vec<f64> = scores.iter().map(|row| row[class]).collect();
        area(&positive, &column)
    });
    let each = each.collect::<Result<Vec<_>, _>>()?;
    let known: Vec<f64> = each.iter().flatten().copied().collect();
    let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
    Ok((each, mean))
}

/// Expected calibration error (Guo et al., arXiv:1706.04599): over equal bins of confidence, how far being right and being
/// sure lie apart, weighted by the bins' shares. `answers` are confidences, 0 to 1, and whether each was right.
///
/// # Errors
/// Nothing to judge; a confidence that is not between 0 and 1.
pub fn calibration_error(answers: &[(f64, bool)], bins: usize) -> Result<f64, MetricError> {
    if answers.is_empty() || bins == 0 {
        return Err(MetricError::Empty);
    }
    if let Some(odd) = answers.iter().position(|(sure, _)| !(0.0..=1.0).contains(sure)) {
        return Err(MetricError::Score(odd));
    }
    // (sum of confidences, right, all); a bin holds its upper edge, as in the paper.
    let mut held = vec![(0.0, 0_u64, 0_u64); bins];
    for (sure, right) in answers {
        let bin = ((sure * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        held[bin].0 += sure;
        held[bin].1 += u64::from(*right);
        held[bin].2 += 1;
    }
    let gaps = held.iter().map(|(sure, right, _)| (*right as f64 - sure).abs());
    Ok(gaps.sum::<f64>() / answers.len() as f64)
}
