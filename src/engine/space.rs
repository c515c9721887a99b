//! Room on the disk: when nothing more is taken in, and what is kept back so that a full disk can be opened again.
//!
//! A projection that finds no room at all cannot even be opened (sled writes while it opens), so a file of ballast lies
//! beside it. It is let go when a start finds the disk full, and laid down again when there is room.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::core::{Engine, lock};
use crate::config::Config;

/// Never fewer bytes free than this, however small the disk is.
const LEAST: u64 = 4 << 20;
/// How the warning about a full disk begins.
const CRAMPED: &str = "the disk is nearly full";

/// The disk under `database/`.
pub(super) struct Space {
    dir: PathBuf,
    ballast_bytes: u64,
    min_free_percent: f64,
    cramped: AtomicBool,
}

impl Space {
    /// Looks at the disk before anything is opened on it; the sentence is for the operator.
    pub(super) fn open(config: &Config) -> (Self, Option<String>) {
        let space = Self {
            dir: config.database(),
            ballast_bytes: config.engine.ballast_bytes,
            min_free_percent: config.engine.min_free_percent,
            cramped: AtomicBool::new(false),
        };
        let ballast = space.ballast();
        let let_go = space.is_full() && fs::metadata(&ballast).is_ok_and(|meta| meta.len() > 0);
        let said = let_go.then(|| match fs::remove_file(&ballast) {
            Ok(()) => format!("{CRAMPED}: the ballast was let go to open the workspace; {}", space.remedy()),
            Err(error) => format!("{CRAMPED}, and the ballast {} cannot be let go: {error}", ballast.display()),
        });
        space.lay_ballast();
        space.cramped.store(space.is_full(), Ordering::Relaxed);
        (space, said)
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// (free, least that is to be free), in bytes; none where the system does not say.
    fn free(&self) -> Option<(u64, u64)> {
        let stats = rustix::fs::statvfs(&self.dir).ok()?;
        let (free, whole) = (stats.f_bavail * stats.f_frsize, stats.f_blocks * stats.f_frsize);
        Some((free, LEAST.max((whole as f64 * self.min_free_percent / 100.0) as u64)))
    }

    /// Whether there is less free than there should be, at this moment.
    pub(super) fn is_full(&self) -> bool {
        self.free().is_some_and(|(free, least)| free < least)
    }

    fn remedy(&self) -> String {
        let (free, least) = self.free().unwrap_or_default();
        format!(
            "{} MB are free at {}, {} MB must be (engine.min_free_percent): nothing more is taken in until there is room",
            free >> 20,
            self.dir.display(),
            least >> 20
        )
    }

    /// Lays the ballast down where there is room for it and more. It is a help, so that it fails is no error.
    fn lay_ballast(&self) {
        let path = self.ballast();
        let there = fs::metadata(&path).map_or(0, |meta| meta.len());
        let roomy = self.free().is_some_and(|(free, least)| free > 2 * least + self.ballast_bytes);
        if there == self.ballast_bytes || !roomy {
            return;
        }
        if self.ballast_bytes == 0 {
            drop(fs::remove_file(&path));
            return;
        }
        let laid = File::create(&path).and_then(|file| {
            let length = self.ballast_bytes;
            Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length)?)
        });
        if let Err(error) = laid {
            tracing::warn!(%error, "the ballast could not be laid down");
            drop(fs::remove_file(&path));
        }
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
        if !full {
            self.space.lay_ballast();
        }
    }
}
