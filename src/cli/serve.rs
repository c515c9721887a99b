//! `serve`, and the console that `sightline` alone opens.

use std::io::IsTerminal as _;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::arguments::Serve;
use super::output::tell;
use super::session::{Own, Session};
use super::{CliError, Ended, Outcome};
use crate::config::{Config, Objects};
use crate::console::Options;
use crate::domain::view::Status;
use crate::files;

/// Logs go to rolling files, never to the terminal. The guard writes out what is pending when dropped.
pub(super) fn log_to_files(config: &Config) -> Result<tracing_appender::non_blocking::WorkerGuard, CliError> {
    let logs = config.database().join("logs");
    std::fs::create_dir_all(&logs)
        .map_err(|error| CliError::Failed(format!("cannot make {}: {error}", logs.display())))?;
    // The appender opens today's file and would wait at a pipe that stands in its place.
    let entries = std::fs::read_dir(&logs).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "log")) {
        files::check(&path)
            .map_err(|error| CliError::Failed(format!("cannot write logs to {}: {error}", path.display())))?;
    }
    let files = tracing_appender::rolling::Builder::new()
        .rotation(tracing_appender::rolling::Rotation::DAILY)
        .filename_prefix("sightline")
        .filename_suffix("log")
        .max_log_files(14)
        .build(&logs)
        .map_err(|error| CliError::Failed(format!("cannot write logs to {}: {error}", logs.display())))?;
    let (writer, guard) = tracing_appender::non_blocking(files);
    let filter = tracing_subscriber::EnvFilter::try_from_env("SIGHTLINE_LOG").unwrap_or_else(|_| "info".into());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer).finish();
    // A second call in one process (tests) keeps the first one's files.
    drop(tracing::subscriber::set_global_default(subscriber));
    let default_hook = std::panic::take_hook();
    let to_terminal = std::io::stderr().is_terminal();
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!(%info, backtrace = %std::backtrace::Backtrace::force_capture(), "panic");
        if !to_terminal {
            default_hook(info);
        }
    }));
    Ok(guard)
}

/// Runs the engine until it is told to stop.
pub(super) fn serve(workspace: &Path, arguments: &Serve) -> Ended {
    let config = Config::load(workspace)?;
    let _logs = log_to_files(&config)?;
    let session = Session::with(config, Own::Watches, arguments.listen.as_deref())?;
    if !session.is_own() {
        let socket = session.config.socket();
        let status: Status = session.ask(session.client.get("/v1/status"))?;
        return Err(CliError::Refused(format!(
            "an engine is running already, process {}; it answers at {}",
            status.pid,
            socket.display()
        )));
    }
    say(&session);
    session.say_warnings();
    session.block_on(stop_signal())?;
    session.close();
    Ok(Outcome::Done)
}

fn say(session: &Session) {
    tell(&format!("serving {} on {}", session.config.workspace.display(), session.config.socket().display()));
    if let Some(address) = session.address() {
        tell(&format!("answering programs on http://{address}"));
    }
    for (key, path) in
        [("models.detector", &session.config.models.detector), ("models.embedder", &session.config.models.embedder)]
    {
        let needed = key == "models.embedder" || session.config.detect.objects != Objects::Whole;
        if needed && !path.is_file() {
            tell(&format!("{key}: there are no weights at {}; pictures wait until there are", path.display()));
        }
    }
    for watch in &session.config.watch {
        tell(&format!("watching {}", watch.path.display()));
    }
}

/// Waits for SIGTERM, SIGINT or SIGHUP.
async fn stop_signal() -> Result<(), CliError> {
    let on = |kind| signal(kind).map_err(CliError::failed);
    let (mut term, mut int, mut hup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        _ = hup.recv() => {}
    }
    Ok(())
}

/// Refuses to open a console where there is no terminal, before anything is written or started.
pub(super) fn needs_terminal() -> Result<(), CliError> {
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return Ok(());
    }
    Err(CliError::Usage(
        "the console needs a terminal; without one, use `sightline serve` and the other commands (`sightline --help`)"
            .into(),
    ))
}

/// Opens the console; starts an engine in this process if none is running.
pub(super) fn console(workspace: &Path) -> Ended {
    needs_terminal()?;
    let config = Config::load(workspace)?;
    let _logs = log_to_files(&config)?;
    let session = Session::with(config, Own::Watches, None)?;
    let ended = run_console(&session);
    session.close();
    ended
}

/// Runs the console on a session's engine.
pub(super) fn run_console(session: &Session) -> Ended {
    let options = Options { theme: session.config.theme, own_engine: session.is_own() };
    session.block_on(crate::console::run(session.client.clone(), options)).map_err(CliError::failed)?;
    Ok(Outcome::Done)
}
