//! The lines around the tab: the tabs, a banner when something is badly wrong, and the status.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::{paint, put};
use crate::console::keys::Tab;
use crate::console::state::{Link, State};
use crate::console::text::{cut, fit};
use crate::domain::display_safe;
use crate::domain::view::Role;

pub(super) fn tabs(state: &State, buffer: &mut Buffer, area: Rect) {
    let theme = &state.theme;
    let mut line = Vec::new();
    if area.width >= 60 {
        line.push(Span::styled(" sightline  ", theme.accent));
    }
    for (place, tab) in Tab::ALL.iter().enumerate() {
        let style = if *tab == state.tab { theme.selected } else { theme.text };
        line.push(Span::styled(format!(" {} {} ", place + 1, tab.title()), style));
    }
    let used: usize = line.iter().map(Span::width).sum();
    let hint = "? help  : palette ";
    if used + hint.width() + 2 <= usize::from(area.width) {
        line.push(Span::raw(" ".repeat(usize::from(area.width) - used - hint.width())));
        line.push(Span::styled(hint, theme.dim));
    }
    put(buffer, area, 0, Line::from(line));
}

pub(super) fn banner(state: &State, buffer: &mut Buffer, area: Rect) {
    let halted = state.status.as_ref().and_then(|status| status.halted.as_ref());
    let text = match (&state.link, halted) {
        (Link::Lost(why), _) => format!(" engine unreachable, retrying; what is shown is stale: {why}"),
        (_, Some(halted)) => format!(" HALTED: {halted}"),
        _ => return,
    };
    let text = fit(&display_safe(&text), area.width.into());
    put(buffer, area, 0, Span::raw(text));
    paint(buffer, area, 0, state.theme.banner);
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Approver => "approver",
    }
}

pub(super) fn line(state: &State, buffer: &mut Buffer, area: Rect) {
    let theme = &state.theme;
    let width = usize::from(area.width);
    if let Some(notice) = &state.notice {
        let (sign, style) = if notice.good { ("✓", theme.good) } else { ("!", theme.bad) };
        let text = cut(&format!(" {sign} {}", display_safe(&notice.text)), width);
        return put(buffer, area, 0, Span::styled(text, style));
    }
    let warnings = state.warnings();
    let sign = if warnings.is_empty() { String::new() } else { format!("  ⚠ {} (w) ", warnings.len()) };
    // The sign has its place before anything else; what does not fit beside it is left out.
    let room = width.saturating_sub(sign.width());
    let mut line = Line::default();
    match (&state.status, &state.link) {
        (Some(status), _) => {
            let name = cut(&format!(" {}", status.workspace.file_name_safe()), room);
            let version = format!("  {}", display_safe(&status.version));
            let you = format!("  {} ({})", display_safe(&status.you), role(status.role));
            let own = if state.own_engine { "  own engine" } else { "" };
            let is_roomy = name.width() + version.width() + you.width() + own.width() <= room;
            add(&mut line, room, name, theme.accent);
            add(&mut line, room, if is_roomy { version + &you } else { you }, theme.dim);
            add(&mut line, room, own.to_owned(), theme.dim);
        }
        (None, Link::Connecting) => add(&mut line, room, " connecting to the engine…".into(), theme.dim),
        (None, Link::Up) => add(&mut line, room, " asking the engine…".into(), theme.dim),
        (None, Link::Lost(_)) => add(&mut line, room, " no engine".into(), theme.bad),
    }
    if let Some(latest) = warnings.first() {
        line.push_span(Span::styled(if line.width() == 0 { sign.trim_start().to_owned() } else { sign }, theme.warn));
        line.push_span(Span::styled(cut(&display_safe(latest), width.saturating_sub(line.width())), theme.warn));
    }
    put(buffer, area, 0, line);
}

/// Adds a part of the line where it fits.
fn add(line: &mut Line<'_>, room: usize, text: String, style: Style) {
    if line.width() + text.width() <= room {
        line.push_span(Span::styled(text, style));
    }
}
