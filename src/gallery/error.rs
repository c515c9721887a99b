//! What can go wrong with the gallery, and what to do then.

use std::path::PathBuf;

use crate::domain::{Fingerprint, SightingId};

/// Why the gallery could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum GalleryError {
    /// The file system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A segment's header is not right.
    #[error("{} is no vector segment: {detail}; restore it from a backup", path.display())]
    Segment {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A row that the journal names is not what it was.
    #[error(
        "{}: row {row}{} {detail}",
        path.display(),
        sighting.map_or(String::new(), |s| format!(", a vector of {s},"))
    )]
    Row {
        /// The segment.
        path: PathBuf,
        /// The row, from 0.
        row: u32,
        /// Whose vector it is, where that is known.
        sighting: Option<SightingId>,
        /// What is wrong.
        detail: String,
    },
    /// What is enrolled was made with other weights than the probe.
    #[error(
        "the probe was made with weights {probe}, but the gallery's {sightings} sightings were made with {enrolled}; \
         run `sightline gallery reembed`, or go back to the weights they were made with"
    )]
    OtherWeights {
        /// The probe's.
        probe: Fingerprint,
        /// Those of what is enrolled (the most frequent).
        enrolled: Fingerprint,
        /// Sightings enrolled.
        sightings: usize,
    },
    /// A vector's length is not that of the others of the same weights.
    #[error("a vector of dimension {given} was given; the vectors of weights {fingerprint} have {expected}")]
    Dimension {
        /// The weights.
        fingerprint: Fingerprint,
        /// Components of theirs.
        expected: usize,
        /// Components of this one.
        given: usize,
    },
    /// An approximate index cannot be made.
    #[error("{}: the index cannot be made: {detail}; exact search answers meanwhile", path.display())]
    Index {
        /// Its file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The system gives no memory for the copy of the vectors that is searched.
    #[error("there is no memory for another vector ({0}); free memory, or take sightings out of the gallery")]
    Memory(std::io::Error),
    /// No such sighting is enrolled.
    #[error("{0} is not enrolled")]
    Unknown(SightingId),
    /// The gallery takes no vectors since a write failed.
    #[error("the gallery takes no vectors since a write failed ({0}); free space or mend the disk, then start again")]
    Poisoned(String),
    /// A file to import cannot be read, or a vector cannot be used.
    #[error("{what}: {detail}")]
    Exchange {
        /// The file, or the vector.
        what: String,
        /// What is wrong, and what to do.
        detail: String,
    },
}

impl GalleryError {
    /// Names the operation and the file of an I/O error.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
