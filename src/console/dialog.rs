//! Dialogs: questions that must be answered on purpose.
//!
//! A dialog freezes what it is about when it opens. Cancel has the focus; keys are ignored until the dialog has been
//! on the screen for 300 ms, so that a key that repeats, or was typed ahead, confirms nothing; what cannot be undone
//! is typed out. While the engine is asked, nothing more can be pressed, and the dialog stays until it answers.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use tui_input::Input;
use tui_input::backend::crossterm::to_input_request;

use crate::domain::view::Which;
use crate::domain::{ImageId, ItemId, Label};

/// How long a dialog must have been seen before it listens, milliseconds.
pub(super) const SETTLE_MS: u64 = 300;

/// What a dialog is about, as it was when the dialog opened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Purpose {
    Release {
        item: ItemId,
        seen: Option<ImageId>,
        name: String,
    },
    Discard {
        item: ItemId,
        seen: Option<ImageId>,
        name: String,
    },
    Relabel {
        which: Which,
        from: Label,
        sightings: u64,
    },
    Remove {
        which: Which,
        from: Label,
        sightings: u64,
    },
    /// The engine stops with the console.
    Quit,
    /// The engine stands still with the console.
    Suspend,
    /// Ask the gallery about a picture file.
    Probe,
    /// Prove the journal.
    Verify,
}

/// What a field must hold before the dialog can be confirmed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rule {
    Optional,
    Needed,
    Label,
    /// Exactly this, typed by hand.
    Word(String),
}

/// A line of text to fill in.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) input: Input,
    pub(super) rule: Rule,
}

/// Where keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Focus {
    Cancel,
    Field(usize),
    Confirm,
}

/// What came of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    Nothing,
    Cancel,
    Confirm,
}

/// An open dialog.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) purpose: Purpose,
    pub(super) fields: Vec<Field>,
    pub(super) focus: Focus,
    /// Since when it is on the screen.
    pub(super) shown_at: Option<u64>,
    /// The engine has been asked and has not answered.
    pub(super) sending: bool,
    /// The engine may have done it already: what was asked can be asked again, but not changed.
    pub(super) locked: bool,
    /// Why it cannot be confirmed, or what the engine answered.
    pub(super) problem: Option<String>,
    /// The intent's id: asked again, it is still the same act.
    pub(super) intent: String,
}

impl Dialog {
    /// The buttons below the fields, from the left.
    pub(super) const BUTTONS: [Focus; 2] = [Focus::Confirm, Focus::Cancel];

    /// A dialog about something, under an intent's id.
    pub(super) fn open(purpose: Purpose, intent: String) -> Self {
        let field = |name: &str, rule| Field { name: name.to_owned(), input: Input::default(), rule };
        let reason = || field("reason, for the journal", Rule::Needed);
        let typed = |word: &str| {
            let name = format!("type {} to confirm", crate::domain::display_safe(word));
            field(&name, Rule::Word(word.to_owned()))
        };
        let fields = match &purpose {
            Purpose::Release { .. } => vec![reason()],
            Purpose::Discard { .. } => vec![reason(), typed("discard")],
            Purpose::Relabel { .. } => vec![field("new label", Rule::Label), reason()],
            Purpose::Remove { from, .. } => vec![reason(), typed(from.as_str())],
            Purpose::Quit | Purpose::Suspend => Vec::new(),
            Purpose::Probe => vec![field("picture file", Rule::Needed)],
            Purpose::Verify => vec![field("public key NAME+ID+BASE64 (optional)", Rule::Optional)],
        };
        // A question that changes nothing may start in its field.
        let focus = match purpose {
            Purpose::Probe | Purpose::Verify => Focus::Field(0),
            _ => Focus::Cancel,
        };
        Self { purpose, fields, focus, shown_at: None, sending: false, locked: false, problem: None, intent }
    }

    /// Whether confirming changes nothing anywhere.
    pub(super) fn is_harmless(&self) -> bool {
        matches!(self.purpose, Purpose::Probe | Purpose::Verify)
    }

    /// Whether it only asks yes or no: nothing is filled in, and `y` is yes.
    pub(super) fn is_question(&self) -> bool {
        matches!(self.purpose, Purpose::Quit | Purpose::Suspend)
    }

    fn is_opened_by(&self, letter: char) -> bool {
        matches!((&self.purpose, letter), (Purpose::Quit, 'c') | (Purpose::Suspend, 'z'))
    }

