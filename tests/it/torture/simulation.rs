//! The engine's state machine against a model of it: any sequence of what files and operators do, restarts and lost
//! projections among it, ends in the state that the model says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use image::imageops::rotate90;
use image::{Rgb, RgbImage};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sightline::api::client::intent;
use sightline::domain::view::{Ingest, Intent, Nothing, Relabel, Remove, Which};
use sightline::domain::{Decision, ImageId, ItemId, ItemState, Label, RawPath, SightingId};
use sightline::engine::{EngineError, Options};

use super::{Campaign, said, scratch};
use crate::engine::{Yard, Yarded, pack, png, reasoned, standard};

/// Packs there are, and labels they may have.
const PACKS: u32 = 5;
const LABELS: [&str; 3] = ["a", "b", "c"];

/// A file that can be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Picture {
    Upright(u32),
    Turned(u32),
    /// Of one colour: doubtful, until an operator sends it through again.
    Grey(u32),
    /// Cut off: nothing makes it good.
    Broken(u32),
}

impl Picture {
    fn any(random: &mut SmallRng) -> Self {
        let n = random.random_range(0..PACKS);
        match random.random_range(0..6) {
            0..=2 => Self::Upright(n),
            3 => Self::Turned(n),
            4 => Self::Grey(n % 2),
            _ => Self::Broken(n % 2),
        }
    }

    /// Its bytes and their name; made once.
    fn file(self) -> &'static (Vec<u8>, ImageId) {
        static FILES: OnceLock<BTreeMap<Picture, (Vec<u8>, ImageId)>> = OnceLock::new();
        let make = |picture: Self| match picture {
            Self::Upright(n) => png(&pack(n)),
            Self::Turned(n) => png(&rotate90(&pack(n))),
            Self::Grey(n) => png(&RgbImage::from_pixel(64, 64, Rgb([n as u8, 9, 9]))),
            Self::Broken(n) => png(&pack(n))[..100 + n as usize].to_vec(),
        };
        let files = FILES.get_or_init(|| {
            let all = (0..PACKS).flat_map(|n| [Self::Upright(n), Self::Turned(n), Self::Grey(n), Self::Broken(n)]);
            all.map(|picture| {
                let bytes = make(picture);
                let id = sightline::archive::image_id(&bytes);
                (picture, (bytes, id))
            })
            .collect()
        });
        &files[&self]
    }

    fn image(self) -> ImageId {
        self.file().1
    }
}

/// A file on its way, as the model has it.
#[derive(Clone, Debug)]
struct File {
    picture: Picture,
    /// What it is to be enrolled as; none for a probe.
    label: Option<&'static str>,
    state: ItemState,
}

/// What the engine should say, in the simplest words.
#[derive(Debug, Default)]
struct Model {
    files: BTreeMap<ItemId, File>,
    /// Pictures that went through.
    done: BTreeSet<Picture>,
    gallery: BTreeMap<Picture, &'static str>,
    /// The journal's actions, in their order for each subject.
    journal: BTreeMap<String, Vec<&'static str>>,
    step: u32,
}

impl Model {
    fn record(&mut self, subject: String, action: &'static str) {
        self.journal.entry(subject).or_default().push(action);
    }

    /// A file goes through, for the first time or sent through again.
    fn through(&mut self, item: &ItemId, picture: Picture, label: Option<&'static str>, released: bool) {
        let enrolled = self.gallery.get(&picture).copied();
        let before = self.done.contains(&picture) && (label.is_none() || label == enrolled);
        let doubtful = matches!(picture, Picture::Broken(_)) || matches!(picture, Picture::Grey(_)) && !released;
        let contradicts = label.is_some() && enrolled.is_some_and(|enrolled| Some(enrolled) != label);
        let state = if before && !released {
            ItemState::Duplicate
        } else if doubtful || contradicts {
            ItemState::Quarantined
        } else if before {
            ItemState::Duplicate
        } else {
            self.done.insert(picture);
            if let Some(label) = label {
                self.gallery.insert(picture, label);
            }
            ItemState::Done
        };
        let action = match state {
            ItemState::Done => "image.done",
            ItemState::Duplicate => "image.duplicate",
            _ => "image.quarantined",
        };
        self.record(item.to_string(), action);
        self.files.insert(item.clone(), File { picture, label, state });
    }

