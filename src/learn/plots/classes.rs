//! Pictures of a classifier's figures: which class was taken for which, curves, and how far it is right where it is sure.

use image::RgbImage;

use super::{PlotError, Series, curves, matrix};
use crate::learn::evaluate::classes::{Answers, BINS};
use crate::learn::metrics::classification::{Confusion, MetricError, steps};

/// A classifier's plots, each with its file's name: confusion, receiver's curves, precision by recall, reliability.
///
/// # Errors
/// There is nothing to draw, or it cannot be drawn.
pub fn classifier(answers: &Answers, names: &[String]) -> Result<Vec<(&'static str, RgbImage)>, PlotError> {
    let failed = |error: MetricError| PlotError(error.to_string());
    let confusion = Confusion::of(&answers.truths, &answers.given(), names.len()).map_err(failed)?;
    let picture = matrix("answered (rows) for what is there (columns), shares", names, names.len(), |given, there| {
        confusion.counts[there][given]
    })?;
    let (mut receiver, mut precision) = (Vec::new(), Vec::new());
    let of = |class: usize| -> (Vec<bool>, Vec<f64>) {
        let positive = answers.truths.iter().map(|truth| *truth == class);
        positive.zip(answers.scores.iter().map(|row| row[class])).unzip()
    };
    // The last curve is drawn thick: every class's answers together.
    let together = (0..names.len()).map(of).fold((Vec::new(), Vec::new()), |mut all, (positive, scores)| {
        all.0.extend(positive);
        all.1.extend(scores);
        all
    });
    let each = names.iter().enumerate().map(|(class, name)| (name.clone(), of(class)));
    for (name, (positive, scores)) in each.chain([("all together".to_owned(), together)]) {
        let steps = steps(&positive, &scores).map_err(failed)?;
        let Some(&(right, wrong)) = steps.last().filter(|(right, _)| *right > 0) else { continue };
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let mut points = vec![(0.0, 0.0)];
        points.extend(steps.iter().map(|(r, w)| (share(*w, wrong), share(*r, right))));
        receiver.push(Series { name: name.clone(), points });
        let mut points: Vec<(f64, f64)> = steps.iter().map(|(r, w)| (share(*r, right), share(*r, r + w))).collect();
        // Before the first answer there is no precision: the curve begins as high as at its first point.
        points.insert(0, (0.0, points.first().map_or(1.0, |point| point.1)));
        precision.push(Series { name, points });
    }
    Ok(vec![
        ("confusion_matrix.png", picture),
        (
            "ROC_curve.png",
            curves("receiver's curve, each class against the rest", ("wrongly taken for it", "recall"), &receiver)?,
        ),
        (
            "PR_curve.png",
            curves("precision by recall, each class against the rest", ("recall", "precision"), &precision)?,
        ),
        ("calibration.png", reliability(&answers.sureness())?),
    ])
}

/// How often answers are right, by how sure they are, beside the line where both are the same.
fn reliability(answers: &[(f64, bool)]) -> Result<RgbImage, PlotError> {
    let mut bins = [(0.0, 0_u64, 0_u64); BINS];
    for (sure, right) in answers {
        let bin = ((sure * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[bin].0 += sure;
        bins[bin].1 += u64::from(*right);
        bins[bin].2 += 1;
    }
    let points = bins.iter().filter(|bin| bin.2 > 0).map(|(sure, right, all)| {
        let all = *all as f64;
        (sure / all, *right as f64 / all)
    });
    let found = Series { name: "answers".into(), points: points.collect() };
    let ideal = Series { name: "as sure as right".into(), points: vec![(0.0, 0.0), (1.0, 1.0)] };
    curves("how often answers are right, by how sure they are", ("sureness", "right"), &[found, ideal])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    #[test]
    fn every_plot_shows_something() {
        let answers = Answers {
            truths: vec![0, 1, 1, 0],
            scores: vec![vec![0.9, 0.1, 0.0], vec![0.2, 0.7, 0.1], vec![0.6, 0.3, 0.1], vec![0.5, 0.4, 0.1]],
        };
        let names = ["a", "b", "nothing of it"].map(str::to_owned);
        let all = classifier(&answers, &names).unwrap();
        assert_eq!(all.len(), 4);
        for (name, picture) in &all {
            assert!(picture.pixels().filter(|pixel| pixel.0 != [255; 3]).count() > 500, "{name}");
        }
        assert!(classifier(&Answers::default(), &names).is_err());
    }
}
