//! Where each entry lies: kept in memory, shared by the writer and all readers.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A segment's entries.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The number in the file's name.
    pub number: u32,
    /// Its first entry.
    pub first: u64,
    /// Where each of its entries begins.
    pub offsets: Vec<u64>,
    /// Where the last one ends.
    pub end: u64,
}

/// All segments, in order. Only what is on disk for good is in here.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub segments: Vec<Segment>,
    /// Bytes of `checkpoints.log` that are on disk for good.
    pub checkpoint_bytes: u64,
}

/// A run of bytes in one segment that holds whole frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub segment: u32,
    pub from: u64,
    pub to: u64,
    /// Frames in it.
    pub entries: usize,
}

impl Index {
    /// Entries in all.
    pub(super) fn len(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.first + s.offsets.len() as u64)
    }

    /// At most `max` entries from `sequence` on, as far as one segment and about `bytes` bytes go; at least one.
    pub(super) fn span(&self, sequence: u64, max: usize, bytes: u64) -> Option<Span> {
        if sequence >= self.len() || max == 0 {
            return None;
        }
        let segment = &self.segments[self.segments.partition_point(|s| s.first <= sequence) - 1];
        let begin = (sequence - segment.first) as usize;
        let from = *segment.offsets.get(begin)?;
        let end_of = |i: usize| segment.offsets.get(i + 1).copied().unwrap_or(segment.end);
        let mut entries = 1;
        while entries < max && begin + entries < segment.offsets.len() && end_of(begin + entries) - from <= bytes {
            entries += 1;
        }
        Some(Span { segment: segment.number, from, to: end_of(begin + entries - 1), entries })
    }
}

/// The folder and the index, shared.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub dir: Arc<PathBuf>,
    index: Arc<RwLock<Index>>,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, index: Index) -> Self {
        Self { dir: Arc::new(dir), index: Arc::new(RwLock::new(index)) }
    }

    // A panic elsewhere cannot leave the index half changed in a way that matters: it only grows by whole batches.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}
