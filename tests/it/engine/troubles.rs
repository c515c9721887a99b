//! Models that are missing or fail, a stop under load, two owners.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use image::RgbImage;
use sightline::domain::view::Nothing;
use sightline::domain::{Detection, Embedding, Fingerprint, ItemState, QuarantineCode};
use sightline::engine::{EngineError, Loader, Options};
use sightline::vision::fake::{TestDetector, TestEmbedder};
use sightline::vision::{CropPolicy, Detect, DetectOptions, Embed, VisionError};

use super::{Yard, accounted, models, pack, png, reasoned, standard, until};

/// Fails so many times, then works.
struct Failing {
    left: Arc<AtomicU32>,
    panics: bool,
}

impl Detect for Failing {
    fn detect(&self, pictures: &[&RgbImage], options: &DetectOptions) -> Result<Vec<Vec<Detection>>, VisionError> {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            assert!(!self.panics, "as asked");
            return Err(VisionError::Setting("the detector failed as asked".into()));
        }
        TestDetector::default().detect(pictures, options)
    }

    fn names(&self) -> &[String] {
        &[]
    }

    fn fingerprint(&self) -> Fingerprint {
        TestDetector::default().fingerprint()
    }
}

fn failing(times: u32, panics: bool) -> (Arc<AtomicU32>, Loader) {
    let left = Arc::new(AtomicU32::new(times));
    let shared = Arc::clone(&left);
    let loader: Loader = Box::new(move |_| {
        let detector = Failing { left: Arc::clone(&shared), panics };
        Ok(models(Box::new(detector), Box::new(TestEmbedder::default())))
    });
    (left, loader)
}

#[test]
fn pictures_wait_for_models_that_are_missing_and_say_what_to_do() {
    let yard = Yard::new(&[]);
    let there = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&there);
    let engine = yard.start_with(Box::new(move |config| {
        if seen.load(Ordering::SeqCst) {
            return standard("weights")(config);
        }
        // What the real loader says of a workspace without weights.
        sightline::engine::load_models(config)
    }));
    yard.write("watch/inbox/a.png", &png(&pack(1)));
    yard.write("watch/inbox/broken.png", b"text");
    until("a warning", || {
        if engine.warned("sightline model import") { Ok(()) } else { Err(format!("{:?}", engine.look().warnings)) }
    });
    until("the broken one", || {
        let stats = engine.queue_stats().unwrap();
        // Recorded first, tidied after: for a moment the broken one counts as quarantined and as working.
        let settled = stats.quarantined == 1 && stats.waiting + stats.working == 1;
        if settled { Ok(()) } else { Err(format!("{stats:?}")) }
    });
    let stats = engine.queue_stats().unwrap();
    assert_eq!((stats.failed, stats.done), (0, 0), "{stats:?}");
    assert_eq!(engine.look().detector.state, "missing");
    assert!(matches!(engine.identify(&png(&pack(1))), Err(EngineError::Unavailable(_))));
    there.store(true, Ordering::SeqCst);
    engine.wait(2);
    assert_eq!(engine.look().detector.state, "loaded");
}

#[test]
fn a_detector_that_fails_twice_is_asked_again() {
    let yard = Yard::new(&[]);
    let (_, loader) = failing(2, false);
    let engine = yard.start_with(loader);
    let item = engine.queue(&yard.write("a.png", &png(&pack(1))), None);
    assert_eq!(item.state, ItemState::Done);
    assert!(engine.warned("failed as asked"));
}

#[test]
fn what_fails_again_and_again_is_set_aside_and_can_be_sent_again() {
    let yard = Yard::new(&[("engine.attempts", "2")]);
    let (left, loader) = failing(1000, false);
    let engine = yard.start_with(loader);
    let bytes = png(&pack(1));
    let item = engine.queue(&yard.write("a.png", &bytes), None);
    assert_eq!(item.state, ItemState::Failed);
    assert!(item.reason.unwrap().contains("failed as asked"));
    let aside = yard.path(format!("database/quarantine/{}.data", item.id));
    assert_eq!(fs::read(&aside).unwrap(), bytes);
    assert_eq!(fs::read_dir(yard.path("database/queue")).unwrap().count(), 0);
    left.store(0, Ordering::SeqCst);
    engine.release("anna", &item.id, &reasoned(Nothing {})).unwrap();
    engine.wait(1);
    assert_eq!(engine.item(&item.id).unwrap().item.state, ItemState::Done);
    assert!(!aside.exists());
    engine.prove();
}

