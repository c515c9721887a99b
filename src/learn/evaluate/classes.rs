//! Judging a classifier by its probabilities.

use serde::Serialize;

use crate::learn::metrics::classification::{
    Confusion, MetricError, Quality, average_precision, calibration_error, one_against_rest, roc_auc,
};

/// Bins of the calibration error.
pub const BINS: usize = 15;

/// Pictures' classes, and what a classifier says of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// The classes that are right.
    pub truths: Vec<usize>,
    /// `scores[picture][class]`: probabilities.
    pub scores: Vec<Vec<f64>>,
}

/// A class's figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Pictures of it.
    pub pictures: u64,
    /// Precision, recall and F1.
    #[serde(flatten)]
    pub quality: Quality,
    /// The area under the receiver's curve, against all other classes; none without both kinds.
    pub roc_auc: Option<f64>,
    /// Average precision, against all other classes; none without a picture of it.
    pub pr_auc: Option<f64>,
}

/// A classifier's figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Pictures judged.
    pub pictures: usize,
    /// Right answers by all.
    pub accuracy: f64,
    /// The right class among the five of the highest probability.
    pub accuracy_top5: f64,
    /// Plain means over the classes.
    #[serde(rename = "macro")]
    pub macro_mean: Quality,
    /// Over all answers together.
    #[serde(rename = "micro")]
    pub micro_mean: Quality,
    /// Means over the classes by how many pictures they have.
    #[serde(rename = "weighted")]
    pub weighted_mean: Quality,
    /// The mean area under the receiver's curves, each class against the rest.
    pub roc_auc: Option<f64>,
    /// The mean average precision, each class against the rest.
    pub pr_auc: Option<f64>,
    /// The expected calibration error in 15 bins: how far being sure and being right lie apart.
    pub calibration_error: f64,
    /// The mean negative logarithm of the right class's probability.
    pub loss: f64,
    /// The recall of the class that is told worst, among those that have pictures.
    pub worst_recall: f64,
    /// Each class.
    pub classes: Vec<Class>,
    /// `counts[truth][answer]`.
    pub confusion: Confusion,
}

impl Answers {
    /// The class of the highest probability of each; of equal ones the first.
    #[must_use]
    pub fn given(&self) -> Vec<usize> {
        self.scores.iter().map(|row| ranked(row).first().copied().unwrap_or_default()).collect()
    }

    /// Each picture's highest probability, and whether that class was right.
    #[must_use]
    pub fn sureness(&self) -> Vec<(f64, bool)> {
        let one = |((row, given), truth): ((&Vec<f64>, usize), &usize)| {
            (row.get(given).copied().unwrap_or_default(), given == *truth)
        };
        self.scores.iter().zip(self.given()).zip(&self.truths).map(one).collect()
    }

    /// The figures.
    ///
    /// # Errors
    /// There is nothing to judge, or scores and names do not fit.
    pub fn report(&self, names: &[String]) -> Result<Report, MetricError> {
        let confusion = Confusion::of(&self.truths, &self.given(), names.len())?;
        let (roc, roc_mean) = one_against_rest(&self.truths, &self.scores, names.len(), roc_auc)?;
        let (pr, pr_mean) = one_against_rest(&self.truths, &self.scores, names.len(), average_precision)?;
        let count = self.truths.len() as f64;
        let (mut top5, mut loss) = (0, 0.0);
        for (row, truth) in self.scores.iter().zip(&self.truths) {
            top5 += usize::from(ranked(row).iter().take(5).any(|class| class == truth));
            loss -= row[*truth].max(f64::MIN_POSITIVE).ln();
        }
        let qualities = confusion.classes();
        let classes: Vec<Class> = names
            .iter()
            .enumerate()
            .map(|(class, name)| Class {
                name: name.clone(),
                pictures: confusion.support(class),
                quality: qualities[class],
                roc_auc: roc[class],
                pr_auc: pr[class],
            })
            .collect();
        let met = classes.iter().filter(|class| class.pictures > 0);
        Ok(Report {
            pictures: self.truths.len(),
            accuracy: confusion.accuracy(),
            accuracy_top5: top5 as f64 / count,
            macro_mean: confusion.macro_mean(),
            micro_mean: confusion.micro_mean(),
            weighted_mean: confusion.weighted_mean(),
            roc_auc: roc_mean,
            pr_auc: pr_mean,
            calibration_error: calibration_error(&self.sureness(), BINS)?,
            loss: loss / count,
            worst_recall: met.map(|class| class.quality.recall).fold(1.0, f64::min),
            classes,
            confusion,
        })
    }
}

/// Classes from the highest probability down.
fn ranked(row: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
    order
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    #[test]
    fn a_report_is_counted_by_hand() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let answers = Answers {
            truths: vec![0, 0, 1, 1],
            scores: vec![vec![0.8, 0.1, 0.1], vec![0.3, 0.6, 0.1], vec![0.2, 0.7, 0.1], vec![0.1, 0.8, 0.1]],
        };
        let report = answers.report(&names).unwrap();
        assert_eq!((report.accuracy, report.accuracy_top5, report.pictures), (0.75, 1.0, 4));
        assert_eq!((report.worst_recall, report.classes[2].pictures), (0.5, 0));
        assert_eq!(report.classes[0].roc_auc, Some(1.0));
        assert_eq!(report.classes[2].pr_auc, None);
        assert!((report.loss + (0.8_f64.ln() + 0.3_f64.ln() + 0.7_f64.ln() + 0.8_f64.ln()) / 4.0).abs() < 1e-12);
        assert_eq!(report.confusion.counts, [[1, 1, 0], [0, 2, 0], [0, 0, 0]]);
        assert!(Answers::default().report(&names).is_err());
    }
}
