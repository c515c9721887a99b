//! Dialogs, the palette and the filter's line. Each returns where the cursor belongs.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget as _};
use tui_input::Input;

use super::{paint, put, rows};
use crate::console::dialog::{Dialog, Focus, Purpose};
use crate::console::keys::{Binding, Tab};
use crate::console::layout;
use crate::console::state::State;
use crate::console::text::{cut, fit, wrap};
use crate::console::update::{elsewhere, matching};
use crate::domain::display_safe;
use crate::domain::view::Which;

type Cursor = Option<(u16, u16)>;

/// Draws a line of text that is being filled in, scrolled to its cursor.
fn field(state: &State, buffer: &mut Buffer, area: Rect, row: usize, name: &str, input: &Input) -> Cursor {
    let width = usize::from(area.width);
    let name = cut(name, width / 2);
    let start = ratatui::text::Span::raw(name.as_str()).width();
    let room = width.saturating_sub(start + 1);
    let scroll = input.visual_scroll(room);
    let mut skipped = 0;
    let shown: String = input
        .value()
        .chars()
        .skip_while(|letter| {
            skipped += unicode_width::UnicodeWidthChar::width(*letter).unwrap_or(0);
            skipped <= scroll
        })
        .collect();
    let line = vec![Span::styled(name, state.theme.accent), Span::styled(display_safe(&shown), state.theme.text)];
    put(buffer, area, row, Line::from(line));
    let column = start + input.visual_cursor().saturating_sub(scroll);
    (row < usize::from(area.height) && column < width).then(|| (area.x + column as u16, area.y + row as u16))
}

/// A frame in the middle, emptied; returns its inside.
fn window(state: &State, buffer: &mut Buffer, area: Rect, width: u16, height: u16, title: &str) -> Rect {
    let area = layout::centred(area, width, height).intersection(buffer.area);
    Clear.render(area, buffer);
    if area.width < 4 || area.height < 4 {
        return area;
    }
    let block = Block::bordered().border_style(state.theme.accent).title(format!(" {title} "));
    let inside = block.inner(area);
    block.render(area, buffer);
    Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside }
}

pub(super) fn filter(state: &State, buffer: &mut Buffer, area: Rect, input: &Input) -> Cursor {
    let area = area.intersection(buffer.area);
    // What is wrong with the line stands above it, whole.
    if let Some(notice) = &state.notice {
        let lines = wrap(&display_safe(&notice.text), usize::from(area.width).saturating_sub(2));
        let rows = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(area.y.saturating_sub(buffer.area.y));
        let above = Rect { y: area.y - rows, height: rows, ..area };
        Clear.render(above, buffer);
        for (row, line) in lines.into_iter().enumerate() {
            put(buffer, above, row, Span::styled(format!(" {line}"), state.theme.bad));
        }
    }
    Clear.render(area, buffer);
    let name = match (state.tab, state.queue.state) {
        (Tab::Queue, Some(now)) if area.width >= 60 => format!(" state, now {} (empty is all): ", now.name()),
        (Tab::Queue, Some(now)) => format!(" now {}: ", now.name()),
        (Tab::Queue, None) => " state: ".into(),
        (Tab::Gallery, _) => " labels with: ".into(),
        (Tab::Journal | Tab::Stats, _) => " / ".into(),
    };
    field(state, buffer, area, 0, &name, input)
}

pub(super) fn palette(state: &State, buffer: &mut Buffer, area: Rect, input: &Input, chosen: usize) -> Cursor {
    let inside = window(state, buffer, area, 60, 16, "Commands");
    let cursor = field(state, buffer, inside, 0, ": ", input);
    let (_, below) = layout::top(inside, 1);
    let found = matching(input.value(), state.tab);
    let first = chosen.saturating_sub(usize::from(below.height).saturating_sub(1));
    let width = usize::from(below.width);
    if found.is_empty() {
        let others = elsewhere(input.value(), state.tab);
        let lines = if others.is_empty() {
            wrap("no command has such a name; Esc closes", width)
        } else {
            let said = |(tab, binding): &(Tab, &Binding)| format!("{}: on the {} tab", binding.name, tab.title());
            others.iter().flat_map(|other| wrap(&said(other), width)).collect()
        };
        for (row, line) in lines.into_iter().enumerate() {
            put(buffer, below, row, Span::styled(line, state.theme.warn));
        }
    }
    for (row, binding, selected) in rows(&found, first, below.height, Some(chosen)) {
        let keys = binding.keys();
        put(buffer, below, row, format!("{} {keys:>12}", fit(binding.name, width.saturating_sub(13))));
        if selected {
            paint(buffer, below, row, state.theme.selected);
        }
    }
    cursor
}

fn title(purpose: &Purpose) -> &'static str {
    match purpose {
        Purpose::Release { .. } => "Release",
        Purpose::Discard { .. } => "Discard",
        Purpose::Relabel { .. } => "Relabel",
        Purpose::Remove { .. } => "Remove",
        Purpose::Quit => "Quit",
        Purpose::Suspend => "Suspend",
        Purpose::Probe => "Identify",
        Purpose::Verify => "Verify",
    }
}

