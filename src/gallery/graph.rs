//! The approximate index: a navigable graph (HNSW: Malkov and Yashunin, 2016) over a snapshot of the enrolled vectors.
//!
//! # On disk (`database/gallery/ann/FINGERPRINT.ann`)
//!
//! Numbers little-endian; sections begin at multiples of 64 bytes, zeros between them.
//!
//! | section | what |
//! |---|---|
//! | header, 128 bytes | `SLANN` and `1A 0A 01`; dimension, stride, nodes, links, upper links, words of the upper levels, entry node, its level (4 bytes each); fingerprint (32); zeros (24); SHA-256 of everything else (32) |
//! | rows | for each node its segment, row and the row's CRC-32 (4 bytes each) |
//! | scales | for each node an f32: what its codes are multiplied with |
//! | base | for each node `links` numbers of nodes near it; `FFFFFFFF` where there are fewer |
//! | first | for each node where its upper levels begin, in words of the next section; `FFFFFFFF` for none |
//! | upper | for each level above the lowest `upper links` numbers of nodes |
//! | codes | for each node `stride` bytes: its components as whole numbers, 128 added |
//!
//! The file is a copy: it can be made anew from the segments at any time, and is set aside on any doubt. It is read into
//! memory, not mapped: a mapped file that somebody cuts ends whoever looks at it (SIGBUS). Its digest is checked before it
//! is used, and still no number in it is used as a place without a check, so that a file which lies under a right digest
//! gives a wrong list at worst. What is shown of a list is computed from the segments.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use memmap2::MmapMut;
use sha2::{Digest, Sha256};

use super::filter::coded;
use super::kernel::{fetch, picked};
use crate::domain::{Fingerprint, ImageId};
use crate::files;

pub(super) const MAGIC: [u8; 8] = *b"SLANN\x1A\x0A\x01";
pub(super) const HEADER: usize = 128;
/// Where the digest lies in the header.
pub(super) const DIGEST: usize = 96;
/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;
/// Levels that no graph has: each has about a sixteenth of the nodes of the one below.
const TALLEST: usize = 64;
/// No node, no list.
pub(super) const NONE: u32 = u32::MAX;

/// A node's row in the segments, and its checksum.
pub(super) type Row = [u32; 3];

/// What a file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub dimension: usize,
    /// Bytes of a node's codes: the dimension and zeros up to a multiple of 64.
    pub stride: usize,
    pub nodes: usize,
    /// Neighbours of a node on the lowest level.
    pub links: usize,
    /// Neighbours of a node on each other level.
    pub upper_links: usize,
    /// Length of the section of the upper levels, in words.
    pub upper: usize,
    pub entry: u32,
    pub level: usize,
    pub fingerprint: Fingerprint,
}

/// Where the sections begin.
pub(super) struct Places {
    rows: usize,
    scales: usize,
    base: usize,
    first: usize,
    upper: usize,
    codes: usize,
    pub end: usize,
}

impl Shape {
    /// None where the numbers are too large to be true.
    pub(super) fn places(&self) -> Option<Places> {
        let mut at = HEADER;
        let mut section = |each: usize, count: usize| {
            let begin = at;
            at = at.checked_add(each.checked_mul(count)?)?.checked_next_multiple_of(64)?;
            Some(begin)
        };
        let rows = section(12, self.nodes)?;
        let scales = section(4, self.nodes)?;
        let base = section(self.links.checked_mul(4)?, self.nodes)?;
        let first = section(4, self.nodes)?;
        let upper = section(4, self.upper)?;
        let codes = section(self.stride, self.nodes)?;
        Some(Places { rows, scales, base, first, upper, codes, end: at })
    }

    /// The header, its digest still zeros.
    pub(super) fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&MAGIC);
        let numbers = [
            self.dimension,
            self.stride,
            self.nodes,
            self.links,
            self.upper_links,
            self.upper,
            self.entry as usize,
            self.level,
        ];
        for (place, number) in header[8..40].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&(number as u32).to_le_bytes());
        }
        header[40..72].copy_from_slice(&self.fingerprint.0.0);
        header
    }

    fn read(header: &[u8]) -> Option<Self> {
        if header.get(..8)? != MAGIC {
            return None;
        }
        let mut numbers = header.get(8..40)?.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
        let mut next = || numbers.next().map(|n| n as usize);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(header.get(40..72)?);
        Some(Self {
            dimension: next()?,
            stride: next()?,
            nodes: next()?,
            links: next()?,
            upper_links: next()?,
            upper: next()?,
            entry: next()? as u32,
            level: next()?,
            fingerprint: Fingerprint(ImageId(fingerprint)),
        })
    }
}

/// What a search needs besides the graph; kept for the next one.
#[derive(Default)]
struct Scratch {
    seen: Seen,
    near: Vec<u32>,
    found: Vec<i32>,
    beam: Vec<Step>,
}

