//! Originals by content: `database/archive/ab/abcdef….jpg`. Written once, never changed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::domain::ImageId;
use crate::files;

/// Why the archive failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system refused.
    #[error("archive: cannot {doing} {path}: {source}; check the disk's space and the folder's permissions")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No original of that name.
    #[error("archive: there is no original {0}; restore it from a backup")]
    Missing(ImageId),
    /// The bytes are not what their name says.
    #[error(
        "archive: {path} does not hold what its name says; the disk or somebody changed it: restore it from a backup"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| ArchiveError::Io { doing, path, source }
}

/// The name of some bytes.
#[must_use]
pub fn image_id(bytes: &[u8]) -> ImageId {
    ImageId(Sha256::digest(bytes).into())
}

/// The archive's folder.
#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
    /// Files being written lie apart, each under its own number, until they are whole.
    parts: AtomicU64,
    /// Held while a shard is made, so that nobody uses one whose name is not on the disk yet.
    making: Mutex<()>,
}

const PARTS: &str = "part";

impl Archive {
    /// Opens (or makes) the folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: &Path) -> Result<Self, ArchiveError> {
        let parts = dir.join(PARTS);
        // What a crash left unfinished is still in the queue.
        match fs::remove_dir_all(&parts) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("tidy", &parts)(error)),
            _ => {}
        }
        fs::create_dir_all(&parts).map_err(failed("make", &parts))?;
        // A process that was killed may have made a shard and not come to the sync.
        sync_dir(dir)?;
        Ok(Self { dir: dir.to_owned(), parts: AtomicU64::new(0), making: Mutex::new(()) })
    }

    /// Where an original lies.
    #[must_use]
    pub fn path(&self, image: ImageId, extension: &str) -> PathBuf {
        let name = image.to_string();
        self.dir.join(&name[..2]).join(format!("{name}.{extension}"))
    }

    /// Keeps an original; on return its bytes and its name are on the disk. Known bytes are not written again.
    ///
    /// # Errors
    /// When the bytes cannot be written and synced.
    pub fn put(&self, image: ImageId, extension: &str, bytes: &[u8]) -> Result<PathBuf, ArchiveError> {
        let path = self.path(image, extension);
        let shard = path.parent().unwrap_or(&self.dir);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() == bytes.len() as u64) {
            // A crash may have come between its naming and the sync.
            sync_dir(shard)?;
            return Ok(path);
        }
        self.make_shard(shard)?;
        // Two threads may be at the same picture.
        let part = self.dir.join(PARTS).join(self.parts.fetch_add(1, Ordering::Relaxed).to_string());
        let written = File::create(&part).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(failed("write", &part))?;
        fs::rename(&part, &path).map_err(failed("name", &path))?;
        sync_dir(shard)?;
        Ok(path)
    }

    /// Makes a shard whose name is on the disk when this returns; one that cannot be synced is not left behind, or the
    /// next original would find it and take it for lasting.
    fn make_shard(&self, shard: &Path) -> Result<(), ArchiveError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(shard).map_err(failed("make", shard))?;
        sync_dir(&self.dir).inspect_err(|_| drop(fs::remove_dir(shard)))
    }

    /// Reads an original and checks that it is what its name says.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`] or [`ArchiveError::Damaged`].
    pub fn read(&self, image: ImageId, extension: &str) -> Result<Vec<u8>, ArchiveError> {
        let path = self.path(image, extension);
        let bytes = match files::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ArchiveError::Missing(image)),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        if image_id(&bytes) == image { Ok(bytes) } else { Err(ArchiveError::Damaged { path }) }
    }
}

fn sync_dir(dir: &Path) -> Result<(), ArchiveError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::open(dir.path()).unwrap();
        let id = image_id(b"picture");
        let path = archive.put(id, "jpg", b"picture").unwrap();
        assert_eq!(archive.put(id, "jpg", b"picture").unwrap(), path);
        assert_eq!(archive.read(id, "jpg").unwrap(), b"picture");
        fs::write(&path, b"pictura").unwrap();
        assert!(matches!(archive.read(id, "jpg"), Err(ArchiveError::Damaged { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(archive.read(id, "jpg"), Err(ArchiveError::Missing(_))));
    }
}
