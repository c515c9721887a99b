//! What is dropped, and what becomes of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use image::RgbImage;
use sightline::config::WatchBackend;
use sightline::domain::view::ItemDetail;
use sightline::domain::{AbstainReason, BoundingBox, Detection, Fingerprint, ItemState, QuarantineCode, SightingId};
use sightline::vision::fake::{TestDetector, TestEmbedder};
use sightline::vision::{Detect, DetectOptions, VisionError};

use super::{Yard, Yarded, accounted, models, pack, png, reasoned};

/// Drops good, repeated and broken files in nested folders; gives what was dropped.
fn drop_mixed(yard: &Yard, first: u32, count: u32) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut dropped = BTreeMap::new();
    for n in first..first + count {
        let whole = png(&pack(n));
        let bytes = match n % 10 {
            3 => whole[..whole.len() / 2].to_vec(),
            5 => png(&pack(n - 1)),
            7 => b"no picture".to_vec(),
            9 => Vec::new(),
            _ => whole,
        };
        let folder = ["", "a", "a/b", "c/d/e"][n as usize % 4];
        let below = match n % 3 {
            0 => format!("watch/enroll/label {}/{folder}/{n}.png", n % 5),
            _ => format!("watch/inbox/{folder}/{n}.png"),
        };
        dropped.insert(yard.write(below, &bytes), bytes);
    }
    dropped
}

#[test]
fn every_file_has_one_outcome_dropped_before_the_start_and_while_it_runs() {
    let yard = Yard::new(&[]);
    let mut dropped = drop_mixed(&yard, 0, 40);
    let engine = yard.start();
    dropped.extend(drop_mixed(&yard, 40, 60));
    engine.wait(100);
    accounted(&yard, &engine, &dropped);
    let stats = engine.queue_stats().unwrap();
    assert_eq!((stats.quarantined >= 30, stats.failed), (true, 0), "{stats:?}");
    engine.stop();

    dropped.extend(drop_mixed(&yard, 100, 30));
    let engine = yard.start();
    engine.wait(130);
    accounted(&yard, &engine, &dropped);
}

#[test]
fn names_of_any_bytes_survive_and_are_shown_safely() {
    let yard = Yard::new(&[]);
    let long = "x".repeat(251) + ".png";
    let names: [&[u8]; 6] = [
        b"not\xff\xfeutf8.png",
        b"new\nline.png",
        b"\x1b[2Jclear.png",
        "\u{202e}gnp.exe".as_bytes(),
        long.as_bytes(),
        b"-rf",
    ];
    let mut dropped = BTreeMap::new();
    for (n, name) in (0..).zip(names) {
        let bytes = png(&pack(n));
        let below = PathBuf::from("watch/inbox/\u{1b}]0;odd\u{7}").join(OsStr::from_bytes(name));
        dropped.insert(yard.write(below, &bytes), bytes);
    }
    let engine = yard.start();
    engine.wait(6);
    accounted(&yard, &engine, &dropped);
    for item in engine.in_state(ItemState::Done) {
        let shown = item.path.to_string();
        assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{shown:?}");
        assert!(dropped.contains_key(&item.path.0));
    }
}

#[test]
fn the_same_bytes_are_recorded_as_what_they_are_under_each_policy() {
    for (policy, state) in [("skip", ItemState::Duplicate), ("keep", ItemState::Done), ("flag", ItemState::Quarantined)]
    {
        let yard = Yard::new(&[("intake.exact_duplicates", policy)]);
        let engine = yard.start();
        let first = engine.queue(&yard.write("a.png", &png(&pack(1))), None);
        let again = engine.queue(&yard.write("b.png", &png(&pack(1))), None);
        assert_eq!((first.state, again.state, again.sha256), (ItemState::Done, state, first.sha256), "{policy}");
        if state == ItemState::Duplicate {
            assert_eq!(engine.item(&again.id).unwrap().duplicate_of, first.sha256);
        }
        engine.prove();
    }
}

/// A picture and one that differs by a shade.
fn nearly(seed: u32) -> [RgbImage; 2] {
    let one = pack(seed);
    let mut other = one.clone();
    other.pixels_mut().for_each(|p| p.0[1] = p.0[1].saturating_add(1));
    [one, other]
}

