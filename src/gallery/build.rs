//! Making an approximate index: usearch grows the graph over the rows' 8-bit copies, and the file is written from it.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use usearch::ffi::{IndexOptions, MetricKind, ScalarKind};

use super::filter::coded;
use super::graph::{DIGEST, HEADER, NONE, Row, Shape};
use super::kernel::one;
use super::segment::Scratch;
use super::{Gallery, GalleryError};
use crate::domain::Fingerprint;
use crate::files;

/// Neighbours of a node on the upper levels; twice as many on the lowest.
const LINKS: usize = 16;
/// Nodes that are kept on the way while a node's neighbours are looked for.
const BEAM: usize = 128;
/// Rows that are copied under one lock.
const TOGETHER: usize = 256;
/// Behind a row's codes: what they are multiplied with (f32), and their sum (i32).
const TAIL: usize = 8;

/// Everything that an index is made from.
pub struct Snapshot {
    fingerprint: Fingerprint,
    dimension: usize,
    rows: Vec<Row>,
}

impl Snapshot {
    /// Vectors in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whose weights made them.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// A row as the builder has it: its codes, zeros up to a multiple of 64, and the tail.
fn entry(vector: &[f32], stride: usize) -> Vec<i8> {
    let (mut entry, scale, _) = coded(vector);
    let sum: i32 = entry.iter().map(|c| i32::from(*c)).sum();
    entry.resize(stride, 0);
    let tail = scale.to_le_bytes().into_iter().chain(sum.to_le_bytes());
    entry.extend(tail.map(|b| b as i8));
    entry
}

/// The scale and the sum behind the codes.
fn tail(entry: &[i8]) -> (f32, i32) {
    let byte = |n: usize| entry.get(entry.len().wrapping_sub(TAIL) + n).map_or(0, |b| *b as u8);
    (f32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)]), i32::from_le_bytes([byte(4), byte(5), byte(6), byte(7)]))
}

/// The distance between two rows: 1 less their similarity.
fn distance(a: &[i8], b: &[i8], turned: &mut [u8]) -> f32 {
    let ((a_scale, _), (b_scale, b_sum)) = (tail(a), tail(b));
    let codes = a.len().saturating_sub(TAIL);
    // The product wants one side with 128 added, which for 8 bits is the first bit turned.
    for (turned, code) in turned.iter_mut().zip(a) {
        *turned = (*code as u8) ^ 0x80;
    }
    let product = one(&turned[..codes.min(turned.len())], &b[..codes]) - 128 * b_sum;
    1.0 - product as f32 * a_scale * b_scale
}

impl Gallery {
    /// What an index over everything enrolled with these weights is made from; none where nothing is enrolled.
    #[must_use]
    pub fn snapshot(&self, fingerprint: Fingerprint) -> Option<Snapshot> {
        let set = self.members.sets.get(&fingerprint)?;
        let mut rows = Vec::new();
        for place in set.members.iter().flat_map(|member| &member.places) {
            rows.push([place.segment, place.row, place.crc]);
        }
        Some(Snapshot { fingerprint, dimension: set.filter.dimension(), rows })
    }

    /// The builder's entries for some rows of a snapshot. Rows are never changed, so it does not matter what has been
    /// enrolled or removed since.
    ///
    /// # Errors
    /// A row is no longer what was enrolled.
    fn entries(&self, snapshot: &Snapshot, rows: &[Row], stride: usize) -> Result<Vec<Vec<i8>>, GalleryError> {
        let mut scratch = Scratch::default();
        let mut entries = Vec::with_capacity(rows.len());
        for [segment, row, crc] in rows {
            let read = self.segments.get(segment).map(|s| s.components(*row, *crc, &mut scratch));
            let vector = read.unwrap_or_else(|| Err("is in a segment that is gone".into()));
            let vector = vector.map_err(|detail| GalleryError::Row {
                path: self.segment_path(*segment),
                row: *row,
                sighting: None,
                detail,
            })?;
            entries.push(entry(&vector[..vector.len().min(snapshot.dimension)], stride));
        }
        Ok(entries)
    }

    /// Where the index of these weights lies.
    #[must_use]
    pub fn index_path(&self, fingerprint: Fingerprint) -> PathBuf {
        self.index_dir().join(format!("{fingerprint}.ann"))
    }

    pub(super) fn index_dir(&self) -> PathBuf {
        self.dir.join("ann")
    }
}

