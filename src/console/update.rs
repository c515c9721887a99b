//! What happens when something happens. No I/O here: what is to be done is returned.

mod answers;
mod commands;
mod input;
#[cfg(test)]
pub(super) mod tests;

pub(super) use input::{elsewhere, matching};

use super::keys::Tab;
use super::layout;
use super::message::{Effect, Msg, PictureKey, Query, Subject, Timer};
use super::state::{Link, Overlay, State};
use crate::domain::view::Event;

/// How often what the engine recorded is fetched at most, milliseconds.
const REFRESH_MS: u64 = 250;
/// How long a selection must rest before its details are asked for, milliseconds.
const REST_MS: u64 = 120;
/// How often details are asked for at most while the selection follows what is new, milliseconds.
const FOLLOW_MS: u64 = 700;
/// How often live figures are asked for while they are on the screen, milliseconds.
const SECOND_MS: u64 = 1000;
/// How often warnings and models are asked for, milliseconds.
const STATUS_MS: u64 = 10_000;
/// Alarms that are kept.
const ALARMS: usize = 50;

/// Takes what happened; returns what is to be done.
pub(super) fn update(state: &mut State, msg: Msg) -> Vec<Effect> {
    let mut effects = match msg {
        Msg::Key { key, at } => input::key(state, &key, at),
        Msg::Paste(text) => input::paste(state, &text),
        Msg::Resize(columns, rows) => {
            state.size = (columns, rows);
            state.dirty = true;
            pictures(state)
        }
        Msg::Drawn { at } => {
            if let Overlay::Dialog(dialog) = &mut state.overlay {
                dialog.shown_at.get_or_insert(at);
            }
            Vec::new()
        }
        Msg::Woken(timer) => woken(state, timer),
        Msg::Connected => {
            State::set(&mut state.dirty, &mut state.link, Link::Up);
            state.pictures.forget_failures();
            let mut effects = vec![Effect::Ask(Query::Status), Effect::Wake(Timer::Status, STATUS_MS)];
            effects.extend(refresh(state));
            effects
        }
        Msg::Lost(why) => {
            State::set(&mut state.dirty, &mut state.link, Link::Lost(why));
            Vec::new()
        }
        Msg::Event(event) => told(state, event),
        Msg::Reply { query, result } => answers::reply(state, &query, result),
        Msg::Acted { act, result } => answers::acted(state, &act, result),
    };
    if !state.ticking && is_live(state) {
        state.ticking = true;
        effects.push(Effect::Wake(Timer::Second, SECOND_MS));
    }
    effects
}

/// Whether figures on the screen change without anything being recorded.
fn is_live(state: &State) -> bool {
    let moving = state.counts.as_ref().is_some_and(|counts| counts.waiting + counts.working > 0)
        || state.stats.as_ref().is_some_and(|stats| !stats.jobs.is_empty() || stats.rate_10s > 0.0);
    state.link == Link::Up && (state.tab == Tab::Stats || state.tab == Tab::Queue && moving)
}

fn told(state: &mut State, event: Event) -> Vec<Effect> {
    match event {
        Event::Changed { entries, queue } => {
            State::set(&mut state.dirty, &mut state.counts, Some(queue));
            if state.entries != entries {
                state.entries = entries;
                state.dirty |= state.tab == Tab::Journal;
            }
            if std::mem::replace(&mut state.refreshing, true) {
                return Vec::new();
            }
            vec![Effect::Wake(Timer::Refresh, REFRESH_MS)]
        }
        Event::Warning { text } => {
            state.alarms.retain(|known| *known != text);
            state.alarms.insert(0, text);
            state.alarms.truncate(ALARMS);
            state.dirty = true;
            vec![Effect::Ask(Query::Status)]
        }
        Event::Stopping => {
            state.link = Link::Lost("the engine is stopping".into());
            state.dirty = true;
            Vec::new()
        }
    }
}

