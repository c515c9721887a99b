//! The journal against cuts, flips, full disks and readers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::*;
use crate::domain::{Draft, Entry, Fact, ImageId, ItemId};

const MANUAL: Options = Options { segment_bytes: 64 << 20, checkpoint_every: 0 };

fn draft(n: u32) -> Draft {
    let fact = Fact::QueueReleased { item: ItemId::new(u64::from(n), n) };
    let reason = Some(format!("nachgesehen: 薬 {n}"));
    Draft { actor: format!("operator-{}", n % 3), fact, before: Some(serde_json::json!({"b": n, "a": 1})), reason }
}

fn drafts(range: std::ops::Range<u32>) -> Vec<Draft> {
    range.map(draft).collect()
}

fn open(dir: &Path) -> (Journal, OpenReport) {
    Journal::open(dir, MANUAL).unwrap()
}

/// Five entries under a checkpoint, then a batch of two and a batch of three.
fn small(dir: &Path) -> Vec<Entry> {
    let (mut journal, report) = open(dir);
    assert!(report.created);
    let mut entries = journal.append(drafts(0..5)).unwrap();
    journal.checkpoint().unwrap().unwrap();
    entries.extend(journal.append(drafts(5..7)).unwrap());
    entries.extend(journal.append(drafts(7..10)).unwrap());
    assert_eq!(journal.read_range(0, 100).unwrap(), entries);
    entries
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The bytes of the segment, and where each entry begins; the last is the end.
fn layout(dir: &Path) -> (Vec<u8>, Vec<u64>) {
    let bytes = fs::read(dir.join("00000000.log")).unwrap();
    let mut offsets = Vec::new();
    let (end, _, broken) = scan::walk(&bytes, 0, 0, |offset, _| offsets.push(offset));
    assert_eq!(broken, None);
    offsets.push(end);
    (bytes, offsets)
}

#[test]
fn the_bytes_are_frozen() {
    let entry = Entry::from_draft(draft(3), 7, 1_700_000_000_123, 42).unwrap();
    let bytes = serde_json::to_string(&entry).unwrap();
    assert_eq!(
        bytes,
        r#"{"sequence":7,"wall_ms":1700000000123,"mono_ns":42,"actor":"operator-0","action":"queue.released","subject":"0000000000300000003","before":{"a":1,"b":3},"after":{"item":"0000000000300000003"},"reason":"nachgesehen: 薬 3"}"#
    );
    let mut framed = Vec::new();
    frame::encode(bytes.as_bytes(), 2, &mut framed);
    // Both as Python's zlib.crc32 and hashlib have them.
    assert_eq!(hex::encode(&framed[..frame::HEADER]), "f5534a01de00000002000000b465066e");
    assert_eq!(
        hex::encode(merkle::leaf_hash(bytes.as_bytes())),
        "db16c38f4b9fa4dfefbb77e37c146ddcf9512f52890632fe7459547dafbf9e73"
    );
}

#[test]
fn cut_at_every_byte_nothing_signed_for_is_lost_silently() {
    let made = tempfile::tempdir().unwrap();
    let entries = small(made.path());
    let (bytes, offsets) = layout(made.path());
    for cut in 0..=bytes.len() as u64 {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        let file = dir.path().join("00000000.log");
        OpenOptions::new().write(true).open(&file).unwrap().set_len(cut).unwrap();
        let whole = offsets[1..].iter().filter(|end| **end <= cut).count();
        let result = Journal::open(dir.path(), MANUAL);
        if cut < offsets[5] {
            let error = result.map(|_| ()).unwrap_err();
            let fits = matches!(&error, JournalError::Damaged { entry, .. } if *entry == whole as u64)
                || matches!(&error, JournalError::Missing { have, want: 5, .. } if *have == whole as u64);
            assert!(fits, "cut at {cut}: {error}");
            assert_eq!(fs::metadata(&file).unwrap().len(), cut, "an error changes nothing");
            assert!(!verify(dir.path(), &Trust::default()).unwrap().ok);
            continue;
        }
        let (mut journal, report) = result.unwrap();
        assert_eq!((report.entries, report.unanchored), (whole as u64, whole as u64 - 5), "cut at {cut}");
        assert_eq!(journal.read_range(0, 100).unwrap(), entries[..whole]);
        let left_over = cut - offsets[whole];
        assert_eq!(report.cut.len(), usize::from(left_over > 0), "cut at {cut}");
        for cut_off in &report.cut {
            assert_eq!(cut_off.bytes, left_over);
            assert_eq!(fs::read(&cut_off.kept).unwrap(), bytes[offsets[whole] as usize..cut as usize]);
        }
        // It goes on as if nothing had been, and proves itself.
        journal.append(drafts(0..1)).unwrap();
        journal.checkpoint().unwrap();
        drop(journal);
        let proof = verify(dir.path(), &Trust::default()).unwrap();
        assert!(proof.ok, "{:?}", proof.problems);
        assert_eq!((proof.entries, proof.checkpoint), (whole as u64 + 1, Some(whole as u64 + 1)));
    }
}

#[test]
fn every_flipped_byte_is_noticed_and_nothing_acknowledged_is_cut() {
    let made = tempfile::tempdir().unwrap();
    small(made.path());
    let (bytes, offsets) = layout(made.path());
    for at in 0..bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        let mut bent = bytes.clone();
        bent[at] ^= 0x10;
        fs::write(dir.path().join("00000000.log"), &bent).unwrap();
        let proof = verify(dir.path(), &Trust::default()).unwrap();
        assert!(!proof.ok && !proof.problems.is_empty(), "flip at {at}");
        let result = Journal::open(dir.path(), MANUAL);
        if (at as u64) < offsets[7] {
            // Under the checkpoint, or of a batch that another one follows: acknowledged, so never cut.
            assert!(matches!(result, Err(JournalError::Damaged { .. })), "flip at {at}");
            assert_eq!(fs::read(dir.path().join("00000000.log")).unwrap(), bent);
        } else {
            let (_, report) = result.unwrap();
            assert_eq!(report.cut.len(), 1, "flip at {at}");
            assert!(report.entries >= 7 && report.entries < 10);
        }
    }
}

