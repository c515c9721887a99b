//! What the commands of the key map do.

use std::path::PathBuf;

use tui_input::Input;

use super::{REST_MS, entries, items, labels, pictures, refresh, sightings};
use crate::console::dialog::{Dialog, Purpose};
use crate::console::keys::{Command, Tab};
use crate::console::layout;
use crate::console::message::{Act, Effect, Query, Subject, Timer};
use crate::console::state::{Link, Overlay, Pane, Probe, Queue, State, Verification, parse_filter};
use crate::domain::view::{Intent, Nothing, Relabel, Remove, Which};
use crate::domain::{ItemState, Label};

/// Does what a command asks for.
pub(super) fn run(state: &mut State, command: Command) -> Vec<Effect> {
    state.dirty = true;
    match command {
        Command::Go(tab) => go(state, tab),
        Command::NextTab => go(state, state.tab.step(1)),
        Command::PreviousTab => go(state, state.tab.step(Tab::ALL.len() - 1)),
        Command::Up => step(state, -1),
        Command::Down => step(state, 1),
        Command::PageUp => step(state, -page(state)),
        Command::PageDown => step(state, page(state)),
        Command::Top => top(state),
        Command::Bottom => bottom(state),
        Command::Left => sideways(state, false),
        Command::Right => sideways(state, true),
        Command::Open => open(state),
        Command::Back => back(state),
        Command::Filter => {
            let text = match state.tab {
                // The state shown stands before the line; a name is typed anew, not added to.
                Tab::Queue => String::new(),
                Tab::Gallery => state.gallery.filter.clone(),
                Tab::Journal => state.journal.filter.clone(),
                Tab::Stats => return Vec::new(),
            };
            show(state, Overlay::Filter(Input::new(text)))
        }
        Command::CycleState => {
            let next = state.queue.next_state();
            show_state(state, next)
        }
        Command::Palette => show(state, Overlay::Palette(Input::default(), 0)),
        Command::Help => show(state, Overlay::Help(0)),
        Command::Warnings => show(state, Overlay::Warnings(0)),
        Command::Copy => copy(state),
        Command::Release | Command::Discard => aside(state, command),
        Command::Relabel | Command::Remove => one_sighting(state, command),
        Command::RelabelAll | Command::RemoveAll => whole_label(state, command),
        Command::Probe => ask(state, Purpose::Probe),
        Command::Verify => ask(state, Purpose::Verify),
        Command::Repaint => vec![Effect::Repaint],
        Command::Suspend if holds_engine(state) => ask(state, Purpose::Suspend),
        Command::Suspend => vec![Effect::Suspend],
        Command::Quit if holds_engine(state) => ask(state, Purpose::Quit),
        Command::Quit => vec![Effect::Quit],
    }
}

/// Whether an engine stops where this console does.
pub(super) fn holds_engine(state: &State) -> bool {
    state.own_engine && !matches!(state.link, Link::Lost(_))
}

fn show(state: &mut State, overlay: Overlay) -> Vec<Effect> {
    state.overlay = overlay;
    Vec::new()
}

fn ask(state: &mut State, purpose: Purpose) -> Vec<Effect> {
    let intent = state.next_intent();
    show(state, Overlay::Dialog(Box::new(Dialog::open(purpose, intent))))
}

fn go(state: &mut State, tab: Tab) -> Vec<Effect> {
    state.tab = tab;
    refresh(state)
}

/// Rows of the list that has the focus.
fn page(state: &State) -> isize {
    let list = match state.tab {
        Tab::Queue => layout::queue(state).list,
        Tab::Gallery => layout::gallery(state).labels,
        Tab::Journal if state.journal.reading => layout::journal(state).entry,
        Tab::Journal => layout::journal(state).list,
        Tab::Stats => layout::screen(state).body,
    };
    isize::from(u8::try_from(list.height.saturating_sub(2).clamp(1, 100)).unwrap_or(1))
}

/// Details once the selection rests, and another page where it came near the end of this one.
fn moved(moved: bool, page: Option<Effect>) -> Vec<Effect> {
    let mut effects: Vec<Effect> = page.into_iter().collect();
    if moved {
        effects.push(Effect::Wake(Timer::Detail, REST_MS));
    }
    effects
}

