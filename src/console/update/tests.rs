//! The console without a terminal and without an engine: messages in, effects and screens out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fixtures;
mod screens;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::update;
use crate::console::message::{Acknowledged, Act, Answer, Effect, Msg, Query, Timer, Trouble};
use crate::console::state::{Link, Overlay, State};
use crate::domain::ItemState;
use crate::domain::view::{Event, QueueStats};
use fixtures::{console, item, press, type_in};

fn key(state: &mut State, code: KeyCode, at: u64) -> Vec<Effect> {
    update(state, Msg::Key { key: KeyEvent::new(code, KeyModifiers::NONE), at })
}

fn acts(effects: &[Effect]) -> Vec<&Act> {
    effects.iter().filter_map(|e| if let Effect::Do(act) = e { Some(act) } else { None }).collect()
}

/// A console whose selected file is quarantined.
fn at_quarantined() -> State {
    let mut state = console(120, 40);
    let place = state.queue.list.rows().iter().position(|row| row.state == ItemState::Quarantined).unwrap();
    for _ in 0..place {
        press(&mut state, KeyCode::Down);
    }
    state
}

#[test]
fn no_bare_key_changes_anything() {
    for tab in '1'..='4' {
        for letter in (' '..='~').chain("äÖ薬".chars()) {
            let mut state = at_quarantined();
            press(&mut state, KeyCode::Char(tab));
            for at in 0..50 {
                let effects = key(&mut state, KeyCode::Char(letter), 100_000 + at * 30);
                assert!(acts(&effects).is_empty(), "{letter} on tab {tab}");
                update(&mut state, Msg::Drawn { at: 100_000 + at * 30 });
            }
        }
    }
}

#[test]
fn a_discard_needs_the_reason_and_the_word_and_waits_for_the_engine() {
    let mut state = at_quarantined();
    let frozen = state.queue.list.selected().unwrap().clone();
    press(&mut state, KeyCode::Char('D'));
    update(&mut state, Msg::Drawn { at: 1_000_000 });
    // The list moves on beneath the dialog.
    let newer: Vec<_> = (500..600).map(|n| item(n, ItemState::Quarantined)).collect();
    let query = Query::Items { state: None, after: None };
    update(&mut state, Msg::Reply { query, result: Ok(Answer::Items(newer)) });
    type_in(&mut state, "blurred");
    press(&mut state, KeyCode::Enter);
    type_in(&mut state, "discard");
    press(&mut state, KeyCode::Enter);
    let effects = press(&mut state, KeyCode::Enter);
    let asked = acts(&effects);
    let [Act::Discard(id, intent)] = asked.as_slice() else { panic!("{effects:?}") };
    assert_eq!((id, intent.seen, intent.reason.as_str()), (&frozen.id, frozen.sha256, "blurred"));
    assert!(matches!(&state.overlay, Overlay::Dialog(dialog) if dialog.sending), "nothing is done yet");
    assert!(state.notice.is_none());
    assert!(acts(&press(&mut state, KeyCode::Enter)).is_empty(), "asked once");

    let act = (*asked[0]).clone();
    let trouble = Trouble { code: "refused".into(), text: "it is not the picture you saw".into() };
    update(&mut state, Msg::Acted { act: act.clone(), result: Err(trouble) });
    let Overlay::Dialog(dialog) = &state.overlay else { panic!("a refusal keeps the dialog") };
    assert_eq!(dialog.problem.as_deref(), Some("it is not the picture you saw"));

    let again = press(&mut state, KeyCode::Enter);
    assert_eq!(acts(&again)[0].intent(), act.intent(), "asked again, it is still the same act");
    let done = Acknowledged::Item(Box::new(crate::domain::view::Item { state: ItemState::Discarded, ..frozen }));
    update(&mut state, Msg::Acted { act, result: Ok(done) });
    assert!(matches!(state.overlay, Overlay::None));
    assert!(state.notice.unwrap().text.starts_with("discarded: "));
}

