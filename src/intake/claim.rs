//! The queue's folder: a claimed file is `ID.data` beside `ID.json` with where it came from.
//!
//! A claim is a rename, so a file is in the watched folder or in the queue, never in both and never
//! in neither. Its facts are on disk before the rename: a crash between leaves facts without data,
//! which are dropped, the file being still where it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::domain::{FileFacts, ItemId, Mode, RawPath};
use crate::files;

/// Why a claim or the queue's folder failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}: {source}")]
pub struct ClaimError {
    doing: &'static str,
    path: RawPath,
    /// The cause.
    pub source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    let path = RawPath(path.to_owned());
    move |source| ClaimError { doing, path, source }
}

/// A complete file that may be claimed.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// The watched folder it lies in, or `command`.
    pub source: PathBuf,
    /// What it was dropped for.
    pub mode: Mode,
}

/// A claimed file: `facts` about it and where its bytes are now.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// What is known of it.
    pub facts: FileFacts,
    /// Its bytes.
    pub data: PathBuf,
    /// Whether an operator sent it through again: doubts about quality are no reason any more, damage is.
    pub released: bool,
}

/// The file that was copied rather than renamed; it must still go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    dev: u64,
    ino: u64,
    size: u64,
    mtime_ns: i64,
}

impl Origin {
    fn of(meta: &fs::Metadata) -> Self {
        let mtime_ns = meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec());
        Self { dev: meta.dev(), ino: meta.ino(), size: meta.size(), mtime_ns }
    }
}

#[derive(Serialize, Deserialize)]
struct Sidecar {
    facts: FileFacts,
    #[serde(default)]
    released: bool,
    #[serde(default)]
    copied_from: Option<Origin>,
}

/// From so many files on, one sync of the whole file system is cheaper than one a file.
const MANY: usize = 8;

/// When what is written must be on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    Now,
    /// The caller sees to it.
    Later,
}

/// The same error once more, for each of those that it befell.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// The queue's folder.
#[derive(Debug)]
pub struct Claims {
    dir: PathBuf,
    unique: AtomicU32,
}

