//! The journal: entries, one entry in full, and its proof.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{empty, paint, pane, put, rows};
use crate::console::layout;
use crate::console::state::{State, Verification};
use crate::console::text::{count, cut, date_time, fit, time, wrap};
use crate::domain::view::JournalVerified;
use crate::domain::{Entry, display_safe};

pub(super) fn draw(state: &State, buffer: &mut Buffer) {
    let places = layout::journal(state);
    head(state, buffer, places.head);
    list(state, buffer, places.list);
    let title = match (&state.journal.verification, state.journal.list.selected()) {
        (Some(_), _) => "Proof (Esc closes)".into(),
        (None, Some(entry)) => format!("Entry {} (l reads, h leaves)", entry.sequence),
        (None, None) => "Entry".into(),
    };
    let has_focus = state.journal.reading || state.journal.verification.is_some();
    let inside = pane(state, buffer, places.entry, &title, has_focus);
    let lines = entry_lines(state, places.entry.width);
    for (row, line) in lines.into_iter().skip(state.journal.scroll).take(inside.height.into()).enumerate() {
        put(buffer, inside, row, line);
    }
}

fn head(state: &State, buffer: &mut Buffer, area: Rect) {
    let theme = &state.theme;
    let mut line = vec![Span::styled(format!(" {} entries", count(state.entries)), theme.text)];
    if let Some(status) = &state.status {
        line.push(Span::styled(format!(", {} under the last checkpoint", count(status.checkpoint)), theme.dim));
    }
    if !state.journal.filter.is_empty() {
        line.push(Span::styled(format!("   /{}", display_safe(&state.journal.filter)), theme.accent));
    }
    put(buffer, area, 0, Line::from(line));
}

fn list(state: &State, buffer: &mut Buffer, area: Rect) {
    let list = &state.journal.list;
    let has_focus = !state.journal.reading;
    let inside = pane(state, buffer, area, "Entries, newest first (/ filters, v verifies)", has_focus);
    if list.rows().is_empty() {
        let words = if state.journal.filter.is_empty() { "the journal is empty" } else { "no entry fits the filter" };
        return empty(state, buffer, inside, list.is_loaded(), words);
    }
    let first = list.first_shown(inside.height.into());
    for (row, entry, selected) in rows(list.rows(), first, inside.height, list.place()) {
        put(buffer, inside, row, row_line(state, entry, inside.width.into()));
        if selected {
            paint(buffer, inside, row, if has_focus { state.theme.selected } else { state.theme.marked });
        }
    }
}

fn row_line(state: &State, entry: &Entry, width: usize) -> Line<'static> {
    let theme = &state.theme;
    let mut line = vec![
        Span::styled(format!("{:>7} ", entry.sequence), theme.dim),
        Span::styled(format!("{} ", time(entry.wall_ms, state.zone)), theme.dim),
        Span::styled(fit(&display_safe(&entry.actor), 10) + " ", theme.text),
        Span::styled(fit(&display_safe(&entry.action), 19) + " ", theme.accent),
    ];
    let used: usize = line.iter().map(Span::width).sum();
    let about = entry.reason.as_deref().unwrap_or(&entry.subject);
    line.push(Span::styled(cut(&display_safe(about), width.saturating_sub(used)), theme.text));
    Line::from(line)
}

/// The selected entry, or the proof, in lines of a width.
pub(super) fn entry_lines(state: &State, width: u16) -> Vec<Line<'static>> {
    let theme = &state.theme;
    let width = usize::from(width);
    let mut lines = Vec::new();
    let mut say = |words: &str, style: Style| {
        lines.extend(wrap(&display_safe(words), width).into_iter().map(|line| Line::styled(line, style)));
    };
    match (&state.journal.verification, state.journal.list.selected()) {
        (Some(Verification::Running), _) => {
            say("reading every entry and checking the tree and its signatures…", theme.dim)
        }
        (Some(Verification::Failed(why)), _) => say(why, theme.bad),
        (Some(Verification::Done(report)), _) => proof(state, report, &mut say),
        (None, Some(entry)) => {
            say(&format!("{}  {}", date_time(entry.wall_ms, state.zone), entry.actor), theme.text);
            say(&format!("{}  {}", entry.action, entry.subject), theme.accent);
            if let Some(reason) = &entry.reason {
                say(&format!("reason: {reason}"), theme.text);
            }
            for (name, value) in [("before", &entry.before), ("after", &entry.after)] {
                let Some(value) = value else { continue };
                say(name, theme.dim);
                let pretty = serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string());
                pretty.lines().for_each(|line| say(line, theme.text));
            }
        }
        (None, None) => {}
    }
    lines
}

fn proof(state: &State, report: &JournalVerified, say: &mut impl FnMut(&str, Style)) {
    let theme = &state.theme;
    let (verdict, style) = if report.ok {
        ("Proven: every entry up to the last checkpoint is as it was signed.", theme.good)
    } else {
        ("NOT PROVEN.", theme.bad)
    };
    say(verdict, style);
    for problem in &report.problems {
        say(&format!("problem: {problem}"), theme.bad);
    }
    say(
        &format!(
            "{} entries, {} under the last checkpoint, {} after it",
            count(report.entries),
            count(report.checkpoint),
            count(report.unanchored)
        ),
        theme.text,
    );
    say(&format!("root {}", report.root), theme.text);
    say(&format!("key  {}", report.key), theme.text);
    if !report.cannot_prove.is_empty() {
        say("What this cannot prove:", theme.accent);
    }
    for limit in &report.cannot_prove {
        say(&format!("- {limit}"), theme.text);
    }
}
