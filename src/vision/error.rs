//! What can go wrong while looking at pictures.

use super::checkpoint::{CheckpointError, Fault, Task};

/// Why a model could not be loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum VisionError {
    /// The model file.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights, once read.
    #[error("the weights cannot be used: {0}")]
    Weights(#[from] Fault),
    /// A model of another task.
    #[error("the model {architecture} is made to {found}; this needs one made to {needed}")]
    Task {
        /// What the model is.
        architecture: String,
        /// What it does.
        found: Task,
        /// What was needed.
        needed: &'static str,
    },
    /// A device that is not there.
    #[error("no device `{asked}`: {why}")]
    Device {
        /// What was asked for.
        asked: String,
        /// Why not, and what to do.
        why: String,
    },
    /// libtorch failed.
    #[error("libtorch failed: {0}; where it says out of memory, use a smaller batch or `device: cpu`")]
    Torch(#[from] tch::TchError),
    /// A setting out of range.
    #[error("{0}")]
    Setting(String),
    /// A picture that cannot be looked at.
    #[error("a picture of {width}x{height} pixels cannot be looked at; each side must have at least one")]
    EmptyPicture {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The network gave numbers that are not finite.
    #[error("the network gave numbers that are not finite; try `precision: fp32`, and check the weights")]
    NotFinite,
}
