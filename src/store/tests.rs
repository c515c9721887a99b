//! The projection: the same state whatever the way to it, and no doubt survives opening.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::domain::*;

fn image(n: u8) -> ImageId {
    ImageId([n; 32])
}

fn file(n: u8, mode: Mode) -> FileFacts {
    FileFacts {
        item: ItemId::new(u64::from(n), 0),
        path: format!("watch/inbox/{n}.jpg").into(),
        source: "watch/inbox".into(),
        mode,
        bytes: 1000,
        modified_ms: 5,
        arrived_ms: 1000 + i64::from(n),
    }
}

fn label(n: u8) -> Label {
    Label::new(&format!("Label {n}")).unwrap()
}

fn enrolled(n: u8, vectors: usize) -> Enrolled {
    let vectors = (0..vectors)
        .map(|i| VectorRef { segment: u32::from(n), row: i as u32, rotation: Rotation::ALL[i % 4], crc: 77 * i as u32 })
        .collect();
    Enrolled { label: label(n % 3), fingerprint: Fingerprint(image(99)), vectors }
}

fn done(n: u8, sightings: usize, enrol: bool) -> Fact {
    let mode = if enrol { Mode::Enroll(label(n % 3)) } else { Mode::Identify };
    let sighting = |i: usize| Sighting {
        index: i as u32,
        detection: Detection {
            class: 0,
            name: "pack".into(),
            confidence: 0.9,
            bounding_box: BoundingBox([0.0, 0.0, 1.0, 1.0]),
            mask: None,
        },
        decision: (!enrol).then(|| Decision::Accept {
            label: label(1),
            similarity: 0.91,
            margin: 0.2,
            rotation: Rotation::R90,
        }),
        enrolled: enrol.then(|| enrolled(n, 4)),
    };
    Fact::ImageDone(Box::new(ImageDone {
        file: file(n, mode),
        image: image(n),
        format: "jpg".into(),
        width: 640,
        height: 480,
        orientation: 1,
        perceptual: format!("{n:016x}"),
        near_duplicate_of: None,
        detector: Some(image(50)),
        embedder: Fingerprint(image(99)),
        sightings: (0..sightings).map(sighting).collect(),
        ms: StageTimes { detect: 1.5, ..StageTimes::default() },
    }))
}

fn quarantined(n: u8) -> Fact {
    Fact::ImageQuarantined(Box::new(ImageQuarantined {
        file: file(n, Mode::Identify),
        image: image(n),
        code: QuarantineCode::Truncated,
        sentence: "it ends\n early".into(),
    }))
}

/// Any fact about one of a few files, sightings and labels.
fn fact((kind, n): (u8, u8)) -> Fact {
    let sighting = SightingId { image: image(n), index: 0 };
    match kind {
        0 | 1 => done(n, 2, true),
        2 => done(n, 1, false),
        3 => done(n, 0, false),
        4 => quarantined(n),
        5 => Fact::ImageDuplicate(Box::new(ImageDuplicate {
            file: file(n, Mode::Identify),
            image: image(n),
            of: image(n / 2),
            kind: DuplicateKind::Near,
        })),
        6 => {
            Fact::ImageFailed(Box::new(ImageFailed { file: file(n, Mode::Identify), attempts: 3, error: "no".into() }))
        }
        7 => Fact::QueueReleased { item: ItemId::new(u64::from(n), 0) },
        8 => Fact::QueueDiscarded { item: ItemId::new(u64::from(n), 0), image: image(n) },
        9 => Fact::GalleryRelabelled { sighting, label: label(n % 3 + 1) },
        10 => Fact::GalleryRemoved { sighting },
        11 => {
            Fact::GalleryImported { sighting, enrolled: enrolled(n, 1 + usize::from(n) * 60), source: "a.pkl".into() }
        }
        12 => Fact::GalleryReembedded { sighting, enrolled: enrolled(n + 1, 4) },
        13 => Fact::EngineStarted { version: "1".into(), config: image(n) },
        _ => Fact::StoreRebuilt { cause: "odd".into() },
    }
}

fn entries(facts: impl IntoIterator<Item = Fact>) -> Vec<Entry> {
    (0..)
        .zip(facts)
        .map(|(n, fact)| Entry::from_draft(Draft::engine(fact), n, 1_700_000_000_000 + n as i64, n).unwrap())
        .collect()
}

