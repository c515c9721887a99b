//! Figures of segmentation by classes of pixels.

use serde::Serialize;

use super::classification::{Confusion, MetricError};

/// The figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Right pixels by all.
    pub pixel_accuracy: f64,
    /// Intersection over union of each class; none where no pixel is or was said to be of it.
    pub iou: Vec<Option<f64>>,
    /// The mean of those.
    pub mean_iou: f64,
    /// F1 (Dice) of each class.
    pub f1: Vec<f64>,
    /// Its mean over the classes that have an intersection over union.
    pub mean_f1: f64,
}

/// Counts pixels of any number of pictures.
#[derive(Clone, Debug)]
pub struct Counter {
    counts: Vec<Vec<u64>>,
    ignored: Option<usize>,
}

impl Counter {
    /// For so many classes; pixels whose truth is `ignored` are left out (often 255).
    #[must_use]
    pub fn new(classes: usize, ignored: Option<usize>) -> Self {
        Self { counts: vec![vec![0; classes]; classes], ignored }
    }

    /// Adds a picture: each pixel's class, and what was said of it.
    ///
    /// # Errors
    /// Unequal lengths; a class out of range. Nothing is counted then.
    pub fn add(&mut self, truths: &[usize], answers: &[usize]) -> Result<(), MetricError> {
        let classes = self.counts.len();
        if truths.len() != answers.len() {
            return Err(MetricError::Length { truths: truths.len(), answers: answers.len() });
        }
        let pixels = || truths.iter().zip(answers).filter(|(truth, _)| Some(**truth) != self.ignored);
        if let Some(class) = pixels().flat_map(|(t, a)| [*t, *a]).find(|class| *class >= classes) {
            return Err(MetricError::Class { class, classes });
        }
        let mut counts = std::mem::take(&mut self.counts);
        pixels().for_each(|(truth, answer)| counts[*truth][*answer] += 1);
        self.counts = counts;
        Ok(())
    }

    /// The figures of all pixels so far.
    ///
    /// # Errors
    /// There are none.
    pub fn scores(&self) -> Result<Scores, MetricError> {
        let confusion = Confusion { counts: self.counts.clone() };
        if self.counts.iter().flatten().all(|count| *count == 0) {
            return Err(MetricError::Empty);
        }
        let iou = |class: usize| {
            let right = self.counts[class][class];
            let answered: u64 = self.counts.iter().map(|row| row[class]).sum();
            let either = confusion.support(class) + answered - right;
            (either > 0).then(|| right as f64 / either as f64)
        };
        let iou: Vec<Option<f64>> = (0..self.counts.len()).map(iou).collect();
        let f1: Vec<f64> = confusion.classes().iter().map(|quality| quality.f1).collect();
        let met = iou.iter().flatten().count() as f64;
        let known_f1 = iou.iter().zip(&f1).filter(|(iou, _)| iou.is_some()).map(|(_, f1)| f1);
        Ok(Scores {
            pixel_accuracy: confusion.accuracy(),
            mean_iou: iou.iter().flatten().sum::<f64>() / met,
            mean_f1: known_f1.sum::<f64>() / met,
            iou,
            f1,
        })
    }
}