#[test]
fn only_files_set_aside_can_be_released() {
    let mut state = console(120, 40);
    assert_ne!(state.queue.list.selected().unwrap().state, ItemState::Quarantined);
    press(&mut state, KeyCode::Char('R'));
    assert!(state.notice.take().unwrap().text.contains("choose a file first"));
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Char('R'));
    assert!(matches!(state.overlay, Overlay::None));
    assert!(state.notice.unwrap().text.contains("only quarantined and failed files"));
}

#[test]
fn an_arrow_torn_apart_is_an_arrow_and_not_letters() {
    let mut state = console(120, 40);
    press(&mut state, KeyCode::Down);
    let place = state.queue.list.place();
    key(&mut state, KeyCode::Esc, 1_000_000);
    key(&mut state, KeyCode::Char('['), 1_000_050);
    key(&mut state, KeyCode::Char('B'), 1_000_099);
    assert_eq!(state.queue.list.place(), place.map(|p| p + 1), "down");
    // A torn key that means nothing here means nothing, whatever letter it ends with.
    for end in ["[1;5R", "[D", "OR", "[3~"] {
        key(&mut state, KeyCode::Esc, 2_000_000);
        end.chars().for_each(|letter| drop(key(&mut state, KeyCode::Char(letter), 2_000_010)));
        assert!(matches!(state.overlay, Overlay::None), "{end}");
    }
}

#[test]
fn an_escape_alone_is_a_key_after_a_moment() {
    let mut state = console(120, 40);
    press(&mut state, KeyCode::Char('?'));
    let effects = key(&mut state, KeyCode::Esc, 1_000_000);
    assert_eq!(effects, [Effect::Wake(Timer::Escape, 100)]);
    assert!(matches!(state.overlay, Overlay::Help(_)));
    update(&mut state, Msg::Woken(Timer::Escape));
    assert!(matches!(state.overlay, Overlay::None));
}

#[test]
fn the_selection_survives_new_files_by_its_id() {
    let mut state = console(120, 40);
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Down);
    let selected = state.queue.list.selected().unwrap().id.clone();
    let mut rows: Vec<_> = (900..920).map(|n| item(n, ItemState::Done)).collect();
    rows.extend(state.queue.list.rows().to_vec());
    let query = Query::Items { state: None, after: None };
    update(&mut state, Msg::Reply { query, result: Ok(Answer::Items(rows)) });
    assert_eq!(state.queue.list.selected().unwrap().id, selected);
}

#[test]
fn nothing_new_draws_nothing() {
    let mut state = console(120, 40);
    state.dirty = false;
    let rows = state.queue.list.rows().to_vec();
    let stats = state.stats.clone().unwrap();
    let status = state.status.clone().unwrap();
    let replies = [
        (Query::Items { state: None, after: None }, Answer::Items(rows)),
        (Query::Stats, Answer::Stats(Box::new(stats))),
        (Query::Status, Answer::Status(Box::new(crate::domain::view::Status { uptime_seconds: 99, ..status }))),
    ];
    for (query, answer) in replies {
        update(&mut state, Msg::Reply { query, result: Ok(answer) });
    }
    let (queue, entries) = (state.counts.clone().unwrap(), state.entries);
    update(&mut state, Msg::Event(Event::Changed { entries, queue }));
    assert!(!state.dirty);
    update(&mut state, Msg::Event(Event::Changed { entries, queue: QueueStats::default() }));
    assert!(state.dirty);
}

#[test]
fn figures_are_asked_for_only_while_they_move() {
    let mut state = console(120, 40);
    state.ticking = false;
    state.counts = Some(QueueStats::default());
    let stats = state.stats.as_mut().unwrap();
    (stats.jobs, stats.rate_10s) = (Vec::new(), 0.0);
    let wakes = |effects: Vec<Effect>| effects.iter().any(|e| matches!(e, Effect::Wake(Timer::Second, _)));
    assert!(!wakes(update(&mut state, Msg::Drawn { at: 0 })));
    assert!(wakes(press(&mut state, KeyCode::Char('2'))));
    press(&mut state, KeyCode::Char('4'));
    assert_eq!(update(&mut state, Msg::Woken(Timer::Second)), []);
    assert!(!state.ticking);
}

