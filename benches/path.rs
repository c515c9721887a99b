//! The whole path: JPEGs of 1280x960 with three objects, dropped and enrolled by the engine itself: hashed, archived,
//! decoded, detected, cropped, embedded in four rotations, committed. And the same as probes: one rotation, searched.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sightline::config::{Config, Precision, documented_yaml};
use sightline::engine::{self, Options, load_models};
use sightline::vision::precision::candidate;
use sightline::vision::{CropPolicy, Detector, Embedder, Runtime};

use crate::harness::{Bench, Peer, milliseconds};
use crate::inputs;
use crate::served::{Served, peak_mb};

const PICTURES: u32 = 24;

pub fn run(bench: &Bench) {
    let precisions = ["fp32", "bf16"];
    let wanted = |precision| {
        let paths = ["enroll", "identify"].map(|mode| format!("whole path, {mode}, {precision}"));
        bench.wants(&beside(precision)) || paths.iter().any(|what| bench.wants(what))
    };
    if !precisions.into_iter().any(wanted) {
        return;
    }
    let (detector, embedder) = (inputs::detector(bench), inputs::embedder(bench));
    let folder = bench.scratch.path().join("path");
    for number in 0..PICTURES {
        inputs::jpeg(&folder.join(format!("{number}.jpg")), &inputs::photograph(100 + number));
    }
    let texts = [&detector, &embedder, &folder].map(|path| path.display().to_string());
    let half = candidate(Runtime::cpu().device).is_some();
    for precision in precisions {
        if precision == "bf16" && !half {
            continue;
        }
        for mode in ["enroll", "identify"] {
            let what = format!("whole path, {mode}, {precision}");
            if !bench.wants(&what) {
                continue;
            }
            let others: &[(&str, &str, &[&str])] = match (mode, precision) {
                ("enroll", "fp32") => &[("Pillow, Ultralytics and torch fp32, pickle", "path.py", &["--way", "stock"])],
                ("enroll", _) => &[
                    ("Pillow, Ultralytics and torch fp32, pickle", "path.py", &["--way", "stock"]),
                    ("torch bf16, channels last, one batch a picture", "path.py", &["--way", "torch-bf16"]),
                    ("OpenVINO bf16 and OpenCV, one process a core", "path_openvino.py", &[]),
                ],
                _ => &[],
            };
            let mut peers: Vec<Peer> = others
                .iter()
                .filter_map(|(name, script, more)| {
                    let [detector, embedder, folder] = &texts;
                    let inputs = ["--detector", detector, "--embedder", embedder, "--pictures", folder];
                    bench.peer(name, script, &[*more, &inputs].concat())
                })
                .collect();
            let setting = Setting { detector: &detector, embedder: &embedder, mode, precision };
            let rate = bench.measure(&what, "images/s", &mut peers, || round(&setting, &folder));
            if mode == "enroll" {
                let networks = networks(&setting);
                let rest = 100.0 * (1.0 - networks * rate / 1000.0);
                bench.once(&format!("{what}: time outside the networks"), "%", &mut || rest);
                let theirs: Vec<(&str, f64)> = peers.iter().map(|peer| (peer.name(), peer.peak_mb())).collect();
                bench.compare(&format!("{what}: most memory held"), "MB", memory(&setting, &folder), &theirs);
            }
        }
        let what = beside(precision);
        if bench.wants(&what) {
            let setting = |mode| Setting { detector: &detector, embedder: &embedder, mode, precision };
            bench.measure(&what, "x", &mut [], || {
                let enrolled = round(&setting("enroll"), &folder);
                round(&setting("identify"), &folder) / enrolled
            });
        }
    }
}

/// What the comparison of the two paths is called in the results.
fn beside(precision: &str) -> String {
    format!("identify path by enroll path, images a second, {precision}")
}

struct Setting<'a> {
    detector: &'a Path,
    embedder: &'a Path,
    mode: &'a str,
    precision: &'a str,
}

