//! Room on the disk: when nothing more is taken in, and what is kept back so that a full disk can be opened again.
//!
//! A projection that finds no room at all cannot even be opened (sled writes while it opens), so a file of ballast lies
//! beside it. It is let go when a start finds the disk full, and laid down again when there is room.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::core::{Engine, lock};
use crate::config::Config;
use crate::files;

/// Never fewer bytes free than this, however small the disk is.
const LEAST: u64 = 4 << 20;
/// How the warning about a full disk begins.
const CRAMPED: &str = "the disk is nearly full";
/// How the warning about missing ballast begins.
const NO_BALLAST: &str = "the ballast is not laid down";

/// The disk under `database/`.
pub(super) struct Space {
    dir: PathBuf,
    ballast_bytes: u64,
    min_free_percent: f64,
    cramped: AtomicBool,
    /// That there is no ballast has been said.
    bare: AtomicBool,
}

/// The room on a disk, bytes.
#[derive(Clone, Copy)]
struct Room {
    free: u64,
    /// The least that is to be free.
    least: u64,
    whole: u64,
}

impl Room {
    fn percent(self, bytes: u64) -> f64 {
        bytes as f64 * 100.0 / self.whole.max(1) as f64
    }
}

/// Bytes in words, so that little is not said to be nothing.
fn megabytes(bytes: u64) -> String {
    if bytes < 10 << 20 {
        format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
    } else {
        format!("{} MB", bytes >> 20)
    }
}

