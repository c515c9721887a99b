//! A short life of the engine with something of everything, and a client who writes down what it was told.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::imageops::rotate90;
use image::{Rgb, RgbImage};
use rand::Rng;
use rand::rngs::SmallRng;
use sightline::api::client::intent;
use sightline::domain::view::{Ingest, Nothing, Relabel, Remove, Which};
use sightline::domain::{ItemState, Label, RawPath};
use sightline::engine::{EngineError, Options};

use super::Note;
use super::trace::Tracer;
use crate::engine::{Yard, Yarded, pack, png, reasoned, standard};

const SETTINGS: [(&str, &str); 2] = [("engine.checkpoint_every", "5"), ("engine.attempts", "2")];

/// The workspace in a folder, with the settings of this room.
pub(super) fn yard(dir: &Path) -> Yard {
    Yard::at(dir, &SETTINGS)
}

pub(super) fn options() -> Options {
    Options { watch: true, work: true, loader: standard("weights") }
}

/// Folders that are there before anything is traced.
pub(super) fn prepare(dir: &Path) {
    let yard = yard(dir);
    for below in ["making", "named", "watch/enroll/a", "watch/enroll/b"] {
        fs::create_dir_all(yard.path(below)).unwrap();
    }
}

/// Every file below a folder.
pub(super) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// Whether nothing waits any more: not in the watched folders, not in the queue.
pub(super) fn is_drained(dir: &Path, engine: &Yarded) -> bool {
    let stats = engine.queue_stats();
    files_below(&dir.join("watch")).is_empty()
        && files_below(&dir.join("database/queue")).is_empty()
        && stats.is_ok_and(|stats| stats.waiting + stats.working == 0)
}

/// A client, what it was told, and what went wrong before its eyes.
pub(super) struct Life<'a> {
    tracer: &'a Tracer,
    random: &'a mut SmallRng,
    yard: Yard,
    dir: PathBuf,
    next: u32,
    /// Entries of the journal, as they were shown.
    pub(super) shown: Vec<String>,
    /// What it was told of failures: the engine's errors and warnings.
    pub(super) told: BTreeSet<String>,
}

impl<'a> Life<'a> {
    pub(super) fn new(dir: &Path, tracer: &'a Tracer, random: &'a mut SmallRng) -> Self {
        Self { tracer, random, yard: yard(dir), dir: dir.to_owned(), next: 0, shown: Vec::new(), told: BTreeSet::new() }
    }

    /// Lives it: work, acts, a stop in good order, and some more after another start.
    pub(super) fn live(&mut self) {
        let many = self.random.random_bool(0.3);
        if let Some(engine) = self.start() {
            self.drop_some(if many { 12 } else { 5 });
            self.drain(&engine);
            self.acts(&engine);
            self.drop_some(2);
            self.drain(&engine);
            self.leave(engine);
        }
        if let Some(engine) = self.start() {
            self.drop_some(2);
            self.drain(&engine);
            self.acts(&engine);
            self.drain(&engine);
            self.leave(engine);
        }
    }

    fn start(&mut self) -> Option<Yarded> {
        match self.yard.try_start(options()) {
            Ok(engine) => {
                self.look(&engine);
                Some(engine)
            }
            Err(error) => {
                self.told.insert(error.to_string());
                None
            }
        }
    }

    fn leave(&mut self, engine: Yarded) {
        self.look(&engine);
        engine.stop();
    }

    /// Looks at the journal and the warnings: what is shown must never be lost.
    fn look(&mut self, engine: &Yarded) {
        let status = engine.look();
        self.told.extend(status.warnings);
        self.told.extend(status.halted);
        let before = self.shown.len() as u64;
        for sequence in before..status.entries {
            match engine.journal_entry(sequence) {
                Ok(entry) => self.shown.push(serde_json::to_string(&entry).unwrap()),
                Err(error) => {
                    self.told.insert(error.to_string());
                    break;
                }
            }
        }
        if self.shown.len() as u64 > before {
            self.tracer.note(Note::Entries(self.shown.len() as u64));
        }
    }

