//! A copy of the enrolled vectors in 8 bits, in memory: it tells which rows can be among the nearest, never which are.
//!
//! # What is proven
//!
//! A row `x` is kept as `x' = s c` with whole numbers `c` from -127 to 127, a probe `q` as `q' = t d`. Then
//! `q.x = q'.x' + q'.(x - x') + (q - q').x`, and by Cauchy and Schwarz the last two are at most
//! `|q'| |x - x'| + |q - q'| |x|`. `q'.x'` is `s t` times a sum of whole numbers, which is exact. `|x - x'|` is computed for
//! each row when it is enrolled, in double precision and rounded up. The similarity that is shown is itself a sum in
//! 32-bit floats: of `n` products it is off by at most `m u / (1 - m u) |q| |x|` with `u = 2^-24` and `m` additions and
//! products (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). Both bounds and the rounding of the
//! bound's own arithmetic are added ([`ROUNDING`]), so the similarity as computed lies between a row's two bounds.
//!
//! Rows whose upper bound is below the k-th best lower bound of the sightings cannot be among the k nearest. All others
//! are computed from the segments, so the answer is that of comparing every row: no similarity differs in a bit.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use memmap2::MmapMut;

use super::kernel::{Line, ROWS, STEP, Sums, products};

/// Rows of a chunk: chunks are never moved, so that enrolling does not copy what is there.
const CHUNK: usize = 1 << 16;
/// Greatest component.
const MOST: f32 = 127.0;
/// For the few roundings of 2^-24 in a bound's own arithmetic, relative to the lengths of probe and row.
const ROUNDING: f64 = 2e-6;
/// More components than this, and the sum of the products might not fit 32 bits.
const WIDEST: usize = 65_000;
/// No sighting.
const NOBODY: u32 = u32::MAX;

/// Rows of 8 bits with what is known about each.
struct Chunk {
    /// Zeros until rows are written: the system gives memory only for what is used.
    lines: MmapMut,
    /// What a row's whole numbers are multiplied with.
    scale: Vec<f32>,
    /// The distance between a row and its copy, rounded up; minus infinity where there is no row.
    error: Vec<f32>,
    /// Whose row it is: the place in the list of members.
    owner: Vec<u32>,
}

/// The copy of the vectors of one set of weights. A row's place in it is its slot.
pub(super) struct Filter {
    dimension: usize,
    /// Lines of a block.
    lines: usize,
    chunks: Vec<Chunk>,
    /// Slots given out so far.
    next: u32,
    /// Of those, with rows.
    used: usize,
    /// Runs of slots that were given back, by their length.
    free: BTreeMap<u32, Vec<u32>>,
    /// The greatest length of a vector, rounded up.
    norm: f64,
}

/// A probe in 8 bits.
pub(super) struct Probe {
    words: Vec<i32>,
    /// What its whole numbers are multiplied with.
    scale: f32,
    /// What the rows' added 128 make of each product.
    added: i32,
    /// The length of the copy, rounded up.
    length: f32,
    /// What is the same for every row of the bound.
    doubt: f32,
}

/// What is left of the rows for one probe.
pub(super) struct Sieve {
    k: usize,
    /// The k best lower bounds of sightings so far.
    best: BinaryHeap<Reverse<Ordered>>,
    /// The least of them once there are k.
    threshold: f32,
    /// The sighting at hand, and its best lower bound.
    member: (u32, f32),
    /// Slots that may matter, and their upper bounds.
    candidates: Vec<(u32, f32)>,
}

#[derive(Clone, Copy, PartialEq)]
struct Ordered(f32);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A number no less than `value`, as 32 bits.
fn up(value: f64) -> f32 {
    (value * (1.0 + 2e-7)) as f32
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    // A sum of so many doubles is off by far less than what is added.
    values.map(|v| v * v).sum::<f64>().sqrt() * (1.0 + 1e-9)
}

/// Whole numbers from -127 to 127, what to multiply them with, and the distance between the vector and that (not finite
/// where the vector is not).
pub(super) fn coded(vector: &[f32]) -> (Vec<i8>, f32, f64) {
    // 1.5 x 2^23: added to a small number, it leaves the nearest whole one in the last bits, in two's complement. Unlike
    // `round` that is done for many at once.
    const WHOLE: f32 = 12_582_912.0;
    let most = vector.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let scale = most / MOST;
    let by = if scale > 0.0 { MOST / most } else { 0.0 };
    let codes: Vec<i8> = vector.iter().map(|v| (v * by + WHOLE).to_bits() as u8 as i8).collect();
    let pairs = vector.iter().zip(&codes);
    // Whatever the codes are, this is how far they are from the vector.
    let error = length(pairs.map(|(v, code)| f64::from(*v) - f64::from(*code) * f64::from(scale)));
    (codes, scale, error)
}

