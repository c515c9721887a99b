//! A workspace of a million: how soon it answers after a start, and how soon its console answers a key.

use std::io::{Read as _, Write as _};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::event::{PollFd, PollFlags, Timespec};
use sightline::archive::image_id;
use sightline::config::documented_yaml;
use sightline::domain::{
    AbstainReason, BoundingBox, Decision, Detection, Draft, Embedding, Enrolled, Fact, FileFacts, Fingerprint,
    ImageDone, ImageId, ItemId, Label, Mode, RawPath, Rotation, Sighting, SightingId, StageTimes,
};
use sightline::gallery::{Gallery, Options as GalleryOptions};
use sightline::journal::{Journal, Options};
use sightline::store::Store;

use crate::harness::Bench;
use crate::served::{Served, cpu_seconds};

const MANY: u32 = 1_000_000;
const BATCH: u32 = 1000;
const BIN: &str = env!("CARGO_BIN_EXE_sightline");
/// Keys a list: enough that the slowest hundredth is more than one of them.
const KEYS: usize = 300;
/// A screen that has not changed for so long is drawn.
const QUIET: Duration = Duration::from_millis(60);
/// Pieces of a frame come no farther apart.
const PIECES: Duration = Duration::from_millis(3);
/// How long an idle console is watched.
const IDLE: Duration = Duration::from_secs(60);