fn step(state: &mut State, by: isize) -> Vec<Effect> {
    let shown = state.gallery.shown_neighbours().len();
    match state.tab {
        Tab::Stats => Vec::new(),
        Tab::Queue => {
            let has_moved = state.queue.list.move_by(by);
            let slid = state.queue.list.slide();
            moved(has_moved, slid.then(|| items(state)))
        }
        Tab::Journal if state.journal.reading || state.journal.verification.is_some() => {
            let most = crate::console::view::entry_lines(state).saturating_sub(1);
            state.journal.scroll = state.journal.scroll.saturating_add_signed(by).min(most);
            Vec::new()
        }
        Tab::Journal => {
            state.journal.list.move_by(by);
            state.journal.scroll = 0;
            let slid = state.journal.list.slide();
            slid.then(|| entries(state)).into_iter().collect()
        }
        Tab::Gallery => {
            let gallery = &mut state.gallery;
            match gallery.pane {
                _ if gallery.probe.is_some() => {
                    gallery.neighbour = gallery.neighbour.saturating_add_signed(by).min(shown.saturating_sub(1));
                    moved(true, None)
                }
                Pane::Neighbours => {
                    gallery.neighbour = gallery.neighbour.saturating_add_signed(by).min(shown.saturating_sub(1));
                    moved(true, None)
                }
                Pane::Labels => {
                    let has_moved = gallery.labels.move_by(by);
                    let slid = gallery.labels.slide();
                    moved(has_moved, slid.then(|| labels(state)))
                }
                Pane::Sightings => {
                    let has_moved = gallery.sightings.move_by(by);
                    gallery.neighbour = 0;
                    let slid = gallery.sightings.slide();
                    moved(has_moved, if slid { sightings(state) } else { None })
                }
            }
        }
    }
}

fn top(state: &mut State) -> Vec<Effect> {
    match state.tab {
        Tab::Queue => {
            let elsewhere = state.queue.list.move_to_top();
            moved(true, elsewhere.then(|| items(state)))
        }
        Tab::Journal if state.journal.reading => {
            state.journal.scroll = 0;
            Vec::new()
        }
        Tab::Journal => {
            state.journal.scroll = 0;
            let elsewhere = state.journal.list.move_to_top();
            elsewhere.then(|| entries(state)).into_iter().collect()
        }
        Tab::Gallery if state.gallery.pane == Pane::Labels && state.gallery.probe.is_none() => {
            let elsewhere = state.gallery.labels.move_to_top();
            moved(true, elsewhere.then(|| labels(state)))
        }
        Tab::Gallery if state.gallery.pane == Pane::Sightings && state.gallery.probe.is_none() => {
            let elsewhere = state.gallery.sightings.move_to_top();
            moved(true, if elsewhere { sightings(state) } else { None })
        }
        Tab::Gallery | Tab::Stats => step(state, isize::MIN),
    }
}

fn bottom(state: &mut State) -> Vec<Effect> {
    match state.tab {
        Tab::Queue => {
            let has_moved = state.queue.list.move_to_end();
            let slid = state.queue.list.slide();
            moved(has_moved, slid.then(|| items(state)))
        }
        _ => step(state, isize::from(i16::MAX)),
    }
}

fn sideways(state: &mut State, right: bool) -> Vec<Effect> {
    match state.tab {
        Tab::Gallery => {
            let gallery = &mut state.gallery;
            if let Some(probe) = &mut gallery.probe {
                let last = probe.objects().saturating_sub(1);
                probe.object = if right { (probe.object + 1).min(last) } else { probe.object.saturating_sub(1) };
                gallery.neighbour = 0;
            } else {
                gallery.pane = match (gallery.pane, right) {
                    (Pane::Labels, true) | (Pane::Neighbours, false) => Pane::Sightings,
                    (Pane::Sightings | Pane::Neighbours, true) => Pane::Neighbours,
                    (Pane::Labels | Pane::Sightings, false) => Pane::Labels,
                };
            }
            moved(true, None)
        }
        Tab::Journal => {
            // What is read holds still.
            state.journal.list.move_by(0);
            state.journal.reading = right && state.journal.list.selected().is_some();
            Vec::new()
        }
        Tab::Queue | Tab::Stats => Vec::new(),
    }
}

