//! DINOv2 (arXiv:2304.07193), ViT-S/B/L/g with and without registers: the plan is read off the weights.
//!
//! Parity with the reference code is proved by `tests/it/vision/parity`.

mod classifier;
mod crop;
mod embedder;
mod network;
mod plan;

pub use classifier::{Classifier, LINEAR, Linear, Stated, state, stated, trained_with};
pub use crop::{CropPolicy, FILL, crop, fit, level, rotations};
pub use embedder::{DEVIATION, Embedder, MEAN};
pub use network::{EPS, Network, placed};
pub use plan::{HEAD, PATCH, Plan};
