//! The lines around the tab: the tabs, a banner when something is badly wrong, and the status.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
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
    let mut line = match (&state.status, &state.link) {
        (Some(status), _) => vec![
            Span::styled(format!(" {}", status.workspace.file_name_safe()), theme.accent),
            Span::styled(
                format!("  {}  {} ({})", display_safe(&status.version), display_safe(&status.you), role(status.role)),
                theme.dim,
            ),
        ],
        (None, Link::Connecting) => vec![Span::styled(" connecting to the engine…", theme.dim)],
        (None, Link::Up) => vec![Span::styled(" asking the engine…", theme.dim)],
        (None, Link::Lost(_)) => vec![Span::styled(" no engine", theme.bad)],
    };
    if state.own_engine {
        line.push(Span::styled("  own engine", theme.dim));
    }
    let warnings = state.warnings();
    if let Some(latest) = warnings.first() {
        line.push(Span::styled(format!("  ⚠ {} (w) ", warnings.len()), theme.warn));
        let used: usize = line.iter().map(Span::width).sum();
        line.push(Span::styled(cut(&display_safe(latest), width.saturating_sub(used)), theme.warn));
    }
    put(buffer, area, 0, Line::from(line));
}