/// Nodes that a search has seen: a bit each, so that those of a million stay in the processor's cache.
#[derive(Default)]
struct Seen {
    bits: Vec<u64>,
    /// What is to be taken back before the next search.
    nodes: Vec<u32>,
}

impl Seen {
    fn begin(&mut self, nodes: usize) {
        for node in self.nodes.drain(..) {
            self.bits[node as usize / 64] = 0;
        }
        self.bits.resize(nodes.div_ceil(64), 0);
    }

    /// Whether the node is there and was not seen before.
    fn first(&mut self, node: u32) -> bool {
        let Some(bits) = self.bits.get_mut(node as usize / 64) else { return false };
        let new = *bits & 1 << (node % 64) == 0;
        if new {
            *bits |= 1 << (node % 64);
            self.nodes.push(node);
        }
        new
    }
}

/// A node on the way.
#[derive(Clone, Copy)]
struct Step {
    similarity: f32,
    node: u32,
    done: bool,
}

/// Why an index file is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    /// It is not what was written: to be set aside, and made anew.
    #[error("{0}")]
    Damaged(String),
    /// The system gives no memory for it.
    #[error("there is no memory for the {} MB of the index ({why}); free memory, or set gallery.ann_above to 0", bytes >> 20)]
    NoMemory {
        /// Its length.
        bytes: usize,
        /// The system's answer.
        why: String,
    },
}

/// An index file with a header that can be true.
struct Begun {
    file: File,
    header: [u8; HEADER],
    shape: Shape,
    places: Places,
}

impl Begun {
    fn open(path: &Path) -> Result<Self, String> {
        let mut file = files::open(path).map_err(|e| format!("it cannot be opened: {e}"))?;
        let length = file.metadata().map_err(|e| format!("it cannot be looked at: {e}"))?.len();
        let mut header = [0; HEADER];
        file.read_exact(&mut header).map_err(|e| format!("it has no whole header: {e}"))?;
        let shape = Shape::read(&header).ok_or("it does not begin like an index")?;
        let places = shape.places().filter(|p| p.end as u64 == length);
        let places = places.ok_or("its length is not what its header says")?;
        if shape.stride < shape.dimension || shape.entry as usize >= shape.nodes || shape.level > TALLEST {
            return Err("its header contradicts itself".into());
        }
        Ok(Self { file, header, shape, places })
    }

    /// Reads a block of what follows the header.
    fn next(&mut self, block: &mut [u8], digest: &mut Sha256) -> Result<(), String> {
        self.file.read_exact(block).map_err(|e| format!("it cannot be read: {e}"))?;
        digest.update(block);
        Ok(())
    }

    /// Whether what was read is what was written.
    fn proven(&self, digest: Sha256) -> Result<(), String> {
        if digest.finalize()[..] == self.header[DIGEST..] { Ok(()) } else { Err("its digest does not match".into()) }
    }
}

/// Whether an index file is what was written; `Err` says what is wrong with it. Takes no memory for it.
pub(super) fn prove(path: &Path) -> Result<(), String> {
    let mut begun = Begun::open(path)?;
    let (mut left, mut block) = (begun.places.end - HEADER, vec![0; BLOCK]);
    let mut digest = Sha256::new_with_prefix(&begun.header[..DIGEST]);
    while left > 0 {
        let now = left.min(BLOCK);
        begun.next(&mut block[..now], &mut digest)?;
        left -= now;
    }
    begun.proven(digest)
}

/// An index, in memory and proven.
pub(super) struct Graph {
    bytes: MmapMut,
    pub shape: Shape,
    places: Places,
    scratch: Mutex<Vec<Scratch>>,
}

/// A probe as the codes are.
pub(super) struct Coded {
    codes: Vec<i8>,
    scale: f32,
    added: i32,
}