#[test]
fn events_are_fetched_at_most_four_times_a_second() {
    let mut state = console(120, 40);
    let changed = |entries| {
        Msg::Event(Event::Changed { entries, queue: QueueStats { waiting: entries, ..QueueStats::default() } })
    };
    let first = update(&mut state, changed(100_001));
    assert!(first.contains(&Effect::Wake(Timer::Refresh, 250)));
    assert!(update(&mut state, changed(100_002)).is_empty());
    let asked = update(&mut state, Msg::Woken(Timer::Refresh));
    assert!(asked.contains(&Effect::Ask(Query::Items { state: None, after: None })));
}

#[test]
fn a_lost_engine_keeps_the_screen_and_everything_is_asked_anew_when_it_is_back() {
    let mut state = console(120, 40);
    update(&mut state, Msg::Lost("gone".into()));
    assert_eq!(state.link, Link::Lost("gone".into()));
    assert!(!state.queue.list.rows().is_empty());
    let effects = update(&mut state, Msg::Connected);
    assert!(effects.contains(&Effect::Ask(Query::Status)));
    assert!(effects.contains(&Effect::Ask(Query::Items { state: None, after: None })));
}

#[test]
fn leaving_asks_only_where_the_engine_would_stop() {
    let mut state = console(120, 40);
    assert_eq!(press(&mut state, KeyCode::Char('q')), [Effect::Quit]);
    state.own_engine = true;
    assert!(!press(&mut state, KeyCode::Char('q')).contains(&Effect::Quit));
    update(&mut state, Msg::Drawn { at: 1_000_000 });
    press(&mut state, KeyCode::Enter);
    assert!(matches!(state.overlay, Overlay::None), "Enter presses Cancel");
    press(&mut state, KeyCode::Char('q'));
    update(&mut state, Msg::Drawn { at: 1_000_000 });
    press(&mut state, KeyCode::Tab);
    assert!(press(&mut state, KeyCode::Enter).contains(&Effect::Quit));
}

fn control(state: &mut State, letter: char, at: u64) -> Vec<Effect> {
    update(state, Msg::Key { key: KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL), at })
}

#[test]
fn suspending_asks_only_where_the_engine_would_stand_still() {
    let mut state = console(120, 40);
    assert_eq!(control(&mut state, 'z', 100), [Effect::Suspend]);
    state.own_engine = true;
    assert!(!control(&mut state, 'z', 100).contains(&Effect::Suspend));
    update(&mut state, Msg::Drawn { at: 1000 });
    for n in 0..100 {
        assert!(control(&mut state, 'z', 1000 + n * 30).is_empty(), "a key held down");
    }
    assert!(key(&mut state, KeyCode::Enter, 9000).contains(&Effect::Suspend));
    assert!(matches!(state.overlay, Overlay::None), "and the console is as before when it comes back");
    // By name, too; and Cancel has the focus.
    press(&mut state, KeyCode::Char(':'));
    type_in(&mut state, "suspend");
    assert!(!press(&mut state, KeyCode::Enter).contains(&Effect::Suspend));
    update(&mut state, Msg::Drawn { at: 1_000_000 });
    assert!(!press(&mut state, KeyCode::Enter).contains(&Effect::Suspend));
    assert!(matches!(state.overlay, Overlay::None));
    // An engine that is lost already is no reason to stay.
    update(&mut state, Msg::Lost("gone".into()));
    assert_eq!(control(&mut state, 'z', 2_000_000), [Effect::Suspend]);
}

#[test]
fn suspending_over_a_dialog_loses_nothing_typed() {
    let mut state = at_quarantined();
    state.own_engine = true;
    press(&mut state, KeyCode::Char('D'));
    update(&mut state, Msg::Drawn { at: 1_000_000 });
    type_in(&mut state, "blurred");
    assert_eq!(control(&mut state, 'z', 9_000_000), []);
    let Overlay::Dialog(dialog) = &state.overlay else { panic!("the dialog stays") };
    assert_eq!(dialog.text(0), "blurred");
    assert!(state.notice.as_ref().unwrap().text.contains("then suspend"));
    state.own_engine = false;
    assert_eq!(control(&mut state, 'z', 9_000_000), [Effect::Suspend]);
}

