//! Reading segments from beginning to end, and telling a torn tail from damage.

use std::fs;
use std::path::{Path, PathBuf};

use super::{JournalError, frame};

/// The path of a segment.
pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.log"))
}

/// The numbers of the segments in the folder, ascending.
pub(super) fn segments(dir: &Path) -> Result<Vec<u32>, JournalError> {
    let listed = || -> std::io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for file in fs::read_dir(dir)? {
            let name = file?.file_name();
            let number = name.to_str().and_then(|n| n.strip_suffix(".log")).filter(|n| n.len() == 8);
            numbers.extend(number.and_then(|n| n.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    };
    listed().map_err(JournalError::io("list", dir))
}

/// Where a segment stops being readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Break {
    /// Byte in the segment.
    pub offset: u64,
    /// The entry that should begin there.
    pub entry: u64,
    /// What is wrong.
    pub detail: String,
    /// Where sound frames go on, if they do.
    pub resumes: Option<u64>,
    /// Whether a later batch follows: then the broken entry had been acknowledged.
    pub acknowledged: bool,
}

/// Walks over the frames from byte `from`, the first being entry `next`; hands each sound frame and its offset over.
///
/// Returns where it stopped, and the number that the next entry must have.
pub(super) fn walk(
    bytes: &[u8],
    from: u64,
    mut next: u64,
    mut each: impl FnMut(u64, &frame::Frame<'_>),
) -> (u64, u64, Option<Break>) {
    let mut at = from as usize;
    while at < bytes.len() {
        let detail = match frame::decode(&bytes[at..]) {
            Ok(frame) if frame.sequence == next => {
                each(at as u64, &frame);
                at += frame.size();
                next += 1;
                continue;
            }
            Ok(frame) => format!("entry {next} should be here, but entry {} is", frame.sequence),
            Err(fault) => fault.to_string(),
        };
        return (at as u64, next, Some(broken(bytes, at, next, detail)));
    }
    (at as u64, next, None)
}

fn broken(bytes: &[u8], at: usize, entry: u64, detail: String) -> Break {
    let (mut resumes, mut acknowledged, mut from) = (None, false, at);
    while let Some(found) = frame::find(bytes, from) {
        let Ok(frame) = frame::decode(&bytes[found..]) else {
            break;
        };
        if found > at {
            resumes = resumes.or(Some(found as u64));
        }
        // Its batch began behind the broken entry, so the broken one's batch was on disk by then. An entry
        // before the expected one proves nothing but that someone moved bytes: that is no crash either.
        if frame.sequence < entry || frame.sequence - u64::from(frame.place).min(frame.sequence) > entry {
            acknowledged = true;
            break;
        }
        from = found + frame.size();
    }
    Break { offset: at as u64, entry, detail, resumes, acknowledged }
}
