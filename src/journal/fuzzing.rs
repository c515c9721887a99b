//! What the fuzz target of `tests/fuzz` calls: the readers of segments and of checkpoints, from bytes.

use super::checkpoint::Log;
use super::{frame, scan};
use crate::domain::Entry;

/// Walks over `bytes` as a segment and as a log of checkpoints; then over the lines of `bytes` as entries in sound frames.
pub fn read(bytes: &[u8]) {
    walk(bytes);
    drop(Log::parse("checkpoints.log".into(), bytes));
    let mut framed = Vec::new();
    for (place, line) in (0..).zip(bytes.split(|byte| *byte == b'\n')) {
        frame::encode(line, place, &mut framed);
    }
    walk(&framed);
}

fn walk(bytes: &[u8]) {
    let (end, next, stopped) = scan::walk(bytes, 0, 0, |_, frame| {
        if let Ok(entry) = serde_json::from_slice::<Entry>(frame.entry) {
            drop(serde_json::to_vec(&entry));
        }
    });
    assert!(end <= bytes.len() as u64 && next <= bytes.len() as u64);
    if let Some(found) = stopped.and_then(|stopped| stopped.resumes) {
        assert!(frame::decode(&bytes[found as usize..]).is_ok());
    }
}
