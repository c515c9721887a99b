//! Keys and pasted text: to the overlay where there is one, else through the key map.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher};
use tui_input::Input;
use tui_input::backend::crossterm::to_input_request;

use super::commands;
use crate::console::dialog::{Pressed, Purpose};
use crate::console::keys::{self, BINDINGS, Binding, Command, Scope, Tab};
use crate::console::message::{Effect, Timer};
use crate::console::state::{Escape, Overlay, State};
use crate::console::text;

/// How long an Escape waits for the rest of a torn sequence, milliseconds.
const ESCAPE_MS: u64 = 100;

/// Takes a key pressed at a time.
pub(super) fn key(state: &mut State, key: &KeyEvent, at: u64) -> Vec<Effect> {
    if key.kind == KeyEventKind::Release {
        return Vec::new();
    }
    let escape = key.code == KeyCode::Esc && key.modifiers.is_empty();
    let letter = match key.code {
        KeyCode::Char(letter) if !key.modifiers.contains(KeyModifiers::CONTROL) => Some(letter),
        _ => None,
    };
    let in_time = |since: u64| at.saturating_sub(since) < ESCAPE_MS;
    let mut effects = Vec::new();
    match std::mem::replace(&mut state.escape, Escape::None) {
        Escape::Pressed(since) if in_time(since) && matches!(letter, Some('[' | 'O')) => {
            state.escape = Escape::Torn(at);
            return vec![Effect::Wake(Timer::Escape, ESCAPE_MS)];
        }
        Escape::Torn(since) if in_time(since) && letter.is_some() => return torn(state, letter, at),
        Escape::Pressed(since) => effects = press(state, &KeyCode::Esc.into(), since),
        Escape::Torn(_) | Escape::None => {}
    }
    if escape {
        state.escape = Escape::Pressed(at);
        effects.push(Effect::Wake(Timer::Escape, ESCAPE_MS));
    } else {
        effects.extend(press(state, key, at));
    }
    effects
}

/// The letters after `Esc [`: an arrow is what it was meant as; anything else is nothing.
fn torn(state: &mut State, letter: Option<char>, at: u64) -> Vec<Effect> {
    let code = match letter {
        Some('A') => KeyCode::Up,
        Some('B') => KeyCode::Down,
        Some('C') => KeyCode::Right,
        Some('D') => KeyCode::Left,
        Some('H') => KeyCode::Home,
        Some('F') => KeyCode::End,
        Some('0'..='9' | ';') => {
            state.escape = Escape::Torn(at);
            return vec![Effect::Wake(Timer::Escape, ESCAPE_MS)];
        }
        _ => return Vec::new(),
    };
    press(state, &code.into(), at)
}

/// Nothing followed an Escape: it was the key.
pub(super) fn escape_alone(state: &mut State) -> Vec<Effect> {
    match std::mem::replace(&mut state.escape, Escape::None) {
        Escape::Pressed(at) => press(state, &KeyCode::Esc.into(), at),
        Escape::Torn(_) | Escape::None => Vec::new(),
    }
}

fn press(state: &mut State, key: &KeyEvent, at: u64) -> Vec<Effect> {
    let command = keys::command(key, state.tab);
    if command == Some(Command::Suspend) && !matches!(state.overlay, Overlay::Dialog(_)) {
        return commands::run(state, Command::Suspend);
    }
    if command == Some(Command::Repaint) {
        state.dirty = true;
        return vec![Effect::Repaint];
    }
    if state.notice.take().is_some() {
        state.dirty = true;
    }
    let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    match &mut state.overlay {
        Overlay::None => command.map_or_else(Vec::new, |command| commands::run(state, command)),
        // What was typed into a dialog is not lost over another one.
        Overlay::Dialog(dialog) if command == Some(Command::Suspend) && dialog.purpose != Purpose::Suspend => {
            if !commands::holds_engine(state) {
                return vec![Effect::Suspend];
            }
            state.say(false, "the engine runs in this console: answer or close this first, then suspend");
            Vec::new()
        }
        Overlay::Dialog(dialog) => {
            let pressed = dialog.key(key, at);
            state.dirty = true;
            match pressed {
                Pressed::Nothing => Vec::new(),
                Pressed::Cancel => close(state),
                Pressed::Confirm => commands::confirm(state),
            }
        }
        Overlay::Filter(_) | Overlay::Palette(..) if interrupt || key.code == KeyCode::Esc => close(state),
        Overlay::Filter(input) => {
            if key.code == KeyCode::Enter {
                let text = input.value().trim().to_owned();
                return commands::filter(state, &text);
            }
            state.dirty |= edit(input, key);
            Vec::new()
        }
        Overlay::Palette(..) => palette(state, key),
        Overlay::Help(_) | Overlay::Warnings(_) | Overlay::Picture(_) => page(state, command, key),
    }
}

