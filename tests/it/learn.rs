//! Learning, proven against the field's references.

mod dataset;
mod embed;
mod fitness;
mod metrics;
mod train;
mod versions;
