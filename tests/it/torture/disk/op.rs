//! What is done to a disk.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What was done to the disk. Files and folders are known by their inode numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Op {
    /// A file that was not there.
    Create {
        dir: u64,
        name: String,
        inode: u64,
    },
    Mkdir {
        dir: u64,
        name: String,
        inode: u64,
    },
    Link {
        dir: u64,
        name: String,
        inode: u64,
    },
    /// A file or an empty folder.
    Unlink {
        dir: u64,
        name: String,
    },
    Rename {
        from: (u64, String),
        to: (u64, String),
    },
    Write {
        inode: u64,
        offset: u64,
        #[serde(with = "base64_text")]
        data: Vec<u8>,
    },
    /// Cut or made longer.
    Length {
        inode: u64,
        length: u64,
    },
    /// What was done to a file, or the names in a folder, is on the disk.
    Sync {
        inode: u64,
    },
    SyncAll,
    /// Not the disk's: something that the test has to remember at this place.
    Note(super::Note),
}

/// Gives every file a number that no other has had: file systems use inode numbers again.
pub(super) fn numbered(mut ops: Vec<Op>) -> Vec<Op> {
    let mut known: HashMap<u64, u64> = HashMap::new();
    for (at, op) in ops.iter_mut().enumerate() {
        let now = |inode: &mut u64| *inode = known.get(inode).copied().unwrap_or(*inode);
        match op {
            Op::Create { dir, inode, .. } | Op::Mkdir { dir, inode, .. } => {
                now(dir);
                let number = (at as u64 + 1) << 40 | *inode & 0xFF_FFFF_FFFF;
                known.insert(*inode, number);
                *inode = number;
            }
            Op::Link { dir, inode, .. } => [dir, inode].into_iter().for_each(now),
            Op::Unlink { dir, .. } => now(dir),
            Op::Rename { from, to } => [&mut from.0, &mut to.0].into_iter().for_each(now),
            Op::Write { inode, .. } | Op::Length { inode, .. } | Op::Sync { inode } => now(inode),
            Op::SyncAll | Op::Note(_) => {}
        }
    }
    ops
}

/// Bytes as text.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
