//! Learning, proven against the field's references.

mod dataset;
mod metrics;
mod train;
mod versions;
