//! What the engine answers. Nothing is shown as done before it says so.

use super::{FOLLOW_MS, REST_MS, detail, pictures, refresh};
use crate::console::keys::Tab;
use crate::console::message::{Acknowledged, Act, Answer, Effect, Query, Timer, Trouble};
use crate::console::state::{Overlay, State, Verification};
use crate::domain::view::{Stats, Status};

/// The selection's details are due once it rests; one that follows what is new never does.
fn rest(state: &mut State) -> Vec<Effect> {
    if state.tab != Tab::Queue || !state.queue.list.follows() {
        return vec![Effect::Wake(Timer::Detail, REST_MS)];
    }
    if std::mem::replace(&mut state.resting, true) {
        return Vec::new();
    }
    vec![Effect::Wake(Timer::Detail, FOLLOW_MS)]
}

/// Takes an answer; one to a question that no longer stands is dropped.
pub(super) fn reply(state: &mut State, query: &Query, result: Result<Answer, Trouble>) -> Vec<Effect> {
    let answer = match result {
        Ok(answer) => answer,
        Err(trouble) => return failed(state, query, trouble),
    };
    match (query, answer) {
        (_, Answer::Status(status)) => {
            let status = steady(*status);
            state.alarms.retain(|alarm| !status.warnings.contains(alarm));
            state.entries = state.entries.max(status.entries);
            State::set(&mut state.dirty, &mut state.status, Some(status));
            Vec::new()
        }
        (_, Answer::Stats(stats)) => {
            take_stats(state, *stats);
            Vec::new()
        }
        (Query::Items { state: of, after }, Answer::Items(rows)) => {
            if *of == state.queue.state {
                state.dirty |= state.queue.list.rows() != rows.as_slice() || !state.queue.list.is_loaded();
                state.queue.list.put(after.as_ref(), rows);
            }
            rest(state)
        }
        (Query::Item(id), Answer::Item(detail)) => {
            if state.queue.list.selected().is_some_and(|item| item.id == *id) {
                State::set(&mut state.dirty, &mut state.queue.detail, Some(*detail));
            }
            pictures(state)
        }
        (_, Answer::GalleryStats(stats)) => {
            State::set(&mut state.dirty, &mut state.gallery.stats, Some(stats));
            Vec::new()
        }
        (Query::Labels { filter, after }, Answer::Labels(rows)) => {
            if *filter == state.gallery.filter {
                let labels = &mut state.gallery.labels;
                state.dirty |= labels.rows() != rows.as_slice() || !labels.is_loaded();
                labels.put(after.as_ref(), rows);
            }
            rest(state)
        }
        (Query::Sightings { label, after }, Answer::Sightings(rows)) => {
            if state.gallery.label.as_ref() == Some(label) {
                let list = &mut state.gallery.sightings;
                state.dirty |= list.rows() != rows.as_slice() || !list.is_loaded();
                list.put(after.as_ref(), rows);
            }
            detail(state)
        }
        (Query::Neighbours(of), Answer::Neighbours(neighbours)) => {
            State::set(&mut state.dirty, &mut state.gallery.neighbours, Some((*of, neighbours)));
            state.gallery.neighbour =
                state.gallery.neighbour.min(state.gallery.shown_neighbours().len().saturating_sub(1));
            pictures(state)
        }
        (Query::Entries(query), Answer::Entries(rows)) => {
            if *query == state.journal.page() {
                let list = &mut state.journal.list;
                state.dirty |= list.rows() != rows.as_slice() || !list.is_loaded();
                list.put(query.before.as_ref(), rows);
            }
            Vec::new()
        }
        (Query::Picture(key), Answer::Picture(picture)) => {
            state.pictures.put(key.clone(), Ok(picture));
            state.dirty = true;
            Vec::new()
        }
        (Query::Identify(path), Answer::Identified(identified, picture)) => {
            if let Some(probe) = state.gallery.probe.as_mut().filter(|probe| probe.path == *path) {
                probe.answer = Some(Ok(*identified));
                probe.picture = picture;
                state.dirty = true;
            }
            pictures(state)
        }
        (_, Answer::Verified(report)) => {
            if state.journal.verification.is_some() {
                state.journal.verification = Some(Verification::Done(report));
                state.journal.scroll = 0;
                state.dirty = true;
            }
            Vec::new()
        }
        // The fetcher pairs questions and answers.
        _ => Vec::new(),
    }
}

