//! Is the file whole? Checked on the container, before any pixel is decoded.

use std::borrow::Cow;

use super::clean::{Format, Reject, corrupt, truncated};
use super::scans;
use crate::domain::QuarantineCode;

/// Checks what the format's own frame promises: chunks and their checksums, declared lengths, the end.
pub(super) fn check(format: Format, bytes: &[u8]) -> Result<(), Reject> {
    match format {
        Format::Jpeg => scans::check(bytes),
        Format::Png => png(bytes),
        Format::WebP => webp(bytes),
        Format::Bmp => bmp(bytes),
        Format::Tiff => tiff(bytes),
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn png(bytes: &[u8]) -> Result<(), Reject> {
    let mut at = 8;
    loop {
        let Some(length) = be32(bytes, at) else { return Err(truncated("there is no IEND chunk")) };
        let end = at + 8 + length as usize;
        let (Some(body), Some(sum)) = (bytes.get(at + 4..end), be32(bytes, end)) else {
            return Err(truncated("a chunk is cut off"));
        };
        if crc32fast::hash(body) != sum {
            return Err(corrupt("a chunk's checksum does not match"));
        }
        if &body[..4] == b"IEND" {
            return Ok(());
        }
        at = end + 4;
    }
}

/// A sound PNG without its compressed extras (colour profile, texts): they change no pixel here, and a few kilobytes
/// of them can unpack to gigabytes.
pub(super) fn png_without_extras(bytes: &[u8]) -> Cow<'_, [u8]> {
    const EXTRAS: [&[u8]; 3] = [b"iCCP", b"zTXt", b"iTXt"];
    let (mut kept, mut copied, mut at) = (Vec::new(), 0, 8);
    while let Some(length) = be32(bytes, at) {
        let end = at + 12 + length as usize;
        if bytes.get(at + 4..at + 8).is_some_and(|kind| EXTRAS.contains(&kind)) {
            kept.extend_from_slice(&bytes[copied..at]);
            copied = end.min(bytes.len());
        }
        at = end;
    }
    if copied == 0 {
        return Cow::Borrowed(bytes);
    }
    kept.extend_from_slice(&bytes[copied..]);
    Cow::Owned(kept)
}

fn webp(bytes: &[u8]) -> Result<(), Reject> {
    let declared = le32(bytes, 4).unwrap_or(0) as usize + 8;
    if bytes.len() < declared {
        return Err(truncated(format!("{} of {declared} bytes are there", bytes.len())));
    }
    Ok(())
}

fn bmp(bytes: &[u8]) -> Result<(), Reject> {
    let field = |at| le32(bytes, at).ok_or_else(|| truncated("the header is cut off"));
    let (offset, header) = (field(10)? as usize, field(14)?);
    if header < 40 {
        return if offset < bytes.len() { Ok(()) } else { Err(truncated("there are no pixels")) };
    }
    let (width, height, depth, packing) = (field(18)? as i32, field(22)? as i32, field(26)? >> 16, field(30)?);
    // Run-length coded pictures (1, 2) have no length that follows from the size.
    if matches!(packing, 0 | 3 | 6) {
        let row = (u64::from(width.unsigned_abs()) * u64::from(depth)).div_ceil(32) * 4;
        let need = offset as u64 + row * u64::from(height.unsigned_abs());
        if (bytes.len() as u64) < need {
            return Err(truncated(format!("{} of {need} bytes are there", bytes.len())));
        }
    }
    Ok(())
}

/// Walks the directories: every one must lie in the file, and there may be only one (a page is a picture).
fn tiff(bytes: &[u8]) -> Result<(), Reject> {
    let little = bytes[0] == b'I';
    let big = bytes[if little { 2 } else { 3 }] == 43;
    let number = |at: usize, width: usize| -> Option<u64> {
        let field = bytes.get(at..at.checked_add(width)?)?;
        let digit = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if little { field.iter().rev().fold(0, digit) } else { field.iter().fold(0, digit) })
    };
    let (first_at, width, count_width, entry) = if big { (8, 8, 8, 20) } else { (4, 4, 2, 12) };
    let cut = || truncated("a directory lies past the end");
    let directory = number(first_at, width).ok_or_else(cut)? as usize;
    let count = number(directory, count_width).ok_or_else(cut)? as usize;
    let next_at = count.checked_mul(entry).and_then(|n| n.checked_add(directory + count_width)).ok_or_else(cut)?;
    let next = number(next_at, width).ok_or_else(cut)?;
    if next != 0 {
        return Err(Reject::new(
            QuarantineCode::Animated,
            "a TIFF with several pages has more than one picture; which is meant?",
        ));
    }
    Ok(())
}
