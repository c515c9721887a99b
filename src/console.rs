//! The console: what an operator sees and presses.
//!
//! `message` names what can happen and what can be done about it; `update` decides, with no I/O; `view` draws the
//! state and decides nothing; `run` joins them to the terminal and, through `fetch`, to the engine.

mod dialog;
mod fetch;
mod keys;
mod layout;
mod message;
mod picture;
mod run;
mod state;
mod terminal;
mod text;
mod theme;
mod update;
mod view;

use crate::api::client::Client;
use crate::config::ThemeName;

/// How the console runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The colours.
    pub theme: ThemeName,
    /// Whether the engine runs in this process, and so stops with the console.
    pub own_engine: bool,
}

/// Why the console ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The terminal cannot be used.
    #[error("the terminal cannot be used: {0}; `sightline doctor` says what it can do")]
    Terminal(#[source] std::io::Error),
    /// Signals cannot be caught, so the terminal could not be restored.
    #[error("signals cannot be caught: {0}; start the console from an ordinary shell")]
    Signals(#[source] std::io::Error),
}

/// Runs the console on a terminal until the operator leaves, the terminal hangs up, or a signal ends it. Must be
/// called inside a tokio runtime. The terminal is restored on every way out.
///
/// # Errors
/// [`ConsoleError`] when the terminal cannot be used. An engine that cannot be reached is shown, not returned.
pub async fn run(client: Client, options: Options) -> Result<(), ConsoleError> {
    run::run(client, options).await
}
