//! `results.csv`, a line an epoch, in Ultralytics' columns.

use std::path::Path;

use serde_json::{Value, json};

use super::TrainError;
use crate::files;
use crate::learn::evaluate::Figures;

/// What an epoch gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Seconds since the run began.
    pub seconds: f64,
    /// Mean losses while learning: boxes, masks, classes, distances.
    pub train: [f64; 4],
    /// The same on the pictures that are judged by.
    pub val: [f64; 4],
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
        let outlines = self.figures.masks.is_some();
        let losses = |all: &[f64; 4]| -> Vec<f64> {
            all.iter().enumerate().filter(|(n, _)| outlines || *n != 1).map(|(_, loss)| *loss).collect()
        };
        let mut values = losses(&self.train);
        for scores in std::iter::once(&self.figures.boxes).chain(&self.figures.masks) {
            values.extend([scores.precision, scores.recall, scores.map50, scores.map50_95]);
        }
        values.extend(losses(&self.val));
        values.extend(self.rates);
        let mut line = format!("{},{}", self.epoch, short(self.seconds));
        values.iter().for_each(|value| line.push_str(&format!(",{}", short(*value))));
        line
    }

    /// The figures by their columns' names: what a card says.
    #[must_use]
    pub fn metrics(&self) -> Value {
        let of = |scores: &crate::learn::metrics::ultralytics::Scores| {
            json!({
                "precision": scores.precision,
                "recall": scores.recall,
                "map50": scores.map50,
                "map75": scores.map75,
                "map50_95": scores.map50_95,
            })
        };
        let figures = json!({
            "protocol": "ultralytics",
            "box": of(&self.figures.boxes),
            "mask": self.figures.masks.as_ref().map(of),
        });
        dated(figures, self.epoch, self.seconds)
    }
}

/// Figures for a card, with the epoch that they are of, how long was learnt until then, and the time now.
#[must_use]
pub fn dated(mut figures: Value, epoch: u64, seconds: f64) -> Value {
    figures["epoch"] = epoch.into();
    figures["seconds"] = seconds.round().into();
    figures["at"] = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into();
    figures
}

/// Five significant digits, as Ultralytics writes them.
#[must_use]
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (4 - value.abs().log10().floor() as i64).max(0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The columns' names.
#[must_use]
pub fn columns(outlines: bool) -> Vec<String> {
    let losses = |of: &str| -> Vec<String> {
        let parts: &[&str] = if outlines { &["box", "seg", "cls", "dfl"] } else { &["box", "cls", "dfl"] };
        parts.iter().map(|part| format!("{of}/{part}_loss")).collect()
    };
    let mut names: Vec<String> = ["epoch", "time"].map(str::to_owned).to_vec();
    names.extend(losses("train"));
    for of in if outlines { ["B", "M"].as_slice() } else { &["B"] } {
        names.extend(["precision", "recall", "mAP50", "mAP50-95"].map(|figure| format!("metrics/{figure}({of})")));
    }
    names.extend(losses("val"));
    names.extend(["lr/pg0", "lr/pg1", "lr/pg2"].map(str::to_owned));
    names
}

/// Writes all lines, in place of what was there.
///
/// # Errors
/// The disk refuses.
pub fn write(path: &Path, columns: &[String], rows: &[String]) -> Result<(), TrainError> {
    let mut text = columns.join(",");
    text.push('\n');
    rows.iter().for_each(|row| {
        text.push_str(row);
        text.push('\n');
    });
    files::put(path, text.as_bytes()).map_err(TrainError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::metrics::ultralytics::Scores;

    #[test]
    fn a_line_has_a_value_for_each_column() {
        for masks in [None, Some(Scores::default())] {
            let outlines = masks.is_some();
            let row = Row {
                epoch: 3,
                seconds: 12.345_678,
                train: [1.0, 2.0, 3.0, 4.0],
                val: [0.1; 4],
                rates: [0.01, 0.01, 0.02],
                figures: Figures { boxes: Scores::default(), masks },
                fitness: 0.5,
                best: true,
            };
            assert_eq!(row.line().split(',').count(), columns(outlines).len());
            assert!(row.line().starts_with("3,12.346,1,"), "{}", row.line());
        }
        assert_eq!(columns(false)[2..5].join(","), "train/box_loss,train/cls_loss,train/dfl_loss");
        assert_eq!((short(0.000_123_456_7), short(1234.567)), ("0.00012346".to_owned(), "1234.6".to_owned()));
    }
}