/// Makes an index of a snapshot and puts it into its place; how much is done is told on the way, and it ends early where
/// `going_on` says so. The gallery is borrowed (`with`) for moments only. Gives whether it was made.
///
/// # Errors
/// The builder has no memory, the file system refuses, or a row is no longer what was enrolled.
pub fn build_index(
    snapshot: &Snapshot,
    with: impl Fn(&mut dyn FnMut(&Gallery)),
    mut going_on: impl FnMut(usize) -> bool,
) -> Result<bool, GalleryError> {
    let (mut path, mut room) = (PathBuf::new(), Ok(()));
    with(&mut |gallery| (path, room) = (gallery.index_path(snapshot.fingerprint), gallery.check_index_dir()));
    room?;
    let failed = |error: &dyn std::fmt::Display| GalleryError::Index { path: path.clone(), detail: error.to_string() };
    let stride = snapshot.dimension.next_multiple_of(64);
    let options = IndexOptions {
        dimensions: stride + TAIL,
        metric: MetricKind::IP,
        quantization: ScalarKind::I8,
        connectivity: LINKS,
        expansion_add: BEAM,
        expansion_search: BEAM,
        multi: false,
    };
    let mut index = usearch::Index::new(&options).map_err(|e| failed(&e))?;
    index.change_metric::<i8>(Box::new(move |a, b| {
        thread_local! {
            static TURNED: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        // SAFETY: the builder hands out pointers to two of the entries it was given, each this long.
        let (a, b) =
            unsafe { (std::slice::from_raw_parts(a, stride + TAIL), std::slice::from_raw_parts(b, stride + TAIL)) };
        TURNED.with_borrow_mut(|turned| {
            turned.resize(stride, 0);
            distance(a, b, turned)
        })
    }));
    index.reserve_capacity_and_threads(snapshot.len(), 1).map_err(|e| failed(&e))?;
    for (number, rows) in snapshot.rows.chunks(TOGETHER).enumerate() {
        if !going_on(number * TOGETHER) {
            return Ok(false);
        }
        let mut entries = Ok(Vec::new());
        with(&mut |gallery| entries = gallery.entries(snapshot, rows, stride));
        for (node, entry) in (number * TOGETHER..).zip(entries?) {
            index.add(node as u64, &entry).map_err(|e| failed(&e))?;
        }
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let unfinished = path.with_extension("ann.new");
    let write = || {
        fs::create_dir_all(dir)?;
        write(&index, snapshot, stride, &unfinished)?;
        fs::rename(&unfinished, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(GalleryError::io("write", &path))?;
    Ok(true)
}

/// The file being written, and its digest.
struct Output {
    file: BufWriter<File>,
    digest: Sha256,
    length: usize,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.digest.update(bytes);
        self.length += bytes.len();
        self.file.write_all(bytes)
    }

    fn words(&mut self, words: &[u32]) -> std::io::Result<()> {
        words.iter().try_for_each(|word| self.put(&word.to_le_bytes()))
    }

    /// Ends a section.
    fn align(&mut self) -> std::io::Result<()> {
        self.put(&[0; 64][..self.length.next_multiple_of(64) - self.length])
    }
}

/// Writes the file under a name of its own and makes it last.
fn write(index: &usearch::Index, snapshot: &Snapshot, stride: usize, path: &Path) -> std::io::Result<()> {
    let nodes = snapshot.len();
    let levels: Vec<usize> = (0..nodes).map(|node| index.level_of_key(node as u64)).collect();
    let (entry, level) = levels.iter().enumerate().max_by_key(|(_, level)| **level).map_or((0, 0), |(n, l)| (n, *l));
    let upper_links = index.connectivity().max(1);
    let links = 2 * upper_links;
    let shape = Shape {
        dimension: snapshot.dimension,
        stride,
        nodes,
        links,
        upper_links,
        upper: levels.iter().sum::<usize>() * upper_links,
        entry: entry as u32,
        level,
        fingerprint: snapshot.fingerprint,
    };
    let mut header = shape.header();
    let file = BufWriter::with_capacity(1 << 20, files::create(path)?);
    let mut out = Output { file, digest: Sha256::new_with_prefix(&header[..DIGEST]), length: HEADER };
    out.file.write_all(&header)?;
    for row in &snapshot.rows {
        out.words(row)?;
    }
    out.align()?;
    let mut entry = vec![0_i8; stride + TAIL];
    let mut read = |node: usize| -> std::io::Result<(f32, Vec<u8>)> {
        index.get(node as u64, &mut entry).map_err(std::io::Error::other)?;
        Ok((tail(&entry).0, entry[..stride].iter().map(|code| (*code as u8) ^ 0x80).collect()))
    };
    for node in 0..nodes {
        out.put(&read(node)?.0.to_le_bytes())?;
    }
    out.align()?;
    let list = |node: usize, level: usize, links: usize| {
        let mut list: Vec<u32> = index.neighbors(node as u64, level).map(|near| near as u32).take(links).collect();
        list.resize(links, NONE);
        list
    };
    for node in 0..nodes {
        out.words(&list(node, 0, links))?;
    }
    out.align()?;
    let mut first = 0;
    for level in &levels {
        out.words(&[if *level > 0 { first } else { NONE }])?;
        first += (level * upper_links) as u32;
    }
    out.align()?;
    for (node, top) in levels.iter().enumerate() {
        for level in 1..=*top {
            out.words(&list(node, level, upper_links))?;
        }
    }
    out.align()?;
    for node in 0..nodes {
        out.put(&read(node)?.1)?;
    }
    out.align()?;
    header[DIGEST..].copy_from_slice(&out.digest.finalize());
    let file = out.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.write_all_at(&header, 0)?;
    file.sync_all()
}