fn close(state: &mut State) -> Vec<Effect> {
    state.overlay = Overlay::None;
    state.dirty = true;
    Vec::new()
}

fn edit(input: &mut Input, key: &KeyEvent) -> bool {
    to_input_request(&Event::Key(*key)).and_then(|request| input.handle(request)).is_some()
}

/// Help, warnings and pictures: scrolled, and closed by anything that leaves.
fn page(state: &mut State, command: Option<Command>, key: &KeyEvent) -> Vec<Effect> {
    let screen = usize::from(state.size.1);
    let (Overlay::Help(scroll) | Overlay::Warnings(scroll)) = &mut state.overlay else { return close(state) };
    state.dirty = true;
    match command {
        Some(Command::Up) => *scroll = scroll.saturating_sub(1),
        Some(Command::Down) => *scroll += 1,
        Some(Command::PageUp) => *scroll = scroll.saturating_sub(screen / 2),
        Some(Command::PageDown) => *scroll += screen / 2,
        Some(Command::Top) => *scroll = 0,
        Some(Command::Back | Command::Quit | Command::Help | Command::Warnings | Command::Open) => return close(state),
        _ if key.code == KeyCode::Enter => return close(state),
        _ => {}
    }
    let most = crate::console::view::page_lines(state).saturating_sub(1);
    if let Overlay::Help(scroll) | Overlay::Warnings(scroll) = &mut state.overlay {
        *scroll = (*scroll).min(most);
    }
    Vec::new()
}

/// The commands that fit what was typed, the best first.
pub(in crate::console) fn matching(typed: &str, tab: Tab) -> Vec<&'static Binding> {
    named(typed, |binding| binding.holds_on(tab) && binding.command != Command::Palette)
}

/// The commands of other tabs that fit what was typed, each with its tab.
pub(in crate::console) fn elsewhere(typed: &str, tab: Tab) -> Vec<(Tab, &'static Binding)> {
    let others = named(typed, |binding| !binding.holds_on(tab));
    let place = |binding: &'static Binding| match binding.scope {
        Scope::On(tab) => Some((tab, binding)),
        Scope::Everywhere => None,
    };
    others.into_iter().filter_map(place).collect()
}

fn named(typed: &str, wanted: impl Fn(&Binding) -> bool) -> Vec<&'static Binding> {
    let mut matcher = Matcher::new(Config::DEFAULT);
    let pattern = Pattern::parse(typed, CaseMatching::Ignore, Normalization::Smart);
    let mut scored: Vec<(u32, &Binding)> = BINDINGS
        .iter()
        .filter(|binding| wanted(binding))
        .filter_map(|binding| {
            let mut buffer = Vec::new();
            let name = nucleo_matcher::Utf32Str::new(binding.name, &mut buffer);
            Some((pattern.score(name, &mut matcher)?, binding))
        })
        .collect();
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    scored.into_iter().map(|(_, binding)| binding).collect()
}

fn palette(state: &mut State, key: &KeyEvent) -> Vec<Effect> {
    let Overlay::Palette(input, chosen) = &mut state.overlay else { return Vec::new() };
    let found = matching(input.value(), state.tab);
    let last = found.len().saturating_sub(1);
    state.dirty = true;
    match key.code {
        KeyCode::Up | KeyCode::BackTab => *chosen = chosen.saturating_sub(1),
        KeyCode::Down | KeyCode::Tab => *chosen = (*chosen + 1).min(last),
        KeyCode::Enter => {
            let command = found.get(*chosen).map(|binding| binding.command);
            if command.is_none() {
                return Vec::new();
            }
            state.overlay = Overlay::None;
            return match command {
                Some(Command::Repaint) => vec![Effect::Repaint],
                Some(command) => commands::run(state, command),
                None => Vec::new(),
            };
        }
        _ => {
            if edit(input, key) {
                *chosen = 0;
            }
        }
    }
    Vec::new()
}

/// Pasted text goes into a line that is being filled in, and nowhere else: it is never a row of commands.
pub(super) fn paste(state: &mut State, pasted: &str) -> Vec<Effect> {
    match &mut state.overlay {
        Overlay::Filter(input) => text::paste(input, pasted),
        Overlay::Palette(input, chosen) => {
            text::paste(input, pasted);
            *chosen = 0;
        }
        Overlay::Dialog(dialog) => dialog.paste(pasted),
        Overlay::None | Overlay::Help(_) | Overlay::Warnings(_) | Overlay::Picture(_) => return Vec::new(),
    }
    state.dirty = true;
    Vec::new()
}
