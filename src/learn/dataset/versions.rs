//! Versions of a set by content, kept as DVC 3 keeps them, so that stock `dvc` reads them and the other way round.
//!
//! Every file's bytes lie once in a cache under their MD5 (`.dvc/cache/files/md5/ab/cdef…`); a list of a folder's files is
//! such a file, too (`….dir`); `<set>.dvc` beside the set says which list is the present one. DVC leaves history to Git;
//! here each version is a small record below `.dvc/sightline/`. MD5 names contents, it does not protect them: whoever
//! can write to the cache can change what is restored.

mod cache;
mod pointer;
mod restore;
mod tree;

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use cache::Cache;

use super::DatasetError;
use crate::files;
pub use restore::Loss;
pub use tree::{Change, Changes, Tree};

/// A kept state of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// 1 for the first.
    pub number: u32,
    /// The list of files in the cache: an MD5 and `.dir`.
    pub md5: String,
    /// Files.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// When it was kept, RFC 3339, UTC.
    pub taken: String,
    /// What was said about it.
    pub message: String,
}

/// What became of a wish to keep a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is a new version.
    New(Version),
    /// It is the latest version already.
    Same(Version),
}

/// The versions of one set. While it lives, no other process changes them.
pub struct Versions {
    set: PathBuf,
    /// `<set>.dvc`.
    pointer: PathBuf,
    /// The folder's name, as the pointer has it.
    name: String,
    records: PathBuf,
    cache: Cache,
    _lock: File,
}

impl Versions {
    /// Opens the versions of the set in a folder. Without a `.dvc` folder above it one is made beside it, if `make` says
    /// so and the set can be kept.
    ///
    /// # Errors
    /// The set is no folder with a name in UTF-8; there is no `.dvc` folder; another process is at work on it; the file
    /// system refuses. With `make`, as for [`Versions::keep`]: nothing is made for a set that is not to be kept.
    pub fn open(set: &Path, make: bool) -> Result<Self, DatasetError> {
        let wrong = |detail: &str| DatasetError::description(set, detail);
        // The folder itself may be gone: that is when it is restored.
        let parent = set.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let whole = match fs::canonicalize(set) {
            Ok(whole) => whole,
            Err(_) if make => return Err(DatasetError::Missing(set.to_owned())),
            Err(_) => {
                let parent = fs::canonicalize(parent).map_err(|_| DatasetError::Missing(set.to_owned()))?;
                parent.join(set.file_name().ok_or_else(|| DatasetError::Missing(set.to_owned()))?)
            }
        };
        if whole.exists() && !whole.is_dir() {
            return Err(wrong("it is no folder; versions are kept of a set's folder"));
        }
        if whole.join(".dvc").is_dir() {
            return Err(wrong(
                "a `.dvc` folder lies in it: it holds sets whose versions are kept, and is none itself; name the set's folder",
            ));
        }
        let name = whole.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let (Some(name), Some(parent)) = (name, whole.parent()) else {
            return Err(wrong("its name is not UTF-8, or it has none; versions need a named folder"));
        };
        let pointer = parent.join(format!("{name}.dvc"));
        if make {
            // A folder that was made for nothing would catch what is kept further up later.
            pointer::read(&pointer, &name)?;
            if tree::paths(&whole)?.is_empty() {
                return Err(nothing(set));
            }
        }
        let found = parent.ancestors().map(|dir| dir.join(".dvc")).find(|dir| dir.is_dir());
        let dvc = match found {
            Some(dvc) => dvc,
            None if make && parent.parent().is_none() => {
                return Err(wrong("its versions would be kept in /.dvc; put it into a folder of its own first"));
            }
            None if make => begin(parent)?,
            None => return Err(DatasetError::NoVersion(set.to_owned())),
        };
        let root = dvc.parent().unwrap_or(parent);
        let inner = whole.strip_prefix(root).ok().and_then(Path::to_str).unwrap_or(&name);
        let ours = dvc.join("sightline");
        let records = ours.join(utf8_percent_encode(inner, NON_ALPHANUMERIC).to_string());
        if !records.is_dir() && !make {
            return Err(DatasetError::NoVersion(set.to_owned()));
        }
        fs::create_dir_all(&records).map_err(DatasetError::io("make", &records))?;
        let lock = lock(&ours.join("lock"), set)?;
        let versions = Self { cache: Cache::of(&dvc)?, pointer, name, records, set: whole, _lock: lock };
        versions.tidy()?;
        Ok(versions)
    }

