//! Training: YOLOv8 from pictures with labels, whether from nothing or from weights that are there.
//!
//! In reading order: what a run is told ([`options`]), the network as it learns, which anchors answer for what, what
//! is to become small, how weights are changed, where batches come from, what is kept to go on from, and the run itself.

pub mod assign;
pub mod cache;
pub mod loader;
pub mod loss;
pub mod network;
pub mod optimiser;
pub mod options;
pub mod pictures;
pub mod results;
pub mod run;
pub mod schedule;
pub mod start;
pub mod state;

use std::path::PathBuf;

use tch::TchError;

use crate::vision::VisionError;
use crate::vision::checkpoint::CheckpointError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting is out of range.
    #[error("{0}")]
    Setting(String),
    /// The data cannot be learnt from.
    #[error("{path}: {why}")]
    Data {
        /// The set.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// A picture cannot be read.
    #[error(
        "{path} cannot be read: {why}; mend it or take it out of the set (`sightline dataset check` lists all such files)"
    )]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A label's class is not the network's.
    #[error(
        "a label has class {class}, but there are {classes} classes, counted from 0; correct the label or the names in `data.yaml`"
    )]
    Class {
        /// The label's class.
        class: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// Weights that do not fit.
    #[error("{0}")]
    Weights(String),
    /// Numbers that are none.
    #[error(
        "the loss or a weight is not a finite number any more; weights of the last good epoch, if there was one, are in the run's \
         `weights/`: begin a new run from them (`--model`) with a lower learning rate (`lr0=…`)"
    )]
    NotFinite,
    /// The disk.
    #[error(
        "cannot {what} {path}: {source}; what was kept before is untouched; a run with a `weights/last.state` goes on with `--resume`"
    )]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Weights that could not be kept.
    #[error("{0}; what was kept before is untouched; a run with a `weights/last.state` goes on with `--resume`")]
    Keep(#[from] CheckpointError),
    /// A run that cannot go on.
    #[error("{path}: {why}")]
    Resume {
        /// The run.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// libtorch.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
    /// A network that answers.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

impl TrainError {
    /// For `map_err`: the disk refused.
    pub(crate) fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// For `map_err` where a run judges itself: a network that gives no numbers has learnt to.
    pub(crate) fn learnt(self) -> Self {
        match self {
            Self::Vision(VisionError::NotFinite) => Self::NotFinite,
            other => other,
        }
    }
}
