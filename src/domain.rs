//! Ids and records: what every room talks about. No I/O, no tensors, no database.

mod decision;
mod detection;
mod entry;
mod fact;
mod id;
mod name;
pub mod view;

pub use decision::{AbstainReason, Decision, Neighbour, Thresholds, decide};
pub use detection::{BoundingBox, Detection, Embedding, Fingerprint, Rle, Rotation};
pub use entry::{Draft, Entry};
pub use fact::{
    DuplicateKind, Enrolled, Fact, FileFacts, ImageDone, ImageDuplicate, ImageFailed, ImageQuarantined, ItemState,
    Mode, QuarantineCode, Sighting, StageTimes, VectorRef,
};
pub use id::{ImageId, ItemId, SightingId};
pub use name::{Label, RawPath, display_safe};
