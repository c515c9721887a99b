//! One integration-test binary: libtorch links once.
mod truth;
