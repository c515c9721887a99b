//! Precision, recall and F1 by the size of objects, at one confidence.

use serde::Serialize;

use super::Tally;

/// Figures of all classes at one confidence: the means of those that have objects of the size.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Answers of at least this confidence are given, 0 to 1.
    pub confidence: f64,
    /// Of small, medium and large objects; none where there is none of them.
    pub sizes: [Option<Rate>; 3],
    /// Of each class that is there.
    pub classes: Vec<ClassRates>,
}

/// A class's figures by size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassRates {
    /// The class's number.
    pub class: u32,
    /// Of its small, medium and large objects.
    pub sizes: [Option<Rate>; 3],
}

/// Figures of one size, 0 to 1. An answer counts at the size of the object that it is right about; a wrong one at its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Objects of that size.
    pub truths: usize,
    /// Right answers by answers; none where nothing was answered.
    pub precision: Option<f64>,
    /// Right answers by objects.
    pub recall: f64,
    /// Twice the right answers by answers and objects.
    pub f1: f64,
}

impl Rates {
    /// Of tallies of small, medium and large objects, class by class, at an overlap of 0.50.
    pub(super) fn of<'a>(tallies: impl Iterator<Item = (u32, &'a [Tally])>, confidence: f64) -> Self {
        let each = |(class, sizes): (u32, &[Tally])| {
            let sizes = [0, 1, 2].map(|size| sizes.get(size).and_then(|tally| tally.rate(confidence)));
            ClassRates { class, sizes }
        };
        let classes: Vec<ClassRates> = tallies.map(each).collect();
        let sizes = [0, 1, 2].map(|size| {
            let there: Vec<Rate> = classes.iter().filter_map(|class| class.sizes[size]).collect();
            let mean = |values: &mut dyn Iterator<Item = f64>| {
                let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
                (count > 0).then(|| sum / f64::from(count))
            };
            Some(Rate {
                truths: there.iter().map(|rate| rate.truths).sum(),
                precision: mean(&mut there.iter().filter_map(|rate| rate.precision)),
                recall: mean(&mut there.iter().map(|rate| rate.recall))?,
                f1: mean(&mut there.iter().map(|rate| rate.f1))?,
            })
        });
        Self { confidence, sizes, classes }
    }
}

impl Tally {
    fn rate(&self, confidence: f64) -> Option<Rate> {
        if self.truths == 0 {
            return None;
        }
        let given = self.fates.iter().filter(|fate| fate.score >= confidence && fate.passed & 1 == 0);
        let (right, answers) =
            given.fold((0_usize, 0_usize), |(right, answers), fate| (right + usize::from(fate.hit & 1), answers + 1));
        let share = |part: usize, whole: usize| part as f64 / whole as f64;
        Some(Rate {
            truths: self.truths,
            precision: (answers > 0).then(|| share(right, answers)),
            recall: share(right, self.truths),
            f1: share(2 * right, answers + self.truths),
        })
    }
}
