//! What the console is told ([`Msg`]) and what it asks for ([`Effect`]).

use std::path::PathBuf;

use crossterm::event::KeyEvent;

use super::picture::Picture;
use crate::domain::view::{
    Changed, Event, GalleryStats, Identified, Intent, Item, ItemDetail, JournalQuery, JournalVerified, LabelRow,
    Nothing, Relabel, Remove, SightingRow, Stats, Status,
};
use crate::domain::{Entry, ImageId, ItemId, ItemState, Label, Neighbour, SightingId};

/// Something happened. Times are milliseconds since the console started.
#[derive(Debug)]
pub(super) enum Msg {
    /// A key was pressed or repeats.
    Key { key: KeyEvent, at: u64 },
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size, columns and rows.
    Resize(u16, u16),
    /// The frame with everything so far is on the screen.
    Drawn { at: u64 },
    /// A timer ran out.
    Woken(Timer),
    /// The engine's events flow.
    Connected,
    /// They do not, for this reason.
    Lost(String),
    /// The engine tells.
    Event(Event),
    /// The engine answers.
    Reply { query: Query, result: Result<Answer, Trouble> },
    /// The engine acknowledges or refuses an act.
    Acted { act: Act, result: Result<Acknowledged, Trouble> },
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Ask the engine.
    Ask(Query),
    /// Ask the engine to change something.
    Do(Act),
    /// Wake me after so many milliseconds; a timer that runs already starts anew.
    Wake(Timer, u64),
    /// Send text to the terminal's clipboard (OSC 52).
    Copy(String),
    /// Paint every cell again.
    Repaint,
    /// Give the terminal back and stop until continued.
    Suspend,
    /// Leave.
    Quit,
}

/// Timers, one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Timer {
    /// An escape was a key and not the beginning of an arrow torn apart.
    Escape,
    /// What the engine recorded is fetched, at most four times a second.
    Refresh,
    /// The selection has come to rest: fetch what belongs to it.
    Detail,
    /// Live figures are due.
    Second,
    /// Warnings and models are due.
    Status,
}

/// A question. An equal question in flight is not asked twice; another of the same kind takes its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Query {
    Status,
    Stats,
    Items {
        state: Option<ItemState>,
        after: Option<ItemId>,
    },
    Item(ItemId),
    GalleryStats,
    Labels {
        filter: String,
        after: Option<Label>,
    },
    Sightings {
        label: Label,
        after: Option<SightingId>,
    },
    Neighbours(SightingId),
    Entries(JournalQuery),
    Picture(PictureKey),
    /// Reads a file here and asks the gallery about it.
    Identify(PathBuf),
    /// With the public key that must have signed, as the text of a `key.pub`.
    Verify(Option<String>),
}

/// A picture within a number of pixels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PictureKey {
    pub(super) subject: Subject,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// An original with what was seen in it.
    Original(ImageId),
    /// An enrolled crop.
    Crop(SightingId),
}

/// The answer to a [`Query`] of the same name.
#[derive(Debug)]
pub(super) enum Answer {
    Status(Box<Status>),
    Stats(Box<Stats>),
    Items(Vec<Item>),
    Item(Box<ItemDetail>),
    GalleryStats(GalleryStats),
    Labels(Vec<LabelRow>),
    Sightings(Vec<SightingRow>),
    Neighbours(Vec<Neighbour>),
    Entries(Vec<Entry>),
    Picture(Picture),
    /// With the picture itself, where it could be drawn.
    Identified(Box<Identified>, Option<Picture>),
    Verified(Box<JournalVerified>),
}

/// An intent on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    Release(ItemId, Intent<Nothing>),
    Discard(ItemId, Intent<Nothing>),
    Relabel(Intent<Relabel>),
    Remove(Intent<Remove>),
}

impl Act {
    /// The intent's id.
    pub(super) fn intent(&self) -> &str {
        match self {
            Self::Release(_, intent) | Self::Discard(_, intent) => &intent.intent,
            Self::Relabel(intent) => &intent.intent,
            Self::Remove(intent) => &intent.intent,
        }
    }
}

/// The engine has recorded an act.
#[derive(Debug)]
pub(super) enum Acknowledged {
    Item(Box<Item>),
    Changed(Changed),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// For programs, as in `api::client`; `here` where this console could not even ask.
    pub(super) code: String,
    /// For people.
    pub(super) text: String,
}

impl Trouble {
    /// Whether the connection is at fault, which the status line says anyway.
    pub(super) fn is_connection(&self) -> bool {
        matches!(self.code.as_str(), "unreachable" | "broken")
    }
}