fn open(state: &mut State) -> Vec<Effect> {
    let subject = match state.tab {
        Tab::Queue => state.queue.list.selected().and_then(|item| item.sha256).map(Subject::Original),
        Tab::Gallery if state.gallery.pane == Pane::Labels && state.gallery.probe.is_none() => {
            return sideways(state, true);
        }
        Tab::Gallery => state.gallery.pictured().map(Subject::Crop),
        Tab::Journal => return sideways(state, true),
        Tab::Stats => None,
    };
    match subject {
        Some(subject) => {
            state.overlay = Overlay::Picture(subject);
            pictures(state)
        }
        None => {
            state.say(false, "there is no picture of this");
            Vec::new()
        }
    }
}

fn back(state: &mut State) -> Vec<Effect> {
    match state.tab {
        Tab::Queue if state.queue.state.is_some() => show_state(state, None),
        Tab::Gallery if state.gallery.probe.take().is_some() => moved(true, None),
        Tab::Gallery if state.gallery.pane != Pane::Labels => sideways(state, false),
        Tab::Gallery if !state.gallery.filter.is_empty() => filter(state, ""),
        Tab::Journal if state.journal.verification.take().is_some() => Vec::new(),
        Tab::Journal if state.journal.reading => sideways(state, false),
        Tab::Journal if !state.journal.filter.is_empty() => filter(state, ""),
        Tab::Queue | Tab::Gallery | Tab::Journal | Tab::Stats => Vec::new(),
    }
}

fn show_state(state: &mut State, of: Option<ItemState>) -> Vec<Effect> {
    state.queue = Queue::of(of);
    vec![items(state)]
}

/// Filters the tab by a line of text; a line that makes no sense stays open.
pub(super) fn filter(state: &mut State, text: &str) -> Vec<Effect> {
    state.dirty = true;
    let effects = match state.tab {
        Tab::Queue if text.is_empty() || "all".starts_with(text) => show_state(state, None),
        Tab::Queue => match ItemState::ALL.into_iter().find(|s| s.name().starts_with(text)) {
            Some(found) => show_state(state, Some(found)),
            None => {
                let names = ItemState::ALL.map(ItemState::name).join(", ");
                state.say(false, format!("no state begins like `{text}`; there are {names}, all"));
                return Vec::new();
            }
        },
        Tab::Gallery => {
            state.gallery.filter = text.to_owned();
            state.gallery.labels.clear();
            state.gallery.pane = Pane::Labels;
            vec![labels(state)]
        }
        Tab::Journal => match parse_filter(text, state.zone) {
            Ok(query) => {
                state.journal.filter = text.to_owned();
                state.journal.query = query;
                state.journal.list.clear();
                state.journal.reading = false;
                state.journal.scroll = 0;
                vec![entries(state)]
            }
            Err(error) => {
                state.say(false, error);
                return Vec::new();
            }
        },
        Tab::Stats => Vec::new(),
    };
    state.overlay = Overlay::None;
    effects
}

fn copy(state: &mut State) -> Vec<Effect> {
    let hash = match state.tab {
        Tab::Queue => state.queue.list.selected().and_then(|item| item.sha256).map(|sha256| sha256.to_string()),
        Tab::Gallery => match &state.gallery.probe {
            Some(probe) => {
                probe.answer.as_ref().and_then(|answer| answer.as_ref().ok()).map(|found| found.sha256.to_string())
            }
            None => state.gallery.sightings.selected().map(|row| row.sighting.image.to_string()),
        },
        Tab::Journal => match &state.journal.verification {
            Some(Verification::Done(report)) => Some(report.root.clone()),
            _ => {
                let image =
                    |entry: &crate::domain::Entry| Some(entry.after.as_ref()?.get("image")?.as_str()?.to_owned());
                state.journal.list.selected().and_then(image)
            }
        },
        Tab::Stats => None,
    };
    match hash {
        Some(hash) => {
            state.say(true, format!("sent to the terminal's clipboard: {}…", hash.get(..12).unwrap_or(&hash)));
            vec![Effect::Copy(hash)]
        }
        None => {
            state.say(false, "there is no hash to copy here");
            Vec::new()
        }
    }
}

