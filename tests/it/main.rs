//! One integration-test binary: libtorch links once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests say what they skip and what they measured")]
#![allow(missing_docs, reason = "tests")]

mod console;
mod engine;
mod house;
mod intake;
mod learn;
mod process;
mod readme;
mod samples;
mod support;
mod torture;
mod truth;
mod vision;
