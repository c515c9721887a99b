//! Draws the state. Nothing is decided here, and nothing is changed.

mod dialog;
mod gallery;
mod journal;
mod pages;
mod queue;
mod stats;
mod status;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget as _};

use super::keys::Tab;
use super::layout;
use super::message::Subject;
use super::state::{Overlay, State};
use super::text;
use crate::domain::display_safe;

/// Draws everything.
pub(super) fn view(state: &State, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    buffer.set_style(area, state.theme.text);
    let screen = layout::screen(state);
    status::tabs(state, buffer, screen.tabs);
    status::banner(state, buffer, screen.banner);
    match state.tab {
        Tab::Queue => queue::draw(state, buffer),
        Tab::Stats => stats::draw(state, buffer, screen.body),
        Tab::Gallery => gallery::draw(state, buffer),
        Tab::Journal => journal::draw(state, buffer),
    }
    status::line(state, buffer, screen.status);
    let cursor = match &state.overlay {
        Overlay::None => None,
        Overlay::Help(scroll) => {
            pages::draw(state, buffer, screen.body, "Help", &pages::help(state), *scroll);
            None
        }
        Overlay::Warnings(scroll) => {
            pages::draw(state, buffer, screen.body, "Warnings", &pages::warnings(state), *scroll);
            None
        }
        Overlay::Picture(subject) => {
            Clear.render(screen.body.intersection(area), buffer);
            picture(state, buffer, screen.body, "Picture (Esc closes)", Some(subject), "");
            None
        }
        Overlay::Palette(input, chosen) => dialog::palette(state, buffer, screen.body, input, *chosen),
        Overlay::Filter(input) => dialog::filter(state, buffer, screen.status, input),
        Overlay::Dialog(dialog) => dialog::draw(state, buffer, area, dialog),
    };
    if let Some((x, y)) = cursor.filter(|(x, y)| area.contains((*x, *y).into())) {
        frame.set_cursor_position((x, y));
    }
}

/// Lines of the page that lies over the tab.
pub(super) fn page_lines(state: &State) -> usize {
    match state.overlay {
        Overlay::Help(_) => pages::help(state).len(),
        Overlay::Warnings(_) => pages::warnings(state).len(),
        _ => 0,
    }
}

/// Lines of the journal's entry, or of its proof.
pub(super) fn entry_lines(state: &State) -> usize {
    journal::entry_lines(state, layout::journal(state).entry.width).len()
}

/// Writes a line into a row of an area; what does not fit is not written.
fn put<'a>(buffer: &mut Buffer, area: Rect, row: usize, line: impl Into<Line<'a>>) {
    let area = area.intersection(buffer.area);
    if row < usize::from(area.height) && area.width > 0 {
        buffer.set_line(area.x, area.y + row as u16, &line.into(), area.width);
    }
}

/// Styles a whole row of an area.
fn paint(buffer: &mut Buffer, area: Rect, row: usize, style: Style) {
    let area = area.intersection(buffer.area);
    if row < usize::from(area.height) {
        buffer.set_style(Rect { y: area.y + row as u16, height: 1, ..area }, style);
    }
}

/// Draws a pane's title; returns what is below it.
fn pane(state: &State, buffer: &mut Buffer, area: Rect, title: &str, has_focus: bool) -> Rect {
    let width = usize::from(area.width);
    let name = text::cut(title, width.saturating_sub(4));
    let style = if has_focus { state.theme.accent } else { state.theme.dim };
    let rule = if has_focus { "━" } else { "─" };
    let shown = Line::from(vec![
        Span::styled(format!("{rule} "), state.theme.border),
        Span::styled(name, style),
        Span::styled(format!(" {}", rule.repeat(width)), state.theme.border),
    ]);
    put(buffer, area, 0, shown);
    layout::inner(area)
}

/// Draws a picture in a pane, or why there is none.
fn picture(state: &State, buffer: &mut Buffer, area: Rect, title: &str, subject: Option<&Subject>, without: &str) {
    let inside = pane(state, buffer, area, title, false);
    match subject.map(|subject| state.pictures.of(subject)) {
        Some(Some(Ok(picture))) => picture.draw(buffer, inside, state.theme.shades),
        Some(Some(Err(why))) => wrapped(state, buffer, inside, why),
        Some(None) => put(buffer, inside, 0, Span::styled("…", state.theme.dim)),
        None => wrapped(state, buffer, inside, without),
    }
}

fn wrapped(state: &State, buffer: &mut Buffer, area: Rect, words: &str) {
    for (row, line) in text::wrap(&display_safe(words), area.width.into()).into_iter().enumerate() {
        put(buffer, area, row, Span::styled(line, state.theme.dim));
    }
}

/// The rows of a list that fit, each with whether it is selected.
fn rows<R>(all: &[R], first: usize, height: u16, selected: Option<usize>) -> impl Iterator<Item = (usize, &R, bool)> {
    let shown = all.iter().enumerate().skip(first).take(height.into());
    shown.enumerate().map(move |(row, (place, item))| (row, item, Some(place) == selected))
}

/// Says that a list is empty, or that it is not known yet.
fn empty(state: &State, buffer: &mut Buffer, area: Rect, is_loaded: bool, words: &str) {
    wrapped(state, buffer, area, if is_loaded { words } else { "asking the engine…" });
}