impl Chunk {
    fn new(lines: usize) -> std::io::Result<Self> {
        let map = MmapMut::map_anon((CHUNK / ROWS * lines * size_of::<Line>()).max(1))?;
        // Large pages where the system has them: a pass over the rows touches each small one for too short a time.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        let (scale, error) = (vec![0.0; CHUNK], vec![f32::NEG_INFINITY; CHUNK]);
        Ok(Self { lines: map, scale, error, owner: vec![NOBODY; CHUNK] })
    }

    fn lines(&self) -> &[Line] {
        // SAFETY: every bit pattern is a line, and a mapping begins at a page, so that nothing is left before it.
        unsafe { self.lines.align_to::<Line>().1 }
    }

    fn lines_mut(&mut self) -> &mut [Line] {
        // SAFETY: as above; the mapping is ours alone.
        unsafe { self.lines.align_to_mut::<Line>().1 }
    }
}

impl Filter {
    pub(super) fn new(dimension: usize) -> Self {
        let lines = dimension.div_ceil(STEP);
        Self { dimension, lines, chunks: Vec::new(), next: 0, used: 0, free: BTreeMap::new(), norm: 0.0 }
    }

    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Gives out so many slots in a row.
    ///
    /// # Errors
    /// The system has no memory for them.
    pub(super) fn take(&mut self, rows: usize) -> std::io::Result<u32> {
        let (used, rows) = (self.used + rows, rows as u32);
        if let Some(slot) = self.free.get_mut(&rows).and_then(Vec::pop) {
            self.used = used;
            return Ok(slot);
        }
        while (self.next + rows) as usize > self.chunks.len() * CHUNK {
            self.chunks.push(Chunk::new(self.lines)?);
        }
        self.next += rows;
        self.used = used;
        Ok(self.next - rows)
    }

    /// Takes slots back.
    pub(super) fn give_back(&mut self, slot: u32, rows: usize) {
        for slot in slot..slot + rows as u32 {
            let (chunk, at) = (slot as usize / CHUNK, slot as usize % CHUNK);
            if let Some(chunk) = self.chunks.get_mut(chunk) {
                (chunk.scale[at], chunk.error[at], chunk.owner[at]) = (0.0, f32::NEG_INFINITY, NOBODY);
            }
        }
        self.used -= rows;
        if rows > 0 {
            self.free.entry(rows as u32).or_default().push(slot);
        }
    }

    /// Says whose the slots are.
    pub(super) fn own(&mut self, slot: u32, rows: usize, owner: usize) {
        for slot in slot as usize..slot as usize + rows {
            if let Some(chunk) = self.chunks.get_mut(slot / CHUNK) {
                chunk.owner[slot % CHUNK] = owner as u32;
            }
        }
    }

    /// Whose a slot is.
    pub(super) fn owner(&self, slot: u32) -> Option<usize> {
        let owner = *self.chunks.get(slot as usize / CHUNK)?.owner.get(slot as usize % CHUNK)?;
        (owner != NOBODY).then_some(owner as usize)
    }

    /// Keeps a vector's copy in a slot.
    pub(super) fn write(&mut self, slot: u32, vector: &[f32]) {
        let lines = self.lines;
        let Some(chunk) = self.chunks.get_mut(slot as usize / CHUNK) else { return };
        let at = slot as usize % CHUNK;
        let (codes, scale, error) = coded(vector);
        let (block, row) = (at / ROWS * lines, at % ROWS);
        for (component, code) in codes.into_iter().enumerate() {
            if let Some(line) = chunk.lines_mut().get_mut(block + component / STEP) {
                line.0[row * STEP + component % STEP] = (i16::from(code) + 128) as u8;
            }
        }
        // Behind the last component the probe has zeros, whatever is here.
        let norm = length(vector.iter().map(|v| f64::from(*v)));
        if scale.is_finite() && error.is_finite() && norm.is_finite() && vector.len() <= WIDEST {
            (chunk.scale[at], chunk.error[at]) = (scale, up(error));
            self.norm = self.norm.max(norm);
        } else {
            // Nothing is known of its products: it is always computed.
            (chunk.scale[at], chunk.error[at]) = (0.0, f32::INFINITY);
        }
    }

    /// A probe made ready. Its dimension is the filter's.
    pub(super) fn probe(&self, vector: &[f32]) -> Probe {
        let (codes, scale, error) = coded(vector);
        let codes = &codes[..codes.len().min(WIDEST)];
        let four = |four: &[i8]| i32::from_le_bytes(std::array::from_fn(|n| four.get(n).map_or(0, |c| *c as u8)));
        let norm = length(vector.iter().map(|v| f64::from(*v)));
        let copied = length(codes.iter().map(|c| f64::from(*c) * f64::from(scale)));
        // Two roundings a component, and those of adding the lanes.
        let steps = (2 * vector.len() + 128) as f64 * f64::from(f32::EPSILON) / 2.0;
        let summed = steps / (1.0 - steps);
        Probe {
            words: codes.chunks(STEP).map(four).collect(),
            scale,
            added: 128 * codes.iter().map(|c| i32::from(*c)).sum::<i32>(),
            length: up(copied.max(f64::MIN_POSITIVE)).max(f32::MIN_POSITIVE),
            doubt: up((error + (summed + ROUNDING) * (norm + copied)) * self.norm + f64::from(f32::MIN_POSITIVE)),
        }
    }

