//! The gallery's files: opening them, adding vectors, making them last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::GalleryError;
use super::members::Members;
use super::segment::{Scratch, Segment};
use crate::domain::{Embedding, Fingerprint, Rotation, SightingId, VectorRef};

/// How components are kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// As computed.
    #[default]
    F32,
    /// Half the space; similarities are off by up to about 0.001.
    F16,
}

/// How the gallery is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// For segments begun from now on.
    pub dtype: Dtype,
    /// A segment that has reached this many bytes is not added to.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { dtype: Dtype::F32, segment_bytes: 256 << 20 }
    }
}

/// All vectors, and which of them are enrolled as what.
pub struct Gallery {
    pub(super) dir: PathBuf,
    options: Options,
    pub(super) segments: BTreeMap<u32, Segment>,
    /// Segments whose header cannot be read, and why. An error only for who needs a row of theirs.
    pub(super) unreadable: BTreeMap<u32, String>,
    next_segment: u32,
    /// Where vectors of these weights are added.
    adding: BTreeMap<Fingerprint, u32>,
    unsynced: BTreeSet<u32>,
    poison: Option<String>,
    pub(super) members: Members,
}

impl Gallery {
    /// Opens the segments in `dir`, making the folder if there is none. Nothing is enrolled yet: see [`Self::admit`].
    ///
    /// # Errors
    /// The file system refuses. A damaged segment is an error only when one of its rows is admitted.
    pub fn open(dir: &Path, options: Options) -> Result<Self, GalleryError> {
        if !dir.is_dir() {
            let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::create_dir_all(dir)
                .and_then(|()| File::open(parent)?.sync_all())
                .map_err(GalleryError::io("create", dir))?;
        }
        let mut gallery = Self {
            dir: dir.to_owned(),
            options,
            segments: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            next_segment: 0,
            adding: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            poison: None,
            members: Members::default(),
        };
        for number in numbers(dir)? {
            gallery.next_segment = number + 1;
            match Segment::open(dir, number) {
                Ok(Some(segment)) => {
                    gallery.segments.insert(number, segment);
                }
                Ok(None) => {
                    gallery.unreadable.insert(number, "it has no header (a crash came when it was made)".into());
                }
                Err(GalleryError::Segment { detail, .. }) => {
                    gallery.unreadable.insert(number, detail);
                }
                Err(error) => return Err(error),
            }
        }
        for segment in gallery.segments.values() {
            if segment.dtype == options.dtype && ends_well(segment) {
                gallery.adding.insert(segment.fingerprint, segment.number);
            } else {
                gallery.adding.remove(&segment.fingerprint);
            }
        }
        Ok(gallery)
    }

    /// Adds the vectors of one sighting, all made with the weights `fingerprint`; returns where they lie.
    ///
    /// They are on disk for good after [`Self::sync`], and enrolled after [`Self::admit`].
    ///
    /// # Errors
    /// A vector of another dimension than those with the same weights; the file system refuses.
    pub fn append(
        &mut self,
        fingerprint: Fingerprint,
        sighting: SightingId,
        vectors: &[(Rotation, Embedding)],
    ) -> Result<Vec<VectorRef>, GalleryError> {
        self.check()?;
        let Some((_, first)) = vectors.first() else {
            return Ok(Vec::new());
        };
        let known = self.segments.values().find(|s| s.fingerprint == fingerprint).map(|s| s.dimension);
        let expected = known.unwrap_or(first.as_slice().len());
        if let Some((_, odd)) = vectors.iter().find(|(_, v)| v.as_slice().len() != expected) {
            return Err(GalleryError::Dimension { fingerprint, expected, given: odd.as_slice().len() });
        }
        let number = self.segment_for(fingerprint, expected)?;
        let Some(segment) = self.segments.get_mut(&number) else {
            return Err(GalleryError::Poisoned(format!("segment {number} is gone")));
        };
        self.unsynced.insert(number);
        segment.append(sighting, vectors)
    }

    /// Makes everything that was appended last: to be called before a journal entry names it.
    ///
    /// # Errors
    /// The file system refuses; the gallery takes nothing more then until it is opened again.
    pub fn sync(&mut self) -> Result<(), GalleryError> {
        self.check()?;
        for number in std::mem::take(&mut self.unsynced) {
            let Some(segment) = self.segments.get(&number) else { continue };
            if let Err(error) = segment.sync() {
                // After a failed sync nobody knows which pages are on disk.
                self.poison = Some(error.to_string());
                return Err(error);
            }
            // What was added is lost with the file; the next try goes to another one.
            if let Some(how) = segment.lost() {
                return Err(GalleryError::io("add to", &segment.path)(std::io::Error::other(how)));
            }
        }
        Ok(())
    }

    /// The segment to add to, begun if need be.
    fn segment_for(&mut self, fingerprint: Fingerprint, dimension: usize) -> Result<u32, GalleryError> {
        if let Some(segment) = self.adding.get(&fingerprint).and_then(|number| self.segments.get(number))
            && segment.bytes() < self.options.segment_bytes
            && segment.lost().is_none()
        {
            return Ok(segment.number);
        }
        let number = self.next_segment;
        let segment = Segment::create(&self.dir, number, self.options.dtype, fingerprint, dimension)?;
        self.next_segment += 1;
        self.segments.insert(number, segment);
        self.adding.insert(fingerprint, number);
        Ok(number)
    }

    /// Tells the system that every segment is about to be read.
    pub fn expect_reading(&self) {
        self.segments.values().for_each(Segment::expect_reading);
    }

    /// Where a segment lies, by its number.
    #[must_use]
    pub fn segment_path(&self, number: u32) -> PathBuf {
        Segment::path(&self.dir, number)
    }

    fn check(&self) -> Result<(), GalleryError> {
        self.poison.as_ref().map_or(Ok(()), |why| Err(GalleryError::Poisoned(why.clone())))
    }
}

/// Whether more rows may follow: nothing torn, and the last row sound.
fn ends_well(segment: &Segment) -> bool {
    let last_is_sound = || match segment.rows.checked_sub(1) {
        Some(last) => segment.row(last, &mut Scratch::default()).is_ok_and(|row| row.is_sound().is_ok()),
        None => true,
    };
    segment.torn == 0 && last_is_sound()
}

/// The numbers of the segments in the folder, ascending.
fn numbers(dir: &Path) -> Result<Vec<u32>, GalleryError> {
    let list = || -> std::io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for file in fs::read_dir(dir)? {
            let name = file?.file_name();
            let number = name.to_str().and_then(|n| n.strip_suffix(".vec")).filter(|n| n.len() == 8);
            numbers.extend(number.and_then(|n| n.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    };
    list().map_err(GalleryError::io("list", dir))
}