pub fn run(bench: &Bench) {
    let start = "start with 1,000,000 images on record, until the engine answers";
    let key = "console, 1,000,000 rows";
    if !bench.wants(start) && !bench.wants(key) {
        return;
    }
    // Making it takes a quarter of an hour: a folder that is named is made once and kept.
    let kept = std::env::var_os("BENCH_MILLION").map(PathBuf::from);
    let workspace = kept.unwrap_or_else(|| bench.scratch.path().join("million"));
    if !workspace.join("images.made").exists() {
        images(&workspace);
        std::fs::write(workspace.join("images.made"), "").expect("a mark");
    }
    if bench.wants(start) && !workspace.join("enrolled.made").exists() {
        bench.measure(start, "ms", &mut [], || {
            let (engine, took) = Served::start(&workspace);
            engine.stop();
            took.as_secs_f64() * 1000.0
        });
    }
    if bench.wants(key) {
        if !workspace.join("enrolled.made").exists() {
            enrolled(&workspace);
            std::fs::write(workspace.join("enrolled.made"), "").expect("a mark");
        }
        let (mut answered, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds() {
            let began = Instant::now();
            let (engine, took) = Served::start(&workspace);
            answered.push(took.as_secs_f64() * 1000.0);
            while engine.get("/v1/gallery/stats").is_none_or(|stats| !stats["reading"].is_null()) {
                assert!(began.elapsed() < Duration::from_secs(600), "the gallery is not read");
                std::thread::sleep(Duration::from_millis(20));
            }
            whole.push(began.elapsed().as_secs_f64() * 1000.0);
            engine.stop();
        }
        let all = "1,000,000 images and 2,000,000 enrolled sightings on record";
        let until = format!("restart with {all}, until the engine answers");
        bench.measure(&until, "ms", &mut [], || answered.pop().expect("a start a round"));
        let until = format!("restart with {all}, until probes are decided");
        bench.measure(&until, "ms", &mut [], || whole.pop().expect("a start a round"));
        let (engine, _) = Served::start(&workspace);
        console(bench, key, &workspace, &engine);
        engine.stop();
    }
}

fn open(workspace: &Path) -> (Journal, Store) {
    let options = Options { checkpoint_every: 100_000, ..Options::default() };
    let (journal, _) = Journal::open(&workspace.join("database/journal"), options).expect("a journal");
    let (store, _) = Store::open(&workspace.join("database/store")).expect("a projection");
    (journal, store)
}

/// Without an approximate index: vectors of four numbers need none, and building it would be measured, too.
fn settings() -> String {
    documented_yaml(&[("gallery.ann_above", "0".into())])
}

/// A million probes that went all the way, each recorded as the engine records it.
fn images(workspace: &Path) {
    std::fs::create_dir_all(workspace.join("database")).expect("a workspace");
    std::fs::write(workspace.join("config.yaml"), settings()).expect("its settings");
    let (mut journal, store) = open(workspace);
    let began = Instant::now();
    for from in (0..MANY).step_by(BATCH as usize) {
        let drafts = (from..from + BATCH).map(|n| Draft::engine(Fact::ImageDone(Box::new(image(n))))).collect();
        store.apply(&journal.append(drafts).expect("on the disk")).expect("projected");
    }
    journal.checkpoint().expect("signed");
    store.flush().expect("the projection");
    eprintln!("{MANY} images recorded in {:?}", began.elapsed());
}

fn image(n: u32) -> ImageDone {
    let id = image_id(&n.to_le_bytes());
    let time = 1_760_000_000_000 + i64::from(n) * 40;
    let detection = Detection {
        class: 0,
        name: "pack".into(),
        confidence: 0.91,
        bounding_box: BoundingBox([10.0, 20.0, 310.0, 220.0]),
        mask: None,
    };
    let sighting = Sighting {
        index: 0,
        detection,
        decision: Some(Decision::abstain(AbstainReason::EmptyGallery)),
        enrolled: None,
    };
    ImageDone {
        file: FileFacts {
            item: ItemId::new(time as u64, n),
            path: RawPath(PathBuf::from(format!("/line/inbox/camera-{}/{n:07}.jpg", n % 7))),
            source: RawPath("/line/inbox".into()),
            mode: Mode::Identify,
            bytes: 240_000,
            modified_ms: time - 900,
            arrived_ms: time,
        },
        image: id,
        format: "jpg".into(),
        width: 1280,
        height: 960,
        orientation: 1,
        perceptual: hex::encode(&id.0[..8]),
        near_duplicate_of: None,
        detector: Some(ImageId([3; 32])),
        embedder: Fingerprint(ImageId([7; 32])),
        sightings: vec![sighting],
        ms: StageTimes::default(),
    }
}

/// A million labels of one sighting, and one label of a million. Their vectors are short, for no list shows them, and of all
/// directions: the neighbours of a selected sighting are looked for beside what is measured, and where all were alike
/// that would mean reading two million vectors.
fn enrolled(workspace: &Path) {
    let (mut journal, store) = open(workspace);
    let mut gallery = Gallery::open(&workspace.join("database/gallery"), GalleryOptions::default()).expect("a gallery");
    let fingerprint = Fingerprint(ImageId([7; 32]));
    let began = Instant::now();
    for from in (0..2 * MANY).step_by(BATCH as usize) {
        let fact = |n: u32| {
            let sighting = SightingId { image: ImageId([9; 32]), index: n };
            let numbers: [f32; 4] = SmallRng::seed_from_u64(n.into()).random();
            let vector = Embedding::normalised(numbers.map(|number| number - 0.5).to_vec()).expect("a direction");
            let vectors = gallery.append(fingerprint, sighting, &[(Rotation::R0, vector)]).expect("a row");
            let label = if n < MANY { format!("pack {n:07}") } else { "all of one kind".into() };
            let enrolled = Enrolled { label: Label::new(&label).expect("a label"), fingerprint, vectors };
            Draft::engine(Fact::GalleryImported { sighting, enrolled, source: "packs.safetensors".into() })
        };
        let drafts = (from..from + BATCH).map(fact).collect();
        store.apply(&journal.append(drafts).expect("on the disk")).expect("projected");
    }
    gallery.sync().expect("on the disk");
    journal.checkpoint().expect("signed");
    store.flush().expect("the projection");
    eprintln!("{} sightings enrolled in {:?}", 2 * MANY, began.elapsed());
}

/// What a console drew.
#[derive(Default)]
struct Drawn {
    /// When the frame came that answers the key: the selection has moved. None where nothing was drawn.
    first: Option<Duration>,
    /// When the last byte came: rows that were fetched ahead are there, too.
    last: Duration,
    bytes: usize,
}

/// A console in a pseudo-terminal.
struct Screen {
    master: Box<dyn MasterPty + Send>,
    writer: Box<dyn std::io::Write + Send>,
    reader: Box<dyn std::io::Read + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    shown: vt100::Parser,
}

impl Screen {
    fn open(workspace: &Path) -> Self {
        let size = PtySize { rows: 50, cols: 200, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut command = CommandBuilder::new(BIN);
        command.args(["--workspace", workspace.to_str().expect("text")]);
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).expect("the console");
        let reader = pair.master.try_clone_reader().expect("its output");
        let writer = pair.master.take_writer().expect("its input");
        Self { master: pair.master, writer, reader, child, shown: vt100::Parser::new(50, 200, 0) }
    }

    /// Reads until nothing has come for `quiet`, a minute at most.
    fn settle(&mut self, began: Instant, quiet: Duration) -> Drawn {
        let (mut drawn, mut buffer) = (Drawn::default(), vec![0; 1 << 16]);
        let fd = self.master.as_raw_fd().expect("a descriptor");
        let wait = Timespec { tv_sec: quiet.as_secs() as i64, tv_nsec: i64::from(quiet.subsec_nanos()) };
        loop {
            // SAFETY: the master lives as long as this screen.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            if rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&wait)) == Ok(0) {
                return drawn;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "the screen does not come to rest");
            let read = self.reader.read(&mut buffer).expect("its output");
            let now = began.elapsed();
            // A frame may come in pieces, right after each other.
            if drawn.first.is_none_or(|first| first == drawn.last && now - first < PIECES) {
                drawn.first = Some(now);
            }
            drawn.last = now;
            drawn.bytes += read;
            self.shown.process(&buffer[..read]);
        }
    }

    /// Presses a key, and waits for all that it changes.
    fn press(&mut self, key: &str) -> Drawn {
        let began = Instant::now();
        self.writer.write_all(key.as_bytes()).and_then(|()| self.writer.flush()).expect("a key");
        self.settle(began, QUIET)
    }
}