/// A status without what changes by itself and is not shown.
fn steady(status: Status) -> Status {
    Status { uptime_seconds: 0, ..status }
}

fn take_stats(state: &mut State, stats: Stats) {
    let head = |stats: &Stats| (stats.rate_10s, stats.oldest_waiting_seconds, stats.eta_seconds, stats.jobs.clone());
    state.dirty |= match (state.tab, &state.stats) {
        (Tab::Stats, Some(known)) => *known != stats,
        (Tab::Queue, Some(known)) => head(known) != head(&stats),
        (Tab::Gallery | Tab::Journal, _) => false,
        (_, None) => true,
    };
    state.stats = Some(stats);
}

fn failed(state: &mut State, query: &Query, trouble: Trouble) -> Vec<Effect> {
    match query {
        Query::Picture(key) => {
            state.pictures.put(key.clone(), Err(trouble.text));
            state.dirty = true;
            return Vec::new();
        }
        Query::Identify(path) => {
            if let Some(probe) = state.gallery.probe.as_mut().filter(|probe| probe.path == *path) {
                probe.answer = Some(Err(trouble.text));
                state.dirty = true;
            }
            return Vec::new();
        }
        Query::Verify(_) => {
            state.journal.verification = Some(Verification::Failed(trouble.text));
            state.dirty = true;
            return Vec::new();
        }
        Query::Items { .. } => state.queue.list.failed(),
        Query::Labels { .. } => state.gallery.labels.failed(),
        Query::Sightings { .. } => state.gallery.sightings.failed(),
        Query::Entries(_) => state.journal.list.failed(),
        // What was selected has gone meanwhile: the list says so with its next page.
        Query::Item(_) | Query::Neighbours(_) if trouble.code == "not_found" => return Vec::new(),
        Query::Status | Query::Stats | Query::GalleryStats | Query::Item(_) | Query::Neighbours(_) => {}
    }
    if !trouble.is_connection() {
        state.say(false, trouble.text);
    }
    Vec::new()
}

/// The engine has recorded an act, or refused it.
pub(super) fn acted(state: &mut State, act: &Act, result: Result<Acknowledged, Trouble>) -> Vec<Effect> {
    let asking = match &mut state.overlay {
        Overlay::Dialog(dialog) if dialog.intent == act.intent() => Some(dialog),
        _ => None,
    };
    match result {
        Ok(acknowledged) => {
            if asking.is_some() {
                state.overlay = Overlay::None;
            }
            state.say(true, done(act, &acknowledged));
            state.pictures.forget_failures();
            refresh(state)
        }
        Err(trouble) => {
            let mut text = trouble.text.clone();
            if trouble.is_connection() {
                text.push_str("; whether it was done is not known; confirming again does it once at most");
            }
            match asking {
                Some(dialog) => {
                    dialog.sending = false;
                    dialog.locked = trouble.is_connection();
                    dialog.problem = Some(text);
                    state.dirty = true;
                }
                None => state.say(false, text),
            }
            Vec::new()
        }
    }
}

fn done(act: &Act, acknowledged: &Acknowledged) -> String {
    match (act, acknowledged) {
        (Act::Release(..), Acknowledged::Item(item)) => {
            format!("released: {} is {} now", item.path.file_name_safe(), item.state.name())
        }
        (Act::Discard(..), Acknowledged::Item(item)) => {
            format!("discarded: {} is {} now", item.path.file_name_safe(), item.state.name())
        }
        (Act::Relabel(intent), Acknowledged::Changed(changed)) => {
            format!("relabelled {} as {}", sightings(changed.sightings), intent.act.to)
        }
        (Act::Remove(_), Acknowledged::Changed(changed)) => {
            format!("removed {} from the gallery", sightings(changed.sightings))
        }
        _ => "recorded".into(),
    }
}

fn sightings(number: u64) -> String {
    if number == 1 { "1 sighting".into() } else { format!("{number} sightings") }
}
