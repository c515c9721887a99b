//! The command line: one thin file a group, from arguments through a room to text or JSON.
//!
//! Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 refused, 4 nothing found or abstained.

mod arguments;
mod compare;
mod database;
mod dataset;
mod demo;
mod doctor;
mod evaluate;
mod gallery;
mod identify;
mod init;
mod journal;
mod models;
mod openmp;
mod output;
mod pictures;
mod queue;
mod runs;
mod save;
mod see;
mod serve;
mod session;
mod train;

pub use arguments::Arguments;
use arguments::Command;
pub use openmp::spin_briefly;
use output::Out;

use crate::api::client::ClientError;
use crate::config::ConfigError;
use crate::engine::StartError;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// A check found something wrong; it has been said.
    NotOk,
    /// Nothing was found, or a probe was abstained on.
    Nothing,
}

impl Outcome {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotOk => 1,
            Self::Nothing => 4,
        }
    }
}

/// Why a command failed. The text says what happened, to what, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// Bad usage or a bad config.
    #[error("{0}")]
    Usage(String),
    /// Not allowed as things stand.
    #[error("{0}")]
    Refused(String),
    /// The thing asked about is not there.
    #[error("{0}")]
    NotFound(String),
    /// What a training learnt is no number any more.
    #[error("{0}")]
    Diverged(String),
}

impl CliError {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Diverged(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::NotFound(_) => 4,
        }
    }

    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error.code() {
            "not_found" => Self::NotFound(text),
            "refused" => Self::Refused(text),
            "bad_request" => Self::Usage(text),
            _ => Self::Failed(text),
        }
    }
}

type Ended = Result<Outcome, CliError>;

/// Runs a command to its end.
///
/// # Errors
/// [`CliError`], to be printed and mapped to an exit code by `main`.
pub fn run(arguments: Arguments) -> Ended {
    let workspace = std::path::absolute(&arguments.workspace).map_err(CliError::failed)?;
    let mut out = Out::new(arguments.json);
    let Some(command) = arguments.command else { return serve::console(&workspace) };
    match command {
        Command::Demo(demo) => demo::run(&mut out, &demo),
        Command::Serve(serve) => serve::serve(&workspace, &serve),
        Command::Init(init) => init::run(&mut out, &workspace, &init),
        Command::See(see) => see::see(&mut out, &workspace, &see),
        Command::Embed(embed) => see::embed(&mut out, &workspace, &embed),
        Command::Ingest(ingest) => queue::ingest(&mut out, &workspace, &ingest),
        Command::Enroll(enroll) => queue::enroll(&mut out, &workspace, &enroll),
        Command::Identify(identify) => identify::run(&mut out, &workspace, &identify),
        Command::Queue(queue) => queue::run(&mut out, &workspace, &queue),
        Command::Gallery(gallery) => gallery::run(&mut out, &workspace, &gallery),
        Command::Journal(journal) => journal::run(&mut out, &workspace, &journal),
        Command::Db(db) => database::run(&mut out, &workspace, &db),
        Command::Model(model) => models::run(&mut out, &workspace, &model),
        Command::Dataset(dataset) => dataset::run(&mut out, &workspace, &dataset),
        Command::Train(train) => train::run(&mut out, &workspace, &train),
        Command::Runs(runs) => runs::run(&mut out, &workspace, &runs),
        Command::Evaluate(evaluate) => evaluate::run(&mut out, &workspace, &evaluate),
        Command::Doctor => doctor::run(&mut out, &workspace),
    }
}

/// Reads the command line.
///
/// # Errors
/// The exit code, once the help, the version or what is wrong has been printed.
pub fn parse() -> Result<Arguments, u8> {
    <Arguments as clap::Parser>::try_parse().map_err(|error| {
        if error.use_stderr() && error.kind() != clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            // It quotes what was typed, which may hold anything.
            let text = error.to_string();
            output::tell(text.trim_end().trim_start_matches("error: "));
        } else {
            // Help for a reader that has gone is help for nobody.
            drop(error.print());
        }
        u8::try_from(error.exit_code()).unwrap_or(2)
    })
}

/// Prints what an operator should know, on stderr; that it cannot be written is no failure of the command.
fn warn(text: &str) {
    output::tell(text);
}

/// Prints an error for people, on stderr.
pub fn complain(error: &CliError) {
    output::tell(&error.to_string());
}