/// The slowest hundredth begins here, ms.
fn late(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() * 99 / 100).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn console(bench: &Bench, key: &str, workspace: &Path, engine: &Served) {
    let mut screen = Screen::open(workspace);
    screen.settle(Instant::now(), Duration::from_secs(2));
    // Down, up, screens down and up, the ends: as an operator moves. Sightings lie to the right of their labels.
    let lists = [("files", "1", ""), ("labels", "3", ""), ("sightings of a label", "3", "l"), ("entries", "4", "")];
    for (list, tab, into) in lists {
        screen.press(tab);
        if !into.is_empty() {
            screen.press("g");
            screen.press(into);
            screen.settle(Instant::now(), Duration::from_secs(1));
        }
        let (mut bytes, mut whole) = (0, Vec::new());
        bench.measure(&format!("{key}, {list}: key to drawn frame, 99th percentile"), "ms", &mut [], || {
            let keys = ["j", "j", "\x1b[6~", "\x1b[6~", "k", "G", "\x1b[6~", "\x1b[5~", "j", "g"];
            let (mut first, mut last) = (Vec::new(), Vec::new());
            for n in 0..KEYS {
                let drawn = screen.press(keys[n % keys.len()]);
                bytes += drawn.bytes;
                first.extend(drawn.first);
                last.push(drawn.last);
            }
            whole.push(late(last));
            late(first)
        });
        bench.measure(&format!("{key}, {list}: key to rows fetched ahead, 99th percentile"), "ms", &mut [], || {
            whole.pop().expect("as many rounds")
        });
        let text = screen.shown.screen().contents();
        assert!(bytes > 0, "keys change the screen:\n{text}");
    }
    screen.press("3");
    screen.press("h");
    screen.press("/");
    bench.measure("console, one changed cell: bytes written", "bytes", &mut [], || screen.press("p").bytes as f64);
    screen.press("\x1b");
    // What a tab has asked for must have come: the gallery's figures take a second and more with so many sightings.
    screen.settle(Instant::now(), Duration::from_secs(10));
    let (mut written, engine_before) = (0, cpu_seconds(engine.id()));
    let id = screen.child.process_id().expect("an id");
    let mut idle = || {
        let (before, began) = (cpu_seconds(id), Instant::now());
        while began.elapsed() < IDLE {
            written += screen.settle(Instant::now(), Duration::from_millis(500)).bytes;
        }
        100.0 * (cpu_seconds(id) - before) / began.elapsed().as_secs_f64()
    };
    bench.once("console, idle: processor", "%", &mut idle);
    bench.once("engine, idle: processor", "%", &mut || {
        100.0 * (cpu_seconds(engine.id()) - engine_before) / IDLE.as_secs_f64()
    });
    bench.once("console, idle: bytes written in a minute", "bytes", &mut || written as f64);
    screen.child.kill().expect("the console ends");
}