impl Claims {
    /// Opens (or makes) the folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(dir: &Path) -> Result<Self, ClaimError> {
        fs::create_dir_all(dir).map_err(failed("cannot make the queue's folder", dir))?;
        // The process id keeps ids apart across restarts within one millisecond.
        Ok(Self { dir: dir.to_owned(), unique: AtomicU32::new(std::process::id() << 16) })
    }

    fn data(&self, item: &ItemId) -> PathBuf {
        self.dir.join(format!("{item}.data"))
    }

    fn sidecar(&self, item: &ItemId) -> PathBuf {
        self.dir.join(format!("{item}.json"))
    }

    fn write_sidecar(&self, sidecar: &Sidecar, synced: Synced) -> Result<(), ClaimError> {
        let path = self.sidecar(&sidecar.facts.item);
        // Told of the folder: the file's own name is another at every try.
        let doing = "cannot write into";
        let text = serde_json::to_vec(sidecar).map_err(io::Error::other).map_err(failed(doing, &path))?;
        let temporary = path.with_extension("json.new");
        let file = files::create(&temporary).map_err(failed(doing, &self.dir))?;
        let sync = |()| if synced == Synced::Now { file.sync_data() } else { Ok(()) };
        (&file).write_all(&text).and_then(sync).map_err(failed(doing, &self.dir))?;
        fs::rename(&temporary, &path).map_err(failed(doing, &self.dir))
    }

    /// The same; what was begun of it does not stay behind.
    fn write_or_clear(&self, sidecar: &Sidecar, synced: Synced) -> Result<(), ClaimError> {
        self.write_sidecar(sidecar, synced).inspect_err(|_| {
            let path = self.sidecar(&sidecar.facts.item);
            drop(fs::remove_file(path.with_extension("json.new")));
            drop(fs::remove_file(path));
        })
    }

    fn sync(&self) -> Result<(), ClaimError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed("cannot sync", &self.dir))
    }

    fn facts(&self, candidate: &Candidate, meta: &fs::Metadata) -> FileFacts {
        let arrived_ms = now_ms();
        let next = || ItemId::new(arrived_ms.max(0) as u64, self.unique.fetch_add(1, Ordering::Relaxed));
        let mut item = next();
        // A clock that was set back could name a file after one that waits.
        while self.sidecar(&item).exists() || self.data(&item).exists() {
            item = next();
        }
        FileFacts {
            item,
            path: RawPath(candidate.path.clone()),
            source: RawPath(candidate.source.clone()),
            mode: candidate.mode.clone(),
            bytes: meta.size(),
            modified_ms: meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000,
            arrived_ms,
        }
    }

    /// Claims a file of a watched folder: it leaves the folder.
    ///
    /// # Errors
    /// When the file cannot be moved; it is then still where it was.
    pub fn take(&self, candidate: &Candidate) -> Result<Claim, ClaimError> {
        let nothing = || failed("cannot claim", &candidate.path)(io::Error::other("nothing was tried"));
        self.take_all(std::slice::from_ref(candidate)).pop().unwrap_or_else(|| Err(nothing()))
    }

    /// Claims files of watched folders, syncing once for all of them: a sync a file is most of the cost of a small one.
    /// The answers are in the order of the candidates; see [`Self::take`].
    pub fn take_all(&self, candidates: &[Candidate]) -> Vec<Result<Claim, ClaimError>> {
        let described: Vec<_> = candidates.iter().map(|candidate| self.describe(candidate)).collect();
        let items: Vec<&ItemId> = described.iter().flatten().map(|(sidecar, _)| &sidecar.facts.item).collect();
        if let Err(error) = self.sync_sidecars(&items) {
            let give_up = |described: Result<(Sidecar, fs::Metadata), ClaimError>| {
                let (sidecar, _) = described?;
                self.finish(&sidecar.facts.item)?;
                Err(failed("cannot sync", &self.dir)(again(&error.source)))
            };
            return described.into_iter().map(give_up).collect();
        }
        let moved: Vec<_> = candidates
            .iter()
            .zip(described)
            .map(|(candidate, described)| described.and_then(|(sidecar, meta)| self.move_in(candidate, sidecar, &meta)))
            .collect();
        match self.sync() {
            Ok(()) => moved,
            Err(error) => moved
                .into_iter()
                .map(|claim| claim.and_then(|_| Err(failed("cannot sync", &self.dir)(again(&error.source)))))
                .collect(),
        }
    }

    /// Writes down where a file comes from, before it is moved.
    fn describe(&self, candidate: &Candidate) -> Result<(Sidecar, fs::Metadata), ClaimError> {
        let path = &candidate.path;
        let meta = fs::symlink_metadata(path).map_err(failed("cannot look at", path))?;
        if !meta.is_file() {
            return Err(failed("cannot claim", path)(io::Error::other("it is no regular file")));
        }
        let sidecar = Sidecar { facts: self.facts(candidate, &meta), released: false, copied_from: None };
        self.write_or_clear(&sidecar, Synced::Later)?;
        Ok((sidecar, meta))
    }

    fn move_in(&self, candidate: &Candidate, mut sidecar: Sidecar, meta: &fs::Metadata) -> Result<Claim, ClaimError> {
        let (path, item) = (&candidate.path, sidecar.facts.item.clone());
        let data = self.data(&item);
        match fs::rename(path, &data) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                sidecar.copied_from = Some(Origin::of(meta));
                self.write_sidecar(&sidecar, Synced::Now)?;
                let copied = self.copy_in(path, &item).and_then(|()| Self::drop_origin(path, Origin::of(meta)));
                if let Err(error) = copied {
                    self.finish(&item)?;
                    return Err(error);
                }
            }
            Err(error) => {
                self.finish(&item)?;
                return Err(failed("cannot move into the queue", path)(error));
            }
        }
        Ok(Claim { facts: sidecar.facts, data, released: false })
    }

    /// Makes what was written about these files last.
    fn sync_sidecars(&self, items: &[&ItemId]) -> Result<(), ClaimError> {
        if items.len() >= MANY {
            let dir = File::open(&self.dir).map_err(failed("cannot sync", &self.dir))?;
            return rustix::fs::syncfs(dir).map_err(io::Error::from).map_err(failed("cannot sync", &self.dir));
        }
        for item in items {
            let path = self.sidecar(item);
            files::open(&path).and_then(|file| file.sync_data()).map_err(failed("cannot sync", &path))?;
        }
        if items.is_empty() { Ok(()) } else { self.sync() }
    }

    /// Puts a copy of an operator's file into the queue; the file itself stays.
    ///
    /// # Errors
    /// When it cannot be read or copied.
    pub fn copy(&self, candidate: &Candidate) -> Result<Claim, ClaimError> {
        let path = &candidate.path;
        let meta = fs::metadata(path).map_err(failed("cannot read", path))?;
        if !meta.is_file() {
            return Err(failed("cannot queue", path)(io::Error::other("it is no regular file")));
        }
        let facts = self.facts(candidate, &meta);
        let data = self.data(&facts.item);
        let sidecar = Sidecar { facts, released: false, copied_from: None };
        self.write_or_clear(&sidecar, Synced::Now)?;
        if let Err(error) = self.copy_in(path, &sidecar.facts.item) {
            self.finish(&sidecar.facts.item)?;
            return Err(error);
        }
        self.sync()?;
        Ok(Claim { facts: sidecar.facts, data, released: false })
    }

    /// Sends a file that was set aside through again, under the same id.
    ///
    /// # Errors
    /// When `from` cannot be linked or copied into the queue.
    pub fn put_back(&self, facts: &FileFacts, from: &Path) -> Result<Claim, ClaimError> {
        let data = self.data(&facts.item);
        self.write_sidecar(&Sidecar { facts: facts.clone(), released: true, copied_from: None }, Synced::Now)?;
        if data != from && !data.exists() {
            self.copy_in(from, &facts.item)?;
        }
        self.sync()?;
        Ok(Claim { facts: facts.clone(), data, released: true })
    }

    fn copy_in(&self, from: &Path, item: &ItemId) -> Result<(), ClaimError> {
        let part = self.dir.join(format!("{item}.part"));
        let mut source = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(from)
            .map_err(failed("cannot read", from))?;
        let mut sink = File::create(&part).map_err(failed("cannot write", &part))?;
        io::copy(&mut source, &mut sink)
            .and_then(|_| sink.sync_all())
            .map_err(failed("cannot copy into the queue", from))?;
        fs::rename(&part, self.data(item)).map_err(failed("cannot rename", &part))?;
        self.sync()
    }

    /// Removes a file that was copied in, unless it has become another one meanwhile.
    fn drop_origin(path: &Path, origin: Origin) -> Result<(), ClaimError> {
        match fs::symlink_metadata(path) {
            Ok(meta) if Origin::of(&meta) == origin => fs::remove_file(path).map_err(failed("cannot remove", path)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("cannot look at", path)(error)),
        }
    }

    /// Forgets a claim whose outcome is in the journal.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn finish(&self, item: &ItemId) -> Result<(), ClaimError> {
        // Data first: facts without data are dropped on start, data without facts would be puzzling.
        for path in [self.data(item), self.dir.join(format!("{item}.part")), self.sidecar(item)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("cannot remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What was claimed and has no outcome yet, oldest first; leftovers of a crash are tidied.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn pending(&self) -> Result<Vec<Claim>, ClaimError> {
        let mut claims = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("cannot read", &self.dir))? {
            let path = entry.map_err(failed("cannot read", &self.dir))?.path();
            let item = ItemId(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
            match path.extension().and_then(|e| e.to_str()) {
                Some("data") if item.is_well_formed() => claims.push(self.pending_claim(item, path)?),
                Some("json") if item.is_well_formed() && !self.data(&item).exists() => {
                    fs::remove_file(&path).map_err(failed("cannot remove", &path))?;
                }
                Some("part" | "new") => fs::remove_file(&path).map_err(failed("cannot remove", &path))?,
                _ => {}
            }
        }
        claims.sort_by(|a, b| a.facts.item.cmp(&b.facts.item));
        Ok(claims)
    }

    fn pending_claim(&self, item: ItemId, data: PathBuf) -> Result<Claim, ClaimError> {
        // Nothing else was ever claimed: whoever put it there is to take it away.
        files::check(&data).map_err(failed("cannot take up", &data))?;
        let sidecar =
            files::read(&self.sidecar(&item)).ok().and_then(|text| serde_json::from_slice::<Sidecar>(&text).ok());
        if let Some(sidecar) = sidecar {
            if let Some(origin) = sidecar.copied_from {
                Self::drop_origin(sidecar.facts.path.as_path(), origin)?;
            }
            return Ok(Claim { facts: sidecar.facts, data, released: sidecar.released });
        }
        // The facts are damaged, the bytes are not: go on with what the file system knows.
        let meta = fs::metadata(&data).map_err(failed("cannot look at", &data))?;
        let candidate = Candidate { path: data.clone(), source: self.dir.clone(), mode: Mode::Identify };
        let facts = FileFacts { item, ..self.facts(&candidate, &meta) };
        self.write_sidecar(&Sidecar { facts: facts.clone(), released: false, copied_from: None }, Synced::Now)?;
        Ok(Claim { facts, data, released: false })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_claim_survives_a_restart_and_is_finished_once() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = dir.path().join("inbox");
        fs::create_dir(&inbox).unwrap();
        let path = inbox.join("a\nb\u{1b}[2J.jpg");
        fs::write(&path, b"bytes").unwrap();
        let claims = Claims::open(&dir.path().join("queue")).unwrap();
        let candidate = Candidate { path: path.clone(), source: inbox, mode: Mode::Identify };
        let claim = claims.take(&candidate).unwrap();
        assert!(!path.exists());
        let again = Claims::open(&dir.path().join("queue")).unwrap();
        assert_eq!(again.pending().unwrap(), vec![claim.clone()]);
        assert_eq!(claim.facts.path.as_path(), path);
        again.finish(&claim.facts.item).unwrap();
        assert!(again.pending().unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path().join("queue")).unwrap().count(), 0);
    }

    #[test]
    fn facts_without_data_are_dropped_and_data_without_facts_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let claims = Claims::open(dir.path()).unwrap();
        let orphan = ItemId::new(1, 1);
        fs::write(dir.path().join(format!("{orphan}.json")), b"{}").unwrap();
        let bare = ItemId::new(2, 2);
        fs::write(dir.path().join(format!("{bare}.data")), b"x").unwrap();
        let pending = claims.pending().unwrap();
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0].facts.item, bare);
        assert!(!dir.path().join(format!("{orphan}.json")).exists());
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "why a test did nothing")]
    fn a_claim_across_file_systems_is_whole_and_leaves_nothing_behind() {
        let (here, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm"));
        let device = |dir: &Path| fs::metadata(dir).unwrap().dev();
        let Some(there) = shared.ok().filter(|there| device(there.path()) != device(here.path())) else {
            return eprintln!("skipped: /dev/shm is no file system of its own");
        };
        let claims = Claims::open(here.path()).unwrap();
        let candidate = |name: &str| {
            let path = there.path().join(name);
            fs::write(&path, name).unwrap();
            Candidate { path, source: there.path().to_owned(), mode: Mode::Identify }
        };
        let (one, two) = (candidate("one"), candidate("two"));
        let claim = claims.take(&one).unwrap();
        assert!(!one.path.exists());
        assert_eq!(fs::read(&claim.data).unwrap(), b"one");
        assert_eq!(claim.facts.path.as_path(), one.path);

        // A crash after the copy and before the original was removed: the next start removes it, and it is taken once.
        let origin = Origin::of(&fs::metadata(&two.path).unwrap());
        let facts = claims.facts(&two, &fs::metadata(&two.path).unwrap());
        let item = facts.item.clone();
        claims.write_sidecar(&Sidecar { facts, released: false, copied_from: Some(origin) }, Synced::Now).unwrap();
        claims.copy_in(&two.path, &item).unwrap();
        assert_eq!(claims.pending().unwrap().len(), 2);
        assert!(!two.path.exists());

        // The same crash, but another file lies at the path by now: it is not the one that was copied, so it stays.
        fs::write(&two.path, "another").unwrap();
        assert_eq!(claims.pending().unwrap().len(), 2);
        assert_eq!(fs::read(&two.path).unwrap(), b"another");
    }
}
