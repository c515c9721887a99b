//! Everything the screen shows. It changes only in `update`, and `view` only reads it.

mod gallery;
mod journal;
mod queue;
mod window;

use tui_input::Input;

use super::dialog::Dialog;
use super::keys::Tab;
use super::message::{PictureKey, Subject};
use super::picture::Picture;
use super::text::Zone;
use super::theme::Theme;
use crate::domain::view::{QueueStats, Stats, Status};

pub(super) use gallery::{Gallery, Pane, Probe, margins};
pub(super) use journal::{Journal, Verification, parse_filter};
pub(super) use queue::Queue;
pub(super) use window::Row;

/// Pictures that are kept.
const PICTURES: usize = 12;

/// The console.
#[derive(Debug)]
pub(super) struct State {
    /// Columns and rows.
    pub(super) size: (u16, u16),
    pub(super) theme: Theme,
    pub(super) zone: Zone,
    /// Whether the engine stops with this console.
    pub(super) own_engine: bool,
    pub(super) link: Link,
    pub(super) tab: Tab,
    pub(super) status: Option<Status>,
    pub(super) counts: Option<QueueStats>,
    /// Entries in the journal.
    pub(super) entries: u64,
    pub(super) stats: Option<Stats>,
    pub(super) queue: Queue,
    pub(super) gallery: Gallery,
    pub(super) journal: Journal,
    pub(super) overlay: Overlay,
    /// What came of the last act or question.
    pub(super) notice: Option<Notice>,
    /// Warnings the engine sent since its status was asked for, newest first.
    pub(super) alarms: Vec<String>,
    pub(super) pictures: Pictures,
    /// Whether the screen is behind the state.
    pub(super) dirty: bool,
    pub(super) escape: Escape,
    /// A refresh is due.
    pub(super) refreshing: bool,
    /// The details of what is newest are due.
    pub(super) resting: bool,
    /// The timer of live figures runs.
    pub(super) ticking: bool,
    /// Makes the intents of this console unlike those of any other.
    seed: u64,
    acts: u64,
}

/// The connection to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Not yet.
    Connecting,
    Up,
    /// What is shown is stale; the reason.
    Lost(String),
}

/// What lies over the tab.
#[derive(Debug)]
pub(super) enum Overlay {
    None,
    /// Scrolled by lines.
    Help(usize),
    /// Scrolled by lines.
    Warnings(usize),
    /// What the palette's line holds, and the place among the commands that fit.
    Palette(Input, usize),
    /// A line that filters the tab.
    Filter(Input),
    /// A picture on the whole screen.
    Picture(Subject),
    Dialog(Box<Dialog>),
}

/// A line for the operator, until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) good: bool,
}

/// An arrow key is several bytes, and a slow line tears them apart: then Escape arrives as a key, and the rest as
/// letters. So an Escape waits a moment for what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    None,
    /// Pressed at this time.
    Pressed(u64),
    /// Followed by `[` or `O`: the next letter ends a torn sequence, unless it comes too late.
    Torn(u64),
}

/// Pictures as the engine sent them, the latest first.
#[derive(Debug, Default)]
pub(super) struct Pictures(Vec<(PictureKey, Result<Picture, String>)>);

impl Pictures {
    /// The picture of a subject, at the size asked for or else at any.
    pub(super) fn of(&self, subject: &Subject) -> Option<&Result<Picture, String>> {
        self.0.iter().find(|(key, _)| key.subject == *subject).map(|(_, picture)| picture)
    }

    pub(super) fn has(&self, key: &PictureKey) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    pub(super) fn put(&mut self, key: PictureKey, picture: Result<Picture, String>) {
        self.0.retain(|(known, _)| *known != key);
        self.0.insert(0, (key, picture));
        self.0.truncate(PICTURES);
    }

    /// What could not be shown may be to be had now.
    pub(super) fn forget_failures(&mut self) {
        self.0.retain(|(_, picture)| picture.is_ok());
    }
}

impl State {
    /// A console that knows nothing yet. `seed` is random.
    pub(super) fn new(size: (u16, u16), theme: Theme, zone: Zone, own_engine: bool, seed: u64) -> Self {
        Self {
            size,
            theme,
            zone,
            own_engine,
            link: Link::Connecting,
            tab: Tab::Queue,
            status: None,
            counts: None,
            entries: 0,
            stats: None,
            queue: Queue::of(None),
            gallery: Gallery::default(),
            journal: Journal::default(),
            overlay: Overlay::None,
            notice: None,
            alarms: Vec::new(),
            pictures: Pictures::default(),
            dirty: true,
            escape: Escape::None,
            refreshing: false,
            resting: false,
            ticking: false,
            seed,
            acts: 0,
        }
    }

    /// The id of the next intent.
    pub(super) fn next_intent(&mut self) -> String {
        self.acts += 1;
        format!("console-{:016x}-{}", self.seed, self.acts)
    }

    /// Says something to the operator.
    pub(super) fn say(&mut self, good: bool, text: impl Into<String>) {
        self.notice = Some(Notice { text: text.into(), good });
        self.dirty = true;
    }

    /// Every warning, those the engine sent just now first.
    pub(super) fn warnings(&self) -> Vec<&str> {
        let known = self.status.iter().flat_map(|status| &status.warnings);
        let mut all: Vec<&str> = Vec::new();
        for warning in self.alarms.iter().chain(known) {
            if !all.contains(&warning.as_str()) {
                all.push(warning);
            }
        }
        all
    }

    /// Replaces a value, and marks the screen as behind if it is another one.
    pub(super) fn set<T: PartialEq>(dirty: &mut bool, place: &mut T, value: T) {
        if *place != value {
            *place = value;
            *dirty = true;
        }
    }
}
