//! Where things stand on the screen: pure geometry, shared by `view`, which draws there, and `update`, which asks for
//! pictures of that size. A pane that has no room is empty.

use ratatui::layout::Rect;

use super::state::{Link, Pane, State};

/// From this width on panes stand beside each other.
const WIDE: u16 = 100;
/// From this height on there is a second row of panes.
const HIGH: u16 = 12;

/// The parts of the screen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    pub(super) tabs: Rect,
    /// The engine is halted or out of reach.
    pub(super) banner: Rect,
    pub(super) body: Rect,
    pub(super) status: Rect,
}

/// The parts of the queue's tab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) head: Rect,
    pub(super) list: Rect,
    pub(super) detail: Rect,
    pub(super) picture: Rect,
}

/// The parts of the gallery's tab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gallery {
    pub(super) head: Rect,
    pub(super) labels: Rect,
    pub(super) sightings: Rect,
    pub(super) neighbours: Rect,
    /// The original, or the probe.
    pub(super) original: Rect,
    pub(super) crop: Rect,
}

/// The parts of the journal's tab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Journal {
    pub(super) head: Rect,
    pub(super) list: Rect,
    pub(super) entry: Rect,
}

/// Cuts rows off the top.
pub(super) fn top(area: Rect, rows: u16) -> (Rect, Rect) {
    let rows = rows.min(area.height);
    (Rect { height: rows, ..area }, Rect { y: area.y + rows, height: area.height - rows, ..area })
}

/// Cuts columns off the left; one column between is left empty.
pub(super) fn left(area: Rect, columns: u16) -> (Rect, Rect) {
    let columns = columns.min(area.width);
    let gap = u16::from(columns < area.width);
    let rest = area.width - columns - gap;
    (Rect { width: columns, ..area }, Rect { x: area.x + columns + gap, width: rest, ..area })
}

/// A pane without its title.
pub(super) fn inner(pane: Rect) -> Rect {
    top(pane, 1).1
}

/// A rectangle in the middle of an area, never larger than it.
pub(super) fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

const fn nothing(area: Rect) -> Rect {
    Rect { width: 0, height: 0, ..area }
}

/// The screen's parts.
pub(super) fn screen(state: &State) -> Screen {
    let area = Rect::new(0, 0, state.size.0, state.size.1);
    let (tabs, rest) = top(area, u16::from(area.height >= 2));
    let alarmed = matches!(state.link, Link::Lost(_)) || state.status.as_ref().is_some_and(|s| s.halted.is_some());
    let (banner, rest) = top(rest, u16::from(alarmed && rest.height >= 2));
    let below = u16::from(rest.height >= 2);
    let (body, status) = top(rest, rest.height - below);
    Screen { tabs, banner, body, status }
}

/// The queue's parts.
pub(super) fn queue(state: &State) -> Queue {
    let body = screen(state).body;
    let jobs = state.stats.as_ref().map_or(0, |stats| stats.jobs.len().min(3)) as u16;
    let head = if body.height >= HIGH { 2 + jobs } else { u16::from(body.height >= 3) };
    let (head, rest) = top(body, head);
    if rest.width >= WIDE && rest.height >= HIGH {
        let (list, right) = left(rest, rest.width * 11 / 20);
        let (detail, picture) = top(right, right.height * 9 / 20);
        Queue { head, list, detail, picture }
    } else if rest.height >= HIGH {
        let (list, below) = top(rest, rest.height / 2);
        let (detail, picture) = left(below, if below.width >= 60 { below.width * 11 / 20 } else { below.width });
        Queue { head, list, detail, picture }
    } else {
        Queue { head, list: rest, detail: nothing(rest), picture: nothing(rest) }
    }
}

/// The gallery's parts.
pub(super) fn gallery(state: &State) -> Gallery {
    let body = screen(state).body;
    let (head, rest) = top(body, u16::from(body.height >= 3));
    let pictures = rest.height >= HIGH;
    let (lists, below) = top(rest, if pictures { rest.height * 9 / 20 } else { rest.height });
    let probing = state.gallery.probe.is_some();
    let (labels, sightings, neighbours) = if lists.width >= 70 && !probing {
        let (labels, right) = left(lists, lists.width * 6 / 20);
        let (sightings, neighbours) = left(right, right.width * 8 / 20);
        (labels, sightings, neighbours)
    } else if lists.width >= 70 {
        // The objects of the probe stand where the labels were.
        let (labels, neighbours) = left(lists, lists.width / 2);
        (labels, nothing(lists), neighbours)
    } else {
        let none = nothing(lists);
        match state.gallery.pane {
            _ if probing => (none, none, lists),
            Pane::Labels => (lists, none, none),
            Pane::Sightings => (none, lists, none),
            Pane::Neighbours => (none, none, lists),
        }
    };
    let (original, crop) = left(below, below.width / 2);
    Gallery { head, labels, sightings, neighbours, original, crop }
}

/// The journal's parts.
pub(super) fn journal(state: &State) -> Journal {
    let body = screen(state).body;
    let (head, rest) = top(body, u16::from(body.height >= 3));
    if rest.width >= WIDE {
        let (list, entry) = left(rest, rest.width * 11 / 20);
        Journal { head, list, entry }
    } else if rest.height >= HIGH {
        let (list, entry) = top(rest, rest.height / 2);
        Journal { head, list, entry }
    } else if state.journal.reading || state.journal.verification.is_some() {
        Journal { head, list: nothing(rest), entry: rest }
    } else {
        Journal { head, list: rest, entry: nothing(rest) }
    }
}
