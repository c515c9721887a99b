//! Bringing an earlier state back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::super::DatasetError;
use super::{Tree, Version, Versions};

/// The old state's name while the new one is put into place.
pub(super) const ASIDE: &str = "before";

/// What is in the folder now, in no version, and would be gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss(pub Vec<String>);

impl Versions {
    /// What bringing a version back would lose for good: files that differ from it, and that no version holds.
    ///
    /// # Errors
    /// A version's list cannot be read; links and special files in the folder are named as errors.
    pub fn loss(&self, version: &Version) -> Result<Loss, DatasetError> {
        if !self.set.exists() {
            return Ok(Loss::default());
        }
        let (now, target) = (self.now()?, self.tree(version)?);
        let mut kept: BTreeSet<String> = BTreeSet::new();
        for version in self.list()? {
            // Only what could be brought back counts as kept.
            if let Ok(tree) = self.tree(&version) {
                kept.extend(tree.digests().filter(|md5| self.cache.path(md5).is_file()).map(str::to_owned));
            }
        }
        let stays = |path: &str, md5: &str| target.get(path).is_some_and(|entry| entry.md5 == md5);
        let lost = now.iter().filter(|(path, entry)| !stays(path, &entry.md5) && !kept.contains(&entry.md5));
        Ok(Loss(lost.map(|(path, _)| path.to_owned()).collect()))
    }

    /// Brings a version back, byte for byte. The new state is made beside the old one and takes its place in one step; a
    /// process killed on the way leaves one or the other. Whatever [`Versions::loss`] names is lost.
    ///
    /// # Errors
    /// A content is not in the cache, or damaged: the folder is as it was then. The file system refuses.
    pub fn restore(&self, version: &Version) -> Result<(), DatasetError> {
        let target = self.tree(version)?;
        let there = self.set.exists();
        let now = if there { self.now().unwrap_or_default() } else { Tree::default() };
        let parent = self.set.parent().unwrap_or(Path::new("."));
        let making = tempfile::Builder::new().prefix(&self.scratch_prefix()).tempdir_in(parent);
        let making = making.map_err(DatasetError::io("make a folder in", parent))?;
        let fresh = making.path().join("set");
        fs::create_dir(&fresh).map_err(DatasetError::io("make", &fresh))?;
        for (path, entry) in target.iter() {
            let to = fresh.join(path);
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(DatasetError::io("make", folder))?;
            }
            // What is the same is not copied, only named a second time.
            let same = now.get(path).is_some_and(|present| present.md5 == entry.md5);
            if !same || fs::hard_link(self.set.join(path), &to).is_err() {
                self.cache.take(&entry.md5, &to)?;
            }
        }
        let dir = fs::File::open(&fresh).map_err(DatasetError::io("open", &fresh))?;
        rustix::fs::syncfs(&dir)
            .map_err(std::io::Error::from)
            .map_err(DatasetError::io("bring to the disk", &fresh))?;
        if there {
            self.exchange(&fresh)?;
        } else {
            fs::rename(&fresh, &self.set).map_err(DatasetError::io("put into place", &self.set))?;
        }
        let parent_dir = fs::File::open(parent).and_then(|dir| dir.sync_all());
        parent_dir.map_err(DatasetError::io("bring to the disk", parent))?;
        self.point_at(version)
        // What was there before goes with `making`.
    }

    /// The new folder takes the old one's place.
    fn exchange(&self, fresh: &Path) -> Result<(), DatasetError> {
        let in_one = renameat_with(CWD, fresh, CWD, &self.set, RenameFlags::EXCHANGE);
        if in_one.is_ok() {
            return Ok(());
        }
        // Some file systems cannot exchange. The old state then has another name for a moment, never none.
        let aside = fresh.with_file_name(ASIDE);
        fs::rename(&self.set, &aside).map_err(DatasetError::io("set aside", &self.set))?;
        fs::rename(fresh, &self.set).or_else(|error| {
            fs::rename(&aside, &self.set).map_err(DatasetError::io("put back", &self.set))?;
            Err(DatasetError::io("put into place", &self.set)(error))
        })
    }
}
