//! The key map: one table that dispatches, fills the help and fills the palette.
//!
//! No letter changes anything by itself: those that begin an act open a dialog. No control key that tmux, screen or
//! flow control may swallow (Ctrl-a, b, d, g, h, j, k, l, s, q) does more than paint the screen.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The tabs, in their order on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Queue,
    Stats,
    Gallery,
    Journal,
}

impl Tab {
    pub(super) const ALL: [Self; 4] = [Self::Queue, Self::Stats, Self::Gallery, Self::Journal];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Queue => "Queue",
            Self::Stats => "Stats",
            Self::Gallery => "Gallery",
            Self::Journal => "Journal",
        }
    }

    /// The tab so many places further, around the end.
    pub(super) fn step(self, by: usize) -> Self {
        let place = Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        Self::ALL[(place + by) % Self::ALL.len()]
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Go(Tab),
    NextTab,
    PreviousTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Open,
    Back,
    Filter,
    CycleState,
    Palette,
    Help,
    Warnings,
    Copy,
    Release,
    Discard,
    Probe,
    Relabel,
    RelabelAll,
    Remove,
    RemoveAll,
    Verify,
    Repaint,
    Suspend,
    Quit,
}

/// Where a binding holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Everywhere,
    On(Tab),
}

/// A key with its modifiers; shift is part of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chord {
    code: KeyCode,
    control: bool,
}

/// A line of the key map.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) command: Command,
    pub(super) scope: Scope,
    pub(super) chords: &'static [Chord],
    /// What it is called in the palette.
    pub(super) name: &'static str,
    /// What it does, in the help.
    pub(super) help: &'static str,
}

const fn letter(letter: char) -> Chord {
    Chord { code: KeyCode::Char(letter), control: false }
}

const fn control(letter: char) -> Chord {
    Chord { code: KeyCode::Char(letter), control: true }
}

const fn key(code: KeyCode) -> Chord {
    Chord { code, control: false }
}

macro_rules! bindings {
    ($($scope:expr => { $($command:expr, [$($chord:expr),*], $name:literal, $help:literal;)* })*) => {
        &[$($(Binding { command: $command, scope: $scope, chords: &[$($chord),*], name: $name, help: $help },)*)*]
    };
}

/// Every binding; those of a tab go before those that hold everywhere.
pub(super) static BINDINGS: &[Binding] = bindings! {
    Scope::On(Tab::Queue) => {
        Command::CycleState, [letter('f')], "next state", "show the files of the next state";
        Command::Filter, [letter('/')], "filter by state", "show the files of a state, by name";
        Command::Open, [key(KeyCode::Enter), letter('z')], "enlarge the picture", "show the picture on the whole screen";
        Command::Release, [letter('R')], "release the file", "send a quarantined or failed file through again (asks first)";
        Command::Discard, [letter('D')], "discard the file", "drop a quarantined or failed file for good (asks first)";
    }
    Scope::On(Tab::Gallery) => {
        Command::Filter, [letter('/')], "filter labels", "show the labels that hold a text";
        Command::Probe, [letter('p')], "identify a picture", "ask the gallery about a picture file";
        Command::Open, [key(KeyCode::Enter), letter('z')], "enlarge the crop", "step into the list; on a sighting, show it on the whole screen";
        Command::Relabel, [letter('r')], "relabel the sighting", "give the sighting another label (asks first)";
        Command::RelabelAll, [letter('E')], "relabel the label", "rename: give all its sightings another label (asks first)";
        Command::Remove, [letter('x')], "remove the sighting", "take the sighting out of the gallery (asks first)";
        Command::RemoveAll, [letter('X')], "remove the label", "take the label and all its sightings out (asks first)";
    }
    Scope::On(Tab::Journal) => {
        Command::Filter, [letter('/')], "filter entries", "actor:X action:X subject:X from:DATE to:DATE words";
        Command::Open, [key(KeyCode::Enter)], "read the entry", "step into the entry; j and k scroll it";
        Command::Verify, [letter('v')], "verify the journal", "prove every entry up to the last checkpoint";
    }
    Scope::Everywhere => {
        Command::Go(Tab::Queue), [letter('1')], "queue", "what arrives and what became of it";
        Command::Go(Tab::Stats), [letter('2')], "stats", "speed, latency, batches, answers, resources";
        Command::Go(Tab::Gallery), [letter('3')], "gallery", "what is enrolled";
        Command::Go(Tab::Journal), [letter('4')], "journal", "what was done, by whom, and why";
        Command::NextTab, [key(KeyCode::Tab)], "next tab", "next tab";
        Command::PreviousTab, [key(KeyCode::BackTab)], "previous tab", "previous tab";
        Command::Up, [letter('k'), key(KeyCode::Up)], "up", "up";
        Command::Down, [letter('j'), key(KeyCode::Down)], "down", "down";
        Command::Left, [letter('h'), key(KeyCode::Left)], "left", "the pane to the left";
        Command::Right, [letter('l'), key(KeyCode::Right)], "right", "the pane to the right";
        Command::PageUp, [key(KeyCode::PageUp), control('u')], "page up", "a screen up";
        Command::PageDown, [key(KeyCode::PageDown), control('f')], "page down", "a screen down";
        Command::Top, [letter('g'), key(KeyCode::Home)], "top", "the first row";
        Command::Bottom, [letter('G'), key(KeyCode::End)], "bottom", "the last row that is loaded; again for more";
        Command::Back, [key(KeyCode::Esc)], "back", "close, step back, drop the filter";
        Command::Copy, [letter('y')], "copy the hash", "send the SHA-256 to the terminal's clipboard (OSC 52)";
        Command::Warnings, [letter('w')], "warnings", "everything an operator should know now";
        Command::Palette, [letter(':')], "palette", "find a command by name";
        Command::Help, [letter('?'), key(KeyCode::F(1))], "help", "this list";
        Command::Repaint, [control('l')], "repaint", "paint the screen again";
        Command::Suspend, [control('z')], "suspend", "back to the shell, `fg` returns; asks if the engine is its own";
        Command::Quit, [letter('q'), control('c')], "quit", "leave the console";
    }
};

