//! Watching folders: events are hints, scans are the truth.
//!
//! One thread looks through every folder when an event hints at a change, when files are still
//! settling, and every `rescan_seconds` whatever happens, so that a lost event costs time, not a file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher as _};

use super::claim::{Claim, Claims};
use super::scan::{Scanner, is_network};
use crate::config::{Intake, Watch, WatchBackend};

/// Files that are claimed together.
const BATCH: usize = 256;

/// What the watcher tells the engine.
#[derive(Debug)]
pub enum Notice {
    /// A file was claimed.
    Claimed(Box<Claim>),
    /// Something an operator should know; said once for each path and cause.
    Warning(String),
}

/// Commands to the thread, and the hints of the kernel.
enum Hint {
    Look,
    Stop,
}

/// A running watcher; dropped or stopped, it ends after the look it is at.
pub struct Watcher {
    hints: SyncSender<Hint>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts watching. Files stay where they are while `room` says that there is none. `notice` is called from the watcher's thread and may block (backpressure).
    /// It returns false once nobody listens any more.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        watches: &[Watch],
        intake: &Intake,
        claims: std::sync::Arc<Claims>,
        room: impl Fn() -> bool + Send + 'static,
        notice: impl FnMut(Notice) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        // One hint waiting is as good as a thousand: the look that follows sees everything.
        let (hints, inbox) = sync_channel(1);
        let scanners =
            watches.iter().map(|w| Scanner::new(w.clone(), Duration::from_millis(intake.settle_ms))).collect();
        let sender = hints.clone();
        let mut looker = Looker {
            scanners,
            intake: intake.clone(),
            claims,
            room: Box::new(room),
            notice: Box::new(notice),
            said: HashMap::new(),
        };
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || looker.run(&inbox, &sender))?;
        Ok(Self { hints, thread: Some(thread) })
    }

    /// Asks for a look now.
    pub fn look_now(&self) {
        // A full channel already holds a hint.
        drop(self.hints.try_send(Hint::Look));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.hints.send(Hint::Stop));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Looker {
    scanners: Vec<Scanner>,
    intake: Intake,
    claims: std::sync::Arc<Claims>,
    room: Box<dyn Fn() -> bool + Send>,
    notice: Box<dyn FnMut(Notice) -> bool + Send>,
    said: HashMap<PathBuf, String>,
}

impl Looker {
    fn run(&mut self, inbox: &Receiver<Hint>, hints: &SyncSender<Hint>) {
        let mut polled = false;
        let mut kernel = None;
        for index in 0..self.scanners.len() {
            let watch = self.scanners[index].watch().clone();
            if let Err(error) = std::fs::create_dir_all(&watch.path) {
                self.say(watch.path.clone(), format!("the watched folder cannot be made: {error}"));
            }
            let events = match watch.backend {
                WatchBackend::Events => true,
                WatchBackend::Poll => false,
                WatchBackend::Auto => !is_network(&watch.path),
            };
            if !events {
                polled = true;
            } else if let Err(error) = listen(&mut kernel, &watch, hints) {
                polled = true;
                let remedy =
                    "it is polled instead; if the limit of watches is reached, raise fs.inotify.max_user_watches";
                self.say(watch.path, format!("the kernel sends no events for this folder ({error}); {remedy}"));
            }
        }
        let pause = Duration::from_secs(if polled {
            self.intake.poll_seconds.min(self.intake.rescan_seconds)
        } else {
            self.intake.rescan_seconds
        });
        loop {
            let began = Instant::now();
            let Some(unsettled) = self.look() else { return };
            let settle = Duration::from_millis(self.intake.settle_ms.clamp(50, 60_000));
            // A burst of events must not make a burst of scans: rest at least as long as the look took.
            std::thread::sleep(began.elapsed().clamp(Duration::from_millis(20), Duration::from_secs(2)));
            match inbox.recv_timeout(if unsettled > 0 { settle.min(pause) } else { pause }) {
                Ok(Hint::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Hint::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks through every folder and claims what is complete; `None` once nobody listens.
    fn look(&mut self) -> Option<usize> {
        let mut unsettled = 0;
        for index in 0..self.scanners.len() {
            let found = self.scanners[index].look();
            unsettled += found.unsettled;
            for (path, why) in found.passed_over {
                self.say(path, why);
            }
            for candidates in found.complete.chunks(BATCH) {
                if !(self.room)() {
                    unsettled += 1;
                    break;
                }
                for (candidate, claimed) in candidates.iter().zip(self.claims.take_all(candidates)) {
                    match claimed {
                        Ok(claim) => {
                            // Those that are claimed by now wait in the queue's folder for the next start.
                            if !(self.notice)(Notice::Claimed(Box::new(claim))) {
                                return None;
                            }
                        }
                        // Gone: its owner took it back, or another look was faster.
                        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {}
                        Err(error) => self.say(candidate.path.clone(), error.to_string()),
                    }
                }
            }
        }
        Some(unsettled)
    }

    fn say(&mut self, path: PathBuf, why: String) {
        if self.said.get(&path) == Some(&why) {
            return;
        }
        let text = format!("{}: {why}", crate::domain::RawPath(path.clone()));
        if self.said.len() > 10_000 {
            self.said.clear();
        }
        self.said.insert(path, why);
        (self.notice)(Notice::Warning(text));
    }
}

fn listen(
    kernel: &mut Option<notify::RecommendedWatcher>,
    watch: &Watch,
    hints: &SyncSender<Hint>,
) -> notify::Result<()> {
    if kernel.is_none() {
        let hints = hints.clone();
        // Whatever it says (an event, "rescan", an error), the answer is the same: look.
        *kernel = Some(notify::recommended_watcher(move |_: notify::Result<notify::Event>| {
            drop(hints.try_send(Hint::Look))
        })?);
    }
    match kernel {
        Some(watcher) => watcher.watch(&watch.path, RecursiveMode::Recursive),
        None => Ok(()),
    }
}
