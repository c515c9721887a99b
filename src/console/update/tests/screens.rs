//! Whole screens, as an operator sees them.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Modifier;

use super::fixtures::{console, press, status, type_in};
use crate::config::ThemeName;
use crate::console::dialog::Focus;
use crate::console::message::{Answer, Msg, Query};
use crate::console::state::{Overlay, State};
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
const SCENES: [(&str, &[KeyCode], &str); 17] = [
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
    ("palette_elsewhere", &[KeyCode::Char('4'), KeyCode::Char(':')], "disc"),
    ("filter_unknown", &[KeyCode::Char('/')], "quar\n/nonsense\n"),
    ("verify", &[KeyCode::Char('4'), KeyCode::Char('v')], ""),
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
        for place in [0, 3, 6, 8, 12, 14, 15, 16] {
            let (name, keys, text) = SCENES[place];
            insta::assert_snapshot!(format!("{name}_40x10"), draw(&scene(40, 10, keys, text)));
        }
        for (columns, rows) in [(80, 24), (40, 10)] {
            let mut state = console(columns, rows);
            state.own_engine = true;
            insta::assert_snapshot!(format!("own_engine_{columns}x{rows}"), draw(&state));
            let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
            update(&mut state, Msg::Key { key: control('z'), at: 1_000_000 });
            insta::assert_snapshot!(format!("suspend_{columns}x{rows}"), draw(&state));
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

fn text(state: &State) -> Vec<String> {
    let screen = draw(state);
    let cells = &screen.buffer().content;
    cells.chunks(state.size.0.into()).map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect()).collect()
}

#[test]
fn what_needs_a_look_is_seen_at_every_width() {
    for columns in 28..=120 {
        let mut state = console(columns, 10);
        state.own_engine = true;
        let screen = text(&state);
        assert!(screen[9].contains("⚠ 2 (w)"), "{columns}: {}", screen[9]);
        let counts = &screen[1];
        let quarantined = ["9 quarantined", "9 quar", "9q"].iter().any(|form| counts.contains(form));
        let failed = ["1 failed", "1f"].iter().any(|form| counts.contains(form));
        assert!(quarantined && failed && counts.contains("3 012"), "{columns}: {counts}");
    }
}

#[test]
fn the_help_can_be_read_to_the_end_of_each_line() {
    for columns in [20, 30, 40, 80] {
        let mut state = scene(columns, 10, &[KeyCode::Char('?')], "");
        let mut all = String::new();
        for _ in 0..300 {
            all.push_str(&text(&state)[2]);
            press(&mut state, KeyCode::Down);
        }
        // Words may be broken only where one alone is too long.
        for binding in crate::console::keys::BINDINGS {
            let last = binding.help.rsplit(' ').next().unwrap();
            assert!(all.contains(last), "{columns}: {} has lost {last}: {all}", binding.help);
        }
    }
}

#[test]
fn buttons_and_fields_take_the_focus_in_the_order_they_stand_in() {
    for (name, keys, line) in [SCENES[12], SCENES[16], SCENES[5]] {
        let mut state = scene(80, 24, keys, line.trim_end_matches('\n').trim_start_matches("/tmp/probe.jpg"));
        let Overlay::Dialog(dialog) = &mut state.overlay else { panic!("{name}") };
        dialog.focus = if dialog.fields.is_empty() { Focus::Confirm } else { Focus::Field(0) };
        let places = dialog.fields.len() + 2;
        let mut seen = Vec::new();
        for _ in 0..places {
            let Overlay::Dialog(dialog) = &state.overlay else { panic!("{name}") };
            let focus = dialog.focus;
            let screen = draw(&state);
            let marked = |cell: &ratatui::buffer::Cell| cell.modifier.contains(Modifier::REVERSED);
            let rows = text(&state);
            let at = match focus {
                Focus::Field(_) => rows.iter().position(|row| row.contains("│ > ")).unwrap() * 80,
                Focus::Cancel | Focus::Confirm => {
                    let from = rows.iter().position(|row| row.contains("[ Cancel ]")).unwrap() * 80;
                    from + screen.buffer().content[from..].iter().position(marked).unwrap()
                }
            };
            seen.push(at);
            press(&mut state, KeyCode::Tab);
        }
        assert!(seen.is_sorted() && seen.windows(2).all(|two| two[0] != two[1]), "{name}: {seen:?}");
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