#[test]
fn one_bad_picture_does_not_take_its_batch_with_it() {
    let yard = Yard::new(&[("engine.attempts", "1")]);
    for n in 0..6 {
        yard.write(format!("watch/inbox/{n}.png"), &png(&pack(n)));
    }
    // The batch fails as a whole, then the first picture of it alone.
    let (_, loader) = failing(2, false);
    let engine = yard.start_with(loader);
    engine.wait(6);
    let stats = engine.queue_stats().unwrap();
    assert!(stats.failed <= 2 && stats.done >= 4, "{stats:?}");
    let failed = engine.in_state(ItemState::Failed);
    assert!(failed.iter().all(|item| item.code.is_none_or(|code| code == QuarantineCode::ProcessingFailed)));
}

#[test]
fn a_panic_halts_the_engine_loses_nothing_and_keeps_nobody_waiting() {
    let yard = Yard::new(&[]);
    let bytes = png(&pack(1));
    let path = yard.write("watch/inbox/a.png", &bytes);
    let (_, loader) = failing(u32::MAX, true);
    let engine = yard.start_with(loader);
    until("a halt", || if engine.look().halted.is_some() { Ok(()) } else { Err("it runs".into()) });
    assert!(
        matches!(engine.identify(&bytes), Err(EngineError::Unavailable(_))),
        "an asker is answered, not left alone"
    );
    engine.stop();
    let engine = yard.start();
    engine.wait(1);
    accounted(&yard, &engine, &BTreeMap::from([(path, bytes)]));
}

/// Takes its time.
struct Slow(TestEmbedder);

impl Embed for Slow {
    fn embed(&self, pictures: &[RgbImage]) -> Result<Vec<Embedding>, VisionError> {
        std::thread::sleep(Duration::from_millis(150));
        self.0.embed(pictures)
    }

    fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint()
    }

    fn policy(&self) -> &CropPolicy {
        self.0.policy()
    }
}

#[test]
fn a_stop_under_load_is_quick_and_loses_nothing() {
    let yard = Yard::new(&[]);
    let mut dropped = BTreeMap::new();
    for n in 0..80 {
        let bytes = png(&pack(n));
        dropped.insert(yard.write(format!("watch/inbox/{}/{n}.png", n % 7), &bytes), bytes);
    }
    let slow: Loader =
        Box::new(|_| Ok(models(Box::new(TestDetector::default()), Box::new(Slow(TestEmbedder::named("weights"))))));
    let engine = yard.start_with(slow);
    until("some work", || if engine.queue_stats().unwrap().done >= 3 { Ok(()) } else { Err("none".into()) });
    // Somebody waits for an answer while it stops.
    let asked = Arc::clone(&engine);
    let asker = std::thread::spawn(move || asked.identify(&png(&pack(500))));
    let began = Instant::now();
    engine.stop();
    let took = began.elapsed();
    drop(asker.join().unwrap());
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    let engine = yard.start();
    engine.wait(80);
    accounted(&yard, &engine, &dropped);
}

#[test]
fn a_workspace_has_one_owner() {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    let second = yard.try_start(Options { watch: true, work: true, loader: standard("weights") });
    let Err(error) = second else { panic!("two engines own one workspace") };
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    engine.stop();
    yard.start();
}

#[test]
fn nothing_is_recorded_after_the_stop() {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    let item = engine.queue(&yard.write("text", b"text"), None);
    let held = Arc::clone(&engine);
    engine.stop();
    let late = held.release("anna", &item.id, &reasoned(Nothing {}));
    assert!(matches!(late, Err(EngineError::Unavailable(_))), "{late:?}");
    let second = yard.try_start(Options { watch: true, work: true, loader: standard("weights") });
    assert!(second.is_err(), "who could still write holds the workspace");
    drop(held);
    yard.start();
}
