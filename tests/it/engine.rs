//! The engine in this process, with stand-in models: every file has one outcome, whatever happens.

mod acts;
mod arrivals;
mod crashes;
mod gallery;
mod index;
mod many;
mod troubles;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use sightline::api::client::intent;
use sightline::config::{Config, documented_yaml};
use sightline::domain::view::{Ingest, Intent, Item, Role, Status, Trusted};
use sightline::domain::{Entry, Fact, FileFacts, ImageId, ItemState, Label, RawPath};
use sightline::engine::{self, Engine, Loader, Models, Options, Running};
use sightline::vision::fake::{TestDetector, TestEmbedder};
use sightline::vision::{Detect, Embed};

use crate::support::encoded;

/// How long a test waits for what should happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// A workspace in a temporary folder.
pub(crate) struct Yard {
    /// Kept while the workspace is its own.
    _dir: Option<tempfile::TempDir>,
    config: Config,
}

impl Yard {
    /// A workspace with the default settings but for these, and quick watching.
    fn new(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let yard = Self::at(dir.path(), settings);
        Self { _dir: Some(dir), ..yard }
    }

    /// The same in a folder that is there.
    pub(crate) fn at(dir: &Path, settings: &[(&str, &str)]) -> Self {
        let mut overrides = vec![
            ("crop.image_size", "56".to_owned()),
            ("intake.settle_ms", "30".to_owned()),
            ("intake.rescan_seconds", "1".to_owned()),
            ("engine.ballast_mb", "0".to_owned()),
        ];
        overrides.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let config = Config::parse(&documented_yaml(&overrides), dir).unwrap();
        for watch in &config.watch {
            fs::create_dir_all(&watch.path).unwrap();
        }
        Self { _dir: None, config }
    }

    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.config.workspace.join(below)
    }

    /// Writes a file below the workspace, making its folders; gives its path.
    pub(crate) fn write(&self, below: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn start(&self) -> Yarded {
        self.start_with(standard("weights"))
    }

    pub(crate) fn start_with(&self, loader: Loader) -> Yarded {
        self.try_start(Options { watch: true, work: true, loader }).unwrap()
    }

    pub(crate) fn try_start(&self, options: Options) -> Result<Yarded, engine::StartError> {
        engine::start(self.config.clone(), options).map(|running| Yarded(Some(running)))
    }
}

/// A running engine that is stopped in good order when dropped.
pub(crate) struct Yarded(Option<Running>);

impl Deref for Yarded {
    type Target = Arc<Engine>;
    fn deref(&self) -> &Arc<Engine> {
        &self.0.as_ref().unwrap().engine
    }
}

impl Drop for Yarded {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.stop();
        }
    }
}

impl Yarded {
    pub(crate) fn stop(mut self) {
        self.0.take().unwrap().stop();
    }

    /// Waits until so many files have an outcome and nothing is on its way.
    pub(crate) fn wait(&self, outcomes: u64) {
        until(&format!("{outcomes} outcomes"), || {
            let stats = self.queue_stats().unwrap();
            let ended = stats.done + stats.duplicate + stats.quarantined + stats.failed + stats.discarded;
            let there = ended == outcomes && stats.waiting + stats.working == 0;
            if there { Ok(()) } else { Err(format!("{stats:?}, {:?}", self.look().warnings)) }
        });
    }

    pub(crate) fn look(&self) -> Status {
        self.status("tester", Role::Viewer)
    }

    pub(crate) fn in_state(&self, state: ItemState) -> Vec<Item> {
        self.items(Some(state), None, 1000, false).unwrap()
    }

    pub(crate) fn journal(&self) -> Vec<Entry> {
        (0..self.look().entries).map(|n| self.journal_entry(n).unwrap()).collect()
    }

    pub(crate) fn warned(&self, text: &str) -> bool {
        self.look().warnings.iter().any(|warning| warning.contains(text))
    }

    /// Queues a picture for a label, or as a probe, and waits for its outcome.
    pub(crate) fn queue(&self, path: &Path, label: Option<&str>) -> Item {
        let act = Ingest { paths: vec![RawPath(path.to_owned())], label: label.map(|l| Label::new(l).unwrap()) };
        let ingested = self.ingest("tester", &intent(act, "")).unwrap();
        assert!(ingested.problems.is_empty(), "{:?}", ingested.problems);
        let id = &ingested.items[0];
        until("an outcome", || {
            let item = self.item(id).unwrap().item;
            let ended = !matches!(item.state, ItemState::Waiting | ItemState::Working);
            if ended { Ok(item) } else { Err(format!("{item:?}, {:?}", self.look().warnings)) }
        })
    }

