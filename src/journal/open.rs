//! Opening: every byte is read once, what a crash left unfinished is cut and kept, damage stops the engine.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::checkpoint::Log;
use super::index::{Index, Segment, Shared};
use super::key::Signer;
use super::merkle::{Tree, leaf_hash};
use super::scan::{self, Break};
use super::writer::{Journal, wall_ms};
use super::{Checkpoint, JournalError, Options};
use crate::files;

/// What was found on opening.
#[derive(Clone, Debug)]
pub struct OpenReport {
    /// Entries in the journal.
    pub entries: u64,
    /// The last checkpoint; its signature and frontier were checked.
    pub checkpoint: Option<Checkpoint>,
    /// Entries past the last checkpoint.
    pub unanchored: u64,
    /// The first entry that was hashed again. Those before it had their checksums read; that they still lead to the
    /// signed root is for `verify` to prove.
    pub hashed_from: u64,
    /// Whether the journal, and with it the signing key, was made just now.
    pub created: bool,
    /// What was cut off, and where it was kept. To be said to the operator.
    pub cut: Vec<Cut>,
}

/// Bytes of a write that was never finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file that was cut.
    pub file: PathBuf,
    /// Its length now.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// Where they are now.
    pub kept: PathBuf,
    /// What was wrong with them.
    pub detail: String,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, offset, bytes, kept, detail } = self;
        write!(f, "{}: {bytes} bytes from byte {offset} on were an unfinished write ({detail}); ", file.display())?;
        write!(f, "they were cut and kept in {}", kept.display())
    }
}

impl Journal {
    /// Opens the journal in `dir`, making it if there is none.
    ///
    /// # Errors
    /// Locked by another process, I/O, a missing or foreign key, damage or loss of anything that a checkpoint covers
    /// or that had been acknowledged. Nothing is changed on disk then.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, OpenReport), JournalError> {
        create_dir(dir)?;
        let mut log = Log::read(dir, None)?;
        let numbers = scan::segments(dir)?;
        let (signer, key_file, created) = Signer::open(dir, !log.notes.is_empty())?;
        match key_file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::Locked(dir.to_owned())),
            Err(fs::TryLockError::Error(e)) => return Err(JournalError::io("lock", dir.join("key"))(e)),
        }
        let anchor = anchor(&log, &signer)?;
        let anchored = anchor.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        let mut tree = anchor.as_ref().map_or_else(Tree::default, |(_, tree)| tree.clone());

        let (segments, torn) = read_segments(dir, &numbers, anchored, &mut tree)?;
        let mut index = Index { segments, checkpoint_bytes: log.bytes };
        let have = index.len();
        if have < anchored {
            let (file, offset) = index.segments.last().map_or((scan::path(dir, 0), 0), |s| {
                // A segment that is gone is named; otherwise the last one was shortened.
                (scan::path(dir, s.number), s.end)
            });
            return Err(JournalError::Missing { file, offset, have, want: anchored });
        }

        if let Some(last) = index.segments.last().filter(|s| s.first > anchored) {
            let detail = "checkpoints are missing: every closed segment was signed for".into();
            return Err(JournalError::Damaged { file: log.path, offset: log.bytes, entry: last.first - 1, detail });
        }

        // Only now, when it is certain that the journal opens, is anything cut.
        let mut cut = Vec::new();
        if let Some(Break { offset, detail, .. }) = torn {
            let number = index.segments.last().map_or(0, |s| s.number);
            cut.push(keep_and_cut(dir, scan::path(dir, number), offset, detail)?);
        }
        if let Some((offset, detail)) = log.torn.take() {
            cut.push(keep_and_cut(dir, log.path.clone(), offset, detail)?);
            index.checkpoint_bytes = offset;
        }
        let checkpoint = anchor.map(|(checkpoint, _)| checkpoint);
        let report =
            OpenReport { entries: have, unanchored: have - anchored, hashed_from: anchored, checkpoint, created, cut };
        let journal = Self::from_parts(Shared::new(dir.to_owned(), index), options, signer, key_file, tree, anchored)?;
        Ok((journal, report))
    }
}

