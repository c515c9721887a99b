//! Learning from pictures: made ones, and how good a model is. Uses the networks and drawing of `vision`.

pub mod dataset;
pub mod metrics;
pub mod synth;
