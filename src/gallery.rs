//! The gallery: vectors in append-only segments, exact search over those that are enrolled, and an approximate index
//! beside it for large ones.
//!
//! # On disk (`database/gallery/NNNNNNNN.vec`)
//!
//! A 64-byte header, then rows of equal length; integers little-endian.
//!
//! | header | what | | row | what |
//! |---|---|---|---|---|
//! | 8 bytes | `SLVEC` and three bytes `1A 0A 01` | | 32 | the sighting's image |
//! | 4 | bytes of a component: 4 (f32) or 2 (f16) | | 4 | the sighting's index |
//! | 4 | dimension | | 2 | rotation, degrees |
//! | 32 | fingerprint of the weights | | 2 | zero |
//! | 12 | zero | | 4 | CRC-32 of the vector's bytes |
//! | 4 | CRC-32 of the 60 bytes before | | 4 | CRC-32 of the 44 bytes before |
//! | | | | n | the vector |
//!
//! Rows are only ever added. Which of them count is for the journal to say: a row is served after it was *admitted* by
//! the reference that an entry holds, and its checksum is checked then. A row that no entry names (a crash came between
//! the row and the entry) is harmless and stays. A segment whose end is torn is left as it is and not added to again.
//!
//! A segment holds vectors of one fingerprint and one dimension, so vectors of different weights never mix.

mod approximate;
mod build;
mod error;
mod exchange;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod graph;
mod kernel;
mod members;
mod search;
mod segment;
#[cfg(test)]
mod tests;
mod vectors;
mod verify;

pub use approximate::{IndexStats, Opened, open_index, prove_index};
pub use build::{Snapshot, build_index};
pub use error::GalleryError;
pub use exchange::{Exported, Imported, NamedVectors, read_export};
pub use graph::IndexFault;
pub use members::{GalleryStats, SegmentStats};
pub use vectors::{Dtype, Gallery, Options};
pub use verify::VerifyReport;
