//! Opening a workspace: the lock, the rooms in their order, the replay, the threads; and closing it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::admission::Admission;
use super::core::{Engine, ModelsState, Truth, lock};
use super::intents::Intents;
use super::lane::Lane;
use super::meters::Meters;
use super::models::Loader;
use super::outcome::quarantined_data;
use super::pipeline;
use super::queue::Queue;
use super::recall::Recall;
use super::space::Space;
use crate::archive::{Archive, image_id};
use crate::config::{Config, VectorType};
use crate::domain::view::{Event, ModelStatus};
use crate::domain::{Draft, Fact, ImageFailed, ItemId, ItemState, RawPath};
use crate::files;
use crate::gallery::{self, Gallery};
use crate::intake::claim::Claims;
use crate::intake::watch::{Notice, Watcher};
use crate::journal::{self, Journal};
use crate::store::Store;

/// Claims that wait in memory at most; beyond it, files stay in their watched folders.
const WAITING: usize = 10_000;
/// Between checkpoints where fewer than `engine.checkpoint_every` entries came.
const ANCHOR: Duration = Duration::from_secs(10);

/// Between looks at the room on the disk.
const LOOK: Duration = Duration::from_secs(1);

/// Why a workspace cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another engine has it.
    #[error(
        "the workspace {workspace} is in use by process {pid}, which does not answer on its socket; wait for it or stop it"
    )]
    InUse {
        /// The folder.
        workspace: PathBuf,
        /// The other engine.
        pid: String,
    },
    /// A room did not open.
    #[error("{0}")]
    Room(String),
    /// The file system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

pub(super) fn room(error: impl std::fmt::Display) -> StartError {
    StartError::Room(error.to_string())
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Io { doing, path, source }
}

/// How an engine is started.
pub struct Options {
    /// Whether folders are watched.
    pub watch: bool,
    /// Whether what waits in the queue is worked on.
    pub work: bool,
    /// Makes the models.
    pub loader: Loader,
}

/// A running engine; [`Running::stop`] ends it in good order.
pub struct Running {
    /// The engine.
    pub engine: Arc<Engine>,
    watcher: Option<Watcher>,
    threads: Vec<JoinHandle<()>>,
}

/// Takes the workspace's lock, or says who has it.
pub(super) fn take_lock(config: &Config) -> Result<File, StartError> {
    let path = config.database().join("engine.lock");
    let options = &mut File::options();
    let mut file = files::open_with(&path, options.read(true).write(true).create(true).truncate(false))
        .map_err(failed("open", &path))?;
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        let pid = files::read_to_string(&path).unwrap_or_default().trim().to_owned();
        return Err(StartError::InUse { workspace: config.workspace.clone(), pid });
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed("write", &path))?;
    Ok(file)
}

