//! Finding pictures and reading labels, within bounds, so that neither a wrong path nor an odd file stops everything.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use super::{DatasetError, Problem};

/// Names that are looked at below one folder, at most: a set of more is a path that is wrong.
const MOST_NAMES: usize = 2_000_000;
/// Extensions of pictures, as they come.
const PICTURES: [&str; 7] = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"];

/// Bytes of one picture's labels at most: a hundred thousand boxes.
pub(super) const LABELS: u64 = 8 << 20;
/// Bytes of a description at most: a hundred thousand classes with long names.
pub(super) const DESCRIPTION: u64 = 16 << 20;
/// Bytes of a list of pictures at most.
pub(super) const LIST: u64 = 256 << 20;
/// Bytes of a COCO file at most.
pub(super) const COCO: u64 = 2 << 30;

/// Extensions of pictures that are not read.
const OTHERS: [&str; 19] = [
    "heic", "heif", "avif", "gif", "jfif", "jpe", "jp2", "jxl", "ppm", "pgm", "pnm", "tga", "dng", "cr2", "nef", "arw",
    "psd", "exr", "dcm",
];

/// Why a file is passed over that is likely meant as a picture; none where it is likely none, or is read.
fn unread(path: &Path) -> Option<&'static str> {
    match path.extension() {
        Some(extension) => {
            let extension = extension.to_string_lossy().to_ascii_lowercase();
            OTHERS.contains(&extension.as_str()).then_some(
                "pictures of this kind are not read; make a JPEG or PNG of it (one that is a JPEG already: call it .jpg)",
            )
        }
        None => {
            let mut first = [0; 16];
            let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
            let read = file.and_then(|mut file| file.read(&mut first)).unwrap_or_default();
            let known = image::guess_format(&first[..read]).is_ok();
            known.then_some("it is a picture without an extension; call it .jpg, .png or as what it is")
        }
    }
}

/// Whether a file is called like a picture.
pub(super) fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    PICTURES.contains(&extension.as_str())
}

/// What lies below a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By path.
    pub(super) pictures: Vec<PathBuf>,
    /// What is called like a picture and is none that is read.
    pub(super) problems: Vec<Problem>,
}

/// Every picture below a folder. Hidden files are left out; links are not followed, and named.
pub(super) fn pictures_below(dir: &Path) -> Result<Found, DatasetError> {
    let mut found = Found::default();
    below(dir, |path, kind| {
        if kind.is_file() && is_picture(path) {
            found.pictures.push(path.to_owned());
        } else if kind.is_symlink() && (is_picture(path) || path.is_dir()) {
            let reason = "it is a link, which is not followed; put what it leads to into the set";
            found.problems.push(Problem::rejected(path, None, reason));
        } else if !kind.is_file() && !kind.is_symlink() && is_picture(path) {
            found.problems.push(Problem::rejected(path, None, "it is called a picture and is no file"));
        } else if kind.is_file()
            && let Some(reason) = unread(path)
        {
            found.problems.push(Problem::rejected(path, None, reason));
        }
    })?;
    found.pictures.sort();
    found.problems.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(found)
}

/// Every file with an extension below a folder, by path; none where there is no such folder.
pub(super) fn files_below(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, DatasetError> {
    let mut found = Vec::new();
    if dir.is_dir() {
        below(dir, |path, kind| {
            if !kind.is_dir() && path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension)) {
                found.push(path.to_owned());
            }
        })?;
    }
    found.sort();
    Ok(found)
}

/// Without `.` and inner `..`, so that one file has one name.
pub(super) fn tidied(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(tidy.components().next_back(), Some(Component::Normal(_))) => {
                tidy.pop();
            }
            other => tidy.push(other),
        }
    }
    tidy
}

/// Calls `each` with everything below a folder that is not hidden.
fn below(dir: &Path, mut each: impl FnMut(&Path, fs::FileType)) -> Result<(), DatasetError> {
    if fs::canonicalize(dir).is_ok_and(|whole| whole.parent().is_none()) {
        let detail = "it is the root of the file system; name the folder of pictures";
        return Err(DatasetError::description(dir, detail));
    }
    let (mut folders, mut names) = (vec![dir.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(DatasetError::io("read", &folder))? {
            let entry = entry.map_err(DatasetError::io("read", &folder))?;
            names += 1;
            if names > MOST_NAMES {
                let detail = format!("more than {MOST_NAMES} files lie below it; name the folder of pictures itself");
                return Err(DatasetError::description(dir, detail));
            }
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (path, kind) = (entry.path(), entry.file_type());
            let kind = kind.map_err(DatasetError::io("look at", &path))?;
            each(&path, kind);
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// Reads an ordinary file of `most` bytes at most. Never waits for a pipe. The inner error says in words why it cannot be
/// used; no file at all is `Ok(None)`.
pub(super) fn read_bounded(path: &Path, most: u64) -> Result<Result<Option<Vec<u8>>, String>, DatasetError> {
    // Without O_NONBLOCK opening a pipe waits for somebody to write to it.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let dangles = fs::symlink_metadata(path).is_ok();
            return Ok(if dangles { Err("it is a link to nothing".into()) } else { Ok(None) });
        }
        // A socket, or a loop of links.
        Err(error) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) => {
            return Ok(Err(format!("it is no ordinary file ({error})")));
        }
        Err(error) => return Err(DatasetError::io("read", path)(error)),
    };
    let found = file.metadata().map_err(DatasetError::io("look at", path))?;
    if found.is_dir() {
        return Ok(Err("it is a folder".into()));
    }
    if !found.is_file() {
        return Ok(Err("it is no ordinary file".into()));
    }
    if found.len() > most {
        return Ok(Err(format!("it has {} bytes, more than the {most} that are read", found.len())));
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    // It may have grown since.
    file.take(most).read_to_end(&mut bytes).map_err(DatasetError::io("read", path))?;
    Ok(Ok(Some(bytes)))
}

/// Reads text that a set cannot do without, of `most` bytes at most.
///
/// # Errors
/// It is not there, no ordinary file, too large, or no text.
pub(super) fn text(path: &Path, most: u64) -> Result<String, DatasetError> {
    let bytes = needed(path, most)?;
    String::from_utf8(bytes).map_err(|_| DatasetError::description(path, "it is not text in UTF-8"))
}

/// Reads bytes that a set cannot do without, `most` at most.
///
/// # Errors
/// It is not there, no ordinary file, or too large.
pub(super) fn needed(path: &Path, most: u64) -> Result<Vec<u8>, DatasetError> {
    match read_bounded(path, most)? {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(DatasetError::Missing(path.to_owned())),
        Err(reason) => Err(DatasetError::description(path, reason)),
    }
}
