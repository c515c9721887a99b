//! The pictures on record, remembered by what they look like.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::thread::JoinHandle;

use super::core::Engine;
use super::start::{StartError, failed};
use crate::intake::dedupe::PerceptualHash;

impl Engine {
    /// Reads the hashes that near duplicates are told by, while the engine answers already. Until all are read nobody
    /// else can look: this holds the lock from before it returns.
    pub(super) fn remember_pictures(self: &Arc<Self>) -> Result<JoinHandle<()>, StartError> {
        let engine = Arc::clone(self);
        let (locked, wait) = mpsc::channel::<()>();
        let read = move || {
            let mut perceptual = engine.perceptual.write().unwrap_or_else(PoisonError::into_inner);
            drop(locked);
            let read = engine.store.for_each_perceptual(|image, hash| {
                if let Some(hash) = PerceptualHash::from_hex(hash) {
                    perceptual.insert(hash, image);
                }
                if engine.stopping.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if let Err(error) = read {
                engine.halt(format!(
                    "the pictures on record cannot be read ({error}); nothing is lost: stop the engine and run `sightline db rebuild`"
                ));
            }
        };
        let thread = std::thread::Builder::new()
            .name("pictures".into())
            .spawn(read)
            .map_err(failed("start a thread for", Path::new("the pictures on record")))?;
        // Nothing is sent: the channel closes when the lock is held.
        for () in wait {}
        Ok(thread)
    }
}
