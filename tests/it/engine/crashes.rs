//! The state on disk as a crash would leave it at each step: nothing lost, nothing twice.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use sightline::domain::view::Item;
use sightline::domain::{Draft, Fact, ItemId, ItemState};
use sightline::engine::Options;
use sightline::journal::{self, Journal};

use super::{Yard, accounted, pack, png, reasoned, standard};

/// Records a fact as an engine would, without its doing anything else.
fn record(yard: &Yard, fact: Fact) {
    let (mut journal, _) = Journal::open(&yard.path("database/journal"), journal::Options::default()).unwrap();
    journal.append(vec![Draft::engine(fact)]).unwrap();
}

/// A workspace that was stopped with a picture in quarantine.
fn with_one_aside() -> (Yard, Item) {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    let grey = png(&image::RgbImage::from_pixel(64, 64, image::Rgb([9, 9, 9])));
    let item = engine.queue(&yard.write("grey.png", &grey), None);
    assert_eq!(item.state, ItemState::Quarantined);
    engine.stop();
    (yard, item)
}

fn count(engine: &super::Yarded, action: &str) -> usize {
    engine.journal().iter().filter(|entry| entry.action == action).count()
}

#[test]
fn a_claim_that_got_no_further_than_its_facts_leaves_the_file_where_it_is() {
    let yard = Yard::new(&[]);
    let bytes = png(&pack(1));
    let dropped = yard.write("watch/inbox/a.png", &bytes);
    let item = ItemId::new(1_700_000_000_000, 7);
    yard.write(format!("database/queue/{item}.json"), b"{\"facts\":");
    yard.write(format!("database/queue/{item}.json.new"), b"{");
    yard.write(format!("database/queue/{item}.part"), b"half");
    yard.write("database/archive/part/0", b"half");
    let engine = yard.start();
    engine.wait(1);
    accounted(&yard, &engine, &BTreeMap::from([(dropped, bytes)]));
    assert_eq!(fs::read_dir(yard.path("database/archive/part")).unwrap().count(), 0);
}

#[test]
fn a_claimed_file_whose_facts_are_torn_is_still_worked_on() {
    let yard = Yard::new(&[]);
    let item = ItemId::new(1_700_000_000_000, 7);
    yard.write(format!("database/queue/{item}.data"), &png(&pack(1)));
    yard.write(format!("database/queue/{item}.json"), b"{\"facts\": {\"it");
    let engine = yard.start();
    engine.wait(1);
    assert_eq!(engine.item(&item).unwrap().item.state, ItemState::Done);
    engine.prove();
}

#[test]
fn an_outcome_that_was_recorded_but_not_tidied_is_not_done_again() {
    let yard = Yard::new(&[]);
    // Caught in the queue's folder, before anything works on it.
    let engine = yard.try_start(Options { watch: true, work: false, loader: standard("weights") }).unwrap();
    yard.write("watch/enroll/A/a.png", &png(&pack(1)));
    super::until("a claim", || if engine.queue_stats().unwrap().waiting == 1 { Ok(()) } else { Err("none".into()) });
    engine.stop();
    let saved: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(yard.path("database/queue"))
        .unwrap()
        .flatten()
        .map(|entry| (entry.path(), fs::read(entry.path()).unwrap()))
        .collect();
    assert_eq!(saved.len(), 2);
    let engine = yard.start();
    engine.wait(1);
    engine.stop();
    // The crash came before the tidying.
    for (path, bytes) in &saved {
        fs::write(path, bytes).unwrap();
    }
    let engine = yard.start();
    engine.wait(1);
    assert_eq!((count(&engine, "image.done"), count(&engine, "image.duplicate")), (1, 0));
    assert_eq!(fs::read_dir(yard.path("database/queue")).unwrap().count(), 0);
    assert_eq!(engine.gallery_stats().unwrap().sightings, 1);
    engine.prove();
}

#[test]
fn a_release_that_was_recorded_is_carried_out_on_the_next_start() {
    let (yard, item) = with_one_aside();
    record(&yard, Fact::QueueReleased { item: item.id.clone() });
    let engine = yard.start();
    engine.wait(1);
    assert_eq!(engine.item(&item.id).unwrap().item.state, ItemState::Done);
    assert_eq!(fs::read_dir(yard.path("database/quarantine")).unwrap().count(), 0);
    engine.prove();
}

