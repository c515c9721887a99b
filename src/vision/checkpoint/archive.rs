//! The zip files that `torch.save` writes: stored records only, each named once, none overlapping.
//!
//! Read by hand (APPNOTE 6.3.10) because the checks that matter here are the ones a general unzipper
//! forgives: records named twice, names that climb out of the archive, compressed or encrypted records,
//! a local header that contradicts the directory, records that share bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::{Fault, damaged};

const MAX_RECORDS: u64 = 200_000;
const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
/// Bit 1-2: deflate hints, 3: sizes follow the data, 11: names are UTF-8. All others mean encryption, patches or worse.
const KNOWN_FLAGS: u16 = 0b0000_1000_0000_1110;

/// A zip file in memory whose directory has been checked.
pub struct Archive<'a> {
    bytes: &'a [u8],
    records: BTreeMap<String, Record>,
}

struct Record {
    data: Range<usize>,
    crc: u32,
}

impl<'a> Archive<'a> {
    /// Reads and checks the directory.
    ///
    /// # Errors
    /// When the archive is damaged or uses what `torch.save` never uses.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Fault> {
        let directory = Directory::find(bytes)?;
        if directory.records > MAX_RECORDS {
            return Err(Fault::Limit(format!("its zip directory lists {} records", directory.records)));
        }
        let mut records = BTreeMap::new();
        let mut ranges = Vec::new();
        let mut rest = bytes.get(directory.range).unwrap_or_default();
        for _ in 0..directory.records {
            let (entry, after) = Entry::read(rest)?;
            rest = after;
            let whole = entry.locate(bytes)?;
            ranges.push(whole.0.clone());
            let record = Record { data: whole.1, crc: entry.crc };
            if records.insert(entry.name.clone(), record).is_some() {
                return Err(Fault::Unsafe(format!("its zip names the record `{}` twice", entry.name)));
            }
        }
        if !rest.is_empty() {
            return damaged("its zip directory has more records than it says");
        }
        ranges.sort_by_key(|range| range.start);
        if ranges.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return Err(Fault::Unsafe("records of its zip share the same bytes".into()));
        }
        Ok(Self { bytes, records })
    }

    /// The names of all records.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.records.keys().map(String::as_str)
    }

    /// The content of a record, its checksum verified.
    ///
    /// # Errors
    /// When there is no such record or its checksum is wrong.
    pub fn get(&self, name: &str) -> Result<&'a [u8], Fault> {
        let Some(record) = self.records.get(name) else {
            return damaged(format!("its zip lacks the record `{name}`"));
        };
        let data = &self.bytes[record.data.clone()];
        // torch can be told not to compute checksums and then writes 0.
        if record.crc != 0 && crc32fast::hash(data) != record.crc {
            return damaged(format!("the record `{name}` does not match its checksum"));
        }
        Ok(data)
    }
}

struct Directory {
    range: Range<usize>,
    records: u64,
}

impl Directory {
    fn find(bytes: &[u8]) -> Result<Self, Fault> {
        let tail = bytes.len().saturating_sub(22 + 65_535);
        let at = bytes[tail..].windows(4).rposition(|window| window == END);
        let Some(at) = at.map(|at| at + tail) else {
            return damaged("its zip has no directory (the file is cut short)");
        };
        if at + 22 + usize::from(u16_at(bytes, at + 20)?) != bytes.len() {
            return damaged("bytes follow the end of its zip");
        }
        let mut records = u64::from(u16_at(bytes, at + 10)?);
        let mut size = u64::from(u32_at(bytes, at + 12)?);
        let mut start = u64::from(u32_at(bytes, at + 16)?);
        let mut end = at;
        let disks = (u16_at(bytes, at + 4)?, u16_at(bytes, at + 6)?);
        if disks != (0, 0) && disks != (0xffff, 0xffff) {
            return Err(Fault::Unsupported("a zip in several parts".into()));
        }
        let locator = at.checked_sub(20).filter(|locator| bytes[*locator..].starts_with(LOCATOR64));
        if let Some(locator) = locator {
            let at64 = u64_at(bytes, locator + 8)?;
            let at64 = usize::try_from(at64).ok().filter(|at64| slice(bytes, *at64, 4) == Ok(END64));
            let Some(at64) = at64 else {
                return damaged("its zip64 directory is not where it should be");
            };
            records = u64_at(bytes, at64 + 32)?;
            size = u64_at(bytes, at64 + 40)?;
            start = u64_at(bytes, at64 + 48)?;
            end = at64;
        }
        let range = usize::try_from(start).ok().zip(start.checked_add(size).and_then(|e| usize::try_from(e).ok()));
        match range {
            Some((start, stop)) if stop == end => Ok(Self { range: start..stop, records }),
            _ => damaged("its zip directory is not where it should be"),
        }
    }
}