    pub(crate) fn prove(&self) {
        let journal = self.journal_verify(&Trusted::default()).unwrap();
        assert!(journal.ok, "{:?}", journal.problems);
        let db = self.db_verify().unwrap();
        assert!(db.ok, "{:?}", db.problems);
    }
}

/// Waits until it is so; panics with the last answer otherwise.
pub(crate) fn until<T>(what: &str, mut so: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match so() {
            Ok(done) => return done,
            Err(state) => {
                assert!(began.elapsed() < PATIENCE, "{what} did not come: {state}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

pub(crate) fn reasoned<T>(act: T) -> Intent<T> {
    intent(act, "the test wants it")
}

pub(crate) fn models(detector: Box<dyn Detect>, embedder: Box<dyn Embed>) -> Models {
    Models {
        detector: Some(detector),
        detector_id: None,
        trained_size: None,
        embedder,
        device: "test".into(),
        details: ["test".into(), "test".into()],
        untrained: [false, false],
    }
}

/// The stand-ins, with weights of a name.
pub(crate) fn standard(weights: &str) -> Loader {
    let weights = weights.to_owned();
    Box::new(move |_| Ok(models(Box::new(TestDetector::default()), Box::new(TestEmbedder::named(&weights)))))
}

/// A pack: 4 x 4 patches of its own colours, so that packs are unlike each other, and unlike themselves turned.
pub(crate) fn pack(seed: u32) -> RgbImage {
    let colour = |patch: u32, channel: u32| {
        let mut hash = (seed * 16 + patch) * 3 + channel + 1;
        for _ in 0..3 {
            hash = (hash ^ (hash >> 16)).wrapping_mul(0x045D_9F3B);
        }
        (hash >> 8) as u8
    };
    RgbImage::from_fn(96, 96, |x, y| {
        let patch = y / 24 * 4 + x / 24;
        Rgb([colour(patch, 0), colour(patch, 1), colour(patch, 2)])
    })
}

pub(crate) fn png(image: &RgbImage) -> Vec<u8> {
    encoded(image, image::ImageFormat::Png)
}

fn outcome(entry: &Entry) -> Option<(FileFacts, Option<ImageId>)> {
    match entry.fact().unwrap() {
        Fact::ImageDone(done) => Some((done.file, Some(done.image))),
        Fact::ImageDuplicate(duplicate) => Some((duplicate.file, Some(duplicate.image))),
        Fact::ImageQuarantined(quarantined) => Some((quarantined.file, Some(quarantined.image))),
        Fact::ImageFailed(failed) => Some((failed.file, None)),
        _ => None,
    }
}

/// Proves that each dropped file has exactly one outcome in the journal, that its bytes are what was dropped, that
/// nothing is left in the queue's folder or the watched ones, and that nothing else was recorded.
pub(crate) fn accounted(yard: &Yard, engine: &Yarded, dropped: &BTreeMap<PathBuf, Vec<u8>>) {
    let mut outcomes: BTreeMap<PathBuf, Vec<Entry>> = BTreeMap::new();
    for entry in engine.journal() {
        if let Some((file, image)) = outcome(&entry) {
            let bytes = dropped.get(&file.path.0).unwrap_or_else(|| panic!("{} was never dropped", file.path));
            assert_eq!(image, Some(sightline::archive::image_id(bytes)), "{}", file.path);
            assert_eq!(file.bytes, bytes.len() as u64);
            outcomes.entry(file.path.0).or_default().push(entry);
        }
    }
    for (path, bytes) in dropped {
        let entries = outcomes.get(path).map_or(&[][..], Vec::as_slice);
        assert_eq!(entries.len(), 1, "{}: {entries:?}", RawPath(path.clone()));
        assert!(!path.exists(), "{} is still there", RawPath(path.clone()));
        match entries[0].fact().unwrap() {
            Fact::ImageQuarantined(quarantined) => {
                let aside = yard.path(format!("database/quarantine/{}.data", quarantined.file.item));
                assert_eq!(&fs::read(aside).unwrap(), bytes);
            }
            Fact::ImageDone(done) => assert_eq!(&engine.original(done.image).unwrap().0, bytes),
            Fact::ImageDuplicate(duplicate) => assert!(engine.original(duplicate.of).is_ok()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fs::read_dir(yard.path("database/queue")).unwrap().count(), 0, "the queue's folder is empty");
    engine.prove();
}