/// Opens a workspace and starts its engine.
///
/// # Errors
/// [`StartError`] says which room does not open, and why.
pub fn start(config: Config, options: Options) -> Result<Running, StartError> {
    let database = config.database();
    make_folders(&database)?;
    restrict(&database)?;
    let lock_file = take_lock(&config)?;
    let mut warnings = Vec::new();
    let (space, said) = Space::open(&config);
    warnings.extend(said);

    let journal_options =
        journal::Options { checkpoint_every: config.engine.checkpoint_every, ..journal::Options::default() };
    let (mut journal, report) = Journal::open(&database.join("journal"), journal_options).map_err(room)?;
    for cut in report.cut {
        warnings.push(format!(
            "the journal's unfinished tail was cut ({}: {} bytes; {}); the bytes are kept in {}",
            cut.file.display(),
            cut.bytes,
            cut.detail,
            cut.kept.display()
        ));
    }
    let reader = journal.reader();
    let store = open_store(&database.join("store"), &mut journal, &mut warnings)?;
    let gallery = open_gallery(&config)?;
    let quarantine = database.join("quarantine");
    let claims = Arc::new(Claims::open(&database.join("queue")).map_err(room)?);
    let archive = Archive::open(&database.join("archive")).map_err(room)?;
    let (events, _) = broadcast::channel(256);

    let idle = |path: &Path| ModelStatus {
        path: RawPath(path.to_owned()),
        state: if path.is_file() { "idle".into() } else { "missing".into() },
        detail: if path.is_file() { "not needed yet".into() } else { "no such file".into() },
        untrained: false,
    };
    let models = ModelsState {
        detector: idle(&config.models.detector),
        embedder: idle(&config.models.embedder),
        device: None,
        fingerprint: None,
        crops: super::models::shown_policy(&config.crop),
    };
    let engine = Arc::new(Engine {
        watching: options.watch,
        truth: Mutex::new(Truth { journal, closed: false }),
        intents: Intents::default(),
        reader,
        store,
        gallery: Admission::default(),
        doubts: Mutex::default(),
        indexing: Mutex::default(),
        archive,
        claims,
        quarantine,
        space,
        queue: Queue::new(WAITING),
        lane: Lane::new(config.engine.ahead),
        meters: Meters::new(),
        recall: Recall::default(),
        perceptual: RwLock::default(),
        models: Mutex::new(models),
        warnings: Mutex::new(Vec::new()),
        halted: Mutex::new(None),
        stopping: AtomicBool::new(false),
        dirty: AtomicBool::new(true),
        events,
        config,
        _lock: lock_file,
    });
    let filling = engine.fill(gallery)?;
    let settings = serde_json::to_vec(&engine.config).map_err(room)?;
    let started = Fact::EngineStarted { version: env!("CARGO_PKG_VERSION").into(), config: image_id(&settings) };
    if options.watch {
        engine.commit(vec![Draft::engine(started)]).map_err(room)?;
    }
    warnings.into_iter().for_each(|warning| engine.warn(warning));
    engine.take_up()?;

    let mut threads = vec![engine.remember_pictures()?];
    threads.extend(filling);
    let mut spawn = |name: String, body: Box<dyn FnOnce() + Send>| -> Result<(), StartError> {
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(body)
            .map_err(failed("start a thread for", Path::new("the engine")))?;
        threads.push(thread);
        Ok(())
    };
    if options.work {
        for number in 0..engine.config.engine.decoders {
            let engine = Arc::clone(&engine);
            spawn(
                format!("decode-{number}"),
                Box::new(move || guarded(&engine, "decoding", || pipeline::decode(&engine))),
            )?;
        }
    }
    let owner = Arc::clone(&engine);
    let loader = options.loader;
    spawn("models".into(), Box::new(move || guarded(&owner, "the models", || pipeline::run(&owner, &loader))))?;
    let teller = Arc::clone(&engine);
    spawn("events".into(), Box::new(move || teller.keep_telling()))?;
    if options.watch {
        let keeper = Arc::clone(&engine);
        spawn("index".into(), Box::new(move || guarded(&keeper, "the gallery's index", || keeper.keep_indexes())))?;
    }
    let watcher = if options.watch { Some(engine.watch()?) } else { None };
    Ok(Running { engine, watcher, threads })
}

/// Makes the rooms' folders; their names are on the disk when this returns. Rooms sync what is in their folders: that
/// would be lost with a folder whose own name was not.
fn make_folders(database: &Path) -> Result<(), StartError> {
    let above = |dir: &Path| dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map(Path::to_owned);
    // Each folder that is new, up to the first that was there.
    let new: Vec<PathBuf> =
        std::iter::successors(Some(database.to_owned()), |dir| above(dir)).take_while(|dir| !dir.is_dir()).collect();
    for room in ["journal", "gallery", "archive", "quarantine", "queue"] {
        let dir = database.join(room);
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&dir).map_err(failed("make", &dir))?;
    }
    // Also those that were there: a process that was killed may have made them and not come to the sync.
    let parents = new.iter().filter_map(|dir| above(dir));
    for dir in [database.to_owned()].into_iter().chain(above(database)).chain(parents) {
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", &dir))?;
    }
    Ok(())
}