    fn drain(&mut self, engine: &Yarded) {
        let began = Instant::now();
        while !is_drained(&self.dir, engine) && began.elapsed() < Duration::from_secs(4) {
            self.look(engine);
            if engine.look().halted.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.look(engine);
    }

    /// Files of every kind: to enrol, to answer, seen before, doubtful and broken.
    fn drop_some(&mut self, count: u32) {
        for _ in 0..count {
            self.next += 1;
            let n = self.next;
            let (folder, bytes) = match (n + self.random.random_range(0..2)) % 6 {
                0 => ("watch/enroll/a", png(&pack(n))),
                1 => ("watch/enroll/b", png(&pack(n))),
                2 => ("watch/inbox", png(&rotate90(&pack(n)))),
                3 => ("watch/inbox", png(&rotate90(&pack(n.saturating_sub(2))))),
                4 => ("watch/inbox", png(&RgbImage::from_pixel(64, 64, Rgb([n as u8, 9, 9])))),
                _ => ("watch/inbox", png(&pack(n))[..100 + n as usize].to_vec()),
            };
            let synced = self.random.random_bool(0.7);
            self.drop_file(folder, &format!("{n}.png"), &bytes, synced);
        }
    }

    /// Files appear whole; a careful producer syncs the bytes before and the name after.
    fn drop_file(&mut self, folder: &str, name: &str, bytes: &[u8], synced: bool) {
        let (making, below) = (self.dir.join("making").join(name), Path::new(folder).join(name));
        let image = sightline::archive::image_id(bytes).to_string();
        self.tracer.spare(|| {
            let mut file = File::create(&making).unwrap();
            file.write_all(bytes).unwrap();
            if synced {
                file.sync_all().unwrap();
            }
            fs::rename(&making, self.dir.join(&below)).unwrap();
            if synced {
                File::open(self.dir.join(folder)).unwrap().sync_all().unwrap();
            }
        });
        self.tracer.note(Note::Dropped { below, image, synced });
    }

    fn acts(&mut self, engine: &Yarded) {
        let label = |text: &str| Label::new(text).unwrap();
        let (from, to) = if self.random.random() { ("a", "b") } else { ("b", "c") };
        let moved = Relabel { which: Which::Label(label(from)), to: label(to) };
        self.heard(engine, engine.relabel("anna", &reasoned(moved)).map(drop));
        let aside = engine.items(Some(ItemState::Quarantined), None, 2, false).unwrap_or_default();
        if let Some(item) = aside.first() {
            self.heard(engine, engine.release("anna", &item.id, &reasoned(Nothing {})).map(drop));
        }
        if let Some(item) = aside.get(1) {
            self.heard(engine, engine.discard("anna", &item.id, &reasoned(Nothing {})).map(drop));
        }
        self.next += 1;
        let below = PathBuf::from(format!("named/{}.png", self.next));
        self.tracer.spare(|| fs::write(self.dir.join(&below), png(&pack(self.next + 100))).unwrap());
        let act = Ingest { paths: vec![RawPath(self.dir.join(&below))], label: None };
        match engine.ingest("anna", &intent(act, "")) {
            Ok(done) if done.problems.is_empty() => self.tracer.note(Note::Queued { below }),
            Ok(done) => self.told.extend(done.problems),
            Err(error) => drop(self.told.insert(error.to_string())),
        }
        if self.random.random_bool(0.3) {
            let gone = Remove { which: Which::Label(label("c")) };
            self.heard(engine, engine.remove("anna", &reasoned(gone)).map(drop));
        }
    }

    /// An act's answer: what was acknowledged stands in the journal from now on.
    fn heard(&mut self, engine: &Yarded, answer: Result<(), EngineError>) {
        match answer {
            // Nothing of that label yet, set aside no more: an answer, not a failure.
            Ok(()) | Err(EngineError::NotFound(_) | EngineError::Refused(_)) => {}
            Err(error) => drop(self.told.insert(error.to_string())),
        }
        self.look(engine);
    }
}
