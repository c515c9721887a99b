//! What becomes of the gallery's files while the engine runs: one that somebody removes, replaces, cuts or changes is
//! noticed, named, and no answer comes from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::EngineError;
use super::core::{Engine, damaged_sentence, lock};
use crate::gallery::GalleryError;

/// Files of the gallery that something was found wrong with.
#[derive(Default)]
pub(super) struct Doubts {
    /// Segments that are to be read through.
    segments: BTreeSet<PathBuf>,
    /// Indexes that are to be made anew.
    indexes: BTreeSet<PathBuf>,
    /// Segments whose loss has been told.
    told: BTreeSet<u32>,
}

impl Engine {
    /// A search that met a vector which is no longer what was enrolled gives no answer; the rest of its file is doubted.
    pub(super) fn refused(&self, error: GalleryError) -> EngineError {
        let GalleryError::Row { path, .. } = &error else { return EngineError::Refused(error.to_string()) };
        lock(&self.doubts).segments.insert(path.clone());
        EngineError::Refused(format!(
            "{error}: no answer can be trusted; `sightline gallery reembed` makes damaged vectors anew from the originals, \
             or stop the engine and put the file back from a backup"
        ))
    }

    /// An index file is to be made anew.
    pub(super) fn doubt_index(&self, path: PathBuf) {
        lock(&self.doubts).indexes.insert(path);
    }

    /// Whether an index file is to be made anew; asked once.
    pub(super) fn take_index_doubt(&self, path: &Path) -> bool {
        lock(&self.doubts).indexes.remove(path)
    }

    /// Looks after the segments: says which were lost or damaged, and takes damaged vectors out of the search.
    pub(super) fn look_at_segments(&self) {
        let Ok(gallery) = self.gallery_so_far() else { return };
        let mut doubts = lock(&self.doubts);
        let lost = gallery.lost();
        let news: Vec<(u32, &str)> = lost.into_iter().filter(|(number, _)| !doubts.told.contains(number)).collect();
        let doubted = std::mem::take(&mut doubts.segments);
        if news.is_empty() && doubted.is_empty() {
            return;
        }
        doubts.told.extend(news.iter().map(|(number, _)| *number));
        drop((doubts, gallery));
        let Ok(mut gallery) = self.write_gallery() else { return };
        let mut read_through = doubted;
        for (number, how) in news {
            let path = gallery.segment_path(number);
            self.warn(format!(
                "{}: {how} while the engine runs; new vectors go to another file. What it held is lost when the engine \
                 stops, if not sooner: stop it and put the file back from a backup, or start it again and run \
                 `sightline gallery reembed`",
                path.display()
            ));
            read_through.insert(path);
        }
        // Each of them, whatever the first one shows.
        let found: Vec<GalleryError> = read_through.iter().filter_map(|path| gallery.doubt(path)).collect();
        if let Some(first) = found.first() {
            self.warn(format!("{} ({first})", damaged_sentence(gallery.damaged().len())));
        }
    }
}
