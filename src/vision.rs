//! Looking at pictures: model files read as data, networks built in Rust, detections and embeddings out.
//!
//! The only room (beside `learn`) that knows libtorch. In reading order: what can fail, where networks run, how
//! weights are read, how a picture is fitted into the detector, the detector, its masks, the embedder.

mod error;

// Where networks run, and how precisely.
mod attention;
pub mod compare;
pub mod device;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod memory;
mod norms;
mod onednn;
pub mod precision;
mod winograd;

// Weights, as data.
pub mod checkpoint;
pub mod random;

// From a picture to detections.
mod resize;

pub mod letterbox;

pub mod yolo;

pub mod masks;

pub mod rectangle;

pub mod draw;

// From a detection to a vector.
pub mod dino;

// For tests of everything around the models.
#[doc(hidden)]
pub mod fake;

use image::RgbImage;

pub use checkpoint::{Card, Checkpoint, CheckpointError, ModelInfo, Task, Weights};
pub use device::{DeviceChoice, Precision, Runtime};
pub use dino::{CropPolicy, Embedder, crop, rotations};
pub use error::VisionError;
pub use memory::keep_blocks;
pub use yolo::{DetectOptions, Detector};

use crate::domain::{Detection, Embedding, Fingerprint};

/// What finds objects: YOLOv8, or a stand-in where everything around it is tested.
pub trait Detect: Send {
    /// Finds the objects in upright pictures, most confident first; one list a picture, in their order.
    ///
    /// # Errors
    /// When an option is out of range, a picture has no pixels, or the network fails.
    fn detect(&self, pictures: &[&RgbImage], options: &DetectOptions) -> Result<Vec<Vec<Detection>>, VisionError>;

    /// The names of the classes, by number.
    fn names(&self) -> &[String];

    /// Which weights are in use.
    fn fingerprint(&self) -> Fingerprint;
}

/// What turns pictures into vectors: DINOv2, or a stand-in where everything around it is tested.
pub trait Embed: Send {
    /// Embeds pictures in one batch, in their order, as vectors of unit length.
    ///
    /// # Errors
    /// When a picture has no pixels, or the network fails.
    fn embed(&self, pictures: &[RgbImage]) -> Result<Vec<Embedding>, VisionError>;

    /// Which weights and which preparation are in use. Vectors of different fingerprints are never compared.
    fn fingerprint(&self) -> Fingerprint;

    /// How detections become the embedder's input.
    fn policy(&self) -> &CropPolicy;
}
