//! What can be wrong with a model file.

use std::path::{Path, PathBuf};

use crate::domain::RawPath;

/// Why a model file could not be read or written. Every message names the file and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system said no.
    #[error("cannot read {}: {source}; check that the file exists and may be read", RawPath(path.clone()))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file system said no to writing.
    #[error("cannot write {}: {source}; check the folder's permissions and free space", RawPath(path.clone()))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A card that lies beside other weights than it is about.
    #[error(
        "{}: it is about other weights ({about}…) than those beside it; `sightline model import` makes a card for these",
        RawPath(path.clone())
    )]
    Stale {
        /// The card.
        path: PathBuf,
        /// The first digits of the hash of the weights it is about.
        about: String,
    },
    /// The content is damaged, unsafe or not of a kind that is read.
    #[error("{}: {fault}", RawPath(path.clone()))]
    Content {
        /// The file.
        path: PathBuf,
        /// What is the matter.
        fault: Fault,
    },
    /// The name given to an imported model cannot be a file's name.
    #[error("`{0}` cannot name a model: use 1 to 100 letters, digits, `-`, `_` or `.`, not starting with `.`")]
    Name(String),
    /// A model of that name is there already, with other content.
    #[error("a model named `{name}` is already in {}; choose another name or remove that one first", RawPath(folder.clone()))]
    Taken {
        /// The name.
        name: String,
        /// The models' folder.
        folder: PathBuf,
    },
}

/// What is the matter with a file's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Cut short, altered or inconsistent.
    #[error("the file is damaged: {0}; get it again from where it came")]
    Damaged(String),
    /// Something a model file has no use for. Nothing of it was executed.
    #[error(
        "refused, and nothing in it was executed: {0}; do not use this file unless you trust its maker, and then re-save it as .safetensors"
    )]
    Unsafe(String),
    /// More than the reader accepts.
    #[error("refused: {0}; that is more than any known model needs")]
    Limit(String),
    /// A valid file of a kind that is not read.
    #[error("not a kind of file that is read: {0}")]
    Unsupported(String),
}

impl Fault {
    /// Says which file.
    #[must_use]
    pub fn at(self, path: &Path) -> CheckpointError {
        CheckpointError::Content { path: path.to_owned(), fault: self }
    }
}

pub(super) fn damaged<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(what.into()))
}