fn open(dir: &Path) -> Store {
    let (store, opened) = Store::open(dir).unwrap();
    assert_eq!(opened.set_aside, None);
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_way_there_does_not_matter(
        facts in prop::collection::vec((0..15_u8, 0..8_u8), 1..60),
        cuts in prop::collection::vec(0..60_usize, 0..4),
    ) {
        let entries = entries(facts.into_iter().map(fact));
        let dir = tempfile::tempdir().unwrap();
        let at_once = open(&dir.path().join("a"));
        at_once.apply(&entries).unwrap();
        let one_by_one = open(&dir.path().join("b"));
        for entry in &entries {
            one_by_one.apply(std::slice::from_ref(entry)).unwrap();
        }
        // In pieces, each given from the beginning: what was applied is passed over.
        let again = open(&dir.path().join("c"));
        for cut in cuts {
            again.apply(&entries[..cut.min(entries.len())]).unwrap();
        }
        again.apply(&entries).unwrap();
        for store in [&at_once, &one_by_one, &again] {
            let report = store.verify();
            prop_assert!(report.ok, "{:?}", report.problems);
            prop_assert_eq!(store.digest().unwrap(), at_once.digest().unwrap());
            prop_assert_eq!(store.applied(), entries.len() as u64);
            let counts = store.counts().unwrap();
            for (state, count) in counts {
                prop_assert_eq!(store.items(Some(state), None, 1000, false).unwrap().len() as u64, count);
            }
        }
        prop_assert!(at_once.came_from(entries.last().unwrap()));
    }
}

#[test]
fn items_sightings_and_labels_follow_the_facts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let sighting = SightingId { image: image(1), index: 0 };
    let id = |n: u64| ItemId::new(n, 0);
    let all = entries([
        done(1, 2, true),
        done(2, 1, false),
        done(3, 0, false),
        quarantined(4),
        quarantined(5),
        Fact::QueueReleased { item: id(4) },
        Fact::QueueDiscarded { item: id(5), image: image(5) },
        Fact::GalleryRelabelled { sighting, label: label(7) },
        Fact::GalleryRemoved { sighting: SightingId { image: image(1), index: 1 } },
        Fact::GalleryRemoved { sighting: SightingId { image: image(9), index: 0 } },
        Fact::EngineStarted { version: "0.1.0".into(), config: image(0) },
    ]);
    store.apply(&all).unwrap();
    let counts = store.counts().unwrap();
    let of = |state| counts[&state];
    assert_eq!((of(ItemState::Done), of(ItemState::Waiting), of(ItemState::Discarded)), (3, 1, 1));
    assert_eq!(counts.len(), ItemState::ALL.len());

    let released = store.item(&id(4)).unwrap().unwrap();
    assert!(released.released && released.state == ItemState::Waiting);
    assert_eq!((released.sequence, released.described), (5, 3));
    assert_eq!(released.code, Some(QuarantineCode::Truncated));
    assert_eq!(released.reason.as_deref(), Some("it ends\\u{a} early"));
    let accepted = store.item(&id(2)).unwrap().unwrap();
    assert!(accepted.decision.is_some_and(|d| d.is_accept()));
    assert_eq!((accepted.accepted, accepted.total_ms), (1, Some(1.5)));
    let nothing = store.item(&id(3)).unwrap().unwrap();
    assert_eq!(nothing.decision, Some(Decision::abstain(AbstainReason::NoObject)));

    let ids = |items: Vec<ItemRecord>| items.into_iter().map(|i| i.id).collect::<Vec<_>>();
    assert_eq!(ids(store.items(Some(ItemState::Done), None, 2, false).unwrap()), [id(1), id(2)]);
    assert_eq!(ids(store.items(Some(ItemState::Done), Some(&id(2)), 2, false).unwrap()), [id(3)]);
    assert_eq!(ids(store.items(Some(ItemState::Done), Some(&id(3)), 2, true).unwrap()), [id(2), id(1)]);
    assert_eq!(ids(store.items(None, None, 3, true).unwrap()), [id(5), id(4), id(3)]);

    let labels = |filter: &str, after: Option<&Label>| store.labels(filter, after, 10).unwrap();
    assert_eq!(labels("", None), [(label(7), LabelRecord { sightings: 1 })]);
    assert_eq!((labels("LABEL 7", None).len(), labels("x", None).len(), labels("", Some(&label(7))).len()), (1, 0, 0));
    assert_eq!(store.label_count(), 1);
    assert_eq!(store.sightings(&label(7), None, 10).unwrap()[0].0, sighting);
    assert!(store.sightings(&label(7), Some(&sighting), 10).unwrap().is_empty());
    let removed = store.sighting(&SightingId { image: image(1), index: 1 }).unwrap().unwrap();
    assert!(removed.removed && removed.vectors == enrolled(1, 4).vectors);
    let mut live = Vec::new();
    let note = |sighting: Option<(SightingId, SightingRecord)>| {
        live.extend(sighting.map(|(id, record)| (id, record.label)));
        ControlFlow::Continue(())
    };
    store.for_each_sighting(note).unwrap();
    assert_eq!(live, [(sighting, label(7))]);
    let mut hashes = Vec::new();
    let note = |id, hash: &str| {
        hashes.push((id, hash.to_owned()));
        std::ops::ControlFlow::Continue(())
    };
    store.for_each_perceptual(note).unwrap();
    assert_eq!(hashes.len(), 3);
    assert_eq!(hashes[0], (image(1), "0000000000000001".into()));
    assert_eq!(store.image(&image(1)).unwrap().unwrap().item, id(1));
    assert_eq!(store.engine_fact("started").unwrap().unwrap().detail, "0.1.0");
    assert_eq!(store.action_counts().unwrap()["image.done"], 3);
    assert_eq!(store.stats().unwrap().skipped, 1);
}