fn woken(state: &mut State, timer: Timer) -> Vec<Effect> {
    match timer {
        Timer::Escape => input::escape_alone(state),
        Timer::Refresh => {
            state.refreshing = false;
            refresh(state)
        }
        Timer::Detail => {
            state.resting = false;
            detail(state)
        }
        Timer::Second => {
            state.ticking = false;
            if is_live(state) { vec![Effect::Ask(Query::Stats)] } else { Vec::new() }
        }
        Timer::Status => vec![Effect::Ask(Query::Status), Effect::Wake(Timer::Status, STATUS_MS)],
    }
}

/// Asks for the page on which the queue stands.
fn items(state: &State) -> Effect {
    Effect::Ask(Query::Items { state: state.queue.state, after: state.queue.list.after() })
}

/// Asks for the page on which the labels stand.
fn labels(state: &State) -> Effect {
    Effect::Ask(Query::Labels { filter: state.gallery.filter.clone(), after: state.gallery.labels.after() })
}

/// Asks for the page on which the journal stands.
fn entries(state: &State) -> Effect {
    Effect::Ask(Query::Entries(state.journal.page()))
}

/// Asks for the page on which a label's sightings stand.
fn sightings(state: &State) -> Option<Effect> {
    let label = state.gallery.label.clone()?;
    Some(Effect::Ask(Query::Sightings { label, after: state.gallery.sightings.after() }))
}

/// Asks anew for what the tab shows.
fn refresh(state: &mut State) -> Vec<Effect> {
    if state.link != Link::Up {
        return Vec::new();
    }
    match state.tab {
        Tab::Queue => vec![items(state), Effect::Ask(Query::Stats)],
        Tab::Stats => vec![Effect::Ask(Query::Stats)],
        Tab::Gallery => {
            let mut effects = vec![labels(state), Effect::Ask(Query::GalleryStats)];
            effects.extend(sightings(state));
            effects
        }
        Tab::Journal => vec![entries(state)],
    }
}

/// Asks for what belongs to the selection, where it is not here yet.
fn detail(state: &mut State) -> Vec<Effect> {
    let mut effects = Vec::new();
    match state.tab {
        Tab::Queue => {
            if let Some(item) = state.queue.list.selected() {
                let current = state.queue.selected_detail().is_some_and(|detail| detail.item == *item);
                if !current {
                    effects.push(Effect::Ask(Query::Item(item.id.clone())));
                }
            }
        }
        Tab::Gallery => {
            let gallery = &mut state.gallery;
            let label = gallery.labels.selected().map(|row| row.label.clone());
            if label != gallery.label {
                gallery.label = label;
                gallery.sightings.clear();
                gallery.neighbours = None;
                gallery.neighbour = 0;
                state.dirty = true;
                effects.extend(sightings(state));
            } else if let Some(row) = gallery.sightings.selected()
                && gallery.neighbours.as_ref().is_none_or(|(of, _)| *of != row.sighting)
            {
                effects.push(Effect::Ask(Query::Neighbours(row.sighting)));
            }
        }
        Tab::Stats | Tab::Journal => {}
    }
    effects.extend(pictures(state));
    effects
}

/// Asks for the pictures that belong on the screen, at the size of their place.
fn pictures(state: &State) -> Vec<Effect> {
    let screen = layout::screen(state);
    let mut wanted = Vec::new();
    if let Overlay::Picture(subject) = &state.overlay {
        wanted.push((subject.clone(), screen.body));
    }
    match state.tab {
        Tab::Queue => {
            let image = state.queue.list.selected().and_then(|item| item.sha256);
            wanted.extend(image.map(|image| (Subject::Original(image), layout::queue(state).picture)));
        }
        Tab::Gallery => {
            let places = layout::gallery(state);
            if let Some(sighting) = state.gallery.pictured() {
                // The probe stands in the original's place.
                if state.gallery.probe.is_none() {
                    wanted.push((Subject::Original(sighting.image), places.original));
                }
                wanted.push((Subject::Crop(sighting), places.crop));
            }
        }
        Tab::Stats | Tab::Journal => {}
    }
    let keys = wanted.into_iter().map(|(subject, place)| {
        let place = layout::inner(place);
        PictureKey { subject, width: place.width.into(), height: u32::from(place.height) * 2 }
    });
    keys.filter(|key| key.width > 0 && key.height > 0 && !state.pictures.has(key))
        .map(|key| Effect::Ask(Query::Picture(key)))
        .collect()
}