#[test]
fn a_second_interrupt_does_not_keep_the_operator_here() {
    let mut state = console(120, 40);
    state.own_engine = true;
    control(&mut state, 'c', 100);
    update(&mut state, Msg::Drawn { at: 1000 });
    for n in 0..100 {
        assert!(control(&mut state, 'c', 1000 + n * 30).is_empty(), "a key held down");
    }
    assert!(key(&mut state, KeyCode::Enter, 9000).contains(&Effect::Quit));
    let mut state = console(120, 40);
    state.own_engine = true;
    press(&mut state, KeyCode::Char('q'));
    update(&mut state, Msg::Drawn { at: 1_000_000 });
    assert!(press(&mut state, KeyCode::Char('y')).contains(&Effect::Quit), "q y leaves");
}

#[test]
fn a_state_is_typed_anew_and_an_unknown_one_says_what_is_allowed() {
    let mut state = console(120, 40);
    for name in ["quarantined", "failed"] {
        press(&mut state, KeyCode::Char('/'));
        type_in(&mut state, name);
        press(&mut state, KeyCode::Enter);
        assert_eq!(state.queue.state.map(ItemState::name), Some(name));
    }
    press(&mut state, KeyCode::Char('/'));
    type_in(&mut state, "nonsense");
    press(&mut state, KeyCode::Enter);
    let said = &state.notice.as_ref().unwrap().text;
    assert!(said.contains("`nonsense`") && ItemState::ALL.iter().all(|s| said.contains(s.name())), "{said}");
    assert_eq!(state.queue.state, Some(ItemState::Failed));
}

#[test]
fn the_palette_says_where_a_command_is_that_is_not_here() {
    use super::elsewhere;
    use crate::console::keys::{Command, Tab};
    let places = |typed| elsewhere(typed, Tab::Journal).iter().map(|(tab, b)| (*tab, b.command)).collect::<Vec<_>>();
    assert_eq!(places("disc"), [(Tab::Queue, Command::Discard)]);
    assert!(places("xyzzy").is_empty());
    let mut state = console(120, 40);
    press(&mut state, KeyCode::Char('4'));
    press(&mut state, KeyCode::Char(':'));
    type_in(&mut state, "disc");
    assert_eq!(press(&mut state, KeyCode::Enter), []);
    assert!(matches!(state.overlay, Overlay::Palette(..)), "nothing was chosen, so it stays");
}

#[test]
fn pasted_text_is_never_a_row_of_commands() {
    let mut state = at_quarantined();
    assert_eq!(update(&mut state, Msg::Paste("Dq\rX".into())), []);
    assert!(matches!(state.overlay, Overlay::None));
    press(&mut state, KeyCode::Char('/'));
    update(&mut state, Msg::Paste("quar\n\u{1b}antined".into()));
    press(&mut state, KeyCode::Enter);
    assert_eq!(state.queue.state, Some(ItemState::Quarantined));
}

#[test]
fn the_palette_finds_commands_by_a_few_letters() {
    let mut state = console(120, 40);
    press(&mut state, KeyCode::Char(':'));
    type_in(&mut state, "jrnl");
    press(&mut state, KeyCode::Enter);
    assert_eq!(state.tab, crate::console::keys::Tab::Journal);
    assert!(matches!(state.overlay, Overlay::None));
}

#[test]
fn a_filter_that_makes_no_sense_stays_open_and_says_why() {
    let mut state = console(120, 40);
    press(&mut state, KeyCode::Char('4'));
    press(&mut state, KeyCode::Char('/'));
    type_in(&mut state, "from:yesterday");
    press(&mut state, KeyCode::Enter);
    assert!(matches!(state.overlay, Overlay::Filter(_)));
    assert!(state.notice.unwrap().text.contains("yesterday"));
}

#[test]
fn the_hash_is_sent_and_not_called_copied() {
    let mut state = console(120, 40);
    let hash = state.queue.list.selected().unwrap().sha256.unwrap().to_string();
    assert!(press(&mut state, KeyCode::Char('y')).contains(&Effect::Copy(hash)));
    assert!(state.notice.unwrap().text.starts_with("sent to the terminal's clipboard"));
}
