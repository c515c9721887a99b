//! What the fuzz targets of `tests/fuzz` call: the readers of a segment and of an export, from bytes.

use std::fs;
use std::path::PathBuf;

use super::segment::{Scratch, Segment};
use super::{Gallery, Options, read_export};
use crate::domain::{Label, VectorRef};

/// A folder in memory, this process's own.
fn folder() -> PathBuf {
    let dir = PathBuf::from(format!("/dev/shm/sightline-fuzz-{}", std::process::id()));
    drop(fs::create_dir_all(&dir));
    dir
}

/// Opens `bytes` as a segment, reads and enrols every row, searches, verifies; then the same with sound checksums.
pub fn segment(bytes: &[u8]) {
    open(bytes);
    let mut mended = bytes.to_vec();
    let Some((header, rows)) = mended.split_at_mut_checked(64) else { return };
    header[..8].copy_from_slice(b"SLVEC\x1A\x0A\x01");
    let width = if header[8] & 1 == 0 { 4 } else { 2 };
    header[8..12].copy_from_slice(&(width as u32).to_le_bytes());
    let sum = crc32fast::hash(&header[..60]).to_le_bytes();
    header[60..].copy_from_slice(&sum);
    let dimension = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
    for row in rows.chunks_mut(48 + dimension.saturating_mul(width).min(1 << 20)) {
        let Some((head, vector)) = row.split_at_mut_checked(48) else { break };
        head[40..44].copy_from_slice(&crc32fast::hash(vector).to_le_bytes());
        let sum = crc32fast::hash(&head[..44]).to_le_bytes();
        head[44..].copy_from_slice(&sum);
    }
    open(&mended);
}

fn open(bytes: &[u8]) {
    let dir = folder();
    if fs::write(dir.join("00000000.vec"), bytes).is_err() {
        return;
    }
    let Ok(mut gallery) = Gallery::open(&dir, Options::default()) else { return };
    let Ok(label) = Label::new("a") else { return };
    let Some(segment) = gallery.segments.get(&0) else { return };
    let fingerprint = segment.fingerprint;
    let rows = (0..segment.rows).filter_map(|row| {
        let mut scratch = Scratch::default();
        let read = Segment::row(segment, row, &mut scratch).ok()?;
        Some((read.sighting, VectorRef { segment: 0, row, rotation: read.rotation, crc: read.crc }))
    });
    let rows: Vec<_> = rows.collect();
    for (sighting, place) in rows {
        let probe = gallery.vector(&place).ok();
        if gallery.admit(sighting, label.clone(), fingerprint, &[place]).is_ok()
            && let Some(probe) = probe
        {
            drop(gallery.search(fingerprint, &probe, 3));
        }
    }
    drop(gallery.verify());
}

/// Reads `bytes` as an exported gallery.
pub fn export(bytes: &[u8]) {
    drop(read_export("fuzz", bytes));
}
