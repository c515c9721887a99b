//! The vision room: parity with the references, hostile files, models on disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints its tables"
)]

mod attacks;
mod files;
mod masks;
mod models;
mod parity;
mod photos;
mod precision;
mod vectors;

use std::path::PathBuf;

/// A checked-in file that a script in `tests/golden` made.
fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The real samples, where they are; says so where they are not.
fn samples(test: &str) -> Option<PathBuf> {
    let samples = std::env::var_os("SIGHTLINE_SAMPLES").map(PathBuf::from);
    if samples.is_none() {
        println!("{test}: skipped, SIGHTLINE_SAMPLES is not set (a folder with models/ and data/)");
    }
    samples
}
