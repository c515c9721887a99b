//! How a file gets in: noticed, claimed, decoded, checked and compared with what was there before.

pub mod claim;
pub mod clean;
pub mod dedupe;
mod jpeg;
pub mod scan;
mod scans;
mod structure;
pub mod watch;