    /// The text of a field, trimmed; empty where there is none.
    pub(super) fn text(&self, field: usize) -> &str {
        self.fields.get(field).map_or("", |field| field.input.value().trim())
    }

    /// Whether it listens: it has been seen long enough and is not waiting for the engine.
    fn listens(&self, at: u64) -> bool {
        !self.sending && self.shown_at.is_some_and(|shown| at >= shown + SETTLE_MS)
    }

    /// Takes a key pressed at a time.
    pub(super) fn key(&mut self, key: &KeyEvent, at: u64) -> Pressed {
        if !self.listens(at) {
            return Pressed::Nothing;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (key.code, self.focus) {
            (KeyCode::Esc, _) => return Pressed::Cancel,
            // The key that opened the dialog, again: whoever presses it means to go, so it cancels nothing. It may
            // also be held down, so it confirms nothing either: that takes another key.
            (KeyCode::Char(letter), _) if control && self.is_opened_by(letter) => {
                self.focus = Focus::Confirm;
                self.problem = Some("Enter confirms, Esc goes back".into());
            }
            (KeyCode::Char('y'), _) if self.is_question() && !control => return Pressed::Confirm,
            (KeyCode::Char('c'), _) if control => return Pressed::Cancel,
            (KeyCode::Tab | KeyCode::Down, _) => self.step(1),
            (KeyCode::BackTab | KeyCode::Up, _) => self.step(self.order().len() - 1),
            (KeyCode::Left | KeyCode::Right, Focus::Cancel | Focus::Confirm) => {
                self.focus = if self.focus == Focus::Cancel { Focus::Confirm } else { Focus::Cancel };
            }
            (KeyCode::Enter, Focus::Cancel) => return Pressed::Cancel,
            (KeyCode::Enter, Focus::Field(_)) if !self.is_harmless() => self.step(1),
            (KeyCode::Enter, _) => match self.missing() {
                None => return Pressed::Confirm,
                Some(missing) => self.problem = Some(missing),
            },
            (_, Focus::Field(field)) => self.edit(field, key),
            // Typing belongs into the first field; a button is pressed with Enter only.
            (KeyCode::Char(letter), Focus::Cancel) if !control && letter != ' ' && !self.fields.is_empty() => {
                self.focus = Focus::Field(0);
                self.edit(0, key);
            }
            _ => {}
        }
        Pressed::Nothing
    }

    /// Takes pasted text into the field that has the focus.
    pub(super) fn paste(&mut self, text: &str) {
        if let (Focus::Field(field), false) = (self.focus, self.sending || self.locked)
            // What is typed out to confirm is typed, not pasted.
            && !matches!(self.fields[field].rule, Rule::Word(_))
        {
            super::text::paste(&mut self.fields[field].input, text);
        }
    }

    fn edit(&mut self, field: usize, key: &KeyEvent) {
        if self.locked {
            return;
        }
        if let Some(request) = to_input_request(&Event::Key(*key)) {
            self.fields[field].input.handle(request);
            self.problem = None;
        }
    }

    /// Where the focus can be, in the order of the screen.
    fn order(&self) -> Vec<Focus> {
        (0..self.fields.len()).map(Focus::Field).chain(Self::BUTTONS).collect()
    }

    /// Moves the focus as things stand on the screen: the fields, Confirm, Cancel, and around.
    fn step(&mut self, by: usize) {
        let order = self.order();
        let place = order.iter().position(|focus| *focus == self.focus).unwrap_or(0);
        self.focus = order[(place + by) % order.len()];
    }

    /// What is missing before it can be confirmed.
    pub(super) fn missing(&self) -> Option<String> {
        self.fields.iter().find_map(|field| {
            let text = field.input.value().trim();
            match &field.rule {
                Rule::Optional => None,
                Rule::Needed => text.is_empty().then(|| format!("fill in: {}", field.name)),
                Rule::Label => Label::new(text).err(),
                Rule::Word(word) => (text != word).then(|| field.name.clone()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discard() -> Dialog {
        let purpose = Purpose::Discard { item: ItemId("a".into()), seen: None, name: "a.jpg".into() };
        Dialog::open(purpose, "i".into())
    }

    fn press(dialog: &mut Dialog, code: KeyCode, at: u64) -> Pressed {
        dialog.key(&KeyEvent::new(code, KeyModifiers::NONE), at)
    }

    fn type_in(dialog: &mut Dialog, text: &str) {
        text.chars().for_each(|c| assert_eq!(press(dialog, KeyCode::Char(c), 1000), Pressed::Nothing));
    }

    #[test]
    fn keys_before_it_was_seen_and_settled_do_nothing() {
        let mut dialog = discard();
        assert_eq!(press(&mut dialog, KeyCode::Esc, 5000), Pressed::Nothing, "not drawn yet");
        dialog.shown_at = Some(100);
        assert_eq!(press(&mut dialog, KeyCode::Tab, 399), Pressed::Nothing);
        assert_eq!(dialog.focus, Focus::Cancel);
        assert_eq!(press(&mut dialog, KeyCode::Esc, 400), Pressed::Cancel);
    }

    #[test]
    fn a_repeating_key_cannot_confirm() {
        for code in [KeyCode::Enter, KeyCode::Char('D'), KeyCode::Char(' '), KeyCode::Tab] {
            let mut dialog = discard();
            dialog.shown_at = Some(0);
            let pressed: Vec<_> = (0..200).map(|n| press(&mut dialog, code, n * 30)).collect();
            assert!(!pressed.contains(&Pressed::Confirm), "{code:?}");
        }
    }

    fn question(purpose: Purpose) -> Dialog {
        let mut dialog = Dialog::open(purpose, "i".into());
        dialog.shown_at = Some(0);
        dialog
    }

    #[test]
    fn the_key_that_asked_to_leave_neither_cancels_nor_confirms() {
        for (purpose, letter) in [(Purpose::Quit, 'c'), (Purpose::Suspend, 'z')] {
            let mut dialog = question(purpose);
            assert_eq!(dialog.focus, Focus::Cancel);
            let again = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
            for n in 0..200 {
                assert_eq!(dialog.key(&again, 250 + n * 30), Pressed::Nothing, "{letter} at {n}");
            }
            assert_eq!(dialog.focus, Focus::Confirm);
            assert!(dialog.problem.as_deref().is_some_and(|text| text.contains("Enter confirms")));
            assert_eq!(press(&mut dialog, KeyCode::Enter, 9000), Pressed::Confirm);
        }
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for purpose in [Purpose::Suspend, Purpose::Probe, Purpose::Verify] {
            assert_eq!(question(purpose).key(&interrupt, 9000), Pressed::Cancel);
        }
    }

    #[test]
    fn y_is_yes_only_where_nothing_is_filled_in() {
        assert_eq!(press(&mut question(Purpose::Quit), KeyCode::Char('y'), 100), Pressed::Nothing, "typed ahead");
        assert_eq!(press(&mut question(Purpose::Quit), KeyCode::Char('y'), 400), Pressed::Confirm);
        assert_eq!(press(&mut question(Purpose::Suspend), KeyCode::Char('y'), 400), Pressed::Confirm);
        let mut dialog = discard();
        dialog.shown_at = Some(0);
        assert_eq!(press(&mut dialog, KeyCode::Char('y'), 400), Pressed::Nothing);
        assert_eq!(dialog.text(0), "y");
    }

    #[test]
    fn it_is_confirmed_only_with_a_reason_and_the_word() {
        let mut dialog = discard();
        dialog.shown_at = Some(0);
        press(&mut dialog, KeyCode::BackTab, 1000);
        assert_eq!(dialog.focus, Focus::Confirm, "Cancel stands last");
        assert_eq!(press(&mut dialog, KeyCode::Enter, 1000), Pressed::Nothing);
        assert_eq!(dialog.problem.as_deref(), Some("fill in: reason, for the journal"));
        press(&mut dialog, KeyCode::Tab, 1000);
        press(&mut dialog, KeyCode::Tab, 1000);
        type_in(&mut dialog, "a blurred hand");
        press(&mut dialog, KeyCode::Enter, 1000);
        assert_eq!(dialog.focus, Focus::Field(1));
        type_in(&mut dialog, "discar");
        dialog.paste("d");
        press(&mut dialog, KeyCode::Enter, 1000);
        assert_eq!(press(&mut dialog, KeyCode::Enter, 1000), Pressed::Nothing, "the word is typed whole, not pasted");
        press(&mut dialog, KeyCode::Up, 1000);
        type_in(&mut dialog, "d");
        press(&mut dialog, KeyCode::Enter, 1000);
        assert_eq!(press(&mut dialog, KeyCode::Enter, 1000), Pressed::Confirm);
        dialog.sending = true;
        assert_eq!(press(&mut dialog, KeyCode::Enter, 1000), Pressed::Nothing, "asked once");
    }
}