fn aside(state: &mut State, command: Command) -> Vec<Effect> {
    let Some(row) = state.queue.list.selected() else { return Vec::new() };
    if state.queue.list.follows() {
        state.say(false, "choose a file first (j and k): this list shows whatever is newest");
        return Vec::new();
    }
    if !matches!(row.state, ItemState::Quarantined | ItemState::Failed) {
        let text = format!(
            "this file is {}; only quarantined and failed files can be released or discarded",
            row.state.name()
        );
        state.say(false, text);
        return Vec::new();
    }
    let (item, seen, name) = (row.id.clone(), row.sha256, row.path.file_name_safe());
    let purpose = if command == Command::Release {
        Purpose::Release { item, seen, name }
    } else {
        Purpose::Discard { item, seen, name }
    };
    ask(state, purpose)
}

fn one_sighting(state: &mut State, command: Command) -> Vec<Effect> {
    if state.gallery.probe.is_some() || state.gallery.pane == Pane::Labels {
        state.say(false, "select a sighting first: `l` steps into the label's sightings");
        return Vec::new();
    }
    let Some(row) = state.gallery.sightings.selected() else { return Vec::new() };
    let (which, from, sightings) = (Which::Sighting(row.sighting), row.label.clone(), 1);
    let purpose = if command == Command::Relabel {
        Purpose::Relabel { which, from, sightings }
    } else {
        Purpose::Remove { which, from, sightings }
    };
    ask(state, purpose)
}

fn whole_label(state: &mut State, command: Command) -> Vec<Effect> {
    let Some(row) = state.gallery.labels.selected() else { return Vec::new() };
    let (which, from, sightings) = (Which::Label(row.label.clone()), row.label.clone(), row.sightings);
    let purpose = if command == Command::RelabelAll {
        Purpose::Relabel { which, from, sightings }
    } else {
        Purpose::Remove { which, from, sightings }
    };
    ask(state, purpose)
}

/// What an open dialog was about is asked of the engine; the dialog stays until it answers.
pub(super) fn confirm(state: &mut State) -> Vec<Effect> {
    let Overlay::Dialog(dialog) = &mut state.overlay else { return Vec::new() };
    let id = dialog.intent.clone();
    let reason = |field| dialog.text(field).to_owned();
    let act = match dialog.purpose.clone() {
        Purpose::Release { item, seen, .. } => {
            Act::Release(item, Intent { intent: id, reason: reason(0), seen, act: Nothing {} })
        }
        Purpose::Discard { item, seen, .. } => {
            Act::Discard(item, Intent { intent: id, reason: reason(0), seen, act: Nothing {} })
        }
        Purpose::Relabel { which, .. } => match Label::new(dialog.text(0)) {
            Ok(to) => {
                let seen = seen(&which);
                Act::Relabel(Intent { intent: id, reason: reason(1), seen, act: Relabel { which, to } })
            }
            Err(problem) => {
                dialog.problem = Some(problem);
                return Vec::new();
            }
        },
        Purpose::Remove { which, .. } => {
            let seen = seen(&which);
            Act::Remove(Intent { intent: id, reason: reason(0), seen, act: Remove { which } })
        }
        Purpose::Quit => return vec![Effect::Quit],
        Purpose::Suspend => {
            state.overlay = Overlay::None;
            return vec![Effect::Suspend];
        }
        Purpose::Probe => {
            let path = PathBuf::from(dialog.text(0));
            state.gallery.probe = Some(Probe { path: path.clone(), answer: None, picture: None, object: 0 });
            state.gallery.neighbour = 0;
            state.overlay = Overlay::None;
            return vec![Effect::Ask(Query::Identify(path))];
        }
        Purpose::Verify => {
            let key = Some(dialog.text(0).to_owned()).filter(|key| !key.is_empty());
            state.journal.verification = Some(Verification::Running);
            state.journal.scroll = 0;
            state.overlay = Overlay::None;
            return vec![Effect::Ask(Query::Verify(key))];
        }
    };
    dialog.sending = true;
    dialog.problem = None;
    vec![Effect::Do(act)]
}

/// The picture that was on the screen.
fn seen(which: &Which) -> Option<crate::domain::ImageId> {
    match which {
        Which::Sighting(sighting) => Some(sighting.image),
        Which::Label(_) => None,
    }
}