#[test]
fn an_entry_rewritten_with_a_right_checksum_is_found_by_its_root() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let (bytes, offsets) = layout(dir.path());
    let frame = frame::decode(&bytes[offsets[2] as usize..]).unwrap();
    let forged = String::from_utf8(frame.entry.to_vec()).unwrap().replace("operator-2", "operator-1");
    let mut framed = Vec::new();
    frame::encode(forged.as_bytes(), frame.place, &mut framed);
    let forged = [&bytes[..offsets[2] as usize], &framed, &bytes[offsets[3] as usize..]].concat();
    fs::write(dir.path().join("00000000.log"), forged).unwrap();
    let proof = verify(dir.path(), &Trust::default()).unwrap();
    assert!(!proof.ok && proof.problems[0].contains("at least one of them was changed"), "{:?}", proof.problems);
}

#[test]
fn a_damaged_checkpoint_log_is_noticed() {
    let made = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(made.path());
    for n in 0..3 {
        journal.append(drafts(n..n + 1)).unwrap();
        journal.checkpoint().unwrap();
    }
    drop(journal);
    let file = made.path().join("checkpoints.log");
    let bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        fs::write(dir.path().join("checkpoints.log"), &bent).unwrap();
        assert!(!verify(dir.path(), &Trust::default()).unwrap().ok, "flip at {at}");
        if let Ok((_, report)) = Journal::open(dir.path(), MANUAL) {
            // Opening proves the last checkpoint only; where that one is cut as unfinished, it is said.
            let last_holds = report.checkpoint.as_ref().is_some_and(|c| c.size == 3);
            assert!(last_holds || report.cut.len() == 1, "flip at {at}");
            assert_eq!(report.entries, 3);
        }
    }
    for cut in 0..bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        fs::write(dir.path().join("checkpoints.log"), &bytes[..cut]).unwrap();
        let (mut journal, report) = open(dir.path());
        assert_eq!(report.entries, 3, "cut at {cut}");
        journal.checkpoint().unwrap();
        drop(journal);
        let proof = verify(dir.path(), &Trust::default()).unwrap();
        assert!(proof.ok && proof.unanchored == 0, "cut at {cut}: {:?}", proof.problems);
    }
}

