//! `make bench`: sightline beside the programs it is measured against, in one run, as JSON lines.
//!
//! One small file a subject; [`harness`] holds what they share. The peers are the scripts in `benches/peers/`, children
//! that answer one round a line, so that their rounds alternate with ours on the same machine in the same minutes.
//!
//! Environment: `ROUNDS` (5), `ONLY` (a part of the names to measure), `BENCH_PYTHON` (the peers' python; without it
//! ours is measured alone), `SIGHTLINE_SAMPLES` (real weights and photographs; without it random ones).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a measurement that cannot be taken ends the run, and its results go to stdout"
)]

mod check;
mod decode;
mod detector;
mod embedder;
mod evaluate;
mod gallery;
mod harness;
mod ingest;
mod inputs;
mod journal;
mod million;
mod path;
mod served;
mod train;

use harness::Bench;

fn main() {
    // As the program itself starts: OpenMP's threads do not spin for milliseconds after each layer.
    sightline::cli::spin_briefly();
    let bench = Bench::from_env();
    detector::run(&bench);
    embedder::run(&bench);
    decode::run(&bench);
    gallery::run(&bench);
    journal::run(&bench);
    ingest::run(&bench);
    million::run(&bench);
    path::run(&bench);
    train::run(&bench);
    evaluate::run(&bench);
    check::run(&bench);
}
