//! The server: our own accept loop, because every limit must be ours (headers, bodies, connections, time).

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::peer::Peer;
use super::routes::router;
use crate::engine::Engine;

/// Connections at once; consoles hold two each (requests and events).
const CONNECTIONS: usize = 256;
/// A client must have sent its headers within this time.
const HEADERS: Duration = Duration::from_secs(10);
/// Between looks whether the socket's file is still there.
const LOOK: Duration = Duration::from_secs(1);

/// A running server; the socket's file goes away with it.
pub struct Serving {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Where it listens for programs, if it does.
    pub address: Option<std::net::SocketAddr>,
}

impl Serving {
    /// Stops answering; requests under way get a second to end.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(Duration::from_secs(1), self.task).await.is_err() {
            tracing::warn!("a client was still being answered when the engine stopped");
        }
    }
}

/// Listens on the workspace's socket and, if asked, on a TCP address of this machine.
///
/// The caller owns the workspace (the engine's lock), so a socket file that is there is a leftover.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn serve(engine: Arc<Engine>, socket: &Path, listen: Option<&str>) -> io::Result<Serving> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let unix = Door::open(socket)?;
    let tcp = match listen {
        Some(address) => Some(TcpListener::bind(address).await?),
        None => None,
    };
    let address = tcp.as_ref().map(TcpListener::local_addr).transpose()?;
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(accept(engine, unix, tcp, stopped));
    Ok(Serving { stop, task, address })
}

/// The workspace's socket, and the file by which it is found.
struct Door {
    path: PathBuf,
    listener: UnixListener,
    /// The file as it was made: device and inode.
    file: (u64, u64),
    /// That something else stands in its place has been said.
    told: bool,
}

impl Door {
    fn open(path: &Path) -> io::Result<Self> {
        let listener = bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        let about = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), listener, file: (about.dev(), about.ino()), told: false })
    }

    /// Whether the file is the one that was made.
    fn is_ours(&self, about: &std::fs::Metadata) -> bool {
        (about.dev(), about.ino()) == self.file
    }

    /// Makes the file again where somebody has removed it: whoever has a connection keeps it, nobody else would find the
    /// engine. What somebody has put into its place is left alone, and said.
    fn look(&mut self, engine: &Engine) {
        match std::fs::symlink_metadata(&self.path) {
            Ok(about) if self.is_ours(&about) => self.told = false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match Self::open(&self.path) {
                Ok(door) => {
                    *self = door;
                    engine.warn(format!(
                        "somebody had removed the engine's socket {}; it was made again, and who could not connect can now",
                        self.path.display()
                    ));
                }
                Err(error) => self.tell(engine, &format!("was removed and cannot be made again ({error})")),
            },
            Ok(_) => self.tell(engine, "is not the engine's any more"),
            Err(error) => self.tell(engine, &format!("cannot be looked at ({error})")),
        }
    }

    /// Says once that nobody can connect.
    fn tell(&mut self, engine: &Engine, what: &str) {
        if !std::mem::replace(&mut self.told, true) {
            engine.warn(format!(
                "the socket {} {what}: new consoles and commands cannot connect; remove what stands there, and the engine makes its socket again",
                self.path.display()
            ));
        }
    }
}

impl Drop for Door {
    /// The file goes away with the server, and nobody else's in its place.
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|about| self.is_ours(&about))
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "the socket's file could not be removed");
        }
    }
}

/// Binds a socket whose path may be longer than the 108 bytes a socket address holds.
fn bind(socket: &Path) -> io::Result<UnixListener> {
    if socket.as_os_str().len() < 100 {
        return UnixListener::bind(socket);
    }
    let (dir, name) = (socket.parent().unwrap_or(Path::new(".")), socket.file_name().unwrap_or_default());
    let dir = std::fs::File::open(dir)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir))).join(name);
    UnixListener::bind(short)
}

async fn accept(engine: Arc<Engine>, mut unix: Door, tcp: Option<TcpListener>, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let app = router(Arc::clone(&engine));
    let mut look = tokio::time::interval(LOOK);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        tokio::select! {
            _ = stopped.changed() => return,
            _ = look.tick() => unix.look(&engine),
            accepted = unix.listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let peer = Peer::of(&stream, &engine);
                    spawn(TokioIo::new(stream), app.clone().layer(Extension(peer)), place, stopped.clone());
                }
                Err(error) => rest(&error).await,
            },
            accepted = accept_tcp(tcp.as_ref()) => match accepted {
                // Over TCP nobody vouches for a name: strangers may look and ask.
                Ok(stream) => {
                    let peer = Peer::stranger();
                    spawn(TokioIo::new(stream), app.clone().layer(Extension(peer)), place, stopped.clone());
                }
                Err(error) => rest(&error).await,
            },
        }
    }
}

/// Out of descriptors, most likely: the next try must not spin.
async fn rest(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn accept_tcp(tcp: Option<&TcpListener>) -> io::Result<tokio::net::TcpStream> {
    match tcp {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

fn spawn<S>(
    io: TokioIo<S>,
    app: axum::Router,
    place: tokio::sync::OwnedSemaphorePermit,
    mut stopped: watch::Receiver<bool>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(io, TowerToHyperService::new(app));
        tokio::pin!(connection);
        tokio::select! {
            done = connection.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(%error, "a connection ended early");
                }
            }
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                drop(tokio::time::timeout(Duration::from_millis(800), connection).await);
            }
        }
        drop(place);
    });
}