#[test]
fn nearly_the_same_picture_is_treated_by_the_policy_also_within_one_batch() {
    for (policy, state) in [("skip", ItemState::Duplicate), ("keep", ItemState::Done), ("flag", ItemState::Quarantined)]
    {
        let yard = Yard::new(&[("intake.near_duplicates", policy)]);
        // Both lie there before the start, so that they go through the models together.
        for (n, picture) in (0..).zip(nearly(4)) {
            yard.write(format!("watch/inbox/{n}.png"), &png(&picture));
        }
        let engine = yard.start();
        engine.wait(2);
        let done = engine.in_state(ItemState::Done);
        let other = engine.in_state(state).into_iter().rev().find(|item| item.id != done[0].id);
        let other = other.unwrap_or_else(|| panic!("{policy}: nothing is {state:?}"));
        let detail: ItemDetail = engine.item(&other.id).unwrap();
        match state {
            ItemState::Quarantined => assert_eq!(other.code, Some(QuarantineCode::NearDuplicate)),
            _ => assert_eq!(detail.duplicate_of, done[0].sha256, "{policy}"),
        }
        engine.prove();
    }
}

#[test]
fn a_flagged_duplicate_goes_through_once_an_operator_says_so() {
    let yard = Yard::new(&[("intake.near_duplicates", "flag")]);
    let engine = yard.start();
    let [one, other] = nearly(4);
    engine.queue(&yard.write("a.png", &png(&one)), None);
    let flagged = engine.queue(&yard.write("b.png", &png(&other)), None);
    assert_eq!(flagged.state, ItemState::Quarantined);
    engine.release("tester", &flagged.id, &reasoned(Default::default())).unwrap();
    engine.wait(2);
    assert_eq!(engine.item(&flagged.id).unwrap().item.state, ItemState::Done);
    assert!(!yard.path(format!("database/quarantine/{}.data", flagged.id)).exists());
    engine.prove();
}

#[test]
fn the_same_picture_for_two_labels_is_a_question_for_an_operator() {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    let path = yard.write("a.png", &png(&pack(1)));
    assert_eq!(engine.queue(&path, Some("A")).state, ItemState::Done);
    let other = engine.queue(&path, Some("B"));
    assert_eq!((other.state, other.code), (ItemState::Quarantined, Some(QuarantineCode::NotEnrollable)));
    assert!(other.reason.unwrap().contains("`A`"));
    assert_eq!(engine.queue(&path, Some("A")).state, ItemState::Duplicate);
    // A probe of the same bytes is a duplicate; enrolling what was only probed is something new.
    let probe = yard.write("p.png", &png(&pack(2)));
    assert_eq!(engine.queue(&probe, None).state, ItemState::Done);
    assert_eq!(engine.queue(&probe, Some("C")).state, ItemState::Done);
    assert_eq!(engine.gallery_stats().unwrap().sightings, 2);
    engine.prove();
}

#[test]
fn a_file_in_no_labels_folder_is_set_aside() {
    let yard = Yard::new(&[]);
    yard.write("watch/enroll/loose.png", &png(&pack(1)));
    yard.write(PathBuf::from("watch/enroll").join(OsStr::from_bytes(b"no\xff label/a.png")), &png(&pack(2)));
    let engine = yard.start();
    engine.wait(2);
    for item in engine.in_state(ItemState::Quarantined) {
        assert_eq!(item.code, Some(QuarantineCode::NotEnrollable));
        assert!(item.reason.unwrap().contains("label"));
    }
    assert_eq!(engine.queue_stats().unwrap().quarantined, 2);
}

/// Finds as many objects as there are: columns of the picture.
struct Columns(u32);

impl Detect for Columns {
    fn detect(&self, pictures: &[&RgbImage], _: &DetectOptions) -> Result<Vec<Vec<Detection>>, VisionError> {
        let objects = |picture: &&RgbImage| {
            let (width, height) = (picture.width() as f32, picture.height() as f32);
            let column = |n: u32| Detection {
                class: 0,
                name: "pack".into(),
                confidence: 0.9 - n as f32 * 0.1,
                // Each is wider than the one before it.
                bounding_box: BoundingBox([0.0, 0.0, width * (n + 1) as f32 / self.0 as f32, height]),
                mask: None,
            };
            (0..self.0).map(column).collect()
        };
        Ok(pictures.iter().map(objects).collect())
    }

    fn names(&self) -> &[String] {
        &[]
    }

