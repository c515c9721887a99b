//! Keeps the gallery's approximate indexes: opened on start, made anew in the background, set aside when damaged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::EngineError;
use super::core::{Engine, lock};
use crate::domain::view::{IndexHealth, IndexRow, IndexState};
use crate::domain::{Fingerprint, RawPath};
use crate::gallery::{Gallery, GalleryError, IndexFault, IndexStats, build_index, open_index, prove_index};

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

/// What the keeper is doing about an index that is not open, and what it says of it.
pub(super) type Indexing = BTreeMap<Fingerprint, (IndexState, String)>;

impl Engine {
    /// The body of the indexes' thread. Nothing waits for it: what it has not done yet, exact search does.
    pub(super) fn keep_indexes(&self) {
        if self.config.approximate.above == 0 {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
            tracing::debug!(%error, "the index's thread keeps its priority");
        }
        let tidied = match self.read_gallery() {
            Ok(gallery) => gallery.tidy_indexes(),
            // It stops before there is a gallery.
            Err(_) => return,
        };
        if let Err(error) = tidied {
            self.warn(error.to_string());
        }
        let mut failed: Option<Instant> = None;
        while !self.stopping.load(Ordering::Relaxed) {
            let Ok(sizes) = self.read_gallery().map(|gallery| gallery.sizes()) else { return };
            for (fingerprint, vectors) in sizes {
                let wait = failed.is_some_and(|at| at.elapsed() < LATER) || self.space.is_cramped();
                if let Err(error) = self.keep_index(fingerprint, vectors, wait) {
                    failed = Some(Instant::now());
                    self.note_index(fingerprint, IndexState::Waiting, error.clone());
                    self.warn(error);
                }
            }
            std::thread::sleep(LOOK);
        }
    }

    fn note_index(&self, fingerprint: Fingerprint, state: IndexState, detail: String) {
        lock(&self.indexing).insert(fingerprint, (state, detail));
    }

    /// Brings the index of these weights up to what is wanted; `wait` for making one.
    fn keep_index(&self, fingerprint: Fingerprint, vectors: usize, wait: bool) -> Result<(), String> {
        let said = |error: EngineError| error.to_string();
        let (stats, path) = {
            let gallery = self.read_gallery().map_err(said)?;
            (gallery.index_stats(fingerprint), gallery.index_path(fingerprint))
        };
        if vectors <= self.config.approximate.above {
            // A few removed and enrolled again around the limit do not throw an index away.
            if stats.is_some() && vectors < self.config.approximate.above / 2 {
                self.write_gallery().map_err(said)?.drop_index(fingerprint);
            }
            return Ok(());
        }
        match stats {
            Some(stats) if !wait && self.is_lost(&path, stats) => {
                self.warn(format!(
                    "the file of the approximate index {} is not what was written any more; it is made anew, and what is in memory serves meanwhile",
                    path.display()
                ));
                self.make_index(fingerprint)
            }
            Some(stats) if !is_old(stats) || wait => Ok(()),
            None if self.open_index(fingerprint, &path)? || wait => Ok(()),
            _ => self.make_index(fingerprint),
        }
    }

    /// Whether somebody has removed, cut or changed the file of an index that is in memory.
    fn is_lost(&self, path: &Path, stats: IndexStats) -> bool {
        let length = std::fs::symlink_metadata(path).map_or(0, |about| about.len());
        self.take_index_doubt(path) || length != stats.bytes as u64
    }

    /// Takes an index that is there into use; false where there is none, or a damaged one (which is set aside).
    fn open_index(&self, fingerprint: Fingerprint, path: &Path) -> Result<bool, String> {
        let said = |error: EngineError| error.to_string();
        if path.symlink_metadata().is_err() {
            return Ok(false);
        }
        match open_index(path) {
            Ok(opened) => {
                let mut gallery = self.write_gallery().map_err(said)?;
                gallery.use_index(opened);
                self.recall.clear();
                Ok(gallery.index_stats(fingerprint).is_some())
            }
            Err(fault @ IndexFault::NoMemory { .. }) => Err(format!("{}: {fault}", path.display())),
            Err(IndexFault::Damaged(wrong)) => {
                let aside = self.read_gallery().map_err(said)?.set_index_aside(fingerprint);
                let kept = aside.map_or_else(|e| e.to_string(), |to| format!("it is kept as {}", to.display()));
                self.warn(format!(
                    "the approximate index {} is damaged ({wrong}; {kept}); it is made anew, and exact search answers meanwhile",
                    path.display()
                ));
                Ok(false)
            }
        }
    }

