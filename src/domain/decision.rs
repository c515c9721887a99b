//! What is answered for a probe: a label, or no label and why. Abstain rather than guess.

use serde::{Deserialize, Serialize};

use super::{Label, Rotation, SightingId};

/// An enrolled sighting near a probe: its nearest rotation stands for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// What the sighting is enrolled as.
    pub label: Label,
    /// Cosine similarity, -1 to 1.
    pub similarity: f32,
    /// The enrolled rotation that matched: how far the enrolled picture was turned clockwise to lie as the probe does.
    pub rotation: Rotation,
    /// The enrolled sighting.
    pub sighting: SightingId,
}

/// When an answer is good enough (`decision` in the config).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// The least similarity of the nearest label.
    pub min_similarity: f32,
    /// The least distance in similarity between the nearest label and the next.
    pub min_margin: f32,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbstainReason {
    /// The detector found nothing to identify.
    NoObject,
    /// Nothing is enrolled (with the weights in use).
    EmptyGallery,
    /// The nearest label is too far away.
    BelowThreshold,
    /// Two labels are about equally near.
    MarginTooSmall,
}

impl AbstainReason {
    /// A short sentence for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NoObject => "no object was found in the picture",
            Self::EmptyGallery => "the gallery has nothing enrolled with these weights",
            Self::BelowThreshold => "the nearest label is less similar than decision.min_similarity",
            Self::MarginTooSmall => "two labels are closer together than decision.min_margin",
        }
    }
}

/// The answer for one probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// It is this.
    Accept {
        /// The nearest label.
        label: Label,
        /// Its similarity, -1 to 1.
        similarity: f32,
        /// Its lead over the nearest other label; the similarity itself plus 1 where there is no other.
        margin: f32,
        /// How the probe lies, relative to the enrolled picture.
        rotation: Rotation,
    },
    /// No answer is given.
    Abstain {
        /// Why not.
        reason: AbstainReason,
        /// The nearest label, for the operator's eyes only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<Label>,
        /// Its similarity.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        similarity: Option<f32>,
        /// Its lead over the next label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        margin: Option<f32>,
        /// The rotation that matched best.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rotation: Option<Rotation>,
    },
}

impl Decision {
    /// An abstention that no neighbour had a part in.
    #[must_use]
    pub fn abstain(reason: AbstainReason) -> Self {
        Self::Abstain { reason, label: None, similarity: None, margin: None, rotation: None }
    }

    /// Whether a label was given.
    #[must_use]
    pub fn is_accept(&self) -> bool {
        matches!(self, Self::Accept { .. })
    }
}

/// Decides from the neighbours of a probe, nearest first.
///
/// A similarity that is not a number never passes a threshold.
#[must_use]
#[allow(clippy::neg_cmp_op_on_partial_ord, reason = "a comparison with NaN is false, and false must abstain")]
pub fn decide(neighbours: &[Neighbour], thresholds: Thresholds) -> Decision {
    let Some(best) = neighbours.first() else {
        return Decision::abstain(AbstainReason::EmptyGallery);
    };
    let runner_up = neighbours.iter().find(|n| n.label != best.label).map_or(-1.0, |n| n.similarity);
    let margin = best.similarity - runner_up;
    let abstain = |reason| Decision::Abstain {
        reason,
        label: Some(best.label.clone()),
        similarity: Some(best.similarity),
        margin: Some(margin),
        rotation: Some(best.rotation),
    };
    if !(best.similarity >= thresholds.min_similarity) {
        abstain(AbstainReason::BelowThreshold)
    } else if !(margin >= thresholds.min_margin) {
        abstain(AbstainReason::MarginTooSmall)
    } else {
        Decision::Accept { label: best.label.clone(), similarity: best.similarity, margin, rotation: best.rotation }
    }
}