    fn fingerprint(&self) -> Fingerprint {
        TestDetector::default().fingerprint()
    }
}

fn with_columns(yard: &Yard, count: u32) -> Yarded {
    yard.start_with(Box::new(move |_| Ok(models(Box::new(Columns(count)), Box::new(TestEmbedder::default())))))
}

#[test]
fn several_objects_are_refused_the_largest_or_all_enrolled_as_configured() {
    for (several, expected) in [("refuse", 0), ("largest", 1), ("all", 3)] {
        let yard = Yard::new(&[("enroll.several", several)]);
        let engine = with_columns(&yard, 3);
        let item = engine.queue(&yard.write("a.png", &png(&pack(1))), Some("A"));
        assert_eq!(engine.gallery_stats().unwrap().sightings, expected, "{several}");
        if expected == 0 {
            assert_eq!(item.code, Some(QuarantineCode::NotEnrollable));
            assert!(item.reason.unwrap().contains("enroll.several"));
            continue;
        }
        let image = item.sha256.unwrap();
        let detail = engine.item(&item.id).unwrap();
        if several == "largest" {
            assert_eq!(detail.sightings[0].detection.bounding_box.width(), 96.0);
        }
        assert!(engine.crop(SightingId { image, index: 0 }, (None, None)).is_ok());
        engine.prove();
    }
}

/// A later probe of the same picture counts its objects in its own order; the enrolled one is still the one it was.
#[test]
fn an_enrolled_object_stays_the_one_it_was_when_its_picture_is_seen_again() {
    let yard = Yard::new(&[("enroll.several", "largest"), ("intake.exact_duplicates", "keep")]);
    let engine = with_columns(&yard, 3);
    let path = yard.write("a.png", &png(&pack(1)));
    let enrolled = engine.queue(&path, Some("A"));
    let sighting = SightingId { image: enrolled.sha256.unwrap(), index: 0 };
    let before = engine.crop(sighting, (None, None)).unwrap();
    assert_eq!(engine.queue(&path, None).state, ItemState::Done);
    assert!(engine.crop(sighting, (None, None)).unwrap() == before, "another object is shown for the enrolled one");
}

#[test]
fn each_abstention_has_its_reason() {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    let reason = |item: sightline::domain::view::Item| item.answer.and_then(|answer| answer.reason);
    let queue = |n: u32, label| engine.queue(&yard.write(format!("{n}.png"), &png(&pack(n))), label);
    assert_eq!(reason(queue(1, None)), Some(AbstainReason::EmptyGallery));
    queue(2, Some("A"));
    assert_eq!(reason(queue(3, None)), Some(AbstainReason::BelowThreshold));
    let [one, other] = nearly(4);
    engine.queue(&yard.write("4.png", &png(&one)), Some("B"));
    engine.queue(&yard.write("5.png", &png(&other)), Some("C"));
    let mut between = one;
    between.pixels_mut().for_each(|p| p.0[0] = p.0[0].saturating_add(1));
    assert_eq!(reason(engine.queue(&yard.write("6.png", &png(&between)), None)), Some(AbstainReason::MarginTooSmall));
    drop(engine);
    // The stand-in finds nothing when asked to be this sure.
    let sure = Yard::new(&[("detect.confidence", "0.95")]);
    let engine = sure.start();
    let item = engine.queue(&sure.write("1.png", &png(&pack(1))), None);
    assert_eq!((item.sightings, reason(item)), (Some(0), Some(AbstainReason::NoObject)));
}

#[test]
fn a_folder_without_events_is_polled_with_the_folders_made_later() {
    let mut yard = Yard::new(&[("intake.poll_seconds", "1"), ("intake.rescan_seconds", "3600")]);
    yard.config.watch.iter_mut().for_each(|watch| watch.backend = WatchBackend::Poll);
    let mut dropped = BTreeMap::new();
    let mut drop_in = |path: &str, n: u32| {
        let bytes = png(&pack(n));
        dropped.insert(yard.write(path, &bytes), bytes);
    };
    drop_in("watch/inbox/before.png", 1);
    let engine = yard.start();
    engine.wait(1);
    drop_in("watch/inbox/new/and/deep/a.png", 2);
    drop_in("watch/inbox/b.png", 3);
    engine.wait(3);
    accounted(&yard, &engine, &dropped);
}
