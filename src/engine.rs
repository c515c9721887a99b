//! The one owner of `database/`: joins the rooms, and runs a picture from its folder to the journal.
//!
//! Threads: one watches folders ([`crate::intake::watch`]), some archive and decode, one owns the
//! models, one keeps the gallery's approximate index. Between them lie bounded queues; what does not fit waits in its folder. A picture's
//! outcome is the journal entry that names it; before that entry is on the disk nothing is shown,
//! and nothing that was dropped is removed.

mod acts;
mod admission;
mod core;
mod doubts;
mod error;
mod gallery_acts;
mod import;
mod indexes;
mod intents;
mod lane;
mod loaded;
mod meters;
mod models;
mod nearest;
mod outcome;
mod pictures;
mod pipeline;
mod prepare;
mod proofs;
mod queries;
mod queue;
mod recall;
mod remember;
mod space;
mod start;

pub use self::core::Engine;
pub use error::EngineError;
pub use models::{
    Loader, Models, crop_policy, detect_options, detector_precision, embedder_precision, load_models, runtime,
    shown_policy,
};
pub use proofs::verify_journal;
pub use start::{Options, Running, StartError, set_projection_aside, start};