#[test]
fn gaps_are_refused_and_unknown_actions_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = entries((0..4).map(quarantined));
    all[1].action = "future.thing".into();
    store.apply(&all[..1]).unwrap();
    assert!(matches!(store.apply(&all[2..]), Err(StoreError::Gap { expected: 1, given: 2 })));
    store.apply(&all).unwrap();
    assert_eq!(store.action_counts().unwrap()["future.thing"], 1);
    assert_eq!((store.applied(), store.verify().skipped), (4, 1));
    let other = Entry { mono_ns: 9, ..all[3].clone() };
    assert!(store.came_from(&all[3]) && !store.came_from(&other));
}

#[test]
fn the_longest_of_everything_still_fits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let long = Label::new(&"\"".repeat(200)).unwrap();
    let path = |byte: u8| RawPath(OsString::from_vec([b"/".as_slice(), &[byte; 4000]].concat()).into());
    let file =
        FileFacts { path: path(0x01), source: path(0xFF), mode: Mode::Enroll(long.clone()), ..file(1, Mode::Identify) };
    let Fact::ImageDone(mut all) = done(1, 2, false) else { panic!() };
    all.file = file.clone();
    for sighting in &mut all.sightings {
        sighting.decision = Some(Decision::Accept {
            label: long.clone(),
            similarity: 0.123_456_7,
            margin: 0.1,
            rotation: Rotation::R0,
        });
        sighting.enrolled = Some(Enrolled { label: long.clone(), ..enrolled(1, 1000) });
    }
    let sentence = "\u{1}\"\\".repeat(2000);
    let quarantined = ImageQuarantined { file, image: image(1), code: QuarantineCode::Corrupt, sentence };
    store.apply(&entries([Fact::ImageDone(all), Fact::ImageQuarantined(Box::new(quarantined))])).unwrap();
    let item = store.items(None, None, 1, false).unwrap().remove(0);
    assert!(item.path.cut && item.source.cut);
    assert!(item.path.path.as_path().as_os_str().len() >= 256);
    let sighting = store.sighting(&SightingId { image: image(1), index: 0 }).unwrap().unwrap();
    assert_eq!(sighting.vectors, enrolled(1, 1000).vectors);
    assert!(store.verify().ok);
}

/// Every file in the folder, and those below.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

