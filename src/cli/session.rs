//! A command's way to an engine: the one that runs, or one of its own for as long as it takes.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::broadcast::error::RecvError;

use super::CliError;
use crate::api::client::{Client, ClientError};
use crate::api::{Serving, serve};
use crate::config::Config;
use crate::domain::view::{Event, Status};
use crate::engine::{self, Options, Running, StartError, load_models};

/// A client, and the engine behind it if it is ours.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) config: Config,
    runtime: Runtime,
    own: Option<(Running, Serving)>,
}

/// Whether a command's own engine works on what waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// It only answers.
    Answers,
    /// It works on the queue.
    Works,
    /// It works and watches folders: it is the workspace's engine.
    Watches,
}

/// How long a command waits for others in the same workspace to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an engine may hold the workspace without answering: it is starting, or stopping.
const SILENT: Duration = Duration::from_secs(6);
/// A command's own engine that answers for so long is at long work.
const LASTING: Duration = Duration::from_secs(2);

/// What the engine behind a socket says of itself, if one answers.
async fn status(client: &Client) -> Option<Status> {
    tokio::time::timeout(Duration::from_secs(5), client.get("/v1/status")).await.ok()?.ok()
}

/// Whether this user may reach the workspace's database, and the engine's socket if one is there.
fn reachable(config: &Config) -> Result<(), CliError> {
    use std::os::unix::fs::MetadataExt as _;
    let database = config.database();
    let Err(error) = std::fs::read_dir(&database) else { return Ok(()) };
    let Ok(meta) = std::fs::metadata(&database) else { return Ok(()) };
    if error.kind() != std::io::ErrorKind::PermissionDenied {
        return Ok(());
    }
    Err(CliError::Refused(format!(
        "{} is its owner's and group's alone (user id {}, group id {}); whoever is to look or act must be in that group",
        database.display(),
        meta.uid(),
        meta.gid()
    )))
}

impl Session {
    /// Attaches to the workspace's engine, or starts one.
    pub(super) fn open(workspace: &Path, own: Own) -> Result<Self, CliError> {
        let config = Config::load(workspace)?;
        Self::with(config, own, None)
    }

    /// The engine that runs in a workspace, if one answers.
    pub(super) fn running(config: &Config) -> Result<Option<Status>, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::failed)?;
        Ok(runtime.block_on(status(&Client::new(&config.socket()))))
    }

    pub(super) fn with(config: Config, own: Own, listen: Option<&str>) -> Result<Self, CliError> {
        if !config.workspace.is_dir() {
            return Err(CliError::Usage(format!(
                "there is no folder {}; `sightline init --workspace DIR` makes one",
                config.workspace.display()
            )));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(CliError::failed)?;
        let client = Client::new(&config.socket());
        reachable(&config)?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = runtime.block_on(status(&client)) {
                if own == Own::Watches && listen.is_some() && status.watching {
                    return Err(CliError::Refused(format!(
                        "an engine is running already, process {}; stop it first to listen on another address",
                        status.pid
                    )));
                }
                // Another command's own engine may be about to end; one that goes on for a while can answer as well.
                let lasting = own == Own::Answers && began.elapsed() > LASTING;
                if status.watching || lasting {
                    return Ok(Self { client, config, runtime, own: None });
                }
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            let options =
                Options { watch: own == Own::Watches, work: own != Own::Answers, loader: Box::new(load_models) };
            match engine::start(config.clone(), options) {
                Ok(running) => {
                    // What a start has found and mended must not pass unnoticed because the command was another.
                    for warning in running.engine.warnings() {
                        super::warn(&warning);
                    }
                    let served = runtime.block_on(serve(running.engine.clone(), &config.socket(), listen));
                    let serving = match served {
                        Ok(serving) => serving,
                        Err(error) => {
                            running.stop();
                            return Err(CliError::Failed(format!(
                                "cannot listen on {}: {error}",
                                listen.map_or_else(|| config.socket().display().to_string(), str::to_owned)
                            )));
                        }
                    };
                    return Ok(Self { client, config, runtime, own: Some((running, serving)) });
                }
                // Somebody else's engine may be starting or stopping right now.
                Err(StartError::InUse { .. }) if began.elapsed() < SILENT => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(CliError::Failed(format!(
            "another command has been at work in {} for {} s; wait for it, or run `sightline serve`, which answers many",
            config.workspace.display(),
            PATIENCE.as_secs()
        )))
    }

    /// Whether the engine is this process's own.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The address for programs, if the own engine listens on one.
    pub(super) fn address(&self) -> Option<std::net::SocketAddr> {
        self.own.as_ref().and_then(|(_, serving)| serving.address)
    }

    /// Asks the engine and waits.
    pub(super) fn ask<T>(&self, question: impl Future<Output = Result<T, ClientError>>) -> Result<T, CliError> {
        self.runtime.block_on(question).map_err(CliError::from)
    }

    /// Runs something on the session's runtime.
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Prints what the own engine warns of from now on: somebody reads a server's stderr, or its unit's log.
    pub(super) fn say_warnings(&self) {
        let Some((running, _)) = &self.own else { return };
        let mut events = running.engine.subscribe();
        self.runtime.spawn(async move {
            loop {
                match events.recv().await {
                    Ok(Event::Warning { text }) => super::warn(&text),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// Ends an engine of our own in good order.
    pub(super) fn close(self) {
        if let Some((running, serving)) = self.own {
            self.runtime.block_on(serving.stop());
            running.stop();
        }
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }

    /// Asks, closes, and gives the answer.
    pub(super) fn ask_and_close<T>(
        self,
        question: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, CliError> {
        let answer = self.ask(question);
        self.close();
        answer
    }
}
