//! A classifier: an embedder and a linear head on its vectors.

use std::path::Path;

use image::RgbImage;

use super::crop::CropPolicy;
use super::embedder::Embedder;
use super::plan::Plan;
use crate::domain::Embedding;
use crate::vision::VisionError;
use crate::vision::checkpoint::{self, Checkpoint, Dtype, Fault, Task, TensorData, Weights};
use crate::vision::device::Runtime;

/// The head's tensors: `[classes, width]` and `[classes]`.
pub const LINEAR: [&str; 2] = ["linear_head.weight", "linear_head.bias"];
/// Under this key weights say whether the background of their crops was grey.
const MASKED: &str = "mask_background";
/// And under this one whether they lay level.
const ALIGNED: &str = "align";
/// And whether they kept their proportions in a square.
const SQUARE: &str = "square";

/// A linear head. It is shown the vector times the root of its length, so that its numbers are about 1, as behind a norm:
/// a head learns better there than on numbers that shrink with the width.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    width: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// Reads the head off weights, and checks that it fits the network and the names.
    ///
    /// # Errors
    /// There is none, or it does not fit.
    pub fn of(weights: &Weights) -> Result<Self, Fault> {
        let plan = Plan::of(weights)?;
        let [weight, bias] = LINEAR;
        let classes = match weights.shape(weight)? {
            &[classes, width] if width == plan.width && classes > 1 => classes,
            other => {
                let width = plan.width;
                return Err(Fault::Unsupported(format!(
                    "`{weight}` is {other:?}, where a head of two classes or more has [classes, {width}]"
                )));
            }
        };
        if weights.shape(bias)? != [classes] {
            return Err(Fault::Unsupported(format!("`{bias}` does not have {classes} numbers")));
        }
        match &weights.names {
            Some(names) if names.len() == classes => {}
            Some(names) => {
                return Err(Fault::Damaged(format!("it names {} classes and has {classes}", names.len())));
            }
            None => return Err(Fault::Unsupported("a classifier that does not name its classes".into())),
        }
        let numbers = |name: &str| weights.get(name).map(numbers).unwrap_or_default();
        Ok(Self { width: plan.width, weight: numbers(weight), bias: numbers(bias) })
    }

    /// Each class's probability for a vector of unit length.
    #[must_use]
    pub fn answer(&self, vector: &[f32]) -> Vec<f64> {
        let shown = (self.width as f64).sqrt();
        let score = |(row, bias): (&[f32], &f32)| {
            let product: f64 = row.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            product * shown + f64::from(*bias)
        };
        let scores: Vec<f64> = self.weight.chunks_exact(self.width).zip(&self.bias).map(score).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let parts: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let sum: f64 = parts.iter().sum();
        parts.into_iter().map(|part| part / sum).collect()
    }
}

/// A tensor's numbers.
fn numbers(tensor: &TensorData) -> Vec<f32> {
    match tensor.dtype {
        Dtype::F16 => tensor.bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => tensor.bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::F64 => tensor.bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        _ => tensor.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    }
}

/// A DINOv2 network with a linear head: pictures in, a probability a class out.
#[derive(Debug)]
pub struct Classifier {
    embedder: Embedder,
    head: Linear,
    names: Vec<String>,
}

impl Classifier {
    /// Loads a classifier from a model file.
    ///
    /// # Errors
    /// When the file cannot be read, is no classifier, or libtorch fails.
    pub fn load(path: &Path, runtime: Runtime) -> Result<Self, VisionError> {
        Self::of(&checkpoint::read(path)?, runtime)
    }

    /// Builds a classifier from a model file that was read, for pictures of the size it was trained with.
    ///
    /// # Errors
    /// As [`Classifier::load`].
    pub fn of(checkpoint: &Checkpoint, runtime: Runtime) -> Result<Self, VisionError> {
        if checkpoint.info.task != Task::Classify {
            let (architecture, found) = (checkpoint.info.architecture.clone(), checkpoint.info.task);
            return Err(VisionError::Task { architecture, found, needed: "classify" });
        }
        Self::new(&checkpoint.weights, trained_with(&checkpoint.weights), runtime)
    }

    /// Builds a classifier from weights.
    ///
    /// # Errors
    /// When the weights are no classifier's, a setting is out of range, or libtorch fails.
    pub fn new(weights: &Weights, policy: CropPolicy, runtime: Runtime) -> Result<Self, VisionError> {
        let head = Linear::of(weights)?;
        let names = weights.names.clone().unwrap_or_default();
        Ok(Self { embedder: Embedder::new(weights, policy, runtime)?, head, names })
    }

    /// The names of the classes, by number.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Each picture's vector and the probability of each class, in one batch.
    ///
    /// # Errors
    /// When a picture has no pixels, libtorch fails, or the network's numbers are not finite.
    pub fn classify(&self, pictures: &[RgbImage]) -> Result<Vec<(Embedding, Vec<f64>)>, VisionError> {
        let vectors = self.embedder.embed(pictures)?;
        Ok(vectors.into_iter().map(|vector| (vector.clone(), self.head.answer(vector.as_slice()))).collect())
    }
}

/// What weights say of the crops that they were trained with; none where they say nothing, or nothing that is possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// The side of the input, pixels.
    pub input_size: Option<u32>,
    /// Whether the background was grey.
    pub mask_background: Option<bool>,
    /// Whether they lay level.
    pub align: Option<bool>,
    /// Whether they kept their proportions, or were stretched to a square.
    pub square: Option<bool>,
}

/// The preparation of pictures that weights were trained with, as far as they say.
#[must_use]
pub fn trained_with(weights: &Weights) -> CropPolicy {
    let policy = CropPolicy { padding: 0.0, ..CropPolicy::default() };
    let stated = stated(weights);
    CropPolicy {
        input_size: stated.input_size.unwrap_or(policy.input_size),
        mask_background: stated.mask_background.unwrap_or(policy.mask_background),
        align: stated.align.unwrap_or(policy.align),
        square: stated.square.unwrap_or(policy.square),
        ..policy
    }
}

/// What weights say of the crops that they were trained with.
#[must_use]
pub fn stated(weights: &Weights) -> Stated {
    let possible = |side: &u32| CropPolicy { input_size: *side, ..CropPolicy::default() }.check().is_ok();
    let flag = |key: &str| weights.meta.get(key).and_then(|value| value.parse().ok());
    Stated {
        input_size: weights.input_size().filter(possible),
        mask_background: flag(MASKED),
        align: flag(ALIGNED),
        square: flag(SQUARE),
    }
}

/// Lets weights say what crops they were trained with.
pub fn state(weights: &mut Weights, policy: &CropPolicy) {
    weights.state_input_size(policy.input_size);
    weights.meta.insert(MASKED.into(), policy.mask_background.to_string());
    weights.meta.insert(ALIGNED.into(), policy.align.to_string());
    weights.meta.insert(SQUARE.into(), policy.square.to_string());
}
