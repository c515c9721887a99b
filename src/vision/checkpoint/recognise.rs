//! What a model is, told from the names and shapes of its weights alone.

use serde::{Deserialize, Serialize};

use super::error::Fault;
use super::weights::Weights;
use crate::domain::ImageId;
use crate::vision::{dino, yolo};

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Finds objects and boxes them.
    Detect,
    /// Finds objects and outlines them.
    Segment,
    /// Turns a picture into a vector.
    Embed,
    /// Tells which of some classes a whole picture shows.
    Classify,
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Detect => "detect",
            Self::Segment => "segment",
            Self::Embed => "embed",
            Self::Classify => "classify",
        })
    }
}

/// What is known about a model file (`sightline model inspect`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// What it does.
    pub task: Task,
    /// For example `yolov8n-seg`, `dinov2_vits14_reg` or, with a classifier's head, `dinov2_vits14+linear`.
    pub architecture: String,
    /// `n`, `s`, `m`, `l`, `x` or `s`, `b`, `l`, `g`; `custom` where the widths are nobody's.
    pub size: String,
    /// The number of classes; none for an embedder.
    pub classes: Option<u32>,
    /// The names of the classes, where the file states them.
    pub names: Option<Vec<String>>,
    /// The length of the vectors; none for a detector.
    pub dimensions: Option<u32>,
    /// The side of the input that it was trained with, in pixels, where the file states one that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_size: Option<u32>,
    /// Whether it was trained on crops whose background is grey, where the file states it; none for a detector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_background: Option<bool>,
    /// Whether it was trained on crops that lie level, where the file states it; none for a detector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub align: Option<bool>,
    /// Whether it was trained on crops that kept their proportions rather than being stretched to a square, where the file
    /// states it; none for a detector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub square: Option<bool>,
    /// The number of parameters, without running statistics.
    pub parameters: u64,
    /// The kind that most numbers have: `fp16`, `fp32`, ….
    pub dtype: String,
    /// Whether each convolution's batch norm is still there (`separate`) or folded in; none for an embedder.
    pub batch_norm: Option<String>,
    /// The file's length in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file.
    pub sha256: ImageId,
    /// The SHA-256 over the weights alone: the same in any container.
    pub fingerprint: ImageId,
    /// The licence that the file states.
    pub licence: Option<String>,
}

/// Tells what weights are.
///
/// # Errors
/// When they belong to no network that is built here, or are not complete.
pub(super) fn recognise(weights: &Weights, bytes: u64, sha256: ImageId) -> Result<ModelInfo, Fault> {
    if let Some(name) = weights.first_not_finite() {
        let name = crate::domain::display_safe(name);
        return Err(Fault::Damaged(format!(
            "`{name}` has numbers that are not finite (training that diverged leaves such)"
        )));
    }
    let mut info = ModelInfo {
        task: Task::Embed,
        architecture: String::new(),
        size: String::new(),
        classes: None,
        names: None,
        dimensions: None,
        input_size: None,
        mask_background: None,
        align: None,
        square: None,
        parameters: weights.parameters(),
        dtype: weights.dtype().name().into(),
        batch_norm: None,
        bytes,
        sha256,
        fingerprint: weights.fingerprint(),
        licence: weights.meta.get("licence").cloned(),
    };
    if weights.get("model.0.conv.weight").is_some() {
        let plan = yolo::Plan::of(weights)?;
        info.task = if plan.segments() { Task::Segment } else { Task::Detect };
        info.architecture = plan.architecture();
        info.size = plan.size().into();
        info.classes = Some(plan.classes);
        info.batch_norm = Some(if plan.folded { "folded" } else { "separate" }.into());
        info.input_size = weights.input_size().filter(|side| yolo::possible(*side));
        info.names = weights.names.clone();
        if let Some(names) = &info.names
            && names.len() != plan.classes as usize
        {
            return Err(Fault::Damaged(format!("it names {} classes and has {}", names.len(), plan.classes)));
        }
    } else if weights.get("patch_embed.proj.weight").is_some() {
        let plan = dino::Plan::of(weights)?;
        info.architecture = plan.architecture();
        info.size = plan.size().into();
        info.dimensions = Some(plan.width as u32);
        let stated = dino::stated(weights);
        (info.input_size, info.mask_background) = (stated.input_size, stated.mask_background);
        (info.align, info.square) = (stated.align, stated.square);
        if dino::LINEAR.iter().any(|name| weights.get(name).is_some()) {
            dino::Linear::of(weights)?;
            info.task = Task::Classify;
            info.architecture.push_str("+linear");
            info.names = weights.names.clone();
            info.classes = info.names.as_ref().map(|names| names.len() as u32);
        }
    } else {
        return Err(Fault::Unsupported(
            "its tensors are neither YOLOv8's (model.0.conv.weight) nor DINOv2's (patch_embed.proj.weight)".into(),
        ));
    }
    Ok(info)
}
