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

/// Columns of a page at most.
const WIDTH: u16 = 100;
/// Columns of the keys in the help.
const KEYS: usize = 17;

/// Draws lines over an area, scrolled.
pub(super) fn draw(state: &State, buffer: &mut Buffer, area: Rect, title: &str, lines: &[Line<'_>], scroll: usize) {
    let area = layout::centred(area, WIDTH, area.height).intersection(buffer.area);
    Clear.render(area, buffer);
    let is_whole = lines.len() < usize::from(area.height);
    let how = if is_whole { "Esc closes" } else { "j k scroll, Esc closes" };
    let inside = pane(state, buffer, area, &format!("{title} ({how})"), true);
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
            let width = usize::from(state.size.0.min(WIDTH));
            // Beside the keys if there is room to read it, else below them.
            let beside = width >= KEYS + 20;
            let indent = if beside { KEYS } else { 4 };
            let keys = if beside { fit(&binding.keys(), KEYS - 2) } else { binding.keys() };
            let mut keys = vec![Span::styled(format!("  {keys}"), state.theme.text)];
            if !beside {
                lines.push(Line::from(std::mem::take(&mut keys)));
            }
            for words in wrap(binding.help, width.saturating_sub(indent)) {
                let mut line = std::mem::take(&mut keys);
                if line.is_empty() {
                    line.push(Span::raw(" ".repeat(indent)));
                }
                line.push(Span::styled(words, state.theme.dim));
                lines.push(Line::from(line));
            }
        }
    }
    lines
}

/// What stopped the engine, then every warning in full.
pub(super) fn warnings(state: &State) -> Vec<Line<'static>> {
    let width = usize::from(state.size.0.min(WIDTH)).saturating_sub(2);
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
