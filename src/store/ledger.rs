//! What is kept beside the records to tell whether they are all there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StoreError;
use crate::domain::Entry;

/// The ledger's own key; it is no record.
pub(super) const KEY: &[u8] = b"!ledger";

/// The kinds of records; the first byte of a key.
pub(super) mod kind {
    pub const ITEM: u8 = b'i';
    pub const ITEM_BY_STATE: u8 = b's';
    pub const IMAGE: u8 = b'g';
    pub const SIGHTING: u8 = b'x';
    pub const VECTORS: u8 = b'v';
    pub const SIGHTING_BY_LABEL: u8 = b'l';
    pub const LABEL: u8 = b'L';
    pub const COUNT: u8 = b'c';
    pub const ENGINE: u8 = b'e';

    /// The name of a kind in reports.
    pub fn name(kind: u8) -> &'static str {
        match kind {
            ITEM => "items",
            ITEM_BY_STATE => "items by state",
            IMAGE => "images",
            SIGHTING => "sightings",
            VECTORS => "more vectors",
            SIGHTING_BY_LABEL => "sightings by label",
            LABEL => "labels",
            COUNT => "counts",
            ENGINE => "engine facts",
            _ => "unknown",
        }
    }
}

/// How many records of a kind there are, and the sum of their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub records: u64,
    #[serde(with = "as_hex")]
    pub sum: [u8; 32],
}

impl Tally {
    pub(super) fn add(&mut self, key: &[u8], body: &[u8]) {
        self.records += 1;
        self.sum = combine(&self.sum, &record_hash(key, body), false);
    }

    pub(super) fn remove(&mut self, key: &[u8], body: &[u8]) {
        self.records = self.records.wrapping_sub(1);
        self.sum = combine(&self.sum, &record_hash(key, body), true);
    }
}

mod as_hex {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(sum: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(sum))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let mut sum = [0; 32];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut sum).map_err(serde::de::Error::custom)?;
        Ok(sum)
    }
}

/// The tallies of all kinds.
pub(super) type Tallies = BTreeMap<u8, Tally>;

/// Which entry was applied last; enough to notice a journal that is not the one the store was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    sequence: u64,
    wall_ms: i64,
    mono_ns: u64,
}

impl From<&Entry> for Stamp {
    fn from(entry: &Entry) -> Self {
        Self { sequence: entry.sequence, wall_ms: entry.wall_ms, mono_ns: entry.mono_ns }
    }
}

/// The whole account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// The next entry.
    pub applied: u64,
    /// The last entry.
    pub last: Option<Stamp>,
    /// Entries that changed nothing but counts: unknown actions, or facts about something that is not there.
    pub skipped: u64,
    pub tallies: Tallies,
}

impl Ledger {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|e| StoreError::Odd(format!("the ledger cannot be written: {e}")))
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(body).map_err(|e| StoreError::Odd(format!("the ledger cannot be read: {e}")))
    }

    pub(super) fn records(&self, kind: u8) -> u64 {
        self.tallies.get(&kind).map_or(0, |t| t.records)
    }

    pub(super) fn total(&self) -> u64 {
        self.tallies.values().map(|t| t.records).sum()
    }
}

/// The digest of a state: of the records and of the number of entries they came from.
pub(super) fn digest(applied: u64, tallies: &Tallies) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"sightline store 1\n");
    hasher.update(applied.to_le_bytes());
    for (kind, tally) in tallies.iter().filter(|(_, tally)| tally.records > 0) {
        hasher.update([*kind]);
        hasher.update(tally.records.to_le_bytes());
        hasher.update(tally.sum);
    }
    hasher.finalize().into()
}

fn record_hash(key: &[u8], body: &[u8]) -> [u8; 32] {
    let length = (key.len() as u32).to_le_bytes();
    Sha256::new().chain_update(length).chain_update(key).chain_update(body).finalize().into()
}

/// Sum or difference mod 2^256, little-endian: the order of adding does not matter, and adding twice shows.
fn combine(a: &[u8; 32], b: &[u8; 32], subtract: bool) -> [u8; 32] {
    let (mut out, mut carry) = ([0; 32], u16::from(subtract));
    for i in 0..32 {
        // a - b is a + !b + 1.
        let term = if subtract { !b[i] } else { b[i] };
        let sum = u16::from(a[i]) + u16::from(term) + carry;
        out[i] = sum as u8;
        carry = sum >> 8;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_added_can_be_taken_away_in_any_order(
            records in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..8), prop::collection::vec(any::<u8>(), 0..8)), 1..12),
            keep in 0..12_usize,
        ) {
            let mut all = Tally::default();
            for (key, body) in &records {
                all.add(key, body);
            }
            let keep = keep.min(records.len());
            for (key, body) in records[keep..].iter() {
                all.remove(key, body);
            }
            let mut kept = Tally::default();
            for (key, body) in records[..keep].iter().rev() {
                kept.add(key, body);
            }
            prop_assert_eq!(all, kept);
        }
    }

    #[test]
    fn carries_run_through() {
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(combine(&[0xFF; 32], &one, false), [0; 32]);
        assert_eq!(combine(&[0; 32], &one, true), [0xFF; 32]);
    }
}