impl Setting<'_> {
    fn yaml(&self) -> String {
        documented_yaml(&[
            ("models.detector", format!("{:?}", self.detector)),
            ("models.embedder", format!("{:?}", self.embedder)),
            ("device", "cpu".into()),
            ("precision", self.precision.into()),
            ("detect.confidence", "0.001".into()),
            ("detect.max_objects", "3".into()),
            ("enroll.several", "all".into()),
            ("intake.settle_ms", "20".into()),
            ("intake.rescan_seconds", "1".into()),
        ])
    }

    fn watched(&self, workspace: &Path) -> PathBuf {
        workspace.join(if self.mode == "enroll" { "watch/enroll/packs" } else { "watch/inbox" })
    }
}

/// Milliseconds of the two networks alone for one enrolled picture: one detection, twelve embeddings.
fn networks(setting: &Setting<'_>) -> f64 {
    let precision = if setting.precision == "bf16" { Precision::Bf16 } else { Precision::Fp32 };
    let runtime = Runtime::cpu().with(precision);
    let detector = Detector::load(setting.detector, runtime).expect("the detector");
    let embedder = Embedder::load(setting.embedder, CropPolicy::default(), runtime).expect("the embedder");
    let input = detector.input(&[image::RgbImage::new(640, 480)]).expect("the input");
    let crops = tch::Tensor::zeros([12, 3, 224, 224], (runtime.kind, runtime.device));
    let both = || {
        tch::no_grad(|| {
            drop(detector.network().forward(&input).expect("heads"));
            drop(embedder.network().forward(&crops).expect("tokens"));
        });
    };
    milliseconds(2, both);
    milliseconds(9, both)
}

/// The most memory that an engine of its own holds over the same pictures, MB.
fn memory(setting: &Setting<'_>, pictures: &Path) -> f64 {
    let dir = tempfile::tempdir().expect("a workspace");
    std::fs::write(dir.path().join("config.yaml"), setting.yaml()).expect("its settings");
    let watched = setting.watched(dir.path());
    std::fs::create_dir_all(&watched).expect("a watched folder");
    for number in 0..PICTURES {
        let name = format!("{number}.jpg");
        std::fs::copy(pictures.join(&name), watched.join(&name)).expect("a copy");
    }
    let (engine, _) = Served::start(dir.path());
    let began = Instant::now();
    while engine.get("/v1/queue/stats").is_none_or(|stats| stats["done"] != PICTURES) {
        assert!(began.elapsed() < Duration::from_secs(600), "the engine does not get on");
        std::thread::sleep(Duration::from_millis(50));
    }
    let most = peak_mb(engine.id());
    engine.stop();
    most
}

/// A new workspace, the models loaded and warm, all pictures dropped at once: images a second until the last is recorded.
fn round(setting: &Setting<'_>, pictures: &Path) -> f64 {
    let dir = tempfile::tempdir().expect("a workspace");
    let config = Config::parse(&setting.yaml(), dir.path()).expect("the config");
    let watched = setting.watched(dir.path());
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
    let drop_in = |from: &Path, watched: &Path, name: &str| {
        let beside = dir.path().join(name);
        std::fs::copy(from, &beside).expect("a copy");
        std::fs::rename(&beside, watched.join(name)).expect("the drop");
    };
    // A first picture loads the models, and gives probes something to be compared with; it is not counted.
    let warm = dir.path().join("warm.png");
    inputs::photograph(999).save(&warm).expect("a picture");
    let enrolled = dir.path().join("watch/enroll/packs");
    std::fs::create_dir_all(&enrolled).expect("a watched folder");
    drop_in(&warm, &enrolled, "first.png");
    done(1);
    let began = Instant::now();
    for number in 0..PICTURES {
        let name = format!("{number}.jpg");
        drop_in(&pictures.join(&name), &watched, &name);
    }
    done(u64::from(PICTURES) + 1);
    let rate = f64::from(PICTURES) / began.elapsed().as_secs_f64();
    running.stop();
    rate
}