/// The database is its owner's and group's: others have no business with patients' data.
fn restrict(database: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(database).is_ok_and(|meta| meta.permissions().mode() & 0o777 == 0o750) {
        return Ok(());
    }
    fs::set_permissions(database, fs::Permissions::from_mode(0o750)).map_err(failed("set the permissions of", database))
}

/// Opens the projection and brings it up to the journal; an odd one is made anew.
fn open_store(dir: &Path, journal: &mut Journal, warnings: &mut Vec<String>) -> Result<Store, StartError> {
    let (mut store, opened) = Store::open(dir).map_err(room)?;
    let mut cause = opened.set_aside.map(|(cause, kept)| format!("{cause}; the old one is kept in {}", kept.display()));
    let applied = store.applied();
    let foreign = applied > journal.len()
        || applied > 0 && !journal.entry(applied - 1).map_err(room)?.sequence.eq(&(applied - 1))
        || applied > 0 && !store.came_from(&journal.entry(applied - 1).map_err(room)?);
    if foreign {
        drop(store);
        let kept = Store::set_aside(dir).map_err(room)?;
        cause = Some(format!("it was made from another journal; the old one is kept in {}", kept.display()));
        store = Store::open(dir).map_err(room)?.0;
    }
    replay(&store, journal)?;
    if let Some(cause) = cause {
        warnings.push(format!("the projection was made anew from the journal ({} entries): {cause}", journal.len()));
        let entries = journal.append(vec![Draft::engine(Fact::StoreRebuilt { cause })]).map_err(room)?;
        store.apply(&entries).map_err(room)?;
    }
    Ok(store)
}

fn replay(store: &Store, journal: &Journal) -> Result<(), StartError> {
    loop {
        let entries = journal.read_range(store.applied(), 1000).map_err(room)?;
        if entries.is_empty() {
            return Ok(());
        }
        store.apply(&entries).map_err(room)?;
    }
}

/// Opens the gallery's files; nothing is enrolled yet.
fn open_gallery(config: &Config) -> Result<Gallery, StartError> {
    let dtype = match config.vector_type {
        VectorType::F32 => gallery::Dtype::F32,
        VectorType::F16 => gallery::Dtype::F16,
    };
    Gallery::open(&config.database().join("gallery"), gallery::Options { dtype, ..gallery::Options::default() })
        .map_err(room)
}

/// A thread that panics must not go unnoticed: the engine halts and says so.
pub(super) fn guarded(engine: &Engine, what: &str, body: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
        // Whoever waits for an answer must not wait for ever.
        engine.lane.close();
        engine.halt(format!(
            "the thread for {what} failed; its cause is in database/logs. Nothing is lost: restart the engine"
        ));
    }
}

impl Engine {
    /// Takes up what a stop or a crash left: claims to be worked on, files to be tidied.
    fn take_up(&self) -> Result<(), StartError> {
        for claim in self.claims.pending().map_err(room)? {
            let record = self.store.item(&claim.facts.item).map_err(room)?;
            match record {
                // Its outcome is recorded; only the tidying was missed.
                Some(record) if record.state != ItemState::Waiting => {
                    self.claims.finish(&claim.facts.item).map_err(room)?
                }
                _ => self.queue.restore(claim),
            }
        }
        // Files that an operator sent through again, recorded but not yet back in the queue's folder.
        let mut after: Option<ItemId> = None;
        loop {
            let page = self.store.items(Some(ItemState::Waiting), after.as_ref(), 500, false).map_err(room)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for record in page.into_iter().filter(|record| !self.queue.holds(&record.id)) {
                let file = self.file_facts(record.described).map_err(room)?;
                let aside = quarantined_data(&self.quarantine, &record.id);
                match self.claims.put_back(&file, &aside) {
                    Ok(claim) => self.queue.restore(claim),
                    // Somebody took its bytes away: that is said and recorded, and keeps nothing else from working.
                    Err(error) => {
                        self.warn(format!("{}: it was to be sent through again: {error}", record.id));
                        let error = error.to_string();
                        let fact = Fact::ImageFailed(Box::new(ImageFailed { file, attempts: 0, error }));
                        self.commit(vec![Draft::engine(fact)]).map_err(room)?;
                        self.claims.finish(&record.id).map_err(room)?;
                    }
                }
            }
        }
        self.tidy_quarantine()
    }

