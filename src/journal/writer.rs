//! Appending: one write and one `fdatasync` a batch, then the entries are true.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::index::{Segment, Shared};
use super::key::Signer;
use super::merkle::{Tree, leaf_hash};
use super::{Checkpoint, Filter, JournalError, Options, Page, PublicKey, Reader};
use super::{checkpoint, frame, scan};
use crate::domain::{Draft, Entry};
use crate::files;

/// The journal, open for writing. There is one in a process, and one process.
pub struct Journal {
    shared: Shared,
    options: Options,
    signer: Signer,
    /// Holds the lock.
    _key: File,
    pub(super) segment: File,
    pub(super) checkpoints: File,
    tree: Tree,
    /// Entries under the last checkpoint.
    anchored: u64,
    poison: Option<String>,
    /// The last entry is a stop whose checkpoint did not come to be: it is signed before anything follows it.
    owes_checkpoint: bool,
    reader: Reader,
}

impl Journal {
    pub(super) fn from_parts(
        shared: Shared,
        options: Options,
        signer: Signer,
        key: File,
        tree: Tree,
        anchored: u64,
    ) -> Result<Self, JournalError> {
        let number = shared.read().segments.last().map(|s| s.number);
        if number.is_none() {
            shared.write().segments.push(Segment { number: 0, first: 0, offsets: Vec::new(), end: 0 });
        }
        let segment = open_lasting(&shared, &scan::path(&shared.dir, number.unwrap_or(0)))?;
        let checkpoints = open_lasting(&shared, &shared.dir.join(checkpoint::FILE))?;
        let reader = Reader::new(shared.clone());
        let last = tree.size().checked_sub(1).filter(|last| *last >= anchored);
        let owes_checkpoint = match last {
            Some(last) => reader.entry(last)?.action == super::verify::STOPPED,
            None => false,
        };
        let poison = None;
        Ok(Self {
            shared,
            options,
            signer,
            _key: key,
            segment,
            checkpoints,
            tree,
            anchored,
            poison,
            owes_checkpoint,
            reader,
        })
    }

    /// Numbers, dates and writes the drafts; returns when they are on disk for good.
    ///
    /// The dates are the wall clock and CLOCK_MONOTONIC, the same for the whole batch. If a checkpoint that falls due
    /// cannot be written, the batch is still true and returned; the next call says what happened.
    ///
    /// # Errors
    /// A draft that cannot be recorded (nothing is written then); a failed write, after which the journal takes nothing
    /// more until it is opened again.
    pub fn append(&mut self, drafts: Vec<Draft>) -> Result<Vec<Entry>, JournalError> {
        self.check()?;
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        if self.owes_checkpoint {
            // A crash came between a stop and its checkpoint. Once something follows, only signatures that were taken
            // away would look like that.
            self.checkpoint()?;
        }
        let (wall_ms, mono_ns) = (wall_ms(), mono_ns());
        let (mut frames, mut offsets, mut tree) = (Vec::new(), Vec::with_capacity(drafts.len()), self.tree.clone());
        let mut entries = Vec::with_capacity(drafts.len());
        for (place, draft) in (0..).zip(drafts) {
            let (entry, bytes) = canonical(draft, tree.size(), wall_ms, mono_ns)?;
            offsets.push(frames.len() as u64);
            frame::encode(&bytes, place, &mut frames);
            tree.push(leaf_hash(&bytes));
            entries.push(entry);
        }
        self.roll_if_full()?;

        let (number, end) = self.shared.read().segments.last().map_or((0, 0), |s| (s.number, s.end));
        let written = self.segment.write_all_at(&frames, end).and_then(|()| self.segment.sync_data());
        if let Err(e) = written {
            let error = JournalError::io("append to", scan::path(&self.shared.dir, number))(e);
            // What was not acknowledged should not be there; if it stays, the next start finds it sound or cuts it.
            let undone = self.segment.set_len(end).and_then(|()| self.segment.sync_all());
            let left = undone.err().map_or(String::new(), |e| format!("; nor could the rest be cut off: {e}"));
            self.poison = Some(format!("{error}{left}"));
            return Err(error);
        }
        self.tree = tree;
        if let Some(segment) = self.shared.write().segments.last_mut() {
            segment.offsets.extend(offsets.iter().map(|offset| end + offset));
            segment.end = end + frames.len() as u64;
        }
        let due = self.options.checkpoint_every;
        if due > 0
            && self.tree.size() - self.anchored >= due
            && let Err(error) = self.checkpoint()
        {
            tracing::error!("the entries are recorded, but their checkpoint failed: {error}");
        }
        Ok(entries)
    }

