//! DINOv2 (arXiv:2304.07193), ViT-S/B/L/g with and without registers: the plan is read off the weights.
//!
//! Parity with the reference code is proved by `tests/it/vision/parity`.

mod crop;
mod embedder;
mod network;
mod plan;

pub use crop::{CropPolicy, FILL, crop, fit, rotations};
pub use embedder::Embedder;
pub use network::Network;
pub use plan::{HEAD, PATCH, Plan};
