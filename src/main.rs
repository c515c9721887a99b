//! Parse, run, map the error to an exit code.

use std::process::ExitCode;

use sightline::cli;

fn main() -> ExitCode {
    let arguments = match cli::parse() {
        Ok(arguments) => arguments,
        Err(code) => return ExitCode::from(code),
    };
    cli::spin_briefly();
    match cli::run(arguments) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) => {
            cli::complain(&error);
            ExitCode::from(error.code())
        }
    }
}
