//! What can go wrong with the projection. All of it can be mended by replaying the journal.

use std::path::PathBuf;

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
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
    /// Another process has it open.
    #[error("the store in {} is open in another process; stop that engine first", .0.display())]
    Locked(PathBuf),
    /// The store cannot be believed any more.
    #[error("the store is odd: {0}; `sightline db rebuild` makes it anew from the journal")]
    Odd(String),
    /// Entries are missing between what was applied and what came.
    #[error(
        "the store waits for journal entry {expected}, but was given {given}; replay the journal from {expected} on"
    )]
    Gap {
        /// The entry it waits for.
        expected: u64,
        /// The entry it was given.
        given: u64,
    },
    /// The journal could not be read for a rebuild.
    #[error("the store cannot be rebuilt: {0}")]
    Source(String),
}

impl StoreError {
    /// Names the operation and the file of an I/O error.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
