//! Files a second through the whole intake: 100,000 small files with the same bytes, dropped as folders in one move.

use std::time::{Duration, Instant};

use sightline::config::{Config, documented_yaml};
use sightline::engine::{self, Options, load_models};

use crate::harness::Bench;
use crate::inputs;

const FILES: u32 = 100_000;
const FOLDERS: u32 = 100;

pub fn run(bench: &Bench) {
    let what = "ingest of 100,000 small duplicates";
    if !bench.wants(what) {
        return;
    }
    let (detector, embedder) = (inputs::detector(bench), inputs::embedder(bench));
    bench.measure(what, "files/s", &mut [], || {
        let dir = tempfile::tempdir_in(bench.scratch.path()).expect("a workspace");
        let settings = [
            ("models.detector", format!("{detector:?}")),
            ("models.embedder", format!("{embedder:?}")),
            ("intake.settle_ms", "20".into()),
        ];
        let config = Config::parse(&documented_yaml(&settings), dir.path()).expect("the config");
        for watch in &config.watch {
            std::fs::create_dir_all(&watch.path).expect("a watched folder");
        }
        let picture = dir.path().join("one.png");
        image::imageops::thumbnail(&inputs::photograph(1), 160, 120).save(&picture).expect("a picture");
        let bytes = std::fs::read(&picture).expect("its bytes");
        let made = dir.path().join("made");
        for folder in 0..FOLDERS {
            let folder = made.join(folder.to_string());
            std::fs::create_dir_all(&folder).expect("a folder");
            for file in 0..FILES / FOLDERS {
                std::fs::write(folder.join(format!("{file}.png")), &bytes).expect("a file");
            }
        }
        // What the copies would cost the disk later is not the engine's.
        rustix::fs::sync();
        let options = Options { watch: true, work: true, loader: Box::new(load_models) };
        let running = engine::start(config, options).expect("the engine");
        let done = |count: u64| {
            let began = Instant::now();
            loop {
                let stats = running.engine.queue_stats().expect("the queue");
                if stats.done + stats.duplicate >= count {
                    return;
                }
                assert!(began.elapsed() < Duration::from_secs(600), "the engine does not get on: {stats:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        std::fs::rename(&picture, dir.path().join("watch/inbox/one.png")).expect("the drop");
        done(1);
        let began = Instant::now();
        std::fs::rename(&made, dir.path().join("watch/inbox/made")).expect("the drop");
        done(u64::from(FILES) + 1);
        let rate = f64::from(FILES) / began.elapsed().as_secs_f64();
        running.stop();
        rate
    });
}
