//! Looking through a watched folder: the truth about what lies there.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::claim::Candidate;
use crate::config::{Watch, WatchMode};
use crate::domain::{Label, Mode};

/// What one look found.
#[derive(Debug, Default)]
pub struct Found {
    /// Complete files, to be claimed.
    pub complete: Vec<Candidate>,
    /// Files that may still be growing.
    pub unsettled: usize,
    /// Folders and files that could not be looked at, links and devices: each with the reason.
    pub passed_over: Vec<(PathBuf, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    ino: u64,
    size: u64,
    mtime: (i64, i64),
}

/// Looks through one watched folder again and again.
#[derive(Debug)]
pub struct Scanner {
    watch: Watch,
    settle: Duration,
    seen: HashMap<PathBuf, (Look, Instant)>,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.ino, self.size)
    }
}

impl Scanner {
    /// A scanner that calls a file complete once it has lain unchanged for `settle`.
    #[must_use]
    pub fn new(watch: Watch, settle: Duration) -> Self {
        Self { watch, settle, seen: HashMap::new() }
    }

    /// The watched folder.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Looks through the whole folder, links not followed.
    pub fn look(&mut self) -> Found {
        let mut found = Found::default();
        let mut seen = HashMap::new();
        let mut folders = vec![self.watch.path.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound && folder != self.watch.path => continue,
                Err(error) => {
                    found.passed_over.push((folder, format!("cannot be read: {error}")));
                    continue;
                }
            };
            for entry in entries.flatten() {
                let path = entry.path();
                match fs::symlink_metadata(&path) {
                    Ok(meta) if meta.is_dir() => folders.push(path),
                    Ok(meta) if meta.is_file() => self.consider(path, &meta, &mut seen, &mut found),
                    Ok(_) => {
                        found.passed_over.push((path, "is a link or a device; only regular files are taken".into()))
                    }
                    Err(_) => {} // gone since the folder was read
                }
            }
        }
        self.seen = seen;
        found.complete.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    fn consider(
        &self,
        path: PathBuf,
        meta: &fs::Metadata,
        seen: &mut HashMap<PathBuf, (Look, Instant)>,
        found: &mut Found,
    ) {
        let look = Look { ino: meta.ino(), size: meta.size(), mtime: (meta.mtime(), meta.mtime_nsec()) };
        let since = match self.seen.get(&path) {
            Some((before, since)) if *before == look => *since,
            _ => Instant::now(),
        };
        if since.elapsed() >= self.settle && !being_written(&path) {
            let mode = self.mode(&path);
            found.complete.push(Candidate { path: path.clone(), source: self.watch.path.clone(), mode });
        } else {
            found.unsettled += 1;
        }
        seen.insert(path, (look, since));
    }

    fn mode(&self, path: &Path) -> Mode {
        if self.watch.mode == WatchMode::Identify {
            return Mode::Identify;
        }
        enroll_mode(&self.watch.path, path)
    }
}

/// The label of a file below an enroll folder: the first sub-folder's name.
#[must_use]
pub fn enroll_mode(root: &Path, path: &Path) -> Mode {
    let below = path.strip_prefix(root).ok().and_then(|rest| rest.parent()).and_then(|dir| dir.components().next());
    let label = below.and_then(|name| name.as_os_str().to_str()).and_then(|name| Label::new(name).ok());
    label.map_or(Mode::Unlabelled, Mode::Enroll)
}

/// Whether some process has the file open for writing, as far as the kernel will say.
///
/// A read lease can be taken only while nobody writes (fcntl(2), F_SETLEASE). Where leases are not
/// to be had (another owner, a network file system), the settling time alone decides.
fn being_written(path: &Path) -> bool {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let Ok(file) = fs::OpenOptions::new().read(true).custom_flags(flags).open(path) else { return false };
    // SAFETY: the descriptor is open for the whole block, and F_SETLEASE takes an integer.
    unsafe {
        if libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) == 0 {
            libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK);
            return false;
        }
    }
    io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}

/// Whether the folder lies on a file system that sends no events for what other machines write.
#[must_use]
pub fn is_network(path: &Path) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: i64 = 0x517B;
    const CIFS: i64 = 0xFF53_4D42;
    const SMB2: i64 = 0xFE53_4D42;
    const FUSE: i64 = 0x6573_5546;
    const NINE_P: i64 = 0x0102_1997;
    rustix::fs::statfs(path).is_ok_and(|fs| [NFS, SMB, CIFS, SMB2, FUSE, NINE_P].contains(&fs.f_type))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::config::WatchBackend;

    fn scanner(root: &Path, mode: WatchMode, settle_ms: u64) -> Scanner {
        let watch = Watch { path: root.to_owned(), mode, backend: WatchBackend::Auto };
        Scanner::new(watch, Duration::from_millis(settle_ms))
    }

    #[test]
    fn a_file_that_is_open_for_writing_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slow.jpg");
        let writer = fs::File::create(&path).unwrap();
        let mut scanner = scanner(dir.path(), WatchMode::Identify, 0);
        assert_eq!((scanner.look().complete.len(), scanner.look().unsettled), (0, 1));
        drop(writer);
        assert_eq!(scanner.look().complete.len(), 1);
    }

    #[test]
    fn links_are_passed_over_and_said() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.jpg")).unwrap();
        let found = scanner(dir.path(), WatchMode::Identify, 0).look();
        assert_eq!((found.complete.len(), found.passed_over.len()), (0, 1));
    }

    #[test]
    fn the_first_folder_is_the_label() {
        let root = Path::new("/w/enroll");
        assert_eq!(enroll_mode(root, &root.join("Aspirin/deep/a.jpg")), Mode::Enroll(Label::new("Aspirin").unwrap()));
        assert_eq!(enroll_mode(root, &root.join("a.jpg")), Mode::Unlabelled);
    }

    #[test]
    fn a_file_must_settle() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), b"1").unwrap();
        let mut scanner = scanner(dir.path(), WatchMode::Identify, 40);
        assert_eq!(scanner.look().unsettled, 1);
        std::thread::sleep(Duration::from_millis(60));
        fs::write(dir.path().join("a"), b"12").unwrap();
        assert_eq!(scanner.look().unsettled, 1, "it changed between the looks");
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(scanner.look().complete.len(), 1);
    }
}
