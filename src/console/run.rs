//! The loop: one event enum, one receiver, and the state that belongs to nobody else.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fetch::{self, Fetcher};
use super::message::{Effect, Msg, Timer};
use super::state::State;
use super::terminal::{self, Screen};
use super::text::Zone;
use super::theme::Theme;
use super::update::update;
use super::{ConsoleError, Options, view};
use crate::api::client::Client;

/// Messages that wait for the loop.
const MESSAGES: usize = 256;
/// How often the terminal is asked whether it is still there.
const WATCH: Duration = Duration::from_millis(500);

struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
    stop: Signal,
    resume: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
            resume: signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
        })
    }
}

/// What woke the loop.
enum Woken {
    Told(Box<Msg>),
    Suspend,
    Resumed,
    /// The terminal has gone, or somebody wants us gone.
    Leave,
}

impl Woken {
    fn told(msg: Msg) -> Self {
        Self::Told(Box::new(msg))
    }
}

/// The state, and what carries out its effects.
struct Console {
    state: State,
    screen: Screen,
    fetcher: Fetcher,
    timers: HashMap<Timer, Instant>,
    /// None while somebody else has the terminal.
    keys: Option<EventStream>,
}

/// Runs the console until the operator leaves.
pub(super) async fn run(client: Client, options: Options) -> Result<(), ConsoleError> {
    let mut signals = Signals::take().map_err(ConsoleError::Signals)?;
    terminal::restore_on_panic();
    let screen = Screen::take().map_err(ConsoleError::Terminal)?;
    let theme = Theme::resolve(options.theme, |name| std::env::var(name).ok());
    let state = State::new(terminal::size(), theme, Zone::Local, options.own_engine, seed());
    let (sender, messages) = mpsc::channel(MESSAGES);
    let fetcher = Fetcher::new(client.clone(), sender.clone());
    let follower = tokio::spawn(fetch::follow(client, sender));
    let mut console = Console { state, screen, fetcher, timers: HashMap::new(), keys: Some(EventStream::new()) };
    let ended = console.run(&mut signals, messages).await;
    follower.abort();
    match ended {
        // Writing to a terminal that has gone is an ordinary end, and there is nobody to tell.
        Err(_) if is_gone() => Ok(()),
        ended => ended.map_err(ConsoleError::Terminal),
    }
}

impl Console {
    async fn run(&mut self, signals: &mut Signals, mut messages: mpsc::Receiver<Msg>) -> std::io::Result<()> {
        let started = Instant::now();
        let mut watch = tokio::time::interval(WATCH);
        loop {
            let effects = if std::mem::take(&mut self.state.dirty) {
                self.screen.fit(self.state.size)?;
                let state = &self.state;
                self.screen.draw(|frame| view::view(state, frame))?;
                // Told after the bytes went out: a dialog counts its time from when it could be seen.
                update(&mut self.state, Msg::Drawn { at: started.elapsed().as_millis() as u64 })
            } else {
                match self.wait(signals, &mut messages, &mut watch, started).await {
                    None => Vec::new(),
                    Some(Woken::Leave) => return Ok(()),
                    Some(Woken::Suspend) => vec![Effect::Suspend],
                    Some(Woken::Resumed) => {
                        self.screen.retake()?;
                        vec![Effect::Repaint]
                    }
                    Some(Woken::Told(msg)) => update(&mut self.state, *msg),
                }
            };
            for effect in effects {
                if effect == Effect::Quit {
                    return Ok(());
                }
                self.perform(effect)?;
            }
        }
    }

    /// Waits for whatever comes first.
    async fn wait(
        &mut self,
        signals: &mut Signals,
        messages: &mut mpsc::Receiver<Msg>,
        watch: &mut tokio::time::Interval,
        started: Instant,
    ) -> Option<Woken> {
        let next = self.timers.iter().min_by_key(|(_, at)| **at).map(|(timer, at)| (*timer, *at));
        let timer = async {
            match next {
                Some((timer, at)) => {
                    tokio::time::sleep_until(at).await;
                    timer
                }
                None => std::future::pending().await,
            }
        };
        let keys = async {
            match &mut self.keys {
                Some(keys) => keys.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = signals.hang_up.recv() => Some(Woken::Leave),
            _ = signals.terminate.recv() => Some(Woken::Leave),
            _ = signals.interrupt.recv() => Some(Woken::Leave),
            _ = signals.stop.recv() => Some(Woken::Suspend),
            _ = signals.resume.recv() => Some(Woken::Resumed),
            _ = watch.tick() => is_gone().then_some(Woken::Leave),
            event = keys => match event {
                Some(Ok(event)) => told(event, started).map(Woken::told),
                Some(Err(_)) | None => Some(Woken::Leave),
            },
            timer = timer => {
                self.timers.remove(&timer);
                Some(Woken::told(Msg::Woken(timer)))
            }
            message = messages.recv() => Some(message.map_or(Woken::Leave, Woken::told)),
        }
    }

    fn perform(&mut self, effect: Effect) -> std::io::Result<()> {
        match effect {
            Effect::Ask(query) => self.fetcher.ask(query),
            Effect::Do(act) => self.fetcher.act(act),
            Effect::Wake(timer, after) => {
                self.timers.insert(timer, Instant::now() + Duration::from_millis(after));
            }
            Effect::Copy(text) => self.screen.copy(&text)?,
            Effect::Repaint => self.repaint()?,
            Effect::Suspend => {
                // A reader that still waits would take the shell's input, and keep a new one from starting.
                self.keys = None;
                self.screen.suspend()?;
                self.keys = Some(EventStream::new());
                self.repaint()?;
            }
            Effect::Quit => {}
        }
        Ok(())
    }

    fn repaint(&mut self) -> std::io::Result<()> {
        self.state.size = terminal::size();
        self.state.dirty = true;
        self.screen.repaint(self.state.size)
    }
}

fn told(event: Event, started: Instant) -> Option<Msg> {
    match event {
        Event::Key(key) => Some(Msg::Key { key, at: started.elapsed().as_millis() as u64 }),
        Event::Paste(text) => Some(Msg::Paste(text)),
        Event::Resize(columns, rows) => Some(Msg::Resize(columns, rows)),
        Event::FocusGained | Event::FocusLost | Event::Mouse(_) => None,
    }
}

/// Whether nobody is at the other end of the terminal. crossterm reads a dead one for ever.
fn is_gone() -> bool {
    let stdin = std::io::stdin();
    let mut polled = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut polled, Some(&now)) {
        Ok(_) => polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
        Err(_) => false,
    }
}

/// Something no other console has.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = (now.as_nanos() as u64 ^ u64::from(std::process::id())).to_ne_bytes();
    }
    u64::from_ne_bytes(bytes)
}