impl Chord {
    /// The chord of a key press.
    pub(super) fn of(event: &KeyEvent) -> Self {
        Self { code: event.code, control: event.modifiers.contains(KeyModifiers::CONTROL) }
    }
}

impl std::fmt::Display for Chord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.control {
            f.write_str("Ctrl-")?;
        }
        match self.code {
            KeyCode::Char(letter) => write!(f, "{letter}"),
            KeyCode::BackTab => f.write_str("Shift-Tab"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            KeyCode::Up => f.write_str("↑"),
            KeyCode::Down => f.write_str("↓"),
            KeyCode::Left => f.write_str("←"),
            KeyCode::Right => f.write_str("→"),
            other => write!(f, "{other}"),
        }
    }
}

impl Binding {
    /// Whether it holds on a tab.
    pub(super) fn holds_on(&self, tab: Tab) -> bool {
        self.scope == Scope::Everywhere || self.scope == Scope::On(tab)
    }

    /// Its keys as text.
    pub(super) fn keys(&self) -> String {
        self.chords.iter().map(Chord::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// What a key asks for on a tab.
pub(super) fn command(event: &KeyEvent, tab: Tab) -> Option<Command> {
    if event.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::META | KeyModifiers::SUPER) {
        return None;
    }
    let chord = Chord::of(event);
    BINDINGS.iter().find(|b| b.holds_on(tab) && b.chords.contains(&chord)).map(|b| b.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_on_a_tab() {
        for tab in Tab::ALL {
            let mut seen = Vec::new();
            for binding in BINDINGS.iter().filter(|b| b.holds_on(tab)) {
                for chord in binding.chords {
                    assert!(!seen.contains(chord), "{chord} on {tab:?}");
                    seen.push(*chord);
                }
            }
        }
    }

    #[test]
    fn keys_that_terminals_swallow_only_repaint() {
        for binding in BINDINGS {
            for chord in binding.chords.iter().filter(|c| c.control) {
                let KeyCode::Char(letter) = chord.code else { continue };
                assert!(!"abdghjksq".contains(letter) && (letter != 'l' || binding.command == Command::Repaint));
            }
        }
    }

    #[test]
    fn shift_is_part_of_the_letter() {
        let event = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(command(&event, Tab::Queue), Some(Command::Bottom));
        let event = KeyEvent::new(KeyCode::Char('R'), KeyModifiers::ALT);
        assert_eq!(command(&event, Tab::Queue), None);
        let event = KeyEvent::new(KeyCode::Char('R'), KeyModifiers::SHIFT);
        assert_eq!(command(&event, Tab::Journal), None, "a tab's keys hold on that tab only");
    }
}