    /// Removes from quarantine what has left it by a recorded fact.
    fn tidy_quarantine(&self) -> Result<(), StartError> {
        for file in fs::read_dir(&self.quarantine).map_err(failed("read", &self.quarantine))?.flatten() {
            let path = file.path();
            let item = ItemId(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
            if !item.is_well_formed() {
                continue;
            }
            let state = self.store.item(&item).map_err(room)?.map(|record| record.state);
            if matches!(state, Some(ItemState::Done | ItemState::Duplicate | ItemState::Discarded)) {
                self.forget_aside(&item);
            }
        }
        Ok(())
    }

    fn watch(self: &Arc<Self>) -> Result<Watcher, StartError> {
        let engine = Arc::clone(self);
        let notice = move |notice| match notice {
            Notice::Claimed(claim) => {
                engine.dirty.store(true, Ordering::Relaxed);
                engine.queue.push(*claim)
            }
            Notice::Warning(text) => {
                engine.warn(text);
                true
            }
        };
        let engine = Arc::clone(self);
        let room = move || !engine.space.is_cramped();
        Watcher::start(&self.config.watch, &self.config.intake, Arc::clone(&self.claims), room, notice)
            .map_err(failed("watch", &self.config.workspace))
    }

    /// Signs a checkpoint over what the last one does not cover; a quiet hour must not stay unproven.
    fn anchor(&self) {
        if let Ok(mut truth) = self.truth.try_lock()
            && lock(&self.halted).is_none()
            && let Err(error) = truth.journal.checkpoint()
        {
            drop(truth);
            self.halt(format!("the journal cannot be anchored ({error}); make room or mend the disk, then restart"));
        }
    }

    fn keep_telling(&self) {
        let mut last = (0, 0);
        let (mut anchored, mut looked) = (Instant::now(), Instant::now());
        while !self.stopping.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            let counts = self.queue.counts();
            if counts != last {
                last = counts;
                self.dirty.store(true, Ordering::Relaxed);
            }
            self.tell_if_changed();
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look_at_space();
                self.look_at_segments();
            }
            if anchored.elapsed() >= ANCHOR {
                anchored = Instant::now();
                self.anchor();
            }
        }
    }
}

impl Running {
    /// Stops in good order: nothing new is taken, what is on its way is put back or recorded, the
    /// journal is anchored and the projection written out.
    pub fn stop(mut self) {
        let engine = &self.engine;
        engine.tell(Event::Stopping);
        engine.stopping.store(true, Ordering::Relaxed);
        engine.queue.close();
        drop(self.watcher.take());
        engine.lane.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine had failed");
            }
        }
        if engine.watching && lock(&engine.halted).is_none() {
            let (waiting, working) = engine.queue.counts();
            let stopped = Fact::EngineStopped { waiting: waiting + working };
            if let Err(error) = engine.commit(vec![Draft::engine(stopped)]) {
                tracing::error!(%error, "the stop could not be recorded");
            }
        }
        if let Ok(mut truth) = engine.truth.lock() {
            truth.closed = true;
            if let Err(error) = truth.journal.checkpoint() {
                tracing::error!(%error, "the journal could not be anchored");
            }
        }
        if let Err(error) = engine.store.flush() {
            tracing::error!(%error, "the projection could not be written out; it is caught up on the next start");
        }
    }
}

/// Sets the projection aside so that the next start makes it anew; no engine may be running.
///
/// # Errors
/// When an engine has the workspace, or the folder cannot be renamed.
pub fn set_projection_aside(config: &Config) -> Result<Option<PathBuf>, StartError> {
    let _lock = take_lock(config)?;
    let dir = config.database().join("store");
    if !dir.exists() {
        return Ok(None);
    }
    Store::set_aside(&dir).map(Some).map_err(room)
}
