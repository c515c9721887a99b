//! Parse, run, map the error to an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use sightline::cli::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::spin_briefly();
    match cli::run(arguments) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) => {
            cli::complain(&error);
            ExitCode::from(error.code())
        }
    }
}
