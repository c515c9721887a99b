//! The whole path: JPEGs of 1280x960 with three objects, dropped and enrolled by the engine itself: hashed, archived,
//! decoded, detected, cropped, embedded in four rotations, committed. And the same as probes: one rotation, searched.

use std::path::Path;
use std::time::{Duration, Instant};

use sightline::config::{Config, documented_yaml};
use sightline::engine::{self, Options, load_models};
use sightline::vision::Runtime;
use sightline::vision::precision::candidate;

use crate::harness::{Bench, Peer};
use crate::inputs;

const PICTURES: u32 = 24;

pub fn run(bench: &Bench) {
    let (detector, embedder) = (inputs::detector(bench), inputs::embedder(bench));
    let folder = bench.scratch.path().join("path");
    for number in 0..PICTURES {
        inputs::jpeg(&folder.join(format!("{number}.jpg")), &inputs::photograph(100 + number));
    }
    let texts = [&detector, &embedder, &folder].map(|path| path.display().to_string());
    let half = candidate(Runtime::cpu().device).is_some();
    for precision in ["fp32", "bf16"] {
        if precision == "bf16" && !half {
            continue;
        }
        for mode in ["enroll", "identify"] {
            let what = format!("whole path, {mode}, {precision}");
            if !bench.wants(&what) {
                continue;
            }
            let others: &[(&str, &str)] = match (mode, precision) {
                ("enroll", "fp32") => &[("Pillow, Ultralytics and torch fp32, pickle", "stock")],
                ("enroll", _) => &[
                    ("Pillow, Ultralytics and torch fp32, pickle", "stock"),
                    ("torch bf16, channels last, one batch a picture", "torch-bf16"),
                ],
                _ => &[],
            };
            let mut peers: Vec<Peer> = others
                .iter()
                .filter_map(|(name, way)| {
                    let [detector, embedder, folder] = &texts;
                    bench.peer(
                        name,
                        "path.py",
                        &["--way", way, "--detector", detector, "--embedder", embedder, "--pictures", folder],
                    )
                })
                .collect();
            bench.measure(&what, "images/s", &mut peers, || round(&detector, &embedder, &folder, mode, precision));
        }
    }
}

/// A new workspace, the models loaded and warm, all pictures dropped at once: images a second until the last is recorded.
fn round(detector: &Path, embedder: &Path, pictures: &Path, mode: &str, precision: &str) -> f64 {
    let dir = tempfile::tempdir().expect("a workspace");
    let settings = [
        ("models.detector", format!("{detector:?}")),
        ("models.embedder", format!("{embedder:?}")),
        ("device", "cpu".into()),
        ("precision", precision.into()),
        ("detect.confidence", "0.001".into()),
        ("detect.max_objects", "3".into()),
        ("enroll.several", "all".into()),
        ("intake.settle_ms", "20".into()),
        ("intake.rescan_seconds", "1".into()),
    ];
    let config = Config::parse(&documented_yaml(&settings), dir.path()).expect("the config");
    let watched = dir.path().join(if mode == "enroll" { "watch/enroll/packs" } else { "watch/inbox" });
    for watch in &config.watch {
        std::fs::create_dir_all(&watch.path).expect("a watched folder");
    }
    std::fs::create_dir_all(&watched).expect("a watched folder");
    let options = Options { watch: true, work: true, loader: Box::new(load_models) };
    let running = engine::start(config, options).expect("the engine");
    let done = |count: u64| {
        let began = Instant::now();
        while running.engine.queue_stats().expect("the queue").done < count {
            assert!(began.elapsed() < Duration::from_secs(600), "the engine does not get on");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    // A first picture loads the models; it is not counted.
    let drop_in = |from: &Path, name: &str| {
        let beside = dir.path().join(name);
        std::fs::copy(from, &beside).expect("a copy");
        std::fs::rename(&beside, watched.join(name)).expect("the drop");
    };
    let warm = dir.path().join("warm.png");
    inputs::photograph(999).save(&warm).expect("a picture");
    drop_in(&warm, "first.png");
    done(1);
    let began = Instant::now();
    for number in 0..PICTURES {
        let name = format!("{number}.jpg");
        drop_in(&pictures.join(&name), &name);
    }
    done(u64::from(PICTURES) + 1);
    let rate = f64::from(PICTURES) / began.elapsed().as_secs_f64();
    running.stop();
    rate
}
