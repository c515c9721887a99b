//! How good weights are: neighbours with the right label, or right classes.

use image::RgbImage;
use serde_json::{Value, json};

use super::crops::Crops;
use super::options::Fitness;
use crate::learn::evaluate::classes::{Answers, Report};
use crate::learn::metrics::retrieval::{Labelled, Ranking, rank};
use crate::learn::train::TrainError;
use crate::vision::checkpoint::Weights;
use crate::vision::dino::Linear;
use crate::vision::{CropPolicy, Embedder, Runtime};

/// Crops that are embedded at once.
const TOGETHER: usize = 32;
/// Neighbours that are looked at.
pub const NEIGHBOURS: [usize; 2] = [1, 5];

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Vectors: crops of a label near each other.
    Embed,
    /// Classes of whole pictures.
    Classify,
}

/// How good weights are.
#[derive(Clone, Debug, PartialEq)]
pub enum Figures {
    /// As an embedder: each crop against all others.
    Embed(Ranking),
    /// As a classifier.
    Classify(Box<Report>),
}

/// What was judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The figures.
    pub figures: Figures,
    /// A unit vector a crop.
    pub vectors: Vec<Vec<f32>>,
    /// A classifier's answers.
    pub answers: Option<Answers>,
}

/// A unit vector of every crop as it is, in their order.
///
/// # Errors
/// A crop cannot be read, or the network fails.
pub fn vectors(embedder: &Embedder, crops: &Crops, tell: &mut dyn FnMut(usize)) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut all = Vec::with_capacity(crops.len());
    for from in (0..crops.len()).step_by(TOGETHER) {
        let to = (from + TOGETHER).min(crops.len());
        let pictures: Vec<RgbImage> = (from..to).map(|place| crops.crop(place)).collect::<Result<_, _>>()?;
        all.extend(embedder.embed(&pictures)?.iter().map(|vector| vector.as_slice().to_vec()));
        tell(to);
    }
    Ok(all)
}

/// Judges weights by crops.
///
/// # Errors
/// A crop cannot be read, the network fails, or there is nothing to judge by.
pub fn judge(
    weights: &Weights,
    aim: Aim,
    crops: &Crops,
    policy: CropPolicy,
    runtime: Runtime,
    tell: &mut dyn FnMut(usize),
) -> Result<Judged, TrainError> {
    let vectors = vectors(&Embedder::new(weights, policy, runtime)?, crops, tell)?;
    match aim {
        Aim::Embed => {
            let all = Labelled { vectors: &vectors, labels: crops.labels() };
            let figures = Figures::Embed(rank(all, all, &NEIGHBOURS, true));
            Ok(Judged { figures, vectors, answers: None })
        }
        Aim::Classify => {
            let head = Linear::of(weights).map_err(|fault| TrainError::Weights(fault.to_string()))?;
            let truths = crops.labels().iter().map(|label| *label as usize).collect();
            let answers = Answers { truths, scores: vectors.iter().map(|vector| head.answer(vector)).collect() };
            let names = weights.names.as_deref().unwrap_or_default();
            let report = answers.report(names).map_err(|error| TrainError::Weights(error.to_string()))?;
            Ok(Judged { figures: Figures::Classify(Box::new(report)), vectors, answers: Some(answers) })
        }
    }
}

impl Figures {
    /// How good they are.
    ///
    /// # Errors
    /// They are not judged by that.
    pub fn fitness(&self, by: Fitness) -> Result<f64, TrainError> {
        let (aim, found) = match self {
            Self::Embed(ranking) => (
                Aim::Embed,
                match by {
                    Fitness::Auto | Fitness::Recall1 => Some(recall(ranking, 1)),
                    Fitness::Recall5 => Some(recall(ranking, 5)),
                    Fitness::Map => Some(ranking.mean_average_precision),
                    Fitness::WorstRecall => Some(ranking.worst_label_recall),
                    _ => None,
                },
            ),
            Self::Classify(report) => (
                Aim::Classify,
                match by {
                    Fitness::Auto | Fitness::Accuracy => Some(report.accuracy),
                    Fitness::F1 => Some(report.macro_mean.f1),
                    Fitness::WorstRecall => Some(report.worst_recall),
                    _ => None,
                },
            ),
        };
        found.ok_or_else(|| TrainError::Setting(by.suits(aim).err().unwrap_or_default()))
    }

    /// The figures by name: what a card says.
    #[must_use]
    pub fn metrics(&self) -> Value {
        match self {
            Self::Embed(ranking) => json!({
                "recall_at_1": recall(ranking, 1),
                "recall_at_5": recall(ranking, 5),
                "map": ranking.mean_average_precision,
                "worst_label_recall": ranking.worst_label_recall,
                "probes": ranking.probes,
            }),
            Self::Classify(report) => json!({
                "accuracy": report.accuracy,
                "accuracy_top5": report.accuracy_top5,
                "f1": report.macro_mean.f1,
                "worst_recall": report.worst_recall,
                "roc_auc": report.roc_auc,
                "pr_auc": report.pr_auc,
                "calibration_error": report.calibration_error,
                "pictures": report.pictures,
            }),
        }
    }

    /// In a line.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Embed(ranking) => format!(
                "recall@1 {:.4} recall@5 {:.4} mAP {:.4}",
                recall(ranking, 1),
                recall(ranking, 5),
                ranking.mean_average_precision
            ),
            Self::Classify(report) => {
                format!("accuracy {:.4} F1 {:.4} loss {:.4}", report.accuracy, report.macro_mean.f1, report.loss)
            }
        }
    }
}

/// Recall at so many neighbours.
#[must_use]
pub fn recall(ranking: &Ranking, at: usize) -> f64 {
    ranking.recall_at.get(&at).copied().unwrap_or(0.0)
}