/// The last checkpoint, proved to be ours.
fn anchor(log: &Log, signer: &Signer) -> Result<Option<(Checkpoint, Tree)>, JournalError> {
    let damaged = |offset: u64, entry: u64, detail: String| JournalError::Damaged {
        file: log.path.clone(),
        offset,
        entry,
        detail,
    };
    let size = log.last().map_or(0, |c| c.size);
    if let Some((offset, detail)) = log.damaged.first() {
        return Err(damaged(*offset, size, detail.clone()));
    }
    let Some((offset, checkpoint)) = log.notes.last() else {
        return Ok(None);
    };
    if checkpoint.origin != signer.public().name() {
        return Err(JournalError::Key {
            file: signer_path(log),
            detail: format!(
                "the journal's last checkpoint was signed by {}, this key is {}; restore the right key from a backup",
                checkpoint.origin,
                signer.public().name()
            ),
        });
    }
    if !checkpoint.is_signed_by(signer.public()) {
        return Err(damaged(*offset, size, "the signature does not fit the checkpoint".into()));
    }
    let tree = checkpoint
        .tree()
        .ok_or_else(|| damaged(*offset, size, "the frontier does not lead to the signed root".into()))?;
    Ok(Some((checkpoint.clone(), tree)))
}

fn signer_path(log: &Log) -> PathBuf {
    log.path.with_file_name("key")
}

/// Reads all segments; returns them and where the last one's unfinished tail begins.
fn read_segments(
    dir: &Path,
    numbers: &[u32],
    anchored: u64,
    tree: &mut Tree,
) -> Result<(Vec<Segment>, Option<Break>), JournalError> {
    let (mut segments, mut torn, mut bytes, mut next) = (Vec::new(), None, Vec::new(), 0);
    for (expected, number) in (0..).zip(numbers) {
        if *number != expected {
            return Err(JournalError::Missing {
                file: scan::path(dir, expected),
                offset: 0,
                have: next,
                want: anchored.max(next + 1),
            });
        }
        let path = scan::path(dir, *number);
        bytes.clear();
        files::open(&path).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(JournalError::io("read", &path))?;
        let mut segment = Segment { number: *number, first: next, offsets: Vec::new(), end: 0 };
        let (end, after, broken) = scan::walk(&bytes, 0, next, |offset, frame| {
            segment.offsets.push(offset);
            if frame.sequence >= anchored {
                tree.push(leaf_hash(frame.entry));
            }
        });
        (segment.end, next) = (end, after);
        segments.push(segment);
        if let Some(broken) = broken {
            let last = expected as usize + 1 == numbers.len();
            if broken.entry < anchored || broken.acknowledged || !last {
                let Break { offset, entry, detail, .. } = broken;
                return Err(JournalError::Damaged { file: path, offset, entry, detail });
            }
            torn = Some(broken);
        }
    }
    Ok((segments, torn))
}

/// Moves everything from `offset` on into a side file, and only then cuts.
fn keep_and_cut(dir: &Path, file: PathBuf, offset: u64, detail: String) -> Result<Cut, JournalError> {
    let bytes = files::read(&file).map_err(JournalError::io("read", &file))?;
    let tail = bytes.get(offset as usize..).unwrap_or_default();
    let mut millis = wall_ms();
    let (kept, mut side) = loop {
        let kept = dir.join(format!("torn-{millis}.bin"));
        match OpenOptions::new().write(true).create_new(true).open(&kept) {
            Ok(side) => break (kept, side),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => millis += 1,
            Err(e) => return Err(JournalError::io("create", &kept)(e)),
        }
    };
    side.write_all(tail)
        .and_then(|()| side.sync_all())
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(JournalError::io("write", &kept))?;
    OpenOptions::new()
        .write(true)
        .open(&file)
        .and_then(|f| f.set_len(offset).and_then(|()| f.sync_all()))
        .map_err(JournalError::io("cut", &file))?;
    Ok(Cut { file, offset, bytes: tail.len() as u64, kept, detail })
}

fn create_dir(dir: &Path) -> Result<(), JournalError> {
    if dir.is_dir() {
        return Ok(());
    }
    // Each folder that is made is made to last in its parent.
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_dir(parent)?;
    }
    fs::DirBuilder::new().mode(0o750).create(dir).map_err(JournalError::io("create", dir))?;
    File::open(parent.unwrap_or(Path::new("."))).and_then(|d| d.sync_all()).map_err(JournalError::io("sync", dir))
}