struct Entry {
    name: String,
    crc: u32,
    size: u64,
    header: u64,
}

impl Entry {
    fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Fault> {
        if !bytes.starts_with(ENTRY) {
            return damaged("its zip directory has fewer records than it says");
        }
        let (flags, method) = (u16_at(bytes, 8)?, u16_at(bytes, 10)?);
        let name_len = usize::from(u16_at(bytes, 28)?);
        let extra_len = usize::from(u16_at(bytes, 30)?);
        let comment_len = usize::from(u16_at(bytes, 32)?);
        let name = slice(bytes, 46, name_len)?;
        let extra = slice(bytes, 46 + name_len, extra_len)?;
        let name = checked_name(name)?;
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Fault::Unsafe(format!(
                "the record `{name}` of its zip is encrypted or has odd flags ({flags:#06x})"
            )));
        }
        if method != 0 {
            return Err(Fault::Unsafe(format!(
                "the record `{name}` of its zip is compressed; torch.save never compresses"
            )));
        }
        let mut packed = u64::from(u32_at(bytes, 20)?);
        let mut size = u64::from(u32_at(bytes, 24)?);
        let mut header = u64::from(u32_at(bytes, 42)?);
        let mut wide = zip64_extra(extra)?;
        for value in [&mut size, &mut packed, &mut header] {
            if *value == u64::from(u32::MAX) {
                *value = u64_at(wide, 0)?;
                wide = &wide[8..];
            }
        }
        if packed != size {
            return damaged(format!("the record `{name}` of its zip has two sizes"));
        }
        let rest =
            slice(bytes, 46 + name_len + extra_len, comment_len).map(|_| 46 + name_len + extra_len + comment_len)?;
        Ok((Self { name, crc: u32_at(bytes, 16)?, size, header }, &bytes[rest..]))
    }

    /// The bytes of the record with its header, and those of its content.
    fn locate(&self, bytes: &[u8]) -> Result<(Range<usize>, Range<usize>), Fault> {
        let header = usize::try_from(self.header).ok().filter(|at| slice(bytes, *at, 4) == Ok(LOCAL));
        let Some(header) = header else {
            return damaged(format!("the record `{}` is not where its zip says", self.name));
        };
        let name_len = usize::from(u16_at(bytes, header + 26)?);
        let extra_len = usize::from(u16_at(bytes, header + 28)?);
        if slice(bytes, header + 30, name_len)? != self.name.as_bytes() || u16_at(bytes, header + 8)? != 0 {
            return Err(Fault::Unsafe(format!("the record `{}` contradicts the directory of its zip", self.name)));
        }
        let start = header + 30 + name_len + extra_len;
        let end = usize::try_from(self.size).ok().and_then(|size| start.checked_add(size));
        match end {
            Some(end) if end <= bytes.len() => Ok((header..end, start..end)),
            _ => damaged(format!("the record `{}` reaches past the end of the file", self.name)),
        }
    }
}

fn checked_name(name: &[u8]) -> Result<String, Fault> {
    let text = std::str::from_utf8(name).ok().filter(|text| !text.chars().any(char::is_control));
    let Some(text) = text else {
        return Err(Fault::Unsafe("a record of its zip has a name that is no text".into()));
    };
    let climbs = text.split('/').any(|part| part == "..");
    if climbs || text.starts_with('/') || text.contains('\\') || text.contains(':') {
        return Err(Fault::Unsafe(format!("a record of its zip is named `{}`", crate::domain::display_safe(text))));
    }
    Ok(text.to_owned())
}

/// The zip64 field among a record's extra fields; empty where there is none.
fn zip64_extra(mut extra: &[u8]) -> Result<&[u8], Fault> {
    while extra.len() >= 4 {
        let len = usize::from(u16_at(extra, 2)?);
        let field = slice(extra, 4, len)?;
        if u16_at(extra, 0)? == 1 {
            return Ok(field);
        }
        extra = &extra[4 + len..];
    }
    Ok(&[])
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Result<&[u8], Fault> {
    let range = at.checked_add(len).and_then(|end| bytes.get(at..end));
    range.ok_or_else(|| Fault::Damaged("its zip is cut short".into()))
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Fault> {
    slice(bytes, at, 2).map(|b| u16::from_le_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    slice(bytes, at, 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Fault> {
    Ok(u64::from(u32_at(bytes, at)?) | u64::from(u32_at(bytes, at + 4)?) << 32)
}