impl Space {
    /// Looks at the disk before anything is opened on it; the sentences are for the operator.
    pub(super) fn open(config: &Config) -> (Self, Vec<String>) {
        let space = Self {
            dir: config.database(),
            ballast_bytes: config.engine.ballast_bytes,
            min_free_percent: config.engine.min_free_percent,
            cramped: AtomicBool::new(false),
            bare: AtomicBool::new(false),
        };
        let ballast = space.ballast();
        let let_go = space.is_full() && fs::metadata(&ballast).is_ok_and(|meta| meta.len() > 0);
        let said = let_go.then(|| match fs::remove_file(&ballast) {
            Ok(()) => format!("{CRAMPED}: the ballast was let go to open the workspace; {}", space.remedy()),
            Err(error) => format!("{CRAMPED}, and the ballast {} cannot be let go: {error}", ballast.display()),
        });
        let full = space.is_full();
        space.cramped.store(full, Ordering::Relaxed);
        // Of a disk that is full, that is said, and not that there is no ballast either.
        let bare = if full { None } else { space.lay_ballast() };
        space.bare.store(bare.is_some(), Ordering::Relaxed);
        (space, said.into_iter().chain(bare).collect())
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// None where the system does not say.
    fn room(&self) -> Option<Room> {
        let stats = rustix::fs::statvfs(&self.dir).ok()?;
        let (free, whole) = (stats.f_bavail * stats.f_frsize, stats.f_blocks * stats.f_frsize);
        let least = LEAST.max((whole as f64 * self.min_free_percent / 100.0) as u64);
        Some(Room { free, least, whole })
    }

    /// Whether there is less free than there should be, at this moment.
    pub(super) fn is_full(&self) -> bool {
        self.room().is_some_and(|room| room.free < room.least)
    }

    fn remedy(&self) -> String {
        let Some(room) = self.room() else { return "the system does not say how much is free".into() };
        format!(
            "{:.1}% ({}) are free at {}, {:.1}% ({}) must be (engine.min_free_percent): nothing more is taken in until there is room",
            room.percent(room.free),
            megabytes(room.free),
            self.dir.display(),
            room.percent(room.least),
            megabytes(room.least)
        )
    }

    /// Lays the ballast down where there is room for it and more. It is a help, so that it fails is no error: the
    /// sentence says why it is missing.
    fn lay_ballast(&self) -> Option<String> {
        let (path, wanted) = (self.ballast(), self.ballast_bytes);
        // Not what stands in its place: a pipe would have a length, too.
        let there = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file).map_or(0, |meta| meta.len());
        if there == wanted {
            return None;
        }
        if wanted == 0 {
            drop(fs::remove_file(&path));
            return None;
        }
        let room = self.room()?;
        // What is there of it is room, too.
        let enough = 2 * room.least + wanted;
        if room.free + there <= enough {
            return Some(format!(
                "{NO_BALLAST}: {:.1}% ({}) are free at {}, {:.1}% ({}) must be before {} are kept back \
                 (engine.ballast_mb, and twice engine.min_free_percent). Without it a disk that becomes full can keep \
                 the workspace from opening: make room, or set engine.ballast_mb lower",
                room.percent(room.free),
                megabytes(room.free),
                self.dir.display(),
                room.percent(enough),
                megabytes(enough),
                megabytes(wanted)
            ));
        }
        let options = &mut OpenOptions::new();
        let laid = files::open_with(&path, options.write(true).create(true).truncate(true))
            .and_then(|file| Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, wanted)?));
        laid.err().map(|error| {
            // A file of ours that is half as long helps nobody; what is not ours stays.
            if files::check(&path).is_ok() {
                drop(fs::remove_file(&path));
            }
            format!(
                "{NO_BALLAST}: cannot write {}: {error}. Without it a disk that becomes full can keep the workspace from opening",
                path.display()
            )
        })
    }

    /// Whether nothing more is taken in, as of the last look.
    pub(super) fn is_cramped(&self) -> bool {
        self.cramped.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Looks at the disk; says when it has become full, and when there is room again.
    pub(super) fn look_at_space(&self) {
        let full = self.space.is_full();
        if self.space.cramped.swap(full, Ordering::Relaxed) != full {
            lock(&self.warnings).retain(|warning| !warning.starts_with(CRAMPED));
            self.dirty.store(true, Ordering::Relaxed);
            if full {
                self.warn(format!("{CRAMPED}: {}", self.space.remedy()));
            } else {
                tracing::info!("there is room on the disk again");
            }
        }
        let bare = if full { None } else { self.space.lay_ballast() };
        if self.space.bare.swap(bare.is_some(), Ordering::Relaxed) != bare.is_some() {
            lock(&self.warnings).retain(|warning| !warning.starts_with(NO_BALLAST));
            self.dirty.store(true, Ordering::Relaxed);
            bare.into_iter().for_each(|said| self.warn(said));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn space(dir: &std::path::Path, percent: f64, ballast_bytes: u64) -> (Space, Vec<String>) {
        let text = format!("engine:\n  min_free_percent: {percent:.3}\n");
        let config = Config::parse(&text, dir).unwrap();
        let config = Config { engine: crate::config::Engine { ballast_bytes, ..config.engine }, ..config };
        std::fs::create_dir_all(config.database()).unwrap();
        Space::open(&config)
    }

    fn free_percent(dir: &std::path::Path) -> f64 {
        let stats = rustix::fs::statvfs(dir).unwrap();
        stats.f_bavail as f64 * 100.0 / stats.f_blocks as f64
    }

    #[test]
    fn ballast_that_does_not_fit_is_said_in_percent_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        // Not full, but with less than twice of what must be free.
        let percent = (free_percent(dir.path()) * 0.75).min(50.0);
        let (space, said) = space(dir.path(), percent, 32 << 20);
        assert!(!space.is_cramped() && space.bare.load(Ordering::Relaxed));
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("the ballast is not laid down: "), "{said:?}");
        assert!(said[0].contains("% (") && said[0].contains("32 MB are kept back"), "{said:?}");
        assert!(said[0].contains("make room") && !space.ballast().exists());
        let remedy = space.remedy();
        assert!(remedy.matches("% (").count() == 2 && remedy.matches(" MB)").count() == 2, "{remedy}");
    }

    #[test]
    fn a_stranger_in_the_place_of_the_ballast_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database/ballast");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (_, said) = space(dir.path(), 0.0, 1 << 20);
        assert!(said[0].contains("ballast: a pipe stands there"), "{said:?}");
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
        let (_, said) = space(dir.path(), 0.0, 1 << 20);
        assert!(said.is_empty() && std::fs::metadata(&path).unwrap().len() == 1 << 20, "{said:?}");
    }
}
