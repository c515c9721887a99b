//! Opening, setting aside, rebuilding.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::StoreError;
use super::apply::Changes;
use super::kv::{Kv, guarded};
use super::ledger::{self, Ledger, Stamp};
use crate::domain::Entry;
use crate::files;

/// sled's cache; its default would take 1 GiB.
const CACHE_BYTES: u64 = 64 << 20;
/// Up to so many records, opening reads them all.
const CHECK_ALL: u64 = 200_000;
/// How long a lock is waited for: sled's own threads may hold it a moment longer than its handle.
const LOCK_TRIES: u32 = 40;
/// Entries applied at once when rebuilding.
const REBUILD_BATCH: usize = 512;

/// The projection.
pub struct Store {
    dir: PathBuf,
    kv: Kv,
    ledger: Mutex<Ledger>,
}

/// How much opening looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Every record: all of them are there and sound.
    All,
    /// The account and a sample; [`Store::verify`] reads all.
    Sample,
}

/// What was found on opening.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The next journal entry the store waits for; 0 where it is empty.
    pub applied: u64,
    /// How much was looked at.
    pub checked: Checked,
    /// Why the old store was set aside and where it is now. To be said loudly.
    pub set_aside: Option<(String, PathBuf)>,
}

impl Store {
    /// Opens the store in `dir`, making it if there is none. What is odd is set aside and an empty one begun.
    ///
    /// # Errors
    /// It is open elsewhere, the disk is full, or the folder cannot be used: nothing is set aside then.
    pub fn open(dir: &Path) -> Result<(Self, Opened), StoreError> {
        match Self::open_as_it_is(dir) {
            Ok((store, checked)) => {
                let applied = store.applied();
                Ok((store, Opened { applied, checked, set_aside: None }))
            }
            Err(StoreError::Odd(cause)) => {
                let kept = Self::set_aside(dir)?;
                let (store, checked) = Self::open_as_it_is(dir)?;
                Ok((store, Opened { applied: 0, checked, set_aside: Some((cause, kept)) }))
            }
            Err(error) => Err(error),
        }
    }

