//! Learning from pictures: made ones, and how good a model is. Uses the networks and drawing of `vision`.

pub mod augment;
pub mod dataset;
pub mod embed;
pub mod evaluate;
pub mod metrics;
pub mod plots;
pub mod synth;
pub mod train;
pub mod tune;
