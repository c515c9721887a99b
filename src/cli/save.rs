//! `see --save`: a file of its own for each picture.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::domain::{ImageId, RawPath};

/// The most bytes of a file's name; what Linux's file systems allow.
const LONGEST: usize = 255;
/// Characters of the hash in a name: enough to tell apart, short enough to read.
const HASH: usize = 12;

/// Writes annotated pictures into a folder.
///
/// A name is the picture's stem and the beginning of its hash, so that pictures of one name never meet, in this run or
/// in another, an original that lies in the same folder is never written over, and the same picture seen again
/// replaces its own.
#[derive(Debug)]
pub(super) struct Album {
    dir: PathBuf,
    written: HashSet<String>,
}

impl Album {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), written: HashSet::new() }
    }

    /// Writes a picture that was read from a path.
    ///
    /// # Errors
    /// A sentence saying what could not be written; nothing is left behind then.
    pub(super) fn save(&mut self, path: &Path, id: &ImageId, picture: &image::RgbImage) -> Result<(), String> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|error| format!("cannot make {}: {error}", RawPath(self.dir.clone())))?;
        let name = self.name(path, id);
        let to = self.dir.join(name);
        let written = picture.save_with_format(&to, image::ImageFormat::Jpeg);
        written.map_err(|error| format!("cannot write {}: {error}", RawPath(to)))
    }

    /// A name that no other picture of this run has.
    fn name(&mut self, path: &Path, id: &ImageId) -> String {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let hash: String = id.to_string().chars().take(HASH).collect();
        let mut copy = 1u64;
        loop {
            // The same bytes under the same name, out of two folders.
            let end = if copy == 1 { format!("-{hash}.jpg") } else { format!("-{hash}-{copy}.jpg") };
            let mut room = LONGEST.saturating_sub(end.len()).min(stem.len());
            while !stem.is_char_boundary(room) {
                room -= 1;
            }
            let name = format!("{}{end}", &stem[..room]);
            if self.written.insert(name.clone()) {
                return name;
            }
            copy += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn every_picture_gets_a_name_of_its_own() {
        let mut album = Album::new(Path::new("seen"));
        let (one, two) = (ImageId([1; 32]), ImageId([2; 32]));
        assert_eq!(album.name(Path::new("a/exif6.jpg"), &one), "exif6-010101010101.jpg");
        assert_eq!(album.name(Path::new("b/exif6.png"), &two), "exif6-020202020202.jpg");
        assert_eq!(album.name(Path::new("c/exif6.png"), &two), "exif6-020202020202-2.jpg");
        for letter in ["x", "é", "薬", "a薬", "💊"] {
            let long = format!("{}.png", letter.repeat(251 / letter.len()));
            for _ in 0..11 {
                let name = album.name(Path::new(&long), &one);
                assert!(name.len() <= LONGEST && name.len() > LONGEST - 5 && name.starts_with(letter), "{name}");
            }
        }
    }

    #[test]
    fn an_original_in_the_same_folder_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let original = dir.path().join("a.jpg");
        std::fs::write(&original, b"the original").unwrap();
        let mut album = Album::new(dir.path());
        album.save(&original, &ImageId([7; 32]), &image::RgbImage::new(8, 8)).unwrap();
        assert_eq!(std::fs::read(&original).unwrap(), b"the original");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        let mut nowhere = Album::new(&original);
        assert!(nowhere.save(&original, &ImageId([7; 32]), &image::RgbImage::new(8, 8)).is_err());
    }
}
