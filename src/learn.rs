//! Making, and one day learning from, pictures. Uses the networks and drawing of `vision`.

pub mod synth;
