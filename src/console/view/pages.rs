//! Pages over the tab: the help, made from the key map, and the warnings.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget as _};

use super::{pane, put};
use crate::console::keys::{BINDINGS, Scope, Tab};
use crate::console::layout;
use crate::console::state::State;
use crate::console::text::{fit, wrap};
use crate::domain::display_safe;

/// Draws lines over an area, scrolled.
pub(super) fn draw(state: &State, buffer: &mut Buffer, area: Rect, title: &str, lines: &[Line<'_>], scroll: usize) {
    let area = layout::centred(area, 100, area.height).intersection(buffer.area);
    Clear.render(area, buffer);
    let inside = pane(state, buffer, area, &format!("{title} (Esc closes)"), true);
    for (row, line) in lines.iter().skip(scroll).take(inside.height.into()).enumerate() {
        put(buffer, inside, row, line.clone());
    }
}

/// Every key, those of the tab first.
pub(super) fn help(state: &State) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut scopes = vec![Scope::On(state.tab), Scope::Everywhere];
    scopes.extend(Tab::ALL.into_iter().filter(|tab| *tab != state.tab).map(Scope::On));
    for scope in scopes {
        let bindings: Vec<_> = BINDINGS.iter().filter(|binding| binding.scope == scope).collect();
        if bindings.is_empty() {
            continue;
        }
        let title = match scope {
            Scope::Everywhere => "Everywhere".to_owned(),
            Scope::On(tab) => tab.title().to_owned(),
        };
        lines.push(Line::styled(title, state.theme.accent));
        for binding in bindings {
            lines.push(Line::from(vec![
                Span::styled(format!("  {}", fit(&binding.keys(), 15)), state.theme.text),
                Span::styled(binding.help, state.theme.dim),
            ]));
        }
    }
    lines
}

/// What stopped the engine, then every warning in full.
pub(super) fn warnings(state: &State) -> Vec<Line<'static>> {
    let width = usize::from(state.size.0.min(100)).saturating_sub(2);
    let mut lines = Vec::new();
    let halted = state.status.as_ref().and_then(|status| status.halted.as_deref());
    let halted = halted.map(|text| (text, state.theme.bad));
    let all = halted.into_iter().chain(state.warnings().into_iter().map(|text| (text, state.theme.warn)));
    for (text, style) in all {
        for (at, line) in wrap(&display_safe(text), width).into_iter().enumerate() {
            let sign = if at == 0 { "- " } else { "  " };
            lines.push(Line::styled(format!("{sign}{line}"), style));
        }
    }
    if lines.is_empty() {
        lines.push(Line::styled("nothing to warn of", state.theme.dim));
    }
    lines
}