#[test]
fn a_recorded_release_whose_bytes_are_gone_does_not_keep_the_engine_from_starting() {
    let (yard, item) = with_one_aside();
    record(&yard, Fact::QueueReleased { item: item.id.clone() });
    fs::remove_file(yard.path(format!("database/quarantine/{}.data", item.id))).unwrap();
    let engine = yard.start();
    assert!(engine.warned(&item.id.0), "{:?}", engine.look().warnings);
    assert_eq!(engine.item(&item.id).unwrap().item.state, ItemState::Failed);
    assert_eq!(engine.queue(&yard.write("b.png", &png(&pack(2))), None).state, ItemState::Done);
}

#[test]
fn a_discard_that_was_recorded_is_carried_out_on_the_next_start() {
    let (yard, item) = with_one_aside();
    record(&yard, Fact::QueueDiscarded { item: item.id.clone(), image: item.sha256.unwrap() });
    let engine = yard.start();
    assert_eq!(engine.item(&item.id).unwrap().item.state, ItemState::Discarded);
    assert_eq!(fs::read_dir(yard.path("database/quarantine")).unwrap().count(), 0);
    engine.prove();
}

#[test]
fn a_released_file_that_was_waiting_at_a_stop_is_still_released() {
    let (yard, item) = with_one_aside();
    let engine = yard.try_start(Options { watch: false, work: false, loader: standard("weights") }).unwrap();
    engine.release("anna", &item.id, &reasoned(Default::default())).unwrap();
    engine.stop();
    let engine = yard.start();
    engine.wait(1);
    assert_eq!(engine.item(&item.id).unwrap().item.state, ItemState::Done);
}

/// A workspace with something of everything, stopped; and the digest of its projection.
fn lived_in() -> (Yard, String) {
    let yard = Yard::new(&[]);
    for n in 0..6 {
        yard.write(format!("watch/enroll/pack {}/{n}.png", n % 3), &png(&pack(n)));
        yard.write(format!("watch/inbox/{n}.png"), &png(&pack(n / 2 + 20)));
    }
    yard.write("watch/inbox/text", b"text");
    let engine = yard.start();
    engine.wait(13);
    engine.stop();
    let engine = yard.try_start(Options { watch: false, work: false, loader: standard("weights") }).unwrap();
    let digest = engine.db_verify().unwrap().digest;
    (yard, digest)
}

/// The digest without the note that the store was made anew, which is a fact like any other.
fn rebuilt(yard: &Yard) -> (bool, sightline::domain::view::DbVerified) {
    let engine = yard.try_start(Options { watch: false, work: false, loader: standard("weights") }).unwrap();
    engine.prove();
    (engine.warned("made anew"), engine.db_verify().unwrap())
}

#[test]
fn a_lost_projection_is_made_anew_and_is_the_same() {
    let (yard, digest) = lived_in();
    fs::remove_dir_all(yard.path("database/store")).unwrap();
    let (_, verified) = rebuilt(&yard);
    assert_eq!(verified.digest, digest);
}

#[test]
fn a_flipped_projection_is_noticed_said_and_made_anew() {
    let (yard, _) = lived_in();
    let files: Vec<PathBuf> = fs::read_dir(yard.path("database/store")).unwrap().flatten().map(|e| e.path()).collect();
    let largest = files.iter().filter(|p| p.is_file()).max_by_key(|p| fs::metadata(p).unwrap().len()).unwrap();
    let mut bytes = fs::read(largest).unwrap();
    // Through the whole file, so that something in use is hit.
    bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x10);
    fs::write(largest, bytes).unwrap();
    let (said, verified) = rebuilt(&yard);
    assert!(said && verified.ok, "said: {said}; {:?}", verified.problems);
    let (again, after) = rebuilt(&yard);
    assert!(!again, "made anew once, not each time");
    assert_eq!(after.digest, verified.digest);
}

#[test]
fn a_torn_tail_of_the_journal_is_cut_kept_and_said() {
    let (yard, digest) = lived_in();
    let mut segments: Vec<PathBuf> = fs::read_dir(yard.path("database/journal"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    segments.sort();
    let last = segments.last().unwrap();
    fs::OpenOptions::new().append(true).open(last).unwrap().write_all(&[0x5A; 37]).unwrap();
    let engine = yard.try_start(Options { watch: false, work: false, loader: standard("weights") }).unwrap();
    assert!(engine.warned("unfinished tail was cut"), "{:?}", engine.look().warnings);
    assert_eq!(engine.db_verify().unwrap().digest, digest);
    engine.prove();
    // What follows is written behind the cut, and whole.
    drop(engine);
    let engine = yard.start();
    assert_eq!(engine.queue(&yard.write("z.png", &png(&pack(77))), None).state, ItemState::Done);
    engine.prove();
}
