//! One file of vectors: its layout, adding rows, reading rows through a memory map.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use memmap2::Mmap;

use super::{Dtype, GalleryError};
use crate::domain::{Embedding, Fingerprint, ImageId, Rotation, SightingId, VectorRef};

#[cfg(target_endian = "big")]
compile_error!("vector segments are little-endian and read in place");

const MAGIC: [u8; 8] = *b"SLVEC\x1A\x0A\x01";
const HEADER: usize = 64;
const ROW_HEAD: usize = 48;

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
    map: Option<Mmap>,
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
        Ok(Self { number, path, dtype, dimension, fingerprint, rows: 0, torn: 0, file, map: None })
    }

    /// Opens a segment. `None` where a crash left it without a whole header: no row can be in it.
    pub(super) fn open(dir: &Path, number: u32) -> Result<Option<Self>, GalleryError> {
        let path = Self::path(dir, number);
        let mut file =
            OpenOptions::new().read(true).write(true).open(&path).map_err(GalleryError::io("open", &path))?;
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
            map: None,
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

    /// Maps all whole rows, if they are not mapped yet, and room for more: rows added later then need no new map.
    pub(super) fn map(&mut self) -> Result<(), GalleryError> {
        let length = self.bytes() as usize;
        if self.map.as_ref().is_none_or(|map| map.len() < length) {
            let room = length.next_power_of_two().max(1 << 20);
            // SAFETY: the file belongs to the engine alone (it holds the workspace's lock), rows that were written
            // are never changed and the file is never shortened, so the mapped bytes stay as they are. Bytes past
            // the file's end are never read: every access is checked against the number of whole rows.
            let map = unsafe { memmap2::MmapOptions::new().len(room).map(&self.file) };
            self.map = Some(map.map_err(GalleryError::io("map", &self.path))?);
        }
        Ok(())
    }

    /// A row's bytes.
    fn slice(&self, row: u32) -> Option<&[u8]> {
        if row >= self.rows {
            return None;
        }
        let begin = HEADER + row as usize * self.row_bytes();
        self.map.as_ref()?.get(begin..begin + self.row_bytes())
    }

    /// A row as it is on disk, its head checked; `Err` says what is wrong.
    pub(super) fn row(&self, row: u32) -> Result<Row<'_>, &'static str> {
        let row = self.slice(row).ok_or("is past the segment's end")?;
        let (head, bytes) = row.split_at(ROW_HEAD);
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if crc32fast::hash(&head[..44]) != number(44) {
            return Err("is damaged (its head's checksum does not match)");
        }
        let mut image = [0; 32];
        image.copy_from_slice(&head[..32]);
        let rotation =
            Rotation::try_from(u16::from_le_bytes([head[36], head[37]])).map_err(|_| "has no known rotation")?;
        let sighting = SightingId { image: ImageId(image), index: number(32) };
        Ok(Row { sighting, rotation, crc: number(40), bytes })
    }

    /// A row's components, in place where they are f32. The row was admitted, so it is there.
    pub(super) fn components<'a>(&'a self, row: u32, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let bytes = self.slice(row).and_then(|row| row.get(ROW_HEAD..)).unwrap_or_default();
        match self.dtype {
            Dtype::F32 => {
                // SAFETY: every bit pattern is an f32; `align_to` cares for the alignment.
                let (before, values, after) = unsafe { bytes.align_to::<f32>() };
                if before.is_empty() && after.is_empty() {
                    return values;
                }
                scratch.clear();
                scratch.extend(bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])));
            }
            Dtype::F16 => {
                // SAFETY: every bit pattern is an f16; `align_to` cares for the alignment.
                let (before, values, after) = unsafe { bytes.align_to::<f16>() };
                if before.is_empty() && after.is_empty() {
                    scratch.resize(values.len(), 0.0);
                    values.convert_to_f32_slice(scratch);
                } else {
                    scratch.clear();
                    scratch.extend(bytes.chunks_exact(2).map(|c| f16::from_le_bytes([c[0], c[1]]).to_f32()));
                }
            }
        }
        scratch
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

    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        }
    }
}