    /// Renames the folder to `<dir>.odd-<time>`; the store must not be open. Returns the new name.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn set_aside(dir: &Path) -> Result<PathBuf, StoreError> {
        rename_beside(dir, "odd")
    }

    fn open_as_it_is(dir: &Path) -> Result<(Self, Checked), StoreError> {
        remove_unfinished_snapshots(dir)?;
        only_files(dir)?;
        let config =
            sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(Some(500)).use_compression(false);
        let mut tries = 0;
        let db = loop {
            let mut io = None;
            let opened = guarded("open", || {
                config.open().inspect_err(|e| {
                    if let sled::Error::Io(e) = e {
                        io = Some((e.kind(), e.to_string()));
                    }
                })
            });
            match (opened, io) {
                (Ok(db), _) => break db,
                (Err(_), Some((_, text))) if text.contains("could not acquire lock") => {
                    tries += 1;
                    if tries == LOCK_TRIES {
                        return Err(StoreError::Locked(dir.to_owned()));
                    }
                    std::thread::sleep(Duration::from_millis(25));
                }
                (Err(_), Some((kind, text))) if is_circumstance(kind) => {
                    return Err(StoreError::io("open", dir)(std::io::Error::new(kind, text)));
                }
                (Err(error), _) => return Err(error),
            }
        };
        let kv = Kv::new(db);
        let store = Self { dir: dir.to_owned(), kv, ledger: Mutex::default() };
        let ledger = store.stored_ledger()?;
        *store.ledger() = ledger;
        let checked = if store.ledger().total() <= CHECK_ALL { Checked::All } else { Checked::Sample };
        store.check(checked)?;
        Ok((store, checked))
    }

    /// Applies entries in the journal's order; those that were applied before are passed over.
    ///
    /// Records and the number of the next entry change together or not at all. Actions that are not known are counted.
    ///
    /// # Errors
    /// A gap before the first new entry; or the store is odd: close it, set it aside, open it and replay the journal.
    pub fn apply(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut ledger = self.ledger();
        let mut next = ledger.clone();
        let mut changes = Changes::new(&self.kv);
        for entry in entries.iter().filter(|e| e.sequence >= ledger.applied) {
            if entry.sequence != next.applied {
                return Err(StoreError::Gap { expected: next.applied, given: entry.sequence });
            }
            changes.project(entry)?;
            next.applied += 1;
            next.last = Some(Stamp::from(entry));
        }
        if next.applied == ledger.applied {
            return Ok(());
        }
        next.skipped += changes.skipped;
        changes.tally(&mut next.tallies);
        let account = next.encode()?;
        self.kv.write(changes.writes().chain([(ledger::KEY, Some(&account[..]))]))?;
        *ledger = next;
        Ok(())
    }

    /// The next journal entry the store waits for.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.ledger().applied
    }

    /// Whether this entry is the one that was applied last: if not, the store was made from another journal.
    #[must_use]
    pub fn came_from(&self, last: &Entry) -> bool {
        self.ledger().last == Some(Stamp::from(last))
    }

    /// Writes everything out and syncs it. Not needed for safety; it spares a replay.
    ///
    /// # Errors
    /// The store is odd, or I/O.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.kv.flush()?;
        // sled's flush does not reach the disk by itself.
        let file = self.dir.join("db");
        File::open(&file).and_then(|f| f.sync_all()).map_err(StoreError::io("sync", &file))
    }

    /// Builds a store from all entries beside `dir`, then puts it in its place. The old one must not be open; it is
    /// removed when the new one is there.
    ///
    /// # Errors
    /// The entries cannot be read, I/O, or sled fails even on new files; the old store is untouched then.
    pub fn rebuild_from<E: std::fmt::Display>(
        dir: &Path,
        entries: impl Iterator<Item = Result<Entry, E>>,
    ) -> Result<Self, StoreError> {
        let fresh = beside(dir, "new");
        if let Err(error) = Self::build(&fresh, entries) {
            if let Err(e) = fs::remove_dir_all(&fresh) {
                tracing::warn!("the unfinished {} could not be removed: {e}", fresh.display());
            }
            return Err(error);
        }
        let old = if dir.exists() { Some(rename_beside(dir, "old")?) } else { None };
        fs::rename(&fresh, dir).map_err(StoreError::io("put into place", dir))?;
        sync_parent(dir)?;
        let (store, _) = Self::open_as_it_is(dir)?;
        if let Some(old) = old {
            fs::remove_dir_all(&old).map_err(StoreError::io("remove", old))?;
        }
        Ok(store)
    }

    fn build<E: std::fmt::Display>(
        dir: &Path,
        entries: impl Iterator<Item = Result<Entry, E>>,
    ) -> Result<(), StoreError> {
        let (store, _) = Self::open(dir)?;
        let mut batch = Vec::with_capacity(REBUILD_BATCH);
        for entry in entries {
            batch.push(entry.map_err(|e| StoreError::Source(e.to_string()))?);
            if batch.len() == REBUILD_BATCH {
                store.apply(&batch)?;
                batch.clear();
            }
        }
        store.apply(&batch)?;
        store.flush()
    }

    /// The account as it is on disk; of an empty store there is none yet.
    pub(super) fn stored_ledger(&self) -> Result<Ledger, StoreError> {
        self.kv.get(ledger::KEY)?.map_or_else(|| Ok(Ledger::default()), |body| Ledger::decode(&body))
    }

    pub(super) fn kv(&self) -> &Kv {
        &self.kv
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    // The ledger in memory changes only as a whole, after the write: a panic elsewhere cannot leave it half changed.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Errors that a rebuild would only meet again.
fn is_circumstance(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(kind, Kind::StorageFull | Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::QuotaExceeded)
}

/// A crash or a full disk can leave `snap.*.generating`, which keeps sled from opening; it needs none of them.
fn remove_unfinished_snapshots(dir: &Path) -> Result<(), StoreError> {
    let remove = || {
        let files = match fs::read_dir(dir) {
            Ok(files) => files,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for file in files {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(StoreError::io("clear unfinished snapshots in", dir))
}

/// sled would wait for ever at a pipe in the place of one of its files.
fn only_files(dir: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(StoreError::io("list", dir)(e)),
    };
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        if path.is_symlink() || !path.is_dir() {
            files::check(&path).map_err(|e| StoreError::Odd(format!("{}: {e}", path.display())))?;
        }
    }
    Ok(())
}

/// A name beside the folder that is not taken.
fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    loop {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{what}-{millis}"));
        let path = dir.with_file_name(name);
        if !path.exists() {
            return path;
        }
        millis += 1;
    }
}

fn rename_beside(dir: &Path, what: &str) -> Result<PathBuf, StoreError> {
    let kept = beside(dir, what);
    fs::rename(dir, &kept).map_err(StoreError::io("set aside", dir))?;
    sync_parent(dir)?;
    Ok(kept)
}

fn sync_parent(dir: &Path) -> Result<(), StoreError> {
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", parent))
}
