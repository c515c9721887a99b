//! The enrolled sightings, read into the gallery: by the start itself where they are few, behind it where they are many.
//!
//! Nobody can touch the gallery before it is whole: an answer from a part of it could be the next of kin where the pack
//! itself is in the other part. Whoever needs it waits; nothing about it can be recorded meanwhile.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::EngineError;
use super::core::{Engine, damaged_sentence, lock};
use super::start::{StartError, failed, guarded, room};
use crate::domain::view::Reading;
use crate::gallery::{Gallery, GalleryError};

/// With more sightings on record than this the engine answers before they are read.
const FEW: u64 = 20_000;
/// Between looks whether the gallery is whole, for who waits for it.
const LOOK: Duration = Duration::from_millis(10);
/// Sightings between reports of how far it is.
const REPORT: u64 = 4096;

/// The gallery, once it is whole.
#[derive(Default)]
pub(super) struct Admission {
    whole: OnceLock<RwLock<Gallery>>,
    done: AtomicU64,
    of: AtomicU64,
}

impl Engine {
    /// The gallery; waits until it is whole.
    ///
    /// # Errors
    /// The engine stops or halts before it is.
    fn whole_gallery(&self) -> Result<&RwLock<Gallery>, EngineError> {
        loop {
            if let Some(whole) = self.gallery.whole.get() {
                return Ok(whole);
            }
            if let Some(why) = lock(&self.halted).clone() {
                return Err(EngineError::Unavailable(why));
            }
            if self.stopping.load(Ordering::Relaxed) {
                return Err(EngineError::Unavailable(
                    "the engine stops before it has read the gallery; nothing was done".into(),
                ));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The gallery to look things up in; waits until it is whole.
    ///
    /// # Errors
    /// The engine stops or halts before it is.
    pub(super) fn read_gallery(&self) -> Result<RwLockReadGuard<'_, Gallery>, EngineError> {
        Ok(self.whole_gallery()?.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The gallery to change; waits until it is whole.
    ///
    /// # Errors
    /// The engine stops or halts before it is.
    pub(super) fn write_gallery(&self) -> Result<RwLockWriteGuard<'_, Gallery>, EngineError> {
        Ok(self.whole_gallery()?.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The gallery, if it is whole already; otherwise how far it has been read.
    pub(super) fn gallery_so_far(&self) -> Result<RwLockReadGuard<'_, Gallery>, Reading> {
        match self.gallery.whole.get() {
            Some(whole) => Ok(whole.read().unwrap_or_else(PoisonError::into_inner)),
            None => Err(Reading {
                done: self.gallery.done.load(Ordering::Relaxed),
                of: self.gallery.of.load(Ordering::Relaxed),
            }),
        }
    }

    /// Enrols what the projection names: before this returns where it is little, on a thread of its own where it is much.
    pub(super) fn fill(self: &Arc<Self>, gallery: Gallery) -> Result<Option<JoinHandle<()>>, StartError> {
        let of = self.store.sighting_count();
        self.gallery.of.store(of, Ordering::Relaxed);
        if of <= FEW {
            return self.admit_all(gallery, |_| {}).map(|()| None).map_err(room);
        }
        let engine = Arc::clone(self);
        let read = move || {
            guarded(&engine, "the gallery", || {
                let job = engine.meters.job("reading the gallery".into(), of);
                match engine.admit_all(gallery, |done| engine.meters.progress(job, done)) {
                    Ok(()) => engine.meters.progress(job, of),
                    Err(error) => {
                        engine.meters.job_failed(job, error.clone());
                        engine
                            .halt(format!("the gallery cannot be read ({error}); nothing is lost: restart the engine"));
                    }
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name("gallery".into())
            .spawn(read)
            .map_err(failed("start a thread for", Path::new("the gallery")))?;
        Ok(Some(thread))
    }

    /// Damaged rows do not keep the engine from working, for it is the engine that makes them anew; until then it answers
    /// no question about the gallery.
    fn admit_all(&self, mut gallery: Gallery, mut report: impl FnMut(u64)) -> Result<(), String> {
        gallery.expect_reading();
        let (mut done, mut wrong, mut first) = (0, None, None);
        let read = self.store.for_each_sighting(|sighting| {
            done += 1;
            if done % REPORT == 0 {
                self.gallery.done.store(done, Ordering::Relaxed);
                report(done);
            }
            if let Some((id, record)) = sighting {
                match gallery.admit(id, record.label, record.fingerprint, &record.vectors) {
                    Ok(()) => {}
                    Err(error @ GalleryError::Row { .. }) => {
                        gallery.miss(id);
                        first.get_or_insert(error);
                    }
                    Err(error) => {
                        wrong = Some(error.to_string());
                        return ControlFlow::Break(());
                    }
                }
            }
            let stopping = self.stopping.load(Ordering::Relaxed);
            if stopping { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        read.map_err(|error| error.to_string())?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        // What was read of it until the stop is not the gallery.
        if self.stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(first) = first {
            self.warn(format!("{} ({first})", damaged_sentence(gallery.damaged().len())));
        }
        drop(self.gallery.whole.set(RwLock::new(gallery)));
        Ok(())
    }
}
