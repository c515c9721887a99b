//! The gallery: labels, their sightings, what is near, and pictures side by side.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::{empty, paint, pane, picture, put, rows, wrapped};
use crate::console::layout;
use crate::console::message::Subject;
use crate::console::state::{Pane, Probe, State, margins};
use crate::console::text::{bytes, count, cut, fit};
use crate::domain::view::{IndexState, ProbeAnswer, Reading};
use crate::domain::{Decision, RawPath, display_safe};

pub(super) fn draw(state: &State, buffer: &mut Buffer) {
    let places = layout::gallery(state);
    head(state, buffer, places.head);
    let gallery = &state.gallery;
    let pictured = gallery.pictured();
    match &gallery.probe {
        Some(probe) => {
            objects(state, buffer, places.labels, probe);
            neighbours(state, buffer, places.neighbours);
            let inside = pane(state, buffer, places.original, "Probe", false);
            if let Some(picture) = &probe.picture {
                picture.draw(buffer, inside, state.theme.shades);
            }
        }
        None => {
            labels(state, buffer, places.labels);
            sightings(state, buffer, places.sightings);
            neighbours(state, buffer, places.neighbours);
            let original = pictured.map(|sighting| Subject::Original(sighting.image));
            picture(state, buffer, places.original, "Original", original.as_ref(), without(state));
        }
    }
    let title = if gallery.probe.is_some() || gallery.pane == Pane::Neighbours { "Neighbour's crop" } else { "Crop" };
    picture(state, buffer, places.crop, title, pictured.map(Subject::Crop).as_ref(), without(state));
}

fn without(state: &State) -> &'static str {
    match state.gallery.sightings.selected() {
        Some(row) if !row.has_image && state.gallery.probe.is_none() => "imported as vectors; there is no picture",
        _ => "",
    }
}

fn head(state: &State, buffer: &mut Buffer, area: Rect) {
    let theme = &state.theme;
    let Some(stats) = &state.gallery.stats else { return };
    let mut line = vec![Span::styled(
        format!(
            " {} labels   {} sightings   {} vectors   {}",
            count(stats.labels),
            count(stats.sightings),
            count(stats.vectors),
            bytes(stats.bytes)
        ),
        theme.text,
    )];
    if stats.fingerprints.len() > 1 {
        line.push(Span::styled("   vectors of several weights: `sightline gallery reembed`", theme.warn));
    }
    if let Some(Reading { done, of }) = stats.reading {
        let share = done * 100 / of.max(1);
        line.push(Span::styled(format!("   being read, {share}%: answers wait"), theme.warn));
    }
    if stats.damaged > 0 {
        let damaged = count(stats.damaged);
        line.push(Span::styled(format!("   {damaged} damaged, no answers: `sightline gallery reembed`"), theme.bad));
    }
    for health in &stats.index_health {
        match health.state {
            IndexState::Building => line.push(Span::styled("   index: being made", theme.dim)),
            IndexState::Waiting => line.push(Span::styled("   index: none yet", theme.dim)),
            IndexState::Unneeded | IndexState::Open | IndexState::Closed => {}
        }
    }
    for index in &stats.indexes {
        let recall = index.recall.map_or_else(|| "not measured yet".to_owned(), |recall| format!("{recall:.3}"));
        let (said, style) = match index.in_use {
            true => (format!("   index: recall {recall}"), theme.dim),
            false => (format!("   index: recall {recall}, too low: exact search"), theme.warn),
        };
        line.push(Span::styled(said, style));
    }
    if !state.gallery.filter.is_empty() {
        line.push(Span::styled(format!("   /{}", display_safe(&state.gallery.filter)), theme.accent));
    }
    put(buffer, area, 0, Line::from(line));
}

/// The selected row of the pane with the focus, and of another.
fn mark(state: &State, has_focus: bool) -> Style {
    if has_focus { state.theme.selected } else { state.theme.marked }
}

fn labels(state: &State, buffer: &mut Buffer, area: Rect) {
    let list = &state.gallery.labels;
    let has_focus = state.gallery.pane == Pane::Labels;
    let inside = pane(state, buffer, area, "Labels", has_focus);
    if list.rows().is_empty() {
        let words = if state.gallery.filter.is_empty() { "nothing is enrolled" } else { "no label holds that text" };
        return empty(state, buffer, inside, list.is_loaded(), words);
    }
    let width = usize::from(inside.width);
    let first = list.first_shown(inside.height.into());
    for (row, label, selected) in rows(list.rows(), first, inside.height, list.place()) {
        let name = fit(&display_safe(label.label.as_str()), width.saturating_sub(7));
        put(buffer, inside, row, format!("{name}{:>6} ", count(label.sightings)));
        if selected {
            paint(buffer, inside, row, mark(state, has_focus));
        }
    }
}

