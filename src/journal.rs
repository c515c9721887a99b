//! The truth: an append-only, checksummed, tamper-evident journal.
//!
//! # On disk (`database/journal/`)
//!
//! | file | what |
//! |---|---|
//! | `00000000.log`, `00000001.log`, … | segments: frames back to back, nothing else |
//! | `checkpoints.log` | signed tree heads, oldest first |
//! | `key`, `key.pub` | the Ed25519 signing key (mode 0600) and its public half |
//! | `torn-<ms>.bin` | bytes that were cut off an unfinished tail, kept |
//!
//! A **frame** is 16 bytes of header and then the entry, integers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | magic `F5 53 4A 01`; `F5` occurs in no UTF-8 text, so no entry can hold a false frame |
//! | 4 | length of the entry in bytes |
//! | 4 | the entry's place in its batch, from 0 |
//! | 4 | CRC-32 (IEEE) of the two numbers before it and of the entry |
//! | n | the entry: compact JSON, fields in the order of [`Entry`], the keys of `before` and `after` sorted |
//!
//! The place in the batch tells a torn tail from damage: a batch begins only after the one before it is on disk,
//! so a sound frame of a later batch behind a broken frame proves that the broken one was once acknowledged.
//!
//! The **tree** is RFC 6962's: leaf `SHA-256(00 || entry)`, node `SHA-256(01 || left || right)`, over the entries'
//! bytes as stored. A **checkpoint** is a signed note (C2SP `signed-note`, `tlog-checkpoint`): origin, size, root in
//! base64, then our lines `time MS` and `frontier HASH…` (the roots of the perfect subtrees, from which the tree
//! goes on without its leaves), an empty line, and `— NAME SIGNATURE`. A last empty line ends each note in the file.
//!
//! Everything before the last checkpoint must be there and sound, or the journal does not open. What lies behind it
//! and is unfinished is cut, kept in a side file, and said. A segment is closed only under a checkpoint.

mod checkpoint;
mod error;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod index;
mod key;
pub mod merkle;
mod open;
mod query;
mod reader;
mod scan;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use checkpoint::Checkpoint;
pub use error::JournalError;
pub use key::PublicKey;
pub use open::{Cut, OpenReport};
pub use query::{Filter, Page};
pub use reader::Reader;
pub use verify::{Trust, VerifyReport, verify};
pub use writer::Journal;

#[cfg(doc)]
use crate::domain::Entry;

/// How the journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment that has reached this many bytes is closed and the next one begun.
    pub segment_bytes: u64,
    /// A checkpoint is signed as soon as this many entries lie past the last one; 0 leaves it to the caller.
    pub checkpoint_every: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, checkpoint_every: 1000 }
    }
}
