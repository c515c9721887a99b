//! The engine's state, and the one way in which anything becomes true.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::broadcast;

use super::EngineError;
use super::admission::Admission;
use super::doubts::Doubts;
use super::indexes::Indexing;
use super::intents::Intents;
use super::lane::Lane;
use super::meters::Meters;
use super::pipeline::Question;
use super::prepare::Prepared;
use super::queue::Queue;
use super::recall::Recall;
use super::space::Space;
use crate::archive::Archive;
use crate::config::Config;
use crate::domain::view::{Event, ModelStatus, QueueStats, Role};
use crate::domain::{Draft, Enrolled, Entry, Fact, Fingerprint, SightingId};
use crate::gallery::{Gallery, GalleryError};
use crate::intake::claim::Claims;
use crate::intake::dedupe::{PerceptualHash, PerceptualIndex};
use crate::journal::{Journal, Reader};
use crate::store::Store;
use crate::vision::CropPolicy;

/// What the model thread says about itself.
#[derive(Clone, Debug)]
pub(super) struct ModelsState {
    pub(super) detector: ModelStatus,
    pub(super) embedder: ModelStatus,
    pub(super) device: Option<String>,
    pub(super) fingerprint: Option<Fingerprint>,
    /// How crops are cut; until the embedder is loaded, as far as the settings alone say.
    pub(super) crops: CropPolicy,
}

/// What only one thread at a time may touch: the journal.
pub(super) struct Truth {
    pub(super) journal: Journal,
    /// Set when the workspace has been given back: nothing is recorded any more.
    pub(super) closed: bool,
}

/// The engine of a workspace. Its public methods are the interface's.
pub struct Engine {
    pub(super) config: Config,
    pub(super) watching: bool,
    pub(super) truth: Mutex<Truth>,
    pub(super) intents: Intents,
    pub(super) reader: Reader,
    pub(super) store: Store,
    pub(super) gallery: Admission,
    pub(super) doubts: Mutex<Doubts>,
    pub(super) indexing: Mutex<Indexing>,
    pub(super) archive: Archive,
    pub(super) claims: Arc<Claims>,
    pub(super) quarantine: PathBuf,
    pub(super) queue: Queue,
    pub(super) lane: Lane<Prepared, Question>,
    pub(super) meters: Meters,
    pub(super) recall: Recall,
    pub(super) space: Space,
    pub(super) perceptual: RwLock<PerceptualIndex>,
    pub(super) models: Mutex<ModelsState>,
    pub(super) warnings: Mutex<Vec<String>>,
    pub(super) halted: Mutex<Option<String>>,
    pub(super) stopping: AtomicBool,
    pub(super) dirty: AtomicBool,
    pub(super) events: broadcast::Sender<Event>,
    /// The workspace is ours as long as anything that could write to it is alive: a request under way, too.
    pub(super) _lock: File,
}

/// Locks what stays whole even if a holder panicked: plain values, replaced in one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a fact changes what is enrolled.
fn is_about_gallery(fact: &Fact) -> bool {
    match fact {
        Fact::ImageDone(done) => done.sightings.iter().any(|sighting| sighting.enrolled.is_some()),
        Fact::GalleryImported { .. }
        | Fact::GalleryReembedded { .. }
        | Fact::GalleryRelabelled { .. }
        | Fact::GalleryRemoved { .. } => true,
        _ => false,
    }
}

/// What an operator is told of enrolled sightings whose vectors are damaged.
pub(super) fn damaged_sentence(count: usize) -> String {
    format!(
        "the vectors of {count} enrolled sightings are damaged, so no answer can be trusted; `sightline gallery reembed` makes them anew from the originals (imported ones: import their file again, or remove them)"
    )
}

impl Engine {
    /// Records facts: on the disk first, then in the views. When this returns they are true.
    pub(super) fn commit(&self, drafts: Vec<Draft>) -> Result<Vec<Entry>, EngineError> {
        self.commit_locked(&mut *self.truth()?, drafts)
    }

