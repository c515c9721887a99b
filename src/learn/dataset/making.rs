//! A set that is being written, until it is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::DatasetError;
use crate::files;

/// How the folders begin in which sets are made.
const PREFIX: &str = ".dataset-";
/// The file in them that is locked as long as their maker lives.
const HELD: &str = "held";
/// The set in them.
const SET: &str = "set";

/// A folder that is being made beside its place, so that a half-written set never has its name.
pub(in crate::learn) struct Making {
    // Removed with all that is in it when this goes.
    _around: tempfile::TempDir,
    _held: File,
    path: PathBuf,
}

impl Making {
    /// Begins; what a maker that was stopped left beside the place is removed.
    ///
    /// # Errors
    /// The place is taken, or the folder above it cannot be written to.
    pub(in crate::learn) fn begin(dir: &Path) -> Result<Self, DatasetError> {
        if fs::symlink_metadata(dir).is_ok() {
            let detail = "it is there already; name a folder that is not, so that nothing is written over";
            return Err(DatasetError::description(dir, detail));
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(DatasetError::io("make", parent))?;
        clear(parent);
        let around = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
        let around = around.map_err(DatasetError::io("make a folder in", parent))?;
        // Locked before it has the name that it is known by: nobody finds it unlocked as long as its maker lives.
        let new = around.path().join("new");
        let held = File::create(&new).map_err(DatasetError::io("make", &new))?;
        // Where a file system knows no locks, it is never removed by others: see `clear`.
        let is_locked = held.lock().is_ok();
        if is_locked {
            fs::rename(&new, around.path().join(HELD)).map_err(DatasetError::io("rename", &new))?;
        }
        // Made below the private folder in the ordinary way, it gets the rights that the user's other folders get.
        let path = around.path().join(SET);
        fs::create_dir(&path).map_err(DatasetError::io("make", &path))?;
        Ok(Self { _around: around, _held: held, path })
    }

    /// Where it is until it is done.
    pub(in crate::learn) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it into its place.
    ///
    /// # Errors
    /// The file system refuses; nothing is left behind then.
    pub(in crate::learn) fn finish(self, dir: &Path) -> Result<(), DatasetError> {
        fs::rename(&self.path, dir).map_err(DatasetError::io("put into place", dir))
    }
}

/// Whether a folder holds what one of these holds and nothing else.
fn is_ours(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let mut names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let is_empty = fs::symlink_metadata(folder.join(HELD)).is_ok_and(|held| held.is_file() && held.len() == 0);
    is_empty && names.all(|name| name.is_ok_and(|name| name == HELD || name == SET))
}

/// Removes what was being made beside a place by those that live no more. What cannot be looked at or removed stays: it is in
/// nobody's way.
fn clear(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder || !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        if is_ours(&entry.path()) && files::open(&entry.path().join(HELD)).is_ok_and(|held| held.try_lock().is_ok()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