#[test]
fn segments_roll_under_a_checkpoint_and_missing_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 1000, checkpoint_every: 7 };
    let mut all = Vec::new();
    for round in 0..4 {
        let (mut journal, report) = Journal::open(dir.path(), options).unwrap();
        assert_eq!(report.entries, all.len() as u64);
        for n in 0..10 {
            all.extend(journal.append(drafts(round * 20 + n * 2..round * 20 + n * 2 + 2)).unwrap());
        }
        assert!(journal.unanchored() < 7);
        assert_eq!(journal.read_range(0, usize::MAX).unwrap(), all);
        assert_eq!(journal.tail(5).unwrap(), all[all.len() - 5..]);
        assert_eq!(journal.entry(3).unwrap(), all[3]);
        assert!(matches!(journal.entry(1000), Err(JournalError::NoEntry { .. })));
    }
    let numbers = scan::segments(dir.path()).unwrap();
    assert!(numbers.len() > 5, "{numbers:?}");
    let proof = verify(dir.path(), &Trust::default()).unwrap();
    assert!(proof.ok && proof.entries == 80, "{:?}", proof.problems);

    for gone in &numbers {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        fs::remove_file(scan::path(copied.path(), *gone)).unwrap();
        let proof = verify(copied.path(), &Trust::default()).unwrap();
        let error = Journal::open(copied.path(), options).map(|_| ());
        if *gone < numbers[numbers.len() - 1] {
            assert!(matches!(error, Err(JournalError::Missing { .. })), "{error:?}");
            assert!(!proof.ok);
        }
    }
    fs::remove_file(dir.path().join("checkpoints.log")).unwrap();
    assert!(matches!(Journal::open(dir.path(), options), Err(JournalError::Damaged { .. })));
    assert!(!verify(dir.path(), &Trust::default()).unwrap().ok);
}

#[test]
fn a_stop_that_a_crash_kept_from_being_signed_is_no_sign_of_tampering() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path());
    journal.append(drafts(0..3)).unwrap();
    journal.append(vec![Draft::engine(Fact::EngineStopped { waiting: 0 })]).unwrap();
    drop(journal);
    let (mut journal, report) = open(dir.path());
    assert_eq!((report.entries, report.unanchored), (4, 4));
    journal.append(drafts(4..5)).unwrap();
    drop(journal);
    let proof = verify(dir.path(), &Trust::default()).unwrap();
    assert!(proof.ok, "{:?}", proof.problems);
    assert_eq!(proof.checkpoint, Some(4), "signed up to the stop before anything followed it");
    // Taken away, it is missed.
    fs::remove_file(dir.path().join("checkpoints.log")).unwrap();
    assert!(!verify(dir.path(), &Trust::default()).unwrap().ok);
}

#[test]
fn a_failed_write_poisons_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path());
    journal.append(drafts(0..2)).unwrap();
    journal.segment = OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(matches!(journal.append(drafts(2..4)), Err(JournalError::Io { .. })));
    assert!(matches!(journal.append(drafts(2..4)), Err(JournalError::Poisoned(_))));
    assert!(matches!(journal.checkpoint(), Err(JournalError::Poisoned(_))));
    assert_eq!(journal.len(), 2);
    drop(journal);
    let (mut journal, report) = open(dir.path());
    assert_eq!((report.entries, report.cut.len()), (2, 0));
    assert_eq!(journal.append(drafts(2..4)).unwrap()[0].sequence, 2);
}

#[test]
fn a_fact_that_could_not_be_read_back_is_refused_before_anything_is_written() {
    use crate::domain::{Decision, Label, Rotation};
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path());
    let mut done = crate::domain::ImageDone {
        file: crate::domain::FileFacts {
            item: ItemId::new(1, 1),
            path: "a.jpg".into(),
            source: "inbox".into(),
            mode: crate::domain::Mode::Identify,
            bytes: 1,
            modified_ms: 0,
            arrived_ms: 0,
        },
        image: ImageId([1; 32]),
        format: "jpg".into(),
        width: 1,
        height: 1,
        orientation: 1,
        perceptual: String::new(),
        near_duplicate_of: None,
        detector: Some(ImageId([0; 32])),
        embedder: crate::domain::Fingerprint(ImageId([0; 32])),
        sightings: Vec::new(),
        ms: crate::domain::StageTimes::default(),
    };
    let decision =
        Decision::Accept { label: Label::new("a").unwrap(), similarity: f32::NAN, margin: 0.1, rotation: Rotation::R0 };
    done.sightings.push(crate::domain::Sighting {
        index: 0,
        detection: crate::domain::Detection {
            class: 0,
            name: "pack".into(),
            confidence: 0.9,
            bounding_box: crate::domain::BoundingBox([0.0; 4]),
            mask: None,
        },
        decision: Some(decision),
        enrolled: None,
    });
    let batch = vec![draft(0), Draft::engine(Fact::ImageDone(Box::new(done)))];
    assert!(matches!(journal.append(batch), Err(JournalError::Entry { .. })));
    assert_eq!(journal.append(drafts(0..1)).unwrap()[0].sequence, 0);
}