    /// Holds the journal, so that what an act has found true stays so until it is recorded.
    pub(super) fn truth(&self) -> Result<MutexGuard<'_, Truth>, EngineError> {
        let held = self.truth.lock();
        held.map_err(|_| EngineError::Unavailable("the journal's holder failed; restart the engine".into()))
    }

    pub(super) fn commit_locked(&self, truth: &mut Truth, drafts: Vec<Draft>) -> Result<Vec<Entry>, EngineError> {
        if let Some(why) = lock(&self.halted).clone() {
            return Err(EngineError::Unavailable(why));
        }
        if truth.closed {
            return Err(EngineError::Unavailable("the engine has stopped; nothing was done".into()));
        }
        let entries = truth.journal.append(drafts).map_err(|error| {
            self.halt(format!("the journal cannot be written ({error}); nothing more is taken in. Make room or mend the disk, then restart"));
            EngineError::Failed(error.to_string())
        })?;
        if let Err(error) =
            self.store.apply(&entries).map_err(EngineError::failed).and_then(|()| self.reflect(&entries))
        {
            // The facts are true; only a view is behind. A restart replays them.
            self.halt(format!("a view of the journal cannot be kept up ({error}); nothing is lost: restart the engine to have it made anew"));
        }
        self.dirty.store(true, Ordering::Relaxed);
        Ok(entries)
    }

    /// Brings what is held in memory up to the entries. Whoever records anything about the gallery has waited for it.
    fn reflect(&self, entries: &[Entry]) -> Result<(), EngineError> {
        let facts = entries.iter().map(Entry::fact).collect::<Result<Vec<Fact>, _>>().map_err(EngineError::failed)?;
        // One lock for all of them: nobody sees a label that is half renamed.
        let mut gallery = if facts.iter().any(is_about_gallery) { Some(self.write_gallery()?) } else { None };
        for fact in facts {
            if let Fact::ImageDone(done) = &fact
                && let Some(hash) = PerceptualHash::from_hex(&done.perceptual)
            {
                self.perceptual.write().unwrap_or_else(PoisonError::into_inner).insert(hash, done.image);
            }
            let Some(gallery) = &mut gallery else { continue };
            match fact {
                Fact::ImageDone(done) => {
                    for sighting in done.sightings {
                        if let Some(enrolled) = sighting.enrolled {
                            let id = SightingId { image: done.image, index: sighting.index };
                            self.admit(gallery, id, enrolled)?;
                        }
                    }
                }
                Fact::GalleryImported { sighting, enrolled, .. } | Fact::GalleryReembedded { sighting, enrolled } => {
                    self.admit(gallery, sighting, enrolled)?;
                }
                Fact::GalleryRelabelled { sighting, label } => drop(gallery.relabel(&sighting, label)),
                Fact::GalleryRemoved { sighting } => drop(gallery.remove(&sighting)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Enrols a sighting whose entry is recorded. One whose vectors somebody has hurt meanwhile counts as damaged.
    fn admit(&self, gallery: &mut Gallery, sighting: SightingId, enrolled: Enrolled) -> Result<(), EngineError> {
        match gallery.admit(sighting, enrolled.label, enrolled.fingerprint, &enrolled.vectors) {
            Err(error @ GalleryError::Row { .. }) => {
                gallery.miss(sighting);
                tracing::error!("{}", self.refused(error));
                Ok(())
            }
            admitted => admitted.map_err(EngineError::failed),
        }
    }

    /// Stops taking work; what runs ends, nothing is acknowledged any more.
    pub(super) fn halt(&self, why: String) {
        tracing::error!(%why, "halted");
        let mut halted = lock(&self.halted);
        if halted.is_none() {
            self.tell(Event::Warning { text: why.clone() });
            *halted = Some(why);
        }
    }

    /// Whether work should be left alone: stopping, halted, or no room for its outcome.
    pub(super) fn is_idle(&self) -> bool {
        self.stopping.load(Ordering::Relaxed) || self.space.is_cramped() || lock(&self.halted).is_some()
    }

    /// Remembers something that an operator should know, and tells the consoles.
    pub fn warn(&self, text: String) {
        tracing::warn!("{text}");
        let mut warnings = lock(&self.warnings);
        if warnings.contains(&text) {
            return;
        }
        if warnings.len() >= 100 {
            warnings.remove(0);
        }
        warnings.push(text.clone());
        self.tell(Event::Warning { text });
    }

    /// What an operator should know, oldest first.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    pub(super) fn tell(&self, event: Event) {
        // No console is no error.
        drop(self.events.send(event));
    }

    /// What a user may do: root and the engine's own user anything, others what `access` gives to their name.
    #[must_use]
    pub fn role_of(&self, uid: u32, name: &str) -> Role {
        let access = &self.config.access;
        let listed = |names: &[String]| names.iter().any(|listed| listed == name);
        if uid == 0 || uid == rustix::process::geteuid().as_raw() || listed(&access.approvers) {
            Role::Approver
        } else if listed(&access.operators) {
            Role::Operator
        } else {
            Role::Viewer
        }
    }

    /// The most bytes a picture may have (`intake.max_file_mb`).
    #[must_use]
    pub fn max_file_bytes(&self) -> u64 {
        self.config.intake.max_file_bytes
    }

    /// The engine's events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// What a console needs to know that its views are old.
    #[must_use]
    pub fn changed(&self) -> Event {
        Event::Changed { entries: self.reader.len(), queue: self.queue_stats().unwrap_or_default() }
    }

    /// Tells the consoles once if anything has changed since the last time.
    pub(super) fn tell_if_changed(&self) {
        if self.dirty.swap(false, Ordering::Relaxed) {
            self.tell(self.changed());
        }
    }

    /// Counts by state.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn queue_stats(&self) -> Result<QueueStats, EngineError> {
        let counts = self.store.counts().map_err(EngineError::failed)?;
        let (waiting, working) = self.queue.counts();
        let count = |state| counts.get(&state).copied().unwrap_or(0);
        use crate::domain::ItemState;
        Ok(QueueStats {
            waiting,
            working,
            done: count(ItemState::Done),
            duplicate: count(ItemState::Duplicate),
            quarantined: count(ItemState::Quarantined),
            failed: count(ItemState::Failed),
            discarded: count(ItemState::Discarded),
        })
    }
}
