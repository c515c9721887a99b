//! Contents by their MD5, each once.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use md5::{Digest as _, Md5};

use super::super::DatasetError;
use super::tree::{Entry, Tree};

/// A digest as text.
pub(super) fn md5(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// Whether a text is an MD5 in small hexadecimal digits.
pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A file's digest and its length.
pub(super) fn md5_of(path: &Path) -> Result<(String, u64), DatasetError> {
    let mut file = File::open(path).map_err(DatasetError::io("read", path))?;
    let (mut hash, mut size, mut buffer) = (Md5::new(), 0, vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer).map_err(DatasetError::io("read", path))? {
            0 => return Ok((hex::encode(hash.finalize()), size)),
            read => {
                hash.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}

/// The folder of contents.
pub(super) struct Cache(PathBuf);

impl Cache {
    /// The cache that a `.dvc` folder uses: its own, or the one that its config names.
    pub(super) fn of(dvc: &Path) -> Result<Self, DatasetError> {
        let mut dir = dvc.join("cache");
        for name in ["config", "config.local"] {
            let path = dvc.join(name);
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let mut section = String::new();
            for line in text.lines().map(str::trim) {
                if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                    section = name.trim().to_owned();
                } else if section == "cache"
                    && let Some((key, value)) = line.split_once('=')
                    && key.trim() == "dir"
                {
                    dir = dvc.join(value.trim());
                }
            }
        }
        let files = dir.join("files").join("md5");
        fs::create_dir_all(&files).map_err(DatasetError::io("make", &files))?;
        Ok(Self(files))
    }

    /// Where a content lies: `ab/cdef…`.
    pub(super) fn path(&self, digest: &str) -> PathBuf {
        let (first, rest) = digest.split_at_checked(2).unwrap_or((digest, ""));
        self.0.join(first).join(rest)
    }

    /// Removes what a killed process was writing.
    pub(super) fn tidy(&self) -> Result<(), DatasetError> {
        for entry in fs::read_dir(&self.0).map_err(DatasetError::io("read", &self.0))?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".tmp") {
                fs::remove_file(entry.path()).map_err(DatasetError::io("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Whether every content of a state is there, by name.
    pub(super) fn holds_all(&self, tree: &Tree) -> bool {
        tree.iter().all(|(_, entry)| fs::metadata(self.path(&entry.md5)).is_ok_and(|found| found.len() == entry.size))
    }

    /// A list of files.
    ///
    /// # Errors
    /// It is not there, or its bytes are others.
    pub(super) fn read(&self, digest: &str) -> Result<Vec<u8>, DatasetError> {
        let plain = digest.trim_end_matches(".dir");
        if !is_digest(plain) {
            return Err(DatasetError::description(&self.0, format!("`{plain}` is no MD5")));
        }
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(DatasetError::io("read", &path))?;
        if md5(&bytes) == plain { Ok(bytes) } else { Err(damaged(&path)) }
    }

    /// Copies a file into the cache. What is there already is read: it may be damaged, or from before a power failure.
    ///
    /// # Errors
    /// The file has changed since its digest was taken; the file system refuses.
    pub(super) fn put(&self, from: &Path, entry: &Entry) -> Result<(), DatasetError> {
        let to = self.path(&entry.md5);
        let found = fs::metadata(&to).is_ok_and(|found| found.len() == entry.size);
        if found && md5_of(&to)?.0 == entry.md5 {
            return Ok(());
        }
        let making = self.scratch()?;
        fs::copy(from, making.path()).map_err(DatasetError::io("copy", from))?;
        if md5_of(making.path())?.0 != entry.md5 {
            let detail = "it changed while it was being kept; try again when nobody writes to the set";
            return Err(DatasetError::description(from, detail));
        }
        self.place(making, &to)
    }

    /// Writes bytes into the cache.
    pub(super) fn put_bytes(&self, digest: &str, bytes: &[u8]) -> Result<(), DatasetError> {
        let mut making = self.scratch()?;
        let path = making.path().to_owned();
        making.write_all(bytes).map_err(DatasetError::io("write", &path))?;
        self.place(making, &self.path(digest))
    }

    fn scratch(&self) -> Result<tempfile::NamedTempFile, DatasetError> {
        let made = tempfile::Builder::new().prefix(".tmp").tempfile_in(&self.0);
        made.map_err(DatasetError::io("make a file in", &self.0))
    }

    fn place(&self, making: tempfile::NamedTempFile, to: &Path) -> Result<(), DatasetError> {
        let folder = to.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder).map_err(DatasetError::io("make", folder))?;
        // As DVC does: a file that may only be read is one whose content is known.
        fs::set_permissions(making.path(), fs::Permissions::from_mode(0o444))
            .map_err(DatasetError::io("close", making.path()))?;
        making.persist(to).map_err(|error| DatasetError::Io {
            doing: "write",
            path: to.to_owned(),
            source: error.error,
        })?;
        Ok(())
    }

    /// Waits until all that was written is on the disk, names too.
    pub(super) fn sync(&self) -> Result<(), DatasetError> {
        let dir = File::open(&self.0).map_err(DatasetError::io("open", &self.0))?;
        let synced = rustix::fs::syncfs(&dir).map_err(std::io::Error::from);
        synced.map_err(DatasetError::io("bring to the disk", &self.0))
    }

    /// Copies a content out of the cache, and looks at it on the way.
    ///
    /// # Errors
    /// It is not there, or its bytes are others.
    pub(super) fn take(&self, digest: &str, to: &Path) -> Result<(), DatasetError> {
        let from = self.path(digest);
        fs::copy(&from, to).map_err(DatasetError::io("copy", &from))?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o644)).map_err(DatasetError::io("open up", to))?;
        if md5_of(to)?.0 == digest { Ok(()) } else { Err(damaged(&from)) }
    }
}

fn damaged(path: &Path) -> DatasetError {
    DatasetError::description(
        path,
        "its bytes are not those of its name; the cache is damaged: fetch it again, or take another version",
    )
}