/// What is about to happen, to what.
fn question(purpose: &Purpose) -> Vec<String> {
    let hash = |seen: &Option<crate::domain::ImageId>| {
        seen.map_or_else(|| "sha256 not known".to_owned(), |seen| format!("sha256 {seen}"))
    };
    let which = |which: &Which, from: &crate::domain::Label, sightings: u64| {
        let from = display_safe(from.as_str());
        match which {
            Which::Sighting(id) => vec![format!("One sighting of {from}"), format!("sighting {id}")],
            Which::Label(_) => vec![format!("Every sighting of {from}: {sightings} when this was opened")],
        }
    };
    match purpose {
        Purpose::Release { item, seen, name } => vec![
            format!("Send {name} through again. Doubts about its quality will not hold it up."),
            format!("file {item}"),
            hash(seen),
        ],
        Purpose::Discard { item, seen, name } => {
            vec![format!("Drop {name} for good. This cannot be undone."), format!("file {item}"), hash(seen)]
        }
        Purpose::Relabel { which: what, from, sightings } => which(what, from, *sightings),
        Purpose::Remove { which: what, from, sightings } => {
            let mut lines = which(what, from, *sightings);
            lines.push("It will not be found again. Its entries stay in the journal.".into());
            lines
        }
        Purpose::Quit => vec![
            "The engine runs in this console and stops with it.".into(),
            "Files that wait stay in the queue; `sightline serve` runs an engine without a console.".into(),
        ],
        Purpose::Suspend => vec![
            "The engine runs in this console and stands still while it is suspended: nothing is watched, and other \
             commands wait in vain until `fg`."
                .into(),
            "`sightline serve` runs an engine without a console.".into(),
        ],
        Purpose::Probe => vec!["Ask the gallery about a picture. Nothing is recorded.".into()],
        Purpose::Verify => {
            vec![
                "Prove every entry up to the last checkpoint. With the text of a key.pub that was kept elsewhere, also \
                 that this key signed it."
                    .into(),
            ]
        }
    }
}

pub(super) fn draw(state: &State, buffer: &mut Buffer, area: Rect, dialog: &Dialog) -> Cursor {
    let theme = &state.theme;
    let width = area.width.min(76);
    let inner = usize::from(width.saturating_sub(4));
    let mut words: Vec<String> = question(&dialog.purpose).iter().flat_map(|line| wrap(line, inner)).collect();
    let problem: Vec<String> = dialog.problem.iter().flat_map(|problem| wrap(&display_safe(problem), inner)).collect();
    // On a small screen the fields and buttons matter most.
    let needed = dialog.fields.len() * 2 + problem.len() + 3;
    words.truncate(usize::from(area.height).saturating_sub(needed).max(1));
    let height = (words.len() + needed + 1) as u16;
    let inside = window(state, buffer, area, width, height, title(&dialog.purpose));
    let mut row = 0;
    for line in words {
        put(buffer, inside, row, Span::styled(line, theme.text));
        row += 1;
    }
    let mut cursor = None;
    for (place, of) in dialog.fields.iter().enumerate() {
        let has_focus = dialog.focus == Focus::Field(place);
        let style = if has_focus { theme.accent } else { theme.dim };
        put(buffer, inside, row, Span::styled(cut(&of.name, inner), style));
        let at = field(state, buffer, inside, row + 1, if has_focus { "> " } else { "  " }, &of.input);
        cursor = if has_focus { at } else { cursor };
        row += 2;
    }
    for line in problem {
        put(buffer, inside, row, Span::styled(line, theme.bad));
        row += 1;
    }
    put(buffer, inside, usize::from(inside.height).saturating_sub(1), buttons(state, dialog, inside.width));
    cursor
}

fn buttons(state: &State, dialog: &Dialog, width: u16) -> Line<'static> {
    let theme = &state.theme;
    if dialog.sending {
        return Line::styled("asking the engine…", theme.warn);
    }
    let button = |name: &str, focus: Focus| {
        let style = if dialog.focus == focus { theme.selected } else { theme.text };
        Span::styled(format!("[ {name} ]"), style)
    };
    let confirm = match dialog.purpose {
        Purpose::Probe => "Ask",
        _ => title(&dialog.purpose),
    };
    let mut line = Line::default();
    for focus in Dialog::BUTTONS {
        line.push_span(button(if focus == Focus::Confirm { confirm } else { "Cancel" }, focus));
        line.push_span(Span::raw("  "));
    }
    let hints: &[&str] = if dialog.is_question() {
        &[" y yes, Esc no", " y / Esc"]
    } else {
        &[" Tab moves, Enter presses", " Tab, Enter"]
    };
    let room = usize::from(width).saturating_sub(line.width());
    if let Some(hint) = hints.iter().find(|hint| hint.len() <= room) {
        line.push_span(Span::styled(*hint, theme.dim));
    }
    line
}