    fn make_index(&self, fingerprint: Fingerprint) -> Result<(), String> {
        let said = |error: EngineError| error.to_string();
        let (snapshot, path) = {
            let gallery = self.read_gallery().map_err(said)?;
            (gallery.snapshot(fingerprint), gallery.index_path(fingerprint))
        };
        // Nothing is enrolled with these weights any more.
        let Some(snapshot) = snapshot else { return Ok(()) };
        let title = format!("indexing {} vectors of the gallery", snapshot.len());
        self.note_index(
            fingerprint,
            IndexState::Building,
            format!("being made of {} vectors; exact search answers meanwhile", snapshot.len()),
        );
        let job = self.meters.job(title, snapshot.len() as u64);
        let made = build_index(
            &snapshot,
            |act| {
                if let Ok(gallery) = self.read_gallery() {
                    act(&gallery);
                }
            },
            |done| {
                self.meters.progress(job, done as u64);
                !self.stopping.load(Ordering::Relaxed)
            },
        );
        match made {
            Ok(true) => {
                lock(&self.indexing).remove(&fingerprint);
                let opened = self.open_index(fingerprint, &path);
                self.meters.progress(job, snapshot.len() as u64);
                opened.map(|_| ())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                self.meters.job_failed(job, error.to_string());
                Err(match &error {
                    // A vector that cannot be read is more than the index's trouble.
                    GalleryError::Row { .. } => self.refused(error).to_string(),
                    _ => error.to_string(),
                })
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

    /// How the index of each set of weights stands, open or not.
    pub(super) fn index_health(&self, gallery: &Gallery) -> Vec<IndexHealth> {
        let noted = lock(&self.indexing).clone();
        let health = |(weights, vectors): (Fingerprint, usize)| {
            let (path, aside) = (gallery.index_path(weights), gallery.index_aside(weights));
            let above = self.config.approximate.above;
            let (state, detail) = match (gallery.index_stats(weights), noted.get(&weights)) {
                // Made anew while the old one serves, perhaps.
                (Some(stats), _) => (IndexState::Open, format!("open, {} vectors", stats.vectors)),
                (None, _) if above == 0 => (IndexState::Unneeded, "none: gallery.ann_above is 0".into()),
                (None, _) if vectors <= above => {
                    (IndexState::Unneeded, format!("none needed for {vectors} vectors (gallery.ann_above is {above})"))
                }
                (None, Some((state, detail))) => (*state, detail.clone()),
                (None, None) if self.watching => (IndexState::Waiting, "to be opened or made in a moment".into()),
                (None, None) if path.is_file() => {
                    (IndexState::Closed, "on the disk; the workspace's engine opens it (`sightline serve`)".into())
                }
                (None, None) => {
                    (IndexState::Waiting, "none yet; the workspace's engine makes it (`sightline serve`)".into())
                }
            };
            IndexHealth { weights, state, detail, set_aside: aside.exists().then_some(RawPath(aside)) }
        };
        gallery.sizes().into_iter().map(health).collect()
    }

    /// What is wrong with the files of the indexes, for `db verify`: they are made anew, so it is no problem.
    pub(super) fn index_notes(&self) -> Result<Vec<String>, EngineError> {
        let (room, files) = {
            let gallery = self.read_gallery()?;
            let file = |(weights, _)| (gallery.index_path(weights), gallery.index_aside(weights));
            (gallery.check_index_dir(), gallery.sizes().into_iter().map(file).collect::<Vec<_>>())
        };
        let mut notes: Vec<String> = room.err().map(|error| error.to_string()).into_iter().collect();
        for (path, aside) in files {
            if path.symlink_metadata().is_ok()
                && let Err(wrong) = prove_index(&path)
            {
                notes.push(format!(
                    "the approximate index {} is damaged ({wrong}); the workspace's engine makes it anew, and exact search answers meanwhile",
                    path.display()
                ));
                self.doubt_index(path);
            }
            if aside.exists() {
                notes.push(format!(
                    "{} is a damaged approximate index that was set aside; delete it once you know what hurt it",
                    aside.display()
                ));
            }
        }
        Ok(notes)
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
