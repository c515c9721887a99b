//! Pictures named on the command line: found in folders, and read within bounds.

use std::fs;
use std::path::{Path, PathBuf};

use super::CliError;
use super::output::tell;
use crate::domain::RawPath;
use crate::files::{self, Unread};

/// What stands under the paths of a command.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every file named, and every file below a folder named, in order.
    pub(super) files: Vec<PathBuf>,
    /// Folders that could not be read; each has been said.
    pub(super) unread: usize,
}

/// Every file named, and every file below a folder named, in order. A link below a folder is followed to a file, never
/// to a folder: it may lead back to where it stands.
///
/// # Errors
/// [`CliError::NotFound`] when a path named does not exist, or when there is no file at all.
pub(super) fn find(paths: &[PathBuf]) -> Result<Found, CliError> {
    let mut found = Found::default();
    for path in paths {
        let meta =
            fs::metadata(path).map_err(|error| CliError::NotFound(format!("{}: {error}", RawPath(path.clone()))))?;
        if meta.is_dir() { below(path, &mut found) } else { found.files.push(path.clone()) }
    }
    if found.files.is_empty() && found.unread == 0 {
        let named: Vec<String> = paths.iter().map(|path| RawPath(path.clone()).to_string()).collect();
        return Err(CliError::NotFound(format!("there is no file in {}; name pictures or folders", named.join(", "))));
    }
    Ok(found)
}

fn below(folder: &Path, found: &mut Found) {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<PathBuf> = match entries {
        Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
        Err(error) => {
            found.unread += 1;
            return complain(folder, &error.to_string());
        }
    };
    paths.sort();
    for path in paths {
        if !path.is_dir() {
            found.files.push(path);
        } else if path.is_symlink() {
            complain(&path, "a link to a folder is not followed; name the folder itself to have it read");
        } else {
            below(&path, found);
        }
    }
}

/// Reads a picture file of at most `most` bytes.
///
/// # Errors
/// A sentence, when it is no regular file, is larger, or cannot be read.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    files::read_within(path, most).map_err(|unread| match unread {
        Unread::Io(error) => error.to_string(),
        Unread::Kind(kind) => format!("{kind}, not a regular file; name a picture file"),
        Unread::TooLarge { bytes, most } => {
            format!("{} MB is more than intake.max_file_mb allows ({} MB)", bytes.div_ceil(1 << 20), most >> 20)
        }
    })
}

/// Says what is wrong with one picture; the command goes on with the next.
pub(super) fn complain(path: &Path, error: &str) {
    tell(&format!("{}: {error}", RawPath(path.to_owned())));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn only_regular_files_within_the_bound_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, b"12345678").unwrap();
        assert_eq!(read(&file, 8).unwrap(), b"12345678");
        assert!(read(&file, 7).unwrap_err().contains("max_file_mb"));
        let sparse = dir.path().join("sparse");
        fs::File::create(&sparse).unwrap().set_len(3 << 30).unwrap();
        assert!(read(&sparse, 64 << 20).unwrap_err().starts_with("3072 MB is more"));
        assert!(read(Path::new("/dev/zero"), 8).unwrap_err().contains("not a regular file"));
        assert!(read(dir.path(), 8).unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn a_link_below_a_folder_leads_to_files_and_never_around() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        assert!(matches!(find(&[dir.path().to_owned()]), Err(CliError::NotFound(text)) if text.contains("no file")));
        fs::write(inner.join("b"), b"b").unwrap();
        std::os::unix::fs::symlink(dir.path(), inner.join("around")).unwrap();
        std::os::unix::fs::symlink(inner.join("b"), dir.path().join("a")).unwrap();
        let found = find(&[dir.path().to_owned()]).unwrap();
        assert_eq!((found.files, found.unread), (vec![dir.path().join("a"), inner.join("b")], 0));
        // What is named outright is read, link or not.
        assert_eq!(find(&[inner.join("around")]).unwrap().files.len(), 2);
    }
}
