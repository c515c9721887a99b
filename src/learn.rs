//! Learning from pictures: made ones, and how good a model is. Uses the networks and drawing of `vision`.

pub mod augment;
pub mod dataset;
pub mod evaluate;
pub mod metrics;
pub mod synth;
pub mod train;
