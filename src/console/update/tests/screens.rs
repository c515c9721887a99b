//! Whole screens, as an operator sees them.

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Modifier;

use super::fixtures::{console, press, status, type_in};
use crate::config::ThemeName;
use crate::console::message::{Answer, Msg, Query};
use crate::console::state::State;
use crate::console::theme::Theme;
use crate::console::update::update;
use crate::console::view;
use crate::domain::view::Status;

fn draw(state: &State) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(state.size.0, state.size.1)).unwrap();
    terminal.draw(|frame| view::view(state, frame)).unwrap();
    terminal.backend().clone()
}

/// What can be on the screen, by the keys that bring it there.
const SCENES: [(&str, &[KeyCode], &str); 14] = [
    ("queue", &[], ""),
    ("queue_quarantined", &[KeyCode::Char('/')], "quar\n"),
    ("stats", &[KeyCode::Char('2')], ""),
    ("gallery", &[KeyCode::Char('3')], ""),
    ("gallery_neighbours", &[KeyCode::Char('3'), KeyCode::Right, KeyCode::Right, KeyCode::Down], ""),
    ("gallery_probe", &[KeyCode::Char('3'), KeyCode::Char('p')], "/tmp/probe.jpg\n"),
    ("journal", &[KeyCode::Char('4')], ""),
    ("journal_proof", &[KeyCode::Char('4'), KeyCode::Char('v'), KeyCode::Enter], ""),
    ("help", &[KeyCode::Char('?')], ""),
    ("palette", &[KeyCode::Char(':')], "re"),
    ("warnings", &[KeyCode::Char('w')], ""),
    ("filter", &[KeyCode::Char('4'), KeyCode::Char('/')], "actor:mira from:soon\n"),
    ("discard", &[KeyCode::Char('/')], "quar\nDblurred"),
    ("picture", &[KeyCode::Char('G'), KeyCode::Enter], ""),
];

fn scene(columns: u16, rows: u16, keys: &[KeyCode], text: &str) -> State {
    let mut state = console(columns, rows);
    for key in keys {
        press(&mut state, *key);
        update(&mut state, Msg::Drawn { at: 1_000_000 });
    }
    for letter in text.chars() {
        press(&mut state, if letter == '\n' { KeyCode::Enter } else { KeyCode::Char(letter) });
        update(&mut state, Msg::Drawn { at: 1_000_000 });
    }
    state
}

#[test]
fn every_screen_is_as_it_was_looked_at() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("snapshots");
    settings.bind(|| {
        for (name, keys, text) in SCENES {
            for (columns, rows) in [(80, 24), (120, 40)] {
                let state = scene(columns, rows, keys, text);
                insta::assert_snapshot!(format!("{name}_{columns}x{rows}"), draw(&state));
            }
        }
        for (name, keys, text) in [SCENES[0], SCENES[3], SCENES[6], SCENES[12]] {
            insta::assert_snapshot!(format!("{name}_40x10"), draw(&scene(40, 10, keys, text)));
        }
    });
}

#[test]
fn no_size_is_too_small() {
    for (name, keys, text) in SCENES {
        for (columns, rows) in
            [(1, 1), (1, 40), (200, 1), (2, 2), (3, 3), (5, 4), (12, 5), (40, 10), (79, 13), (300, 90)]
        {
            let mut state = scene(columns, rows, keys, text);
            draw(&state);
            // Grown and shrunk while open.
            for size in [(120, 40), (7, 3), (columns, rows)] {
                update(&mut state, Msg::Resize(size.0, size.1));
                assert_eq!(draw(&state).buffer().area.width, size.0, "{name}");
            }
        }
    }
}

#[test]
fn nothing_from_outside_reaches_the_terminal_raw() {
    for (name, keys, text) in SCENES {
        let screen = draw(&scene(120, 40, keys, text));
        for cell in &screen.buffer().content {
            let bad = |c: char| c.is_control() || ('\u{202A}'..='\u{202E}').contains(&c) || c == '\u{200B}';
            assert!(!cell.symbol().chars().any(bad), "{name}: {:?}", cell.symbol());
        }
    }
}

#[test]
fn without_colour_the_selection_is_still_seen() {
    for (tab, row) in [('1', "薬"), ('3', "Amoxicillin"), ('4', "4130")] {
        let mut state = console(80, 24);
        state.theme = Theme::resolve(ThemeName::Dark, |name| (name == "NO_COLOR").then(|| "1".to_owned()));
        press(&mut state, KeyCode::Char(tab));
        let screen = draw(&state);
        let buffer = screen.buffer();
        assert!(
            buffer
                .content
                .iter()
                .all(|cell| { (cell.fg, cell.bg) == (ratatui::style::Color::Reset, ratatui::style::Color::Reset) })
        );
        let reversed: String = (0..80 * 24)
            .map(|at| &buffer.content[at])
            .filter(|cell| cell.modifier.contains(Modifier::REVERSED))
            .map(ratatui::buffer::Cell::symbol)
            .collect();
        assert!(reversed.contains(row) || tab == '1' && reversed.len() > 20, "{tab}: {reversed}");
    }
}

#[test]
fn a_halted_or_lost_engine_is_said_across_the_screen() {
    let mut state = console(80, 24);
    let halted = Status { halted: Some("the disk is full; make room and restart".into()), ..status() };
    let result = Ok(Answer::Status(Box::new(halted)));
    update(&mut state, Msg::Reply { query: Query::Status, result });
    let row = |state: &State| -> String {
        draw(state).buffer().content[80..160].iter().map(ratatui::buffer::Cell::symbol).collect()
    };
    assert!(row(&state).starts_with(" HALTED: the disk is full; make room and restart"));
    update(&mut state, Msg::Lost("no engine answers".into()));
    assert!(row(&state).starts_with(" engine unreachable, retrying; what is shown is stale: no engine answers"));
    type_in(&mut state, "j");
    assert!(draw(&state).buffer().content.iter().any(|cell| cell.symbol() == "薬"), "the files stay");
}
