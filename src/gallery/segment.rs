//! One file of vectors: its layout, adding rows, reading rows.
//!
//! Rows are read, not mapped: a mapped file that somebody cuts ends whoever looks at it (SIGBUS), or shows zeros where it
//! was. What is read is held against its checksum each time, so that no answer comes from other bytes than those enrolled.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::{Dtype, GalleryError};
use crate::domain::{Embedding, Fingerprint, ImageId, Rotation, SightingId, VectorRef};
use crate::files;

const MAGIC: [u8; 8] = *b"SLVEC\x1A\x0A\x01";
const HEADER: usize = 64;
const ROW_HEAD: usize = 48;
/// Components of a vector at most: a row is read in one piece.
const WIDEST: usize = 1 << 20;
/// Bytes that are read at once where all rows are.
const BLOCK: usize = 1 << 20;
/// Bytes that are read along where rows near each other are asked for one after the other.
const AHEAD: usize = 1 << 16;
/// Rows that lie no farther apart are near each other.
const NEAR: usize = 8;

const CUT: &str = "is past the file's end: somebody has cut it";
const DAMAGED: &str = "is damaged (its checksum does not match)";

/// A segment, open.
pub(super) struct Segment {
    pub number: u32,
    pub path: PathBuf,
    pub dtype: Dtype,
    pub dimension: usize,
    pub fingerprint: Fingerprint,
    /// Whole rows.
    pub rows: u32,
    /// Bytes behind the last whole row: a write that was never finished.
    pub torn: u64,
    file: File,
}

/// Room to read vectors into, used again for the next one of the same search.
#[derive(Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    values: Vec<f32>,
    held: Option<Held>,
}

/// The rows whose bytes are in memory.
#[derive(Clone, Copy)]
struct Held {
    segment: u32,
    first: u32,
    count: usize,
}

/// What a row says of itself.
pub(super) struct Row<'a> {
    pub sighting: SightingId,
    pub rotation: Rotation,
    pub crc: u32,
    pub bytes: &'a [u8],
}