    /// What the similarity of a slot's row does not exceed, as it will be computed. `middle` is that of the copies.
    pub(super) fn upper(&self, probe: &Probe, slot: u32, middle: f32) -> f32 {
        let chunk = self.chunks.get(slot as usize / CHUNK);
        let error = chunk.map_or(f32::INFINITY, |chunk| chunk.error[slot as usize % CHUNK]);
        middle + (error * probe.length + probe.doubt)
    }

    /// Rows that are there.
    pub(super) fn rows(&self) -> usize {
        self.used
    }

    /// Slots given out so far, of rows that are there and of others.
    pub(super) fn slots(&self) -> usize {
        self.next as usize
    }

    /// Passes the rows once over the sieves, one for each probe.
    pub(super) fn sift(&self, probes: &[Probe], sieves: &mut [Sieve]) {
        let blocks = 0..(self.next as usize).div_ceil(ROWS) as u32;
        self.sift_some(probes, sieves, blocks, |_| true);
    }

    /// As [`Filter::sift`], for the rows of these blocks (ascending) whose slots are wanted.
    pub(super) fn sift_some(
        &self,
        probes: &[Probe],
        sieves: &mut [Sieve],
        blocks: impl Iterator<Item = u32>,
        wanted: impl Fn(u32) -> bool,
    ) {
        let words: Vec<&[i32]> = probes.iter().map(|probe| probe.words.as_slice()).collect();
        let mut sums = vec![[0; ROWS]; probes.len()];
        for block in blocks {
            let slot = block as usize * ROWS;
            let Some(chunk) = self.chunks.get(slot / CHUNK) else { break };
            let at = slot % CHUNK;
            let Some(lines) = chunk.lines().get(at / ROWS * self.lines..).and_then(|rest| rest.get(..self.lines))
            else {
                break;
            };
            products(lines, &words, &mut sums);
            let known = (&chunk.scale[at..at + ROWS], &chunk.error[at..at + ROWS], &chunk.owner[at..at + ROWS]);
            for ((probe, sieve), sums) in probes.iter().zip(&mut *sieves).zip(&sums) {
                sieve.pass(probe, sums, known, slot as u32, &wanted);
            }
        }
        sieves.iter_mut().for_each(Sieve::end);
    }
}

impl Sieve {
    /// A sieve that keeps every row which may belong to one of the `k` nearest sightings.
    pub(super) fn new(k: usize) -> Self {
        let best = BinaryHeap::with_capacity(k.min(1 << 16) + 1);
        Self { k, best, threshold: f32::MIN, member: (NOBODY, f32::NEG_INFINITY), candidates: Vec::new() }
    }

    /// Takes up a block of rows.
    fn pass(
        &mut self,
        probe: &Probe,
        sums: &Sums,
        (scale, error, owner): (&[f32], &[f32], &[u32]),
        slot: u32,
        wanted: &impl Fn(u32) -> bool,
    ) {
        let mut middle = [0.0_f32; ROWS];
        let mut doubt = [0.0_f32; ROWS];
        let mut any = false;
        for row in 0..ROWS {
            middle[row] = (sums[row] - probe.added) as f32 * scale[row] * probe.scale;
            doubt[row] = error[row] * probe.length + probe.doubt;
            any |= middle[row] + doubt[row] >= self.threshold;
        }
        if !any {
            return;
        }
        for row in 0..ROWS {
            let upper = middle[row] + doubt[row];
            if upper >= self.threshold && owner[row] != NOBODY && wanted(slot + row as u32) {
                if owner[row] != self.member.0 {
                    self.end();
                    self.member.0 = owner[row];
                }
                self.member.1 = self.member.1.max(middle[row] - doubt[row]);
                self.candidates.push((slot + row as u32, upper));
            }
        }
    }

    /// Counts the sighting at hand: all its rows lie together, and have been seen.
    fn end(&mut self) {
        let (owner, lower) = std::mem::replace(&mut self.member, (NOBODY, f32::NEG_INFINITY));
        if owner == NOBODY || self.best.len() == self.k && lower <= self.threshold {
            return;
        }
        self.best.push(Reverse(Ordered(lower)));
        if self.best.len() > self.k {
            self.best.pop();
        }
        if self.best.len() == self.k {
            self.threshold = self.best.peek().map_or(f32::MIN, |least| least.0.0).max(f32::MIN);
        }
    }

    /// The slots that are left, ascending, and what their similarities do not exceed.
    pub(super) fn left(self) -> Vec<(u32, f32)> {
        let Self { threshold, mut candidates, .. } = self;
        candidates.retain(|(_, upper)| *upper >= threshold);
        candidates
    }
}