#[test]
fn keys_and_locks() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let key = dir.path().join("key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let (journal, report) = open(dir.path());
    assert!(!report.created && report.checkpoint.is_some());
    assert!(matches!(Journal::open(dir.path(), MANUAL), Err(JournalError::Locked(_))));
    drop(journal);

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Journal::open(dir.path(), MANUAL), Err(JournalError::Key { .. })));
    fs::remove_file(&key).unwrap();
    assert!(matches!(Journal::open(dir.path(), MANUAL), Err(JournalError::Key { .. })));
    let other = tempfile::tempdir().unwrap();
    small(other.path());
    for file in ["key", "key.pub"] {
        fs::copy(other.path().join(file), dir.path().join(file)).unwrap();
    }
    let error = Journal::open(dir.path(), MANUAL).map(|_| ()).unwrap_err();
    assert!(matches!(error, JournalError::Key { .. }), "{error}");
    assert!(!verify(dir.path(), &Trust::default()).unwrap().ok);
}

#[test]
fn evidence_from_outside_shows_what_the_folder_alone_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path());
    journal.append(drafts(0..3)).unwrap();
    let early = journal.checkpoint().unwrap().unwrap();
    let before = tempfile::tempdir().unwrap();
    copy(dir.path(), before.path());
    journal.append(drafts(3..6)).unwrap();
    let late = Checkpoint::parse(&journal.checkpoint().unwrap().unwrap().note()).unwrap();
    let key = Some(journal.public_key().clone());
    let trust = |checkpoint: &Checkpoint| Trust { key: key.clone(), checkpoint: Some(checkpoint.clone()) };
    let proof = journal.reader().verify(&trust(&early)).unwrap();
    assert!(proof.ok && proof.cannot_prove.is_empty(), "{proof:?}");
    assert!(verify(dir.path(), &trust(&late)).unwrap().ok);
    // Cut back to the earlier state, it is consistent in itself; only the later checkpoint gives it away.
    assert!(verify(before.path(), &Trust::default()).unwrap().ok);
    assert!(!verify(before.path(), &trust(&late)).unwrap().ok);
    // The same entries under a key of its own.
    let forged = tempfile::tempdir().unwrap();
    small(forged.path());
    assert!(verify(forged.path(), &Trust::default()).unwrap().ok);
    assert!(!verify(forged.path(), &Trust { key: key.clone(), checkpoint: None }).unwrap().ok);
}

#[test]
fn readers_see_whole_batches_while_the_writer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), Options { segment_bytes: 5000, checkpoint_every: 10 }).unwrap();
    let reader = journal.reader();
    let watcher = std::thread::spawn(move || {
        let mut seen = 0;
        while seen < 300 {
            let entries = reader.read_range(seen, 50).unwrap();
            for entry in &entries {
                assert_eq!(entry.sequence, seen);
                seen += 1;
            }
            let proof = reader.verify(&Trust::default()).unwrap();
            assert!(proof.ok && proof.entries % 3 == 0, "{:?}", proof.problems);
        }
    });
    for n in 0..100 {
        journal.append(drafts(n * 3..n * 3 + 3)).unwrap();
    }
    watcher.join().unwrap();
}

#[test]
fn queries_page_backwards_without_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path());
    let entries = journal.append(drafts(0..1500)).unwrap();
    let wanted: Vec<u64> = entries.iter().rev().filter(|e| e.actor == "operator-1").map(|e| e.sequence).collect();
    let filter = Filter { actor: Some("operator-1".into()), action: Some("queue.".into()), ..Filter::default() };
    for limit in [1, 7, 200, 5000] {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = journal.query(&filter, before, limit).unwrap();
            assert!(page.entries.len() <= limit);
            found.extend(page.entries.iter().map(|e| e.sequence));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(found, wanted, "pages of {limit}");
    }
    let one = |filter: Filter| {
        journal.query(&filter, None, 10).unwrap().entries.iter().map(|e| e.sequence).collect::<Vec<_>>()
    };
    assert_eq!(one(Filter { text: Some("薬 1234".into()), ..Filter::default() }), [1234]);
    let subject = ItemId::new(77, 77).to_string().to_uppercase();
    assert_eq!(one(Filter { subject: Some(subject), ..Filter::default() }), [77]);
    assert_eq!(one(Filter { from_ms: Some(entries[0].wall_ms + 1_000_000), ..Filter::default() }), [0_u64; 0]);
    assert_eq!(one(Filter { to_ms: Some(entries[0].wall_ms), ..Filter::default() }).len(), 10);
}