impl Segment {
    pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
        dir.join(format!("{number:08}.vec"))
    }

    /// Makes a segment; its name and header are on disk for good when this returns.
    pub(super) fn create(
        dir: &Path,
        number: u32,
        dtype: Dtype,
        fingerprint: Fingerprint,
        dimension: usize,
    ) -> Result<Self, GalleryError> {
        let path = Self::path(dir, number);
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&(dtype.bytes() as u32).to_le_bytes());
        header.extend_from_slice(&(dimension as u32).to_le_bytes());
        header.extend_from_slice(&fingerprint.0.0);
        header.extend_from_slice(&[0; 12]);
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        let make = || {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
            file.write_all_at(&header, 0)?;
            file.sync_all()?;
            File::open(dir)?.sync_all()?;
            Ok(file)
        };
        let file = make().map_err(GalleryError::io("create", &path))?;
        Ok(Self { number, path, dtype, dimension, fingerprint, rows: 0, torn: 0, file })
    }

    /// Opens a segment. `None` where a crash left it without a whole header: no row can be in it.
    pub(super) fn open(dir: &Path, number: u32) -> Result<Option<Self>, GalleryError> {
        let path = Self::path(dir, number);
        let mut file = files::open_with(&path, OpenOptions::new().read(true).write(true))
            .map_err(GalleryError::io("open", &path))?;
        let length = file.metadata().map_err(GalleryError::io("look at", &path))?.len();
        if length < HEADER as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        file.read_exact(&mut header).map_err(GalleryError::io("read", &path))?;
        if length == HEADER as u64 && header == [0; HEADER] {
            return Ok(None);
        }
        let refuse = |detail: &str| GalleryError::Segment { path: path.clone(), detail: detail.into() };
        let number_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[..8] != MAGIC {
            return Err(refuse("it does not begin like one"));
        }
        if crc32fast::hash(&header[..60]) != number_at(60) {
            return Err(refuse("its header's checksum does not match"));
        }
        let dtype = Dtype::of_bytes(number_at(8)).ok_or_else(|| refuse("its components are neither f32 nor f16"))?;
        let dimension = number_at(12) as usize;
        if dimension > WIDEST {
            return Err(refuse("its vectors have more components than any model's"));
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(&header[16..48]);
        let row_bytes = (ROW_HEAD + dimension * dtype.bytes()) as u64;
        let content = length - HEADER as u64;
        let rows = u32::try_from(content / row_bytes).map_err(|_| refuse("it has too many rows"))?;
        Ok(Some(Self {
            number,
            dtype,
            dimension,
            fingerprint: Fingerprint(ImageId(fingerprint)),
            rows,
            torn: content % row_bytes,
            file,
            path,
        }))
    }

    fn row_bytes(&self) -> usize {
        ROW_HEAD + self.dimension * self.dtype.bytes()
    }

    /// The length in bytes of all whole rows and the header.
    pub(super) fn bytes(&self) -> u64 {
        HEADER as u64 + u64::from(self.rows) * self.row_bytes() as u64
    }

    /// Adds one row a vector. They are on disk for good only after [`Self::sync`].
    pub(super) fn append(
        &mut self,
        sighting: SightingId,
        vectors: &[(Rotation, Embedding)],
    ) -> Result<Vec<VectorRef>, GalleryError> {
        let (mut rows, mut references) = (Vec::with_capacity(vectors.len() * self.row_bytes()), Vec::new());
        for ((rotation, vector), row) in vectors.iter().zip(self.rows..) {
            let bytes = self.dtype.encode(vector.as_slice());
            let crc = crc32fast::hash(&bytes);
            let begin = rows.len();
            rows.extend_from_slice(&sighting.image.0);
            rows.extend_from_slice(&sighting.index.to_le_bytes());
            rows.extend_from_slice(&rotation.degrees().to_le_bytes());
            rows.extend_from_slice(&[0; 2]);
            rows.extend_from_slice(&crc.to_le_bytes());
            rows.extend_from_slice(&crc32fast::hash(&rows[begin..]).to_le_bytes());
            rows.extend_from_slice(&bytes);
            references.push(VectorRef { segment: self.number, row, rotation: *rotation, crc });
        }
        self.file.write_all_at(&rows, self.bytes()).map_err(GalleryError::io("append to", &self.path))?;
        self.rows += vectors.len() as u32;
        Ok(references)
    }

    pub(super) fn sync(&self) -> Result<(), GalleryError> {
        self.file.sync_data().map_err(GalleryError::io("sync", &self.path))
    }

    /// What somebody has done to the file under the program: removed, replaced or cut it.
    pub(super) fn lost(&self) -> Option<&'static str> {
        let about = self.file.metadata().ok()?;
        match () {
            () if about.nlink() == 0 => Some("somebody has removed or replaced it"),
            () if about.len() < self.bytes() => Some("somebody has cut it"),
            () => None,
        }
    }

    /// Tells the system that the whole file is about to be read, in whatever order.
    pub(super) fn expect_reading(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::WillNeed) {
            tracing::debug!(%error, "the system takes no advice on {}", self.path.display());
        }
    }

    /// Reads rows from `first` on into `bytes`; how many whole ones came.
    fn read_rows(&self, first: u32, count: usize, bytes: &mut Vec<u8>) -> Result<usize, String> {
        bytes.resize(count * self.row_bytes(), 0);
        let begin = HEADER as u64 + u64::from(first) * self.row_bytes() as u64;
        let mut read = 0;
        while read < bytes.len() {
            match self.file.read_at(&mut bytes[read..], begin + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot be read: {error}")),
            }
        }
        Ok(read / self.row_bytes())
    }

    /// A row as it is on disk, its head checked; `Err` says what is wrong.
    pub(super) fn row<'a>(&self, row: u32, scratch: &'a mut Scratch) -> Result<Row<'a>, String> {
        if row >= self.rows {
            return Err("is past the segment's end".into());
        }
        parsed(self.held(row, &mut scratch.bytes, &mut scratch.held)?)
    }

    /// The bytes of a row. Where many candidates lie together, as where thousands of vectors are all but equal, a call to the
    /// system for each would cost more than their bytes.
    fn held<'a>(&self, row: u32, bytes: &'a mut Vec<u8>, held: &mut Option<Held>) -> Result<&'a [u8], String> {
        let past = held.filter(|held| held.segment == self.number && row >= held.first);
        let past = past.map(|held| ((row - held.first) as usize, held.count));
        let at = match past {
            Some((at, count)) if at < count => at,
            _ => {
                let near = past.is_some_and(|(at, count)| at < count + NEAR);
                let left = self.rows.saturating_sub(row).max(1) as usize;
                let count = if near { (AHEAD / self.row_bytes()).clamp(1, left) } else { 1 };
                *held = None;
                // What lies behind it may be unreadable where the row itself is not.
                let count = match self.read_rows(row, count, bytes) {
                    Err(_) if count > 1 => self.read_rows(row, 1, bytes)?,
                    read => read?,
                };
                if count == 0 {
                    return Err(CUT.into());
                }
                *held = Some(Held { segment: self.number, first: row, count });
                0
            }
        };
        let begin = at * self.row_bytes();
        bytes.get(begin..begin + self.row_bytes()).ok_or_else(|| CUT.into())
    }

    /// Hands over every row's checksum, in order, or what is wrong with the row.
    pub(super) fn each_row(&self, mut each: impl FnMut(u32, Result<u32, String>)) {
        let (together, mut bytes) = ((BLOCK / self.row_bytes()).max(1), Vec::new());
        for first in (0..self.rows).step_by(together) {
            let count = together.min((self.rows - first) as usize);
            let read = self.read_rows(first, count, &mut bytes);
            for (number, row) in (first..).zip(bytes.chunks_exact(self.row_bytes())) {
                each(
                    number,
                    match &read {
                        Err(error) => Err(error.clone()),
                        Ok(read) if (number - first) as usize >= *read => Err(CUT.into()),
                        Ok(_) => parsed(row).and_then(|row| row.is_sound().map(|()| row.crc)),
                    },
                );
            }
        }
    }

    /// A row's components, where they are those with this checksum; `Err` says what is wrong.
    pub(super) fn components<'a>(&self, row: u32, crc: u32, scratch: &'a mut Scratch) -> Result<&'a [f32], String> {
        let Scratch { bytes, values, held } = scratch;
        let bytes = self.held(row, bytes, held)?.get(ROW_HEAD..).unwrap_or_default();
        if crc32fast::hash(bytes) != crc {
            return Err(DAMAGED.into());
        }
        self.dtype.decode(bytes, values);
        Ok(values)
    }
}