fn sightings(state: &State, buffer: &mut Buffer, area: Rect) {
    let list = &state.gallery.sightings;
    let has_focus = state.gallery.pane == Pane::Sightings;
    let title = match &state.gallery.label {
        Some(label) => format!("Sightings of {}", display_safe(label.as_str())),
        None => "Sightings".into(),
    };
    let inside = pane(state, buffer, area, &title, has_focus);
    if list.rows().is_empty() {
        let is_known = list.is_loaded() || state.gallery.label.is_none();
        return empty(state, buffer, inside, is_known, "");
    }
    let first = list.first_shown(inside.height.into());
    for (row, sighting, selected) in rows(list.rows(), first, inside.height, list.place()) {
        let turns: Vec<String> = sighting.rotations.iter().map(|r| format!("{}°", r.degrees())).collect();
        let id = sighting.sighting;
        let name = format!("{}:{}", id.image.short(), id.index);
        let mut line = format!("{name} {}", turns.join(" "));
        // Half a list of rotations would be a wrong one.
        if line.width() > usize::from(inside.width) {
            line = format!("{name} {} turns", turns.len());
        }
        put(buffer, inside, row, line);
        if selected {
            paint(buffer, inside, row, mark(state, has_focus));
        }
    }
}

fn neighbours(state: &State, buffer: &mut Buffer, area: Rect) {
    let gallery = &state.gallery;
    let probing = gallery.probe.is_some();
    let has_focus = probing || gallery.pane == Pane::Neighbours;
    let title = if probing { "Nearest enrolled" } else { "Neighbours" };
    let inside = pane(state, buffer, area, title, has_focus);
    let shown = gallery.shown_neighbours();
    let head = format!("{:>6} {:>7} {:>5}  label", "sim", "margin", "turn");
    put(buffer, inside, 0, Span::styled(head, state.theme.dim));
    let (_, inside) = layout::top(inside, 1);
    let margins = margins(shown);
    let first = gallery.neighbour.saturating_sub(usize::from(inside.height).saturating_sub(1));
    for (row, (neighbour, margin), selected) in
        rows(&shown.iter().zip(margins).collect::<Vec<_>>(), first, inside.height, Some(gallery.neighbour))
    {
        let margin = margin.map_or_else(|| "alone".into(), |margin| format!("{margin:+.3}"));
        let line = format!(
            "{:>6.3} {margin:>7} {:>4}°  {}",
            neighbour.similarity,
            neighbour.rotation.degrees(),
            display_safe(neighbour.label.as_str())
        );
        put(buffer, inside, row, cut(&line, inside.width.into()));
        if selected && has_focus {
            paint(buffer, inside, row, state.theme.selected);
        }
    }
}

fn objects(state: &State, buffer: &mut Buffer, area: Rect, probe: &Probe) {
    let theme = &state.theme;
    let name = RawPath(probe.path.clone()).file_name_safe();
    let inside = pane(state, buffer, area, &format!("Probe {name} (h l objects, Esc closes)"), false);
    match &probe.answer {
        None => wrapped(state, buffer, inside, "asking the gallery…"),
        Some(Err(why)) => wrapped(state, buffer, inside, why),
        Some(Ok(found)) => {
            for (row, answer, selected) in rows(&found.answers, 0, inside.height, Some(probe.object)) {
                let (words, style) = answer_words(state, answer);
                put(buffer, inside, row, Span::styled(cut(&words, inside.width.into()), style));
                if selected {
                    paint(buffer, inside, row, theme.marked);
                }
            }
        }
    }
}

fn answer_words(state: &State, answer: &ProbeAnswer) -> (String, Style) {
    let seen = answer.detection.as_ref().map_or_else(String::new, |d| format!("{} {:.2}: ", d.name, d.confidence));
    match &answer.decision {
        Decision::Accept { label, similarity, margin, rotation } => {
            let words = format!("{seen}{label} {similarity:.3}, margin {margin:.3}, turned {}°", rotation.degrees());
            (display_safe(&words), state.theme.good)
        }
        Decision::Abstain { reason, similarity, margin, .. } => {
            let mut words = format!("{seen}abstained, {}", reason.sentence());
            if let (Some(similarity), Some(margin)) = (similarity, margin) {
                words.push_str(&format!(" ({similarity:.3}, margin {margin:.3})"));
            }
            (display_safe(&words), state.theme.warn)
        }
    }
}