impl Graph {
    /// Reads an index file and proves it by its digest.
    pub(super) fn open(path: &Path) -> Result<Self, IndexFault> {
        let mut begun = Begun::open(path).map_err(IndexFault::Damaged)?;
        let length = begun.places.end;
        let mut bytes = MmapMut::map_anon(length)
            .map_err(|error| IndexFault::NoMemory { bytes: length, why: error.to_string() })?;
        // Large pages where the system has them: a search goes from place to place.
        #[cfg(target_os = "linux")]
        drop(bytes.advise(memmap2::Advice::HugePage));
        let (header, rest) = bytes.split_at_mut(HEADER);
        header.copy_from_slice(&begun.header);
        let mut digest = Sha256::new_with_prefix(&begun.header[..DIGEST]);
        rest.chunks_mut(BLOCK).try_for_each(|block| begun.next(block, &mut digest)).map_err(IndexFault::Damaged)?;
        begun.proven(digest).map_err(IndexFault::Damaged)?;
        let Begun { shape, places, .. } = begun;
        Ok(Self { bytes, shape, places, scratch: Mutex::default() })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn words(&self, begin: usize, count: usize) -> &[u32] {
        let bytes = self.bytes.get(begin..begin + 4 * count).unwrap_or_default();
        // SAFETY: every bit pattern is a u32; sections begin at multiples of 64 in a map that begins at a page.
        unsafe { bytes.align_to::<u32>().1 }
    }

    /// A node's row.
    pub(super) fn row(&self, node: u32) -> Option<Row> {
        self.words(self.places.rows, 3 * self.shape.nodes).get(3 * node as usize..)?.first_chunk().copied()
    }

    /// The list of a node on the lowest level, as it lies there.
    fn base(&self, node: u32) -> Option<&[u32]> {
        let Shape { nodes, links, .. } = self.shape;
        let begin = node as usize * links;
        self.words(self.places.base, nodes * links).get(begin..begin + links)
    }

    fn neighbours(&self, node: u32, level: usize) -> &[u32] {
        let Shape { nodes, upper_links, upper, .. } = self.shape;
        let list = if level == 0 {
            self.base(node)
        } else {
            let first = self.words(self.places.first, nodes).get(node as usize).filter(|first| **first != NONE);
            first.and_then(|first| {
                let begin = *first as usize + (level - 1) * upper_links;
                self.words(self.places.upper, upper).get(begin..begin + upper_links)
            })
        };
        let list = list.unwrap_or_default();
        // A list ends where its nodes do.
        &list[..list.iter().position(|near| *near as usize >= nodes).unwrap_or(list.len())]
    }

    fn similarities(&self, probe: &Coded, nodes: &[u32], found: &mut Vec<i32>) -> impl Iterator<Item = (f32, u32)> {
        let codes = self.bytes.get(self.places.codes..).unwrap_or_default();
        let scales = self.words(self.places.scales, self.shape.nodes);
        for node in nodes {
            fetch(scales.get(*node as usize..).unwrap_or_default().get(..1).unwrap_or_default());
        }
        picked(codes, self.shape.stride, &probe.codes, nodes, found);
        nodes.iter().zip(found.iter()).map(move |(node, sum)| {
            let scale = f32::from_bits(scales.get(*node as usize).copied().unwrap_or(0));
            ((sum - probe.added) as f32 * scale * probe.scale, *node)
        })
    }

    /// A probe made ready.
    pub(super) fn coded(&self, probe: &[f32]) -> Coded {
        let (mut codes, scale, _) = coded(probe);
        let added = 128 * codes.iter().map(|c| i32::from(*c)).sum::<i32>();
        codes.resize(self.shape.stride, 0);
        Coded { codes, scale, added }
    }

    /// The similarities of these nodes by their codes.
    pub(super) fn by_codes(&self, probe: &Coded, nodes: &[u32]) -> Vec<f32> {
        self.similarities(probe, nodes, &mut Vec::new()).map(|(similarity, _)| similarity).collect()
    }

    /// About the nearest nodes to a probe, nearest first by their codes. `beam` is how many are kept on the way and given:
    /// the more, the surer and the slower.
    pub(super) fn search(&self, probe: &Coded, beam: usize) -> Vec<u32> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        self.walk(probe, beam.max(1), &mut scratch);
        let found = scratch.beam.iter().map(|step| step.node).collect();
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        found
    }

    /// Leaves the nearest nodes in the scratch's beam.
    fn walk(&self, probe: &Coded, beam: usize, scratch: &mut Scratch) {
        let Scratch { seen, near, found, beam: steps } = scratch;
        steps.clear();
        let Some(mut best) = self.similarities(probe, &[self.shape.entry], found).next() else { return };
        // Down the upper levels, always to the nearest. The similarity grows with each step, so this ends.
        for level in (1..=self.shape.level).rev() {
            loop {
                let nearer = self.similarities(probe, self.neighbours(best.1, level), found);
                match nearer.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|nearer| nearer.0 > best.0) {
                    Some(nearer) => best = nearer,
                    None => break,
                }
            }
        }
        seen.begin(self.shape.nodes);
        seen.first(best.1);
        steps.push(Step { similarity: best.0, node: best.1, done: false });
        let mut at = 0;
        while let Some(step) = steps.get_mut(at) {
            if step.done {
                at += 1;
                continue;
            }
            step.done = true;
            near.clear();
            near.extend(self.neighbours(step.node, 0).iter().filter(|node| seen.first(**node)));
            // Most often the next one in line is gone to next.
            if let Some(next) = steps.get(at + 1..).and_then(|rest| rest.iter().find(|step| !step.done)) {
                fetch(self.base(next.node).unwrap_or_default());
            }
            for (similarity, node) in self.similarities(probe, near, found) {
                if steps.len() == beam {
                    if steps.last().is_some_and(|last| similarity <= last.similarity) {
                        continue;
                    }
                    steps.pop();
                }
                let place = steps.partition_point(|step| step.similarity >= similarity);
                steps.insert(place, Step { similarity, node, done: false });
                at = at.min(place);
            }
        }
    }
}