    fn any_file(&self, random: &mut SmallRng) -> Option<(ItemId, File)> {
        let at = random.random_range(0..self.files.len().max(1));
        self.files.iter().nth(at).map(|(item, file)| (item.clone(), file.clone()))
    }

    fn is_aside(file: &File) -> bool {
        matches!(file.state, ItemState::Quarantined | ItemState::Failed)
    }
}

fn sighting(picture: Picture) -> SightingId {
    SightingId { image: picture.image(), index: 0 }
}

/// The engine under trial and the model of it.
struct Trial<'a> {
    yard: Yard,
    dir: &'a Path,
    engine: Option<Yarded>,
    model: Model,
    steps: Vec<String>,
}

impl<'a> Trial<'a> {
    fn new(dir: &'a Path) -> Self {
        let yard = Yard::at(dir, &[("engine.checkpoint_every", "8")]);
        let mut trial = Self { yard, dir, engine: None, model: Model::default(), steps: Vec::new() };
        trial.start();
        trial
    }

    fn start(&mut self) {
        let options = Options { watch: false, work: true, loader: standard("weights") };
        self.engine = Some(self.yard.try_start(options).unwrap());
    }

    fn engine(&self) -> &Yarded {
        self.engine.as_ref().unwrap()
    }

    fn settle(&self) {
        let began = Instant::now();
        loop {
            let stats = self.engine().queue_stats().unwrap();
            if stats.waiting + stats.working == 0 {
                return;
            }
            let looked = self.engine().look();
            assert!(began.elapsed() < Duration::from_secs(60), "{stats:?} {:?} {:?}", looked.halted, looked.warnings);
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn step(&mut self, random: &mut SmallRng) {
        self.model.step += 1;
        match random.random_range(0..20) {
            0..=7 => self.ingest(random),
            8..=10 => self.release_or_discard(random, true),
            11 => self.release_or_discard(random, false),
            12..=14 => self.relabel(random),
            15..=16 => self.remove(random),
            17 => self.restart(false),
            18 => self.restart(true),
            _ => self.compare(),
        }
    }

    /// Files of different pictures at once; the engine may take them in any order.
    fn ingest(&mut self, random: &mut SmallRng) {
        let mut pictures: BTreeSet<Picture> = (0..random.random_range(1..4)).map(|_| Picture::any(random)).collect();
        let label = random.random_bool(0.5).then(|| LABELS[random.random_range(0..LABELS.len())]);
        if label.is_some() {
            // What is to be enrolled has an object in it.
            pictures.retain(|picture| matches!(picture, Picture::Upright(_)));
        }
        if pictures.is_empty() {
            return;
        }
        self.steps.push(format!("ingest {pictures:?} as {label:?}"));
        let mut paths = Vec::new();
        for picture in &pictures {
            let name = format!("named/{} {picture:?}.png", self.model.step);
            paths.push(RawPath(self.yard.write(name, &picture.file().0)));
        }
        let act = Ingest { paths, label: label.map(|label| Label::new(label).unwrap()) };
        let sent = intent(act, "");
        let ingested = self.engine().ingest("anna", &sent).unwrap();
        assert!(ingested.problems.is_empty() && ingested.items.len() == pictures.len(), "{ingested:?}");
        self.settle();
        for (picture, item) in pictures.into_iter().zip(&ingested.items) {
            self.model.through(item, picture, label, false);
        }
        // Sent twice, done once.
        assert_eq!(self.engine().ingest("anna", &sent).unwrap().items, ingested.items);
    }

    fn release_or_discard(&mut self, random: &mut SmallRng, release: bool) {
        let Some((item, file)) = self.model.any_file(random) else { return };
        self.steps.push(format!("{} {file:?}", if release { "release" } else { "discard" }));
        let act: Intent<Nothing> = reasoned(Nothing {});
        let engine = self.engine();
        let done = if release { engine.release("anna", &item, &act) } else { engine.discard("anna", &item, &act) };
        if !Model::is_aside(&file) {
            assert!(matches!(done, Err(EngineError::Refused(_))), "{done:?}");
            return;
        }
        done.unwrap();
        self.settle();
        if release {
            self.model.record(item.to_string(), "queue.released");
            self.model.through(&item, file.picture, file.label, true);
        } else {
            self.model.record(item.to_string(), "queue.discarded");
            self.model.files.insert(item, File { state: ItemState::Discarded, ..file });
        }
    }

    /// A label, or one picture's sighting; and what the model has of it.
    fn any_which(&self, random: &mut SmallRng) -> (Which, Vec<Picture>) {
        if random.random() {
            let label = LABELS[random.random_range(0..LABELS.len())];
            let of = self.model.gallery.iter().filter(|(_, known)| **known == label).map(|(picture, _)| *picture);
            (Which::Label(Label::new(label).unwrap()), of.collect())
        } else {
            let picture = Picture::Upright(random.random_range(0..PACKS));
            let of = self.model.gallery.contains_key(&picture).then_some(picture);
            (Which::Sighting(sighting(picture)), of.into_iter().collect())
        }
    }

    fn relabel(&mut self, random: &mut SmallRng) {
        let (which, of) = self.any_which(random);
        let to = LABELS[random.random_range(0..LABELS.len())];
        self.steps.push(format!("relabel {of:?} to {to}"));
        let act = reasoned(Relabel { which, to: Label::new(to).unwrap() });
        let done = self.engine().relabel("anna", &act);
        if of.is_empty() {
            return assert!(matches!(done, Err(EngineError::NotFound(_))), "{done:?}");
        }
        let changed: Vec<Picture> = of.into_iter().filter(|picture| self.model.gallery[picture] != to).collect();
        assert_eq!(done.unwrap().sightings, changed.len() as u64);
        for picture in changed {
            self.model.gallery.insert(picture, to);
            self.model.record(sighting(picture).to_string(), "gallery.relabelled");
        }
        // Sent twice, done once.
        self.engine().relabel("anna", &act).unwrap();
    }

    fn remove(&mut self, random: &mut SmallRng) {
        let (which, of) = self.any_which(random);
        self.steps.push(format!("remove {of:?}"));
        let done = self.engine().remove("anna", &reasoned(Remove { which }));
        if of.is_empty() {
            return assert!(matches!(done, Err(EngineError::NotFound(_))), "{done:?}");
        }
        assert_eq!(done.unwrap().sightings, of.len() as u64);
        for picture in of {
            self.model.gallery.remove(&picture);
            self.model.record(sighting(picture).to_string(), "gallery.removed");
        }
    }

    fn restart(&mut self, lost: bool) {
        self.steps.push(if lost { "the projection is lost".into() } else { "restart".to_owned() });
        self.engine.take().unwrap().stop();
        if lost {
            fs::remove_dir_all(self.dir.join("database/store")).unwrap();
        }
        self.start();
    }

    /// Everything that the engine says against what the model says.
    fn compare(&self) {
        let (engine, model) = (self.engine(), &self.model);
        let states: BTreeMap<ItemId, ItemState> =
            engine.items(None, None, 1000, false).unwrap().into_iter().map(|item| (item.id, item.state)).collect();
        let expected: BTreeMap<ItemId, ItemState> =
            model.files.iter().map(|(item, file)| (item.clone(), file.state)).collect();
        assert_eq!(states, expected);
        let stats = engine.queue_stats().unwrap();
        let count = |state| model.files.values().filter(|file| file.state == state).count() as u64;
        let counted = [stats.done, stats.duplicate, stats.quarantined, stats.failed, stats.discarded];
        use ItemState::{Discarded, Done, Duplicate, Failed, Quarantined};
        assert_eq!(counted, [Done, Duplicate, Quarantined, Failed, Discarded].map(count));

        let mut labels: BTreeMap<String, BTreeSet<SightingId>> = BTreeMap::new();
        for (picture, label) in &model.gallery {
            labels.entry((*label).to_owned()).or_default().insert(sighting(*picture));
        }
        let listed = engine.labels(None, None, 1000).unwrap().into_iter().map(|row| {
            let sightings: BTreeSet<_> =
                engine.sightings(&row.label, None, 1000).unwrap().into_iter().map(|row| row.sighting).collect();
            assert_eq!(row.sightings, sightings.len() as u64);
            (row.label.as_str().to_owned(), sightings)
        });
        assert_eq!(listed.collect::<BTreeMap<_, _>>(), labels);
        assert_eq!(engine.gallery_stats().unwrap().sightings, model.gallery.len() as u64);

        let mut journal: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in engine.journal() {
            journal.entry(entry.subject).or_default().push(entry.action);
        }
        let expected: BTreeMap<String, Vec<String>> = model
            .journal
            .iter()
            .map(|(subject, actions)| (subject.clone(), actions.iter().map(|&action| action.to_owned()).collect()))
            .collect();
        assert_eq!(journal, expected);
    }

    /// What the gallery answers, and the proofs; then the same again after another start.
    fn end(mut self) {
        for again in [false, true] {
            if again {
                self.restart(false);
            }
            self.compare();
            let engine = self.engine();
            for n in 0..PACKS {
                let identified = engine.identify(&Picture::Turned(n).file().0).unwrap();
                let found = match &identified.answers[0].decision {
                    Decision::Accept { label, .. } => Some(label.as_str().to_owned()),
                    Decision::Abstain { .. } => None,
                };
                assert_eq!(found.as_deref(), self.model.gallery.get(&Picture::Upright(n)).copied(), "pack {n}");
            }
            for picture in &self.model.done {
                assert_eq!(engine.original(picture.image()).unwrap().0, picture.file().0);
            }
            engine.prove();
            assert!(engine.look().warnings.is_empty(), "{:?}", engine.look().warnings);
        }
        self.engine.take().unwrap().stop();
    }
}

fn one_seed(seed: u64) -> Result<usize, String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let dir = scratch();
    let mut trial = Trial::new(dir.path());
    let lived = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..random.random_range(1..16) {
            trial.step(&mut random);
        }
    }));
    let steps = trial.steps.clone();
    let lived = lived.and_then(|()| catch_unwind(AssertUnwindSafe(|| trial.end())));
    lived.map(|()| steps.len()).map_err(|panic| format!("{}; after {steps:#?}", said(panic.as_ref())))
}

#[test]
fn the_engine_does_what_its_model_does() {
    let mut campaign = Campaign::new(
        "simulation",
        "any sequence of what files and operators do, restarts and lost projections among it, ends as the model of it says",
        100,
        10_000,
    );
    let (next, told) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        // More than there are cores: an engine that stops waits more than it works.
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= campaign.runs {
                        return;
                    }
                    let seed = campaign.seed + run;
                    let ended = one_seed(seed);
                    told.lock().unwrap().push((run, seed, ended));
                }
            });
        }
    });
    for (run, seed, ended) in told.into_inner().unwrap() {
        match ended {
            Ok(steps) => campaign.count(if steps < 8 { "the same after up to 7 steps" } else { "the same after more" }),
            Err(why) => campaign.fail(run, format!("SIGHTLINE_SEED={seed} SIGHTLINE_TORTURE_SIMULATION=1: {why}")),
        }
    }
    campaign.end();
}
