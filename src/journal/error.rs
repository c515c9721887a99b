//! What can go wrong with the journal, and what to do then.

use std::path::PathBuf;

/// Why the journal could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
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
    /// Another process has the journal open.
    #[error("the journal in {} is open in another process; stop that engine first", .0.display())]
    Locked(PathBuf),
    /// Acknowledged bytes are not what they were.
    #[error(
        "{} is damaged at byte {offset} (entry {entry}): {detail}; nothing was changed. \
         Restore the folder from a backup; `sightline journal verify` lists every damaged place",
        file.display()
    )]
    Damaged {
        /// The segment or `checkpoints.log`.
        file: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// The first entry that is affected.
        entry: u64,
        /// What is wrong there.
        detail: String,
    },
    /// Entries that a signed checkpoint counts are not there.
    #[error(
        "{} ends after {have} entries at byte {offset}, but a signed checkpoint counts {want}; nothing was changed. \
         Restore the folder from a backup",
        file.display()
    )]
    Missing {
        /// The last segment there is, or the one that is missing.
        file: PathBuf,
        /// Its length in bytes.
        offset: u64,
        /// Entries found.
        have: u64,
        /// Entries signed for.
        want: u64,
    },
    /// The key is missing, unreadable, or another one.
    #[error("{}: {detail}", file.display())]
    Key {
        /// The key file.
        file: PathBuf,
        /// What is wrong, and the remedy.
        detail: String,
    },
    /// A write failed earlier; what is on disk must be looked at anew.
    #[error("the journal takes no entries since a write failed ({0}); free space or mend the disk, then start again")]
    Poisoned(String),
    /// An entry cannot be written.
    #[error("the entry `{action}` about `{subject}` cannot be recorded: {detail}")]
    Entry {
        /// Its action.
        action: String,
        /// Its subject.
        subject: String,
        /// Why not.
        detail: String,
    },
    /// There is no such entry.
    #[error("there is no entry {sequence}; the journal has {entries}, numbered from 0")]
    NoEntry {
        /// The number asked for.
        sequence: u64,
        /// How many there are.
        entries: u64,
    },
}

impl JournalError {
    /// Names the operation and the file of an I/O error.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
