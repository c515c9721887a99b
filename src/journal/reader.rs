//! Reading entries while others are being appended.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use super::checkpoint::Log;
use super::index::{Shared, Span};
use super::{Checkpoint, JournalError, Trust, VerifyReport, frame, scan, verify};
use crate::domain::Entry;
use crate::files;

/// Bytes read in one go.
const WINDOW: u64 = 4 << 20;
/// Segments kept open.
const OPEN_FILES: usize = 16;

/// Reads entries; a clone has file descriptors of its own, so that threads do not wait for each other.
#[derive(Debug)]
pub struct Reader {
    shared: Shared,
    files: Mutex<HashMap<u32, File>>,
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone())
    }
}

impl Reader {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, files: Mutex::default() }
    }

    /// Entries on disk.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One entry; its checksum is checked.
    ///
    /// # Errors
    /// No such entry, I/O, or damage since the journal was opened.
    pub fn entry(&self, sequence: u64) -> Result<Entry, JournalError> {
        let mut found = self.read_range(sequence, 1)?;
        found.pop().ok_or_else(|| JournalError::NoEntry { sequence, entries: self.len() })
    }

    /// The canonical bytes of one entry, as they are hashed and signed.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub fn bytes(&self, sequence: u64) -> Result<Vec<u8>, JournalError> {
        let mut found = None;
        self.each(sequence, 1, |_, bytes| {
            found = Some(bytes.to_vec());
            Ok(())
        })?;
        found.ok_or_else(|| JournalError::NoEntry { sequence, entries: self.len() })
    }

    /// At most `max` entries from `from` on, oldest first; fewer at the journal's end, none past it.
    ///
    /// # Errors
    /// I/O, or damage since the journal was opened.
    pub fn read_range(&self, from: u64, max: usize) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        self.each(from, max, |_, bytes| {
            let entry = serde_json::from_slice(bytes).map_err(|e| format!("the entry cannot be read: {e}"))?;
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    /// The last `n` entries, oldest first.
    ///
    /// # Errors
    /// As [`Self::read_range`].
    pub fn tail(&self, n: usize) -> Result<Vec<Entry>, JournalError> {
        let from = self.len().saturating_sub(n as u64);
        self.read_range(from, n)
    }

    /// The last signed checkpoint: evidence to keep elsewhere, see [`Trust::checkpoint`].
    ///
    /// # Errors
    /// The file of checkpoints cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, JournalError> {
        let bytes = self.shared.read().checkpoint_bytes;
        Ok(Log::read(&self.shared.dir, Some(bytes))?.last().cloned())
    }

    /// Proves everything that was on disk when this was called, while the writer goes on; see [`verify()`].
    ///
    /// # Errors
    /// I/O only; what is wrong with the journal is in the report.
    pub fn verify(&self, trust: &Trust) -> Result<VerifyReport, JournalError> {
        let bounds = {
            let index = self.shared.read();
            let last = index.segments.last().map_or((0, 0), |s| (s.number, s.end));
            verify::Bounds { segment: last.0, end: last.1, checkpoint_bytes: index.checkpoint_bytes }
        };
        verify::run(&self.shared.dir, trust, Some(bounds))
    }

    /// Hands over the canonical bytes of at most `max` entries from `from` on.
    pub(super) fn each(
        &self,
        from: u64,
        max: usize,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        let (mut next, mut left) = (from, max);
        while let Some(span) = self.shared.read().span(next, left, WINDOW) {
            let bytes = self.read_span(span)?;
            let mut at = 0;
            for _ in 0..span.entries {
                let read = frame::decode(&bytes[at..]).map_err(|fault| fault.to_string()).and_then(|frame| {
                    if frame.sequence != next {
                        return Err(format!("entry {next} should be here, but entry {} is", frame.sequence));
                    }
                    each(next, frame.entry).map(|()| frame.size())
                });
                match read {
                    Ok(size) => at += size,
                    Err(detail) => {
                        let file = scan::path(&self.shared.dir, span.segment);
                        return Err(JournalError::Damaged { file, offset: span.from + at as u64, entry: next, detail });
                    }
                }
                next += 1;
            }
            left -= span.entries;
        }
        Ok(())
    }

    fn read_span(&self, span: Span) -> Result<Vec<u8>, JournalError> {
        let path = scan::path(&self.shared.dir, span.segment);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= OPEN_FILES && !files.contains_key(&span.segment) {
            files.clear();
        }
        let file = match files.entry(span.segment) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(files::open(&path).map_err(JournalError::io("open", &path))?)
            }
        };
        let mut bytes = vec![0; (span.to - span.from) as usize];
        file.read_exact_at(&mut bytes, span.from).map_err(JournalError::io("read", &path))?;
        Ok(bytes)
    }
}
