//! YOLOv8, detecting and segmenting, in all sizes: the plan is read off the weights.
//!
//! Written from the published description (Jocher et al., 2023; arXiv:2305.09972) and the behaviour of
//! `yolo predict`; parity is proved by `tests/it/vision/parity`.

mod detector;
mod network;
mod nms;
mod outline;
mod plan;

pub use detector::{DetectOptions, Detector, Group, INPUT_SIZE, possible};
pub use network::{Heads, Network};
pub use plan::{BINS, BLOCKS, MaskPlan, Plan};
