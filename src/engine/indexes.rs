//! Keeps the gallery's approximate indexes: opened on start, made anew in the background, set aside when damaged.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::core::Engine;
use crate::domain::Fingerprint;
use crate::domain::view::IndexRow;
use crate::gallery::{Gallery, IndexStats, build_index, open_index};

/// Between looks at the gallery.
const LOOK: Duration = Duration::from_millis(500);
/// After an index could not be made.
const LATER: Duration = Duration::from_secs(300);
/// An index is made anew when one in so many of the vectors is not in it, or was removed since.
const CHANGED: usize = 10;
/// How much the thread gives way to the others (setpriority(2)).
const NICE: i32 = 10;

/// Whether so much has changed that the index is to be made anew.
fn is_old(stats: IndexStats) -> bool {
    (stats.outside + stats.gone) * CHANGED > stats.vectors + stats.outside
}

impl Engine {
    fn with_gallery<T>(&self, act: impl FnOnce(&Gallery) -> T) -> T {
        act(&self.gallery.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The body of the indexes' thread. Nothing waits for it: what it has not done yet, exact search does.
    pub(super) fn keep_indexes(&self) {
        if self.config.approximate.above == 0 {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
            tracing::debug!(%error, "the index's thread keeps its priority");
        }
        if let Err(error) = self.with_gallery(Gallery::tidy_indexes) {
            self.warn(error.to_string());
        }
        let mut failed: Option<Instant> = None;
        while !self.stopping.load(Ordering::Relaxed) {
            for (fingerprint, vectors) in self.with_gallery(Gallery::sizes) {
                let wait = failed.is_some_and(|at| at.elapsed() < LATER) || self.space.is_cramped();
                if let Err(error) = self.keep_index(fingerprint, vectors, wait) {
                    failed = Some(Instant::now());
                    self.warn(error);
                }
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Brings the index of these weights up to what is wanted; `wait` for making one.
    fn keep_index(&self, fingerprint: Fingerprint, vectors: usize, wait: bool) -> Result<(), String> {
        let stats = self.with_gallery(|gallery| gallery.index_stats(fingerprint));
        if vectors <= self.config.approximate.above {
            // A few removed and enrolled again around the limit do not throw an index away.
            if stats.is_some() && vectors < self.config.approximate.above / 2 {
                self.gallery.write().unwrap_or_else(PoisonError::into_inner).drop_index(fingerprint);
            }
            return Ok(());
        }
        match stats {
            Some(stats) if !is_old(stats) || wait => Ok(()),
            None if self.open_index(fingerprint) || wait => Ok(()),
            _ => self.make_index(fingerprint),
        }
    }

    /// Takes an index that is there into use; false where there is none, or a damaged one (which is set aside).
    fn open_index(&self, fingerprint: Fingerprint) -> bool {
        let path = self.with_gallery(|gallery| gallery.index_path(fingerprint));
        if !path.exists() {
            return false;
        }
        match open_index(&path) {
            Ok(opened) => {
                self.gallery.write().unwrap_or_else(PoisonError::into_inner).use_index(opened);
                self.recall.clear();
                self.with_gallery(|gallery| gallery.index_stats(fingerprint)).is_some()
            }
            Err(wrong) => {
                let aside = self.with_gallery(|gallery| gallery.set_index_aside(fingerprint));
                let kept = aside.map_or_else(|e| e.to_string(), |to| format!("it is kept as {}", to.display()));
                self.warn(format!(
                    "the approximate index {} is damaged ({wrong}; {kept}); it is made anew, and exact search answers meanwhile",
                    path.display()
                ));
                false
            }
        }
    }

    fn make_index(&self, fingerprint: Fingerprint) -> Result<(), String> {
        let Some(snapshot) = self.with_gallery(|gallery| gallery.snapshot(fingerprint)) else {
            return Err(
                "the gallery cannot be indexed, for a row of it cannot be read; `sightline db verify` names it".into(),
            );
        };
        let title = format!("indexing {} vectors of the gallery", snapshot.len());
        let job = self.meters.job(title, snapshot.len() as u64);
        let made = build_index(
            &snapshot,
            |act| self.with_gallery(act),
            |done| {
                self.meters.progress(job, done as u64);
                !self.stopping.load(Ordering::Relaxed)
            },
        );
        match made {
            Ok(true) => {
                self.meters.progress(job, snapshot.len() as u64);
                self.open_index(fingerprint);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                self.meters.job_failed(job, error.to_string());
                Err(error.to_string())
            }
        }
    }

    /// How the indexes stand, for whoever asks.
    pub(super) fn index_rows(&self, gallery: &Gallery) -> Vec<IndexRow> {
        let (recall, measured) = self.recall.value();
        let row = |(weights, _): (Fingerprint, usize)| {
            let stats = gallery.index_stats(weights)?;
            Some(IndexRow {
                weights,
                vectors: stats.vectors as u64,
                outside: stats.outside as u64,
                gone: stats.gone as u64,
                bytes: stats.bytes as u64,
                recall,
                measured: measured as u64,
                overruled: self.recall.overruled(),
                in_use: !self.recall.is_low(),
            })
        };
        gallery.sizes().into_iter().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_old_when_a_tenth_is_not_in_it_or_gone() {
        let stats = |vectors, outside, gone| IndexStats { vectors, outside, gone, bytes: 0 };
        assert!(!is_old(stats(100, 0, 0)));
        assert!(!is_old(stats(90, 10, 0)));
        assert!(is_old(stats(89, 11, 0)));
        assert!(!is_old(stats(100, 0, 10)));
        assert!(is_old(stats(100, 0, 11)));
        assert!(is_old(stats(100, 6, 6)));
        assert!(is_old(stats(0, 0, 1)));
    }
}
