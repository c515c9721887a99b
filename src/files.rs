//! Opening files that somebody else may have put there: regular ones only, without waiting for another side, within
//! a bound; and writing whole ones.
//!
//! A pipe in the place of a file would keep whoever opens it waiting for ever, a device may have no end. So nothing is
//! opened before it was looked at, and what was opened is looked at again, for it may have been exchanged meanwhile.

use std::fs::{File, FileType, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Why a user's file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The file system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A folder, a pipe, a socket or a device.
    #[error("it is {0}, not a regular file")]
    Kind(&'static str),
    /// It is larger than is read.
    #[error("it has {} MB, and at most {} MB are read", bytes.div_ceil(1 << 20), most >> 20)]
    TooLarge {
        /// Its bytes; at least so many where it grew while it was read.
        bytes: u64,
        /// The bound, bytes.
        most: u64,
    },
}

/// What stands there instead of a regular file, with its article.
fn kind(found: FileType) -> &'static str {
    match found {
        found if found.is_dir() => "a folder",
        found if found.is_symlink() => "a link",
        found if found.is_fifo() => "a pipe",
        found if found.is_socket() => "a socket",
        _ => "a device",
    }
}

fn regular(about: &Metadata) -> io::Result<()> {
    if about.is_file() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "{} stands there, not a regular file; move it away, and put the file back from a backup if there was one",
            kind(about.file_type())
        ),
    ))
}

/// Whether a regular file stands there, or nothing.
///
/// # Errors
/// Something else stands there, or the file system refuses.
pub fn check(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(about) => regular(&about),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a file of the program's own with these options. Whatever stands in its place, this does not wait, and follows
/// no link; a file that is to be made may be missing.
///
/// # Errors
/// The file system refuses, or something else than a regular file stands there.
pub fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Whether it may be missing is for the options to say.
    check(path)?;
    let file = options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Opens a file of the program's own for reading; see [`open_with`].
///
/// # Errors
/// As [`open_with`].
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true))
}

/// Makes a file of the program's own, or empties the one that is there; see [`open_with`].
///
/// # Errors
/// As [`open_with`].
pub fn create(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().write(true).create(true).truncate(true))
}

/// How files begin that [`put`] is writing: what a killed process left behind is known by it.
pub const PARTIAL: &str = ".sightline-";

/// Puts a file in its place, whole or not at all: on the disk before it has its name, and with its name when this returns. What
/// stood there before stays until then. Who may read it is said by the umask, as with any new file.
///
/// # Errors
/// The file system refuses.
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let anyone = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(PARTIAL).permissions(anyone).tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}

/// The bytes of a file of the program's own; see [`open_with`].
///
/// # Errors
/// As [`open_with`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, mut bytes) = (open(path)?, Vec::new());
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file of the program's own; see [`open_with`].
///
/// # Errors
/// As [`open_with`], or it is no UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let (mut file, mut text) = (open(path)?, String::new());
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The bytes of a user's file, of at most `most` bytes. A link is followed: the user named it.
///
/// # Errors
/// It is no regular file, is larger, or cannot be read.
pub fn read_within(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    let regular = |about: &Metadata| if about.is_file() { Ok(()) } else { Err(Unread::Kind(kind(about.file_type()))) };
    // A device may do something on being opened.
    regular(&std::fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    regular(&about)?;
    if about.len() > most {
        return Err(Unread::TooLarge { bytes: about.len(), most });
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    // It may grow while it is read.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        bytes if bytes > most => Err(Unread::TooLarge { bytes, most }),
        _ => Ok(bytes),
    }
}

/// The text of a user's file, of at most `most` bytes; see [`read_within`].
///
/// # Errors
/// As [`read_within`], or it is no UTF-8.
pub fn text_within(path: &Path, most: u64) -> Result<String, Unread> {
    let bytes = read_within(path, most)?;
    String::from_utf8(bytes)
        .map_err(|_| Unread::Io(io::Error::new(io::ErrorKind::InvalidData, "it is no text (not UTF-8)")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::fs;

    use super::*;

    fn pipe(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn what_is_no_regular_file_is_named_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        pipe(&dir.path().join("pipe"));
        fs::write(&path, b"12345678").unwrap();
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        for (name, said) in [("pipe", "a pipe"), ("socket", "a socket"), ("link", "a link"), (".", "a folder")] {
            let path = dir.path().join(name);
            for error in [read(&path).unwrap_err(), create(&path).unwrap_err()] {
                assert!(error.to_string().starts_with(&format!("{said} stands there")), "{name}: {error}");
            }
        }
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().starts_with("a device"));
        assert_eq!(read(&path).unwrap(), b"12345678");
        assert_eq!(read(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(create(&dir.path().join("new")).unwrap().metadata().unwrap().len(), 0);
    }

    #[test]
    fn what_is_put_takes_the_place_of_what_was_there_or_leaves_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        put(&path, b"first").unwrap();
        put(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        // Where it cannot be put, nothing is left lying about, and what was there stays.
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(put(&dir.path().join("folder"), b"third").is_err());
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["file", "folder"]);
    }

    #[test]
    fn users_files_are_read_within_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"12345678").unwrap();
        assert_eq!(read_within(&path, 8).unwrap(), b"12345678");
        assert_eq!(text_within(&path, 8).unwrap(), "12345678");
        assert!(matches!(read_within(&path, 7), Err(Unread::TooLarge { bytes: 8, most: 7 })));
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert_eq!(read_within(&dir.path().join("link"), 8).unwrap(), b"12345678", "the user named it");
        pipe(&dir.path().join("pipe"));
        assert!(matches!(read_within(&dir.path().join("pipe"), 8), Err(Unread::Kind("a pipe"))));
        assert!(matches!(read_within(Path::new("/dev/zero"), 8), Err(Unread::Kind("a device"))));
        assert!(matches!(read_within(dir.path(), 8), Err(Unread::Kind("a folder"))));
        let sparse = dir.path().join("sparse");
        File::create(&sparse).unwrap().set_len(5 << 30).unwrap();
        let error = read_within(&sparse, 1 << 30).unwrap_err();
        assert_eq!(error.to_string(), "it has 5120 MB, and at most 1024 MB are read");
        fs::write(&path, b"\xff").unwrap();
        assert!(text_within(&path, 8).is_err());
    }
}
