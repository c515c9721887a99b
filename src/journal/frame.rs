//! One entry on disk: header and checksum around the canonical bytes.

/// Bytes before each entry.
pub(super) const HEADER: usize = 16;
/// The longest entry: far above any real one, low enough that a damaged length allocates nothing.
pub(super) const MAX_ENTRY: usize = 64 << 20;

const MAGIC: [u8; 4] = [0xF5, b'S', b'J', 0x01];

/// A sound frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The entry's place in its batch.
    pub place: u32,
    /// The entry's canonical bytes.
    pub entry: &'a [u8],
    /// The entry's number, as its bytes say.
    pub sequence: u64,
}

impl Frame<'_> {
    /// Bytes on disk.
    pub(super) fn size(&self) -> usize {
        HEADER + self.entry.len()
    }
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the file ends in the middle of an entry")]
    Short,
    #[error("no entry begins here (wrong magic bytes)")]
    Magic,
    #[error("the entry's length cannot be right")]
    Length,
    #[error("the checksum does not match")]
    Checksum,
    #[error("the entry does not begin with its number")]
    Sequence,
}

/// Appends the frame of an entry to `out`.
pub(super) fn encode(entry: &[u8], place: u32, out: &mut Vec<u8>) {
    let mut numbers = [0; 8];
    numbers[..4].copy_from_slice(&(entry.len() as u32).to_le_bytes());
    numbers[4..].copy_from_slice(&place.to_le_bytes());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&numbers);
    out.extend_from_slice(&checksum(&numbers, entry).to_le_bytes());
    out.extend_from_slice(entry);
}

/// Reads the frame at the start of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Frame<'_>, Fault> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
        return Err(Fault::Short);
    };
    if header[..4] != MAGIC {
        return Err(Fault::Magic);
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = number(4) as usize;
    if length > MAX_ENTRY {
        return Err(Fault::Length);
    }
    let entry = rest.get(..length).ok_or(Fault::Short)?;
    if checksum(&header[4..12], entry) != number(12) {
        return Err(Fault::Checksum);
    }
    Ok(Frame { place: number(8), entry, sequence: sequence(entry).ok_or(Fault::Sequence)? })
}

/// The next place from `from` on where a sound frame begins.
pub(super) fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = bytes.get(at..)?.iter().position(|b| *b == MAGIC[0]) {
        at += found;
        if decode(&bytes[at..]).is_ok() {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The number that the canonical bytes begin with, without parsing the rest.
fn sequence(entry: &[u8]) -> Option<u64> {
    let digits = entry.strip_prefix(b"{\"sequence\":")?;
    let end = digits.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn checksum(numbers: &[u8], entry: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(numbers);
    hasher.update(entry);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry_bytes(sequence: u64, tail: &str) -> Vec<u8> {
        format!("{{\"sequence\":{sequence},{tail}}}").into_bytes()
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_back(sequence: u64, place: u32, tail in ".{0,200}", after in prop::collection::vec(any::<u8>(), 0..40)) {
            let entry = entry_bytes(sequence, &tail);
            let mut bytes = Vec::new();
            encode(&entry, place, &mut bytes);
            let size = bytes.len();
            bytes.extend(after);
            let frame = decode(&bytes);
            prop_assert_eq!(frame, Ok(Frame { place, entry: &entry, sequence }));
            prop_assert_eq!(size, HEADER + entry.len());
        }

        #[test]
        fn any_flipped_bit_is_noticed(sequence: u64, place: u32, tail in ".{0,60}", at: prop::sample::Index, bit in 0_u8..8) {
            let mut bytes = Vec::new();
            encode(&entry_bytes(sequence, &tail), place, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn noise_is_no_frame(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&noise).is_err());
            prop_assert_eq!(find(&noise, 0), None);
        }
    }

    #[test]
    fn a_frame_is_found_behind_noise() {
        let mut bytes = b"\xF5SJ\x01 noise \xF5".to_vec();
        let at = bytes.len();
        encode(&entry_bytes(7, ""), 0, &mut bytes);
        assert_eq!(find(&bytes, 1), Some(at));
    }
}