    /// Removes what a killed process left behind; nobody else is at work now.
    fn tidy(&self) -> Result<(), DatasetError> {
        let parent = self.set.parent().unwrap_or(Path::new("."));
        let scratch = self.scratch_prefix();
        // Records of earlier builds had another prefix while they were written.
        let records = self.records.as_path();
        for (dir, prefix) in [(parent, scratch.as_str()), (records, files::PARTIAL), (records, ".tmp")] {
            for entry in fs::read_dir(dir).map_err(DatasetError::io("read", dir))?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(prefix) {
                    let path = entry.path();
                    // Killed where a file system cannot exchange folders, after the old state had been set aside.
                    let before = path.join(restore::ASIDE);
                    if before.is_dir() && !self.set.exists() {
                        fs::rename(&before, &self.set).map_err(DatasetError::io("put back", &self.set))?;
                    }
                    let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                    gone.map_err(DatasetError::io("remove", &path))?;
                }
            }
        }
        self.cache.tidy()
    }

    fn scratch_prefix(&self) -> String {
        format!(".{}.sightline-restore-", self.name)
    }

    /// All versions, the oldest first.
    ///
    /// # Errors
    /// A record cannot be read or is damaged.
    pub fn list(&self) -> Result<Vec<Version>, DatasetError> {
        let mut versions = Vec::new();
        let entries = fs::read_dir(&self.records).map_err(DatasetError::io("read", &self.records))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = fs::read(&path).map_err(DatasetError::io("read", &path))?;
                let version: Version = serde_json::from_slice(&text).map_err(|error| {
                    DatasetError::description(&path, format!("it is no record of a version: {error}"))
                })?;
                versions.push(version);
            }
        }
        versions.sort_by_key(|version| version.number);
        Ok(versions)
    }

    /// A version by its number, or by the first letters (six or more) of its MD5.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, which: &str) -> Result<Version, DatasetError> {
        let all = self.list()?;
        let number: Option<u32> = which.trim_start_matches('v').parse().ok();
        if let Some(version) = all.iter().find(|version| Some(version.number) == number) {
            return Ok(version.clone());
        }
        let mut found: Vec<&Version> =
            all.iter().filter(|version| which.len() >= 6 && version.md5.starts_with(which)).collect();
        found.dedup_by_key(|version| &version.md5);
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            _ => {
                let detail =
                    format!("it has no version `{which}`; `sightline dataset list` shows the {} kept", all.len());
                Err(DatasetError::description(&self.set, detail))
            }
        }
    }

    /// The files of a version.
    ///
    /// # Errors
    /// The list is not in the cache, or damaged.
    pub fn tree(&self, version: &Version) -> Result<Tree, DatasetError> {
        Tree::parse(&self.cache.read(&version.md5)?, &self.set)
    }

    /// The files as they are now.
    ///
    /// # Errors
    /// There is a link, a special file or a name that is not UTF-8; the file system refuses.
    pub fn now(&self) -> Result<Tree, DatasetError> {
        Tree::of(&self.set)
    }

    /// The version that `<set>.dvc` names, as an MD5 with `.dir`.
    #[must_use]
    pub fn current(&self) -> Option<String> {
        pointer::read(&self.pointer, &self.name).ok().flatten()
    }

    /// Keeps the present state. Everything is on the disk before the version is seen.
    ///
    /// # Errors
    /// As for [`Versions::now`]; a file changes while it is read; the disk is full; `<set>.dvc` is somebody else's.
    pub fn keep(&self, message: &str) -> Result<Kept, DatasetError> {
        // Somebody else's file must not be found out about at the end.
        pointer::read(&self.pointer, &self.name)?;
        let versions = self.list()?;
        let tree = self.now()?;
        if tree.is_empty() {
            return Err(nothing(&self.set));
        }
        let body = tree.body();
        let md5 = format!("{}.dir", cache::md5(body.as_bytes()));
        let (files, bytes) = (tree.len() as u64, tree.bytes());
        let latest = versions.last();
        if let Some(same) = latest.filter(|version| version.md5 == md5 && self.cache.holds_all(&tree)) {
            self.point_at(same)?;
            return Ok(Kept::Same(same.clone()));
        }
        for (path, entry) in tree.iter() {
            self.cache.put(&self.set.join(path), entry)?;
        }
        self.cache.put_bytes(&md5, body.as_bytes())?;
        self.cache.sync()?;
        let taken = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let number = latest.map_or(1, |version| version.number + 1);
        let version = Version { number, md5, files, bytes, taken, message: message.to_owned() };
        self.record(&version)?;
        self.point_at(&version)?;
        Ok(Kept::New(version))
    }

    /// Writes a version's record: the moment from which it is seen.
    fn record(&self, version: &Version) -> Result<(), DatasetError> {
        let path = self.records.join(format!("{:06}.json", version.number));
        let text =
            serde_json::to_vec_pretty(version).map_err(|error| DatasetError::description(&path, error.to_string()))?;
        replace(&path, &text)
    }

    fn point_at(&self, version: &Version) -> Result<(), DatasetError> {
        replace(&self.pointer, pointer::text(version, &self.name).as_bytes())
    }
}

fn nothing(set: &Path) -> DatasetError {
    DatasetError::description(set, "it holds no file; there is nothing to keep")
}

/// Makes a `.dvc` folder as `dvc init --no-scm` does, as far as it is needed; whole or not at all.
fn begin(parent: &Path) -> Result<PathBuf, DatasetError> {
    let dvc = parent.join(".dvc");
    let around = tempfile::Builder::new().prefix(".dvc-").tempdir_in(parent);
    let around = around.map_err(DatasetError::io("make a folder in", parent))?;
    let making = around.path().join("dvc");
    fs::create_dir(&making).map_err(DatasetError::io("make", &making))?;
    replace(&making.join("config"), b"[core]\n    no_scm = True\n")?;
    replace(&making.join(".gitignore"), b"/config.local\n/tmp\n/cache\n/sightline/lock\n")?;
    fs::rename(&making, &dvc).map_err(DatasetError::io("put into place", &dvc))?;
    Ok(dvc)
}

fn lock(path: &Path, set: &Path) -> Result<File, DatasetError> {
    let options =
        fs::OpenOptions::new().create(true).truncate(false).write(true).custom_flags(libc::O_CLOEXEC).open(path);
    let file = options.map_err(DatasetError::io("open", path))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        DatasetError::description(set, "another process is at work on its versions; wait until that is done")
    })?;
    Ok(file)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    files::put(path, bytes).map_err(DatasetError::io("write", path))
}