    /// Signs the tree as it is now; returns the checkpoint once it is on disk for good.
    ///
    /// `None` where nothing was appended since the last one.
    ///
    /// # Errors
    /// A failed write, after which the journal takes nothing more until it is opened again.
    pub fn checkpoint(&mut self) -> Result<Option<Checkpoint>, JournalError> {
        self.check()?;
        if self.tree.size() == self.anchored {
            return Ok(None);
        }
        let checkpoint = Checkpoint::sign(&self.signer, &self.tree, wall_ms());
        let (note, end) = (checkpoint.note(), self.shared.read().checkpoint_bytes);
        let written = self.checkpoints.write_all_at(note.as_bytes(), end).and_then(|()| self.checkpoints.sync_data());
        if let Err(e) = written {
            let error = JournalError::io("append to", self.shared.dir.join(checkpoint::FILE))(e);
            let undone = self.checkpoints.set_len(end).and_then(|()| self.checkpoints.sync_all());
            let left = undone.err().map_or(String::new(), |e| format!("; nor could the rest be cut off: {e}"));
            self.poison = Some(format!("{error}{left}"));
            return Err(error);
        }
        self.shared.write().checkpoint_bytes = end + note.len() as u64;
        self.anchored = self.tree.size();
        self.owes_checkpoint = false;
        Ok(Some(checkpoint))
    }

    /// Begins the next segment where this one is full. A closed segment always lies under a checkpoint.
    fn roll_if_full(&mut self) -> Result<(), JournalError> {
        let (number, end) = self.shared.read().segments.last().map_or((0, 0), |s| (s.number, s.end));
        if end == 0 || end < self.options.segment_bytes {
            return Ok(());
        }
        self.checkpoint()?;
        let number = number + 1;
        match open_lasting(&self.shared, &scan::path(&self.shared.dir, number)) {
            Ok(file) => self.segment = file,
            Err(error) => {
                self.poison = Some(error.to_string());
                return Err(error);
            }
        }
        let first = self.tree.size();
        self.shared.write().segments.push(Segment { number, first, offsets: Vec::new(), end: 0 });
        Ok(())
    }

    fn check(&self) -> Result<(), JournalError> {
        self.poison.as_ref().map_or(Ok(()), |why| Err(JournalError::Poisoned(why.clone())))
    }

    /// Why the journal takes no more entries, if so.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.as_deref()
    }

    /// Entries in the journal.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.tree.size()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries past the last checkpoint.
    #[must_use]
    pub fn unanchored(&self) -> u64 {
        self.tree.size() - self.anchored
    }

    /// The root over all entries.
    #[must_use]
    pub fn root(&self) -> super::merkle::Hash {
        self.tree.root()
    }

    /// The key that signs the checkpoints.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        self.signer.public()
    }

    /// An independent reader, for other threads. It sees each batch as soon as it is on disk.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// See [`Reader::entry`].
    ///
    /// # Errors
    /// As there.
    pub fn entry(&self, sequence: u64) -> Result<Entry, JournalError> {
        self.reader.entry(sequence)
    }

    /// See [`Reader::read_range`].
    ///
    /// # Errors
    /// As there.
    pub fn read_range(&self, from: u64, max: usize) -> Result<Vec<Entry>, JournalError> {
        self.reader.read_range(from, max)
    }

    /// See [`Reader::tail`].
    ///
    /// # Errors
    /// As there.
    pub fn tail(&self, n: usize) -> Result<Vec<Entry>, JournalError> {
        self.reader.tail(n)
    }

    /// See [`Reader::query`].
    ///
    /// # Errors
    /// As there.
    pub fn query(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, JournalError> {
        self.reader.query(filter, before, limit)
    }
}

/// The entry and its canonical bytes.
fn canonical(draft: Draft, sequence: u64, wall_ms: i64, mono_ns: u64) -> Result<(Entry, Vec<u8>), JournalError> {
    let (action, subject) = (draft.fact.action().to_owned(), draft.fact.subject());
    let refuse = |detail: String| JournalError::Entry { action: action.clone(), subject: subject.clone(), detail };
    let entry = Entry::from_draft(draft, sequence, wall_ms, mono_ns).map_err(|e| refuse(e.to_string()))?;
    // serde_json writes numbers that are not finite as null: a fact that could never be read again is refused here.
    entry.fact().map_err(|e| refuse(format!("it could not be read back: {e}")))?;
    let bytes = serde_json::to_vec(&entry).map_err(|e| refuse(e.to_string()))?;
    if bytes.len() > frame::MAX_ENTRY {
        return Err(refuse(format!("it has {} bytes; at most {} fit", bytes.len(), frame::MAX_ENTRY)));
    }
    Ok((entry, bytes))
}

/// Opens a file for writing; if it is new, its name is on disk for good before this returns.
fn open_lasting(shared: &Shared, path: &std::path::Path) -> Result<File, JournalError> {
    let open = || {
        let options = &mut OpenOptions::new();
        let file = files::open_with(path, options.read(true).write(true).create(true).truncate(false))?;
        file.sync_all()?;
        File::open(shared.dir.as_path())?.sync_all()?;
        Ok(file)
    };
    open().map_err(JournalError::io("open", path))
}

/// The wall clock, milliseconds since 1970 UTC.
pub(super) fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// CLOCK_MONOTONIC, nanoseconds since boot.
fn mono_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
