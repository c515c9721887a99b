//! The asking side: what consoles and commands use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::domain::view::{Event, Failure, Intent};

/// Why asking failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no engine answers at {socket}: {source}; start one with `sightline serve`")]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to the engine broke ({0}); see its log, and ask again")]
    Broken(String),
    /// The engine says no.
    #[error("{}", .0.error)]
    Failure(Failure),
}

impl ClientError {
    /// The failure's code, `unreachable`, or `broken`.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Broken(_) => "broken",
            Self::Failure(failure) => &failure.code,
        }
    }
}

fn broken(error: impl std::fmt::Display) -> ClientError {
    ClientError::Broken(error.to_string())
}

/// A part of a path or a query's value, escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// An intent with a fresh id.
pub fn intent<T>(act: T, reason: impl Into<String>) -> Intent<T> {
    let mut id = [0; 16];
    // Without randomness from the system, the clock and the process still tell intents apart.
    if getrandom::fill(&mut id).is_err() {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        id = (now << 32 | u128::from(std::process::id())).to_be_bytes();
    }
    Intent { intent: hex::encode(id), reason: reason.into(), seen: None, act }
}

/// Asks the engine of a workspace. Cheap to clone; each question is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the engine behind a socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let unreachable = |source| ClientError::Unreachable { socket: self.socket.clone(), source };
        if self.socket.as_os_str().len() < 100 {
            return UnixStream::connect(&self.socket).await.map_err(unreachable);
        }
        // A socket address holds 108 bytes; a longer path is reached through its folder's descriptor.
        let dir = std::fs::File::open(self.socket.parent().unwrap_or(Path::new("."))).map_err(unreachable)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir)));
        UnixStream::connect(short.join(self.socket.file_name().unwrap_or_default())).await.map_err(unreachable)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<hyper::Response<hyper::body::Incoming>, ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "sightline")
            .header("content-type", kind)
            .body(Full::new(body))
            .map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        Err(ClientError::Failure(serde_json::from_slice(&body).unwrap_or_else(|_| Failure {
            code: "bad_request".into(),
            error: format!("{status}: {}", crate::domain::display_safe(&String::from_utf8_lossy(&body))),
        })))
    }

    async fn bytes(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let response = self.send(method, path, kind, body).await?;
        Ok(response.into_body().collect().await.map_err(broken)?.to_bytes())
    }

    /// `GET path`, JSON back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.bytes(Method::GET, path, "application/json", Bytes::new()).await?;
        serde_json::from_slice(&body).map_err(broken)
    }

    /// `GET path`, bytes back (a picture).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        self.bytes(Method::GET, path, "application/json", Bytes::new()).await
    }

    /// `POST path` with JSON, JSON back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(broken)?;
        let body = self.bytes(Method::POST, path, "application/json", body.into()).await?;
        serde_json::from_slice(&body).map_err(broken)
    }

    /// `POST path` with bytes (a picture), JSON back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post_bytes<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        let body = self.bytes(Method::POST, path, "application/octet-stream", body.into()).await?;
        serde_json::from_slice(&body).map_err(broken)
    }

    /// Whether an engine answers.
    pub async fn is_alive(&self) -> bool {
        let asked = self.get::<serde_json::Value>("/v1/queue/stats");
        matches!(tokio::time::timeout(Duration::from_secs(5), asked).await, Ok(Ok(_)))
    }

    /// The engine's events, until it ends or the receiver is dropped.
    ///
    /// # Errors
    /// [`ClientError`] when the engine cannot be reached.
    pub async fn events(&self) -> Result<mpsc::Receiver<Event>, ClientError> {
        let mut body = self.send(Method::GET, "/v1/events", "application/json", Bytes::new()).await?.into_body();
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut pending = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                pending.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    let event = line.strip_prefix(b"data: ").and_then(|data| serde_json::from_slice(data).ok());
                    if let Some(event) = event
                        && sender.send(event).await.is_err()
                    {
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }
}