/// The parts of a row, its head checked.
fn parsed(row: &[u8]) -> Result<Row<'_>, String> {
    let (head, bytes) = row.split_at_checked(ROW_HEAD).ok_or(CUT)?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if crc32fast::hash(&head[..44]) != number(44) {
        return Err("is damaged (its head's checksum does not match)".into());
    }
    let mut image = [0; 32];
    image.copy_from_slice(&head[..32]);
    let rotation = Rotation::try_from(u16::from_le_bytes([head[36], head[37]])).map_err(|_| "has no known rotation")?;
    let sighting = SightingId { image: ImageId(image), index: number(32) };
    Ok(Row { sighting, rotation, crc: number(40), bytes })
}

impl Row<'_> {
    /// Whether the vector is the one that was written; `Err` says that it is not.
    pub(super) fn is_sound(&self) -> Result<(), String> {
        if crc32fast::hash(self.bytes) == self.crc { Ok(()) } else { Err(DAMAGED.into()) }
    }
}

impl Dtype {
    /// Bytes of a component.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    fn of_bytes(bytes: u32) -> Option<Self> {
        [Self::F32, Self::F16].into_iter().find(|d| d.bytes() as u32 == bytes)
    }

    pub(super) fn decoded(self, bytes: &[u8]) -> Vec<f32> {
        let mut values = Vec::new();
        self.decode(bytes, &mut values);
        values
    }

    fn decode(self, bytes: &[u8], values: &mut Vec<f32>) {
        values.clear();
        match self {
            Self::F32 => values.extend(bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))),
            Self::F16 => {
                values.resize(bytes.len() / 2, 0.0);
                let mut halves = [f16::ZERO; 64];
                for (bytes, values) in bytes.chunks(2 * halves.len()).zip(values.chunks_mut(64)) {
                    for (half, c) in halves.iter_mut().zip(bytes.chunks_exact(2)) {
                        *half = f16::from_le_bytes([c[0], c[1]]);
                    }
                    halves[..values.len()].convert_to_f32_slice(values);
                }
            }
        }
    }

    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        }
    }
}
