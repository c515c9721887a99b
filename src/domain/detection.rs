//! What the models say: boxes, masks and vectors.

use serde::{Deserialize, Serialize};

use super::ImageId;

/// `[x1, y1, x2, y2]` in pixels of the upright image, `x2` and `y2` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox(pub [f32; 4]);

impl BoundingBox {
    /// Width in pixels, never negative.
    #[must_use]
    pub fn width(&self) -> f32 {
        (self.0[2] - self.0[0]).max(0.0)
    }

    /// Height in pixels, never negative.
    #[must_use]
    pub fn height(&self) -> f32 {
        (self.0[3] - self.0[1]).max(0.0)
    }

    /// Intersection over union with another box, 0 to 1.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let width = self.0[2].min(other.0[2]) - self.0[0].max(other.0[0]);
        let height = self.0[3].min(other.0[3]) - self.0[1].max(other.0[1]);
        let shared = width.max(0.0) * height.max(0.0);
        let union = self.width() * self.height() + other.width() * other.height() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }
}

/// A mask in the compressed run-length encoding of COCO (pycocotools `mask.py`): column-major runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rle {
    /// `[height, width]` in pixels.
    pub size: [u32; 2],
    /// The compressed counts, ASCII.
    pub counts: String,
}

/// One object the detector found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The class's number in the model.
    pub class: u32,
    /// The class's name in the model.
    pub name: String,
    /// 0 to 1.
    pub confidence: f32,
    /// Where it is.
    #[serde(rename = "box")]
    pub bounding_box: BoundingBox,
    /// Its outline at the picture's own resolution; none from models that only detect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Rle>,
}

/// A vector of unit length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Embedding(Vec<f32>);

impl Embedding {
    /// Scales a vector to unit length.
    ///
    /// Returns `None` for an empty vector, one of zero length, or one that is not finite.
    #[must_use]
    pub fn normalised(mut values: Vec<f32>) -> Option<Self> {
        let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
        if values.is_empty() || !norm.is_finite() || norm <= f64::from(f32::MIN_POSITIVE) {
            return None;
        }
        for value in &mut values {
            *value = (f64::from(*value) / norm) as f32;
        }
        Some(Self(values))
    }

    /// The components.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// Cosine similarity, -1 to 1; both are of unit length, so it is the dot product.
    #[must_use]
    pub fn similarity(&self, other: &[f32]) -> f32 {
        self.0.iter().zip(other).map(|(a, b)| a * b).sum()
    }
}

/// How far a crop was turned clockwise before it was embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub enum Rotation {
    /// As it lies.
    R0,
    /// A quarter turn clockwise.
    R90,
    /// Upside down.
    R180,
    /// A quarter turn anticlockwise.
    R270,
}

impl Rotation {
    /// All four, in the order in which enrolment embeds them.
    pub const ALL: [Self; 4] = [Self::R0, Self::R90, Self::R180, Self::R270];

    /// Degrees clockwise.
    #[must_use]
    pub fn degrees(self) -> u16 {
        match self {
            Self::R0 => 0,
            Self::R90 => 90,
            Self::R180 => 180,
            Self::R270 => 270,
        }
    }
}

impl From<Rotation> for u16 {
    fn from(rotation: Rotation) -> Self {
        rotation.degrees()
    }
}

impl TryFrom<u16> for Rotation {
    type Error = String;

    fn try_from(degrees: u16) -> Result<Self, Self::Error> {
        Self::ALL
            .into_iter()
            .find(|r| r.degrees() == degrees)
            .ok_or_else(|| format!("{degrees} is not 0, 90, 180 or 270"))
    }
}

/// Which weights and which preparation made a vector. Vectors of different fingerprints are never compared.
///
/// The SHA-256 over the weights' tensors (not the file's container) and the crop and input settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub ImageId);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
