//! The projection: what the journal's entries add up to, in sled, quick to look up and always rebuildable.
//!
//! Nothing here is the truth. sled 0.34 loses keys silently when its files are damaged, so this room doubts it:
//!
//! - All records lie in one tree; one [`Store::apply`] is one batch, so records and the number of the next entry change
//!   together or not at all.
//! - Each value carries a schema version and a CRC-32 over key and value, and stays under 4 KB.
//! - Beside the records lie, for each kind of record, how many there are and the sum (mod 2^256) of the SHA-256 of
//!   each: the digest can be compared with what iterating finds, whatever the order of writing.
//! - On opening, what is odd in any way (an error, a panic inside sled, a wrong checksum, count or digest) makes the
//!   folder be set aside under another name and an empty store be begun; the caller replays the journal.

mod apply;
mod error;
mod kv;
mod ledger;
mod open;
mod query;
mod record;
#[cfg(test)]
mod tests;
mod verify;

pub use error::StoreError;
pub use kv::MAX_VALUE;
pub use open::{Checked, Opened, Store};
pub use record::{EngineFact, ImageRecord, ItemDecision, ItemRecord, LabelRecord, PathTail, SightingRecord};
pub use verify::{StoreReport, StoreStats};
