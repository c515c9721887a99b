//! `results.csv`, a line an epoch (classifiers: in Ultralytics' columns), and the pictures in a run's folder.

use std::path::Path;

use image::{Rgb, RgbImage, imageops};

use super::crops::Crops;
use super::judge::{Aim, Figures, Judged, recall};
use crate::learn::dataset::Split;
use crate::learn::plots;
use crate::learn::train::TrainError;
use crate::learn::train::pictures::{save, sheet};
use crate::learn::train::results::short;

/// What an epoch gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Seconds since the run began.
    pub seconds: f64,
    /// The mean loss while learning.
    pub loss: f64,
    /// Learning rates at the epoch's end.
    pub rates: [f64; 3],
    /// How good the weights' mean is.
    pub figures: Figures,
    /// The figure that the best epoch is chosen by.
    pub fitness: f64,
    /// Whether it is the best so far.
    pub best: bool,
}

impl Row {
    /// Its line.
    #[must_use]
    pub fn line(&self) -> String {
        let figures = match &self.figures {
            Figures::Embed(ranking) => [recall(ranking, 1), recall(ranking, 5), ranking.mean_average_precision],
            Figures::Classify(report) => [report.accuracy, report.accuracy_top5, report.loss],
        };
        let values = [self.seconds, self.loss].into_iter().chain(figures).chain(self.rates);
        values.fold(self.epoch.to_string(), |line, value| format!("{line},{}", short(value)))
    }
}

/// The columns' names.
#[must_use]
pub fn columns(aim: Aim) -> Vec<String> {
    let figures = match aim {
        Aim::Embed => ["metrics/recall@1", "metrics/recall@5", "metrics/mAP"],
        Aim::Classify => ["metrics/accuracy_top1", "metrics/accuracy_top5", "val/loss"],
    };
    let ends = (["epoch", "time", "train/loss"], ["lr/pg0", "lr/pg1", "lr/pg2"]);
    ends.0.into_iter().chain(figures).chain(ends.1).map(str::to_owned).collect()
}

/// Draws what was judged: a classifier's plots; an embedder's probes, each with its three nearest neighbours, in a file named
/// after the part that they are of.
///
/// # Errors
/// One cannot be drawn, or the disk refuses.
pub fn draw(dir: &Path, judged: &Judged, crops: &Crops, names: &[String], part: Split) -> Result<(), TrainError> {
    if let Some(answers) = &judged.answers {
        let failed = |error: plots::PlotError| TrainError::Weights(error.to_string());
        for (file, picture) in plots::classes::classifier(answers, names).map_err(failed)? {
            save(&dir.join(file), &picture)?;
        }
        return Ok(());
    }
    save(&dir.join(format!("{}_neighbours.png", part.name())), &neighbours(&judged.vectors, crops)?)
}

/// Four probes from all over the set, a row each: the probe, then its nearest neighbours, framed green where their label is
/// right and red where it is not.
///
/// # Errors
/// A crop cannot be read.
pub fn neighbours(vectors: &[Vec<f32>], crops: &Crops) -> Result<RgbImage, TrainError> {
    let mut shown = Vec::new();
    let step = (vectors.len() / 4).max(1);
    for probe in (0..vectors.len()).step_by(step).take(4) {
        let alike = |other: usize| vectors[other].iter().zip(&vectors[probe]).map(|(a, b)| a * b).sum::<f32>();
        let mut near: Vec<usize> = (0..vectors.len()).filter(|other| *other != probe).collect();
        near.sort_by(|a, b| alike(*b).total_cmp(&alike(*a)).then(a.cmp(b)));
        for place in std::iter::once(probe).chain(near.into_iter().take(3)) {
            let picture = crops.crop(place)?;
            let right = crops.labels()[place] == crops.labels()[probe];
            let colour = if place == probe {
                [40, 90, 220]
            } else if right {
                [20, 160, 60]
            } else {
                [220, 40, 30]
            };
            shown.push(framed(&picture, Rgb(colour)));
        }
    }
    Ok(sheet(&shown))
}

fn framed(picture: &RgbImage, colour: Rgb<u8>) -> RgbImage {
    let width = (picture.width() / 28).max(2);
    let mut framed = RgbImage::from_pixel(picture.width() + 2 * width, picture.height() + 2 * width, colour);
    imageops::replace(&mut framed, picture, i64::from(width), i64::from(width));
    framed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::metrics::retrieval::Ranking;

    #[test]
    fn a_line_has_a_value_for_each_column() {
        let recall_at = [(1, 0.5), (5, 0.75)].into();
        let figures =
            Figures::Embed(Ranking { probes: 4, recall_at, worst_label_recall: 0.1, mean_average_precision: 0.4 });
        let row = Row { epoch: 2, seconds: 1.5, loss: 0.25, rates: [0.1, 0.1, 0.2], figures, fitness: 0.5, best: true };
        assert_eq!(row.line(), "2,1.5,0.25,0.5,0.75,0.4,0.1,0.1,0.2");
        for aim in [Aim::Embed, Aim::Classify] {
            assert_eq!(columns(aim).len(), row.line().split(',').count());
        }
    }
}