#[test]
fn damage_is_set_aside_and_a_replay_brings_back_the_same_digest() {
    let all = entries((0..120).map(|n| fact((n % 13, n % 40))));
    let made = tempfile::tempdir().unwrap();
    let store = open(&made.path().join("store"));
    for batch in all.chunks(7) {
        store.apply(batch).unwrap();
    }
    store.flush().unwrap();
    let digest = store.digest().unwrap();
    drop(store);

    let (mut set_aside, mut damages) = (0, 0);
    let mut check = |damage: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("store");
        copy(&made.path().join("store"), &place);
        damage(&place);
        let (store, opened) = Store::open(&place).unwrap();
        if let Some((cause, kept)) = &opened.set_aside {
            assert!(kept.is_dir() && !cause.is_empty());
            assert_eq!(opened.applied, 0);
            set_aside += 1;
        }
        damages += 1;
        // What opens is right as far as it says it goes, so that a replay from there leads to the same state.
        store.apply(&all).unwrap();
        let report = store.verify();
        assert!(report.ok, "{:?}", report.problems);
        assert_eq!(store.digest().unwrap(), digest);
    };
    check(&|_| {});
    let names: Vec<_> = files(&made.path().join("store"))
        .into_iter()
        .map(|f| f.strip_prefix(made.path().join("store")).unwrap().to_owned())
        .collect();
    assert!(names.iter().any(|n| n.ends_with("db")), "{names:?}");
    for name in &names {
        let length = fs::metadata(made.path().join("store").join(name)).unwrap().len() as usize;
        check(&|dir| fs::remove_file(dir.join(name)).unwrap());
        for part in 0..6 {
            check(&|dir| {
                let bytes = fs::read(dir.join(name)).unwrap();
                fs::write(dir.join(name), &bytes[..length * part / 6]).unwrap();
            });
        }
        // The written part of sled's file is far shorter than the file.
        let written =
            fs::read(made.path().join("store").join(name)).unwrap().iter().rposition(|b| *b != 0).unwrap_or(0);
        for flip in 0..16 {
            check(&|dir| {
                let mut bytes = fs::read(dir.join(name)).unwrap();
                if let Some(byte) = bytes.get_mut((written * flip / 16 + flip * 37) % (written + 1)) {
                    *byte ^= 1 << (flip % 8);
                }
                fs::write(dir.join(name), bytes).unwrap();
            });
        }
    }
    check(&|dir| fs::write(dir.join("snap.00000000000000FF.generating"), b"half").unwrap());
    assert!(set_aside >= 10, "{set_aside} of {damages} were set aside");
}

#[test]
fn a_lost_or_changed_record_is_found_on_opening() {
    let made = tempfile::tempdir().unwrap();
    let all = entries((0..30).map(|n| fact((n % 13, n))));
    for break_it in 0..4 {
        let dir = made.path().join(format!("store{break_it}"));
        let store = open(&dir);
        store.apply(&all).unwrap();
        // As sled does when it loses something: behind the account's back.
        let (gone, body) = (record::state_count_key(ItemState::Done), b"5".to_vec());
        match break_it {
            0 => store.kv().write([(&gone[..], None)].into_iter()).unwrap(),
            1 => store.kv().write([(&gone[..], Some(&body[..]))].into_iter()).unwrap(),
            2 => store.kv().write([(&b"zz"[..], Some(&body[..]))].into_iter()).unwrap(),
            _ => store.kv().write([(ledger::KEY, None)].into_iter()).unwrap(),
        }
        assert!(!store.verify().ok);
        drop(store);
        let (store, opened) = Store::open(&dir).unwrap();
        let (cause, kept) = opened.set_aside.unwrap();
        assert!(kept.is_dir(), "{cause}");
        store.apply(&all).unwrap();
        assert!(store.verify().ok);
    }
}

#[test]
fn a_rebuild_takes_the_old_ones_place() {
    let made = tempfile::tempdir().unwrap();
    let dir = made.path().join("store");
    let all = entries((0..1500).map(|n| fact(((n % 15) as u8, (n % 50) as u8))));
    let store = open(&dir);
    store.apply(&all).unwrap();
    let digest = store.digest().unwrap();
    drop(store);
    let failing = all.iter().cloned().map(Ok).take(700).chain([Err("the journal is damaged")]);
    assert!(matches!(Store::rebuild_from(&dir, failing), Err(StoreError::Source(_))));
    assert_eq!(fs::read_dir(made.path()).unwrap().count(), 1, "nothing unfinished is left");
    let rebuilt = Store::rebuild_from(&dir, all.iter().cloned().map(Ok::<_, String>)).unwrap();
    assert_eq!(rebuilt.digest().unwrap(), digest);
    drop(rebuilt);
    assert_eq!(open(&dir).digest().unwrap(), digest);
}

#[test]
fn an_open_store_is_not_set_aside_by_another() {
    let made = tempfile::tempdir().unwrap();
    let dir = made.path().join("store");
    let _store = open(&dir);
    assert!(matches!(Store::open(&dir), Err(StoreError::Locked(_))));
    assert!(dir.is_dir());
}
