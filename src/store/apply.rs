//! From entries to records: the one place where facts become state.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::kv::{Bytes, Kv};
use super::ledger::Tallies;
use super::record::{self, EngineFact, ImageRecord, ItemRecord, LabelRecord, SightingRecord, StoredSighting};
use super::{StoreError, query};
use crate::domain::{
    AbstainReason, Decision, Enrolled, Entry, Fact, FileFacts, ImageDone, ItemId, ItemState, Label, Mode, SightingId,
};

/// A record before and after.
struct Cell {
    old: Option<Bytes>,
    new: Option<Bytes>,
}

/// What a batch of entries changes, before it is written.
pub(super) struct Changes<'a> {
    kv: &'a Kv,
    cells: BTreeMap<Bytes, Cell>,
    /// Entries that changed nothing but counts.
    pub skipped: u64,
}

impl<'a> Changes<'a> {
    pub(super) fn new(kv: &'a Kv) -> Self {
        Self { kv, cells: BTreeMap::new(), skipped: 0 }
    }

    /// Takes one entry in.
    pub(super) fn project(&mut self, entry: &Entry) -> Result<(), StoreError> {
        self.count(record::action_count_key(&entry.action), 1)?;
        let known = match entry.fact() {
            Ok(fact) => self.fact(entry, fact)?,
            // A newer version wrote it; what it means is not for this one to guess.
            Err(_) => false,
        };
        self.skipped += u64::from(!known);
        Ok(())
    }

    /// The changes, record by record.
    pub(super) fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.cells.iter().filter(|(_, cell)| cell.old != cell.new).map(|(key, cell)| (&key[..], cell.new.as_deref()))
    }

    /// Brings the tallies up to what these changes make of them.
    pub(super) fn tally(&self, tallies: &mut Tallies) {
        for (key, cell) in self.cells.iter().filter(|(_, cell)| cell.old != cell.new) {
            let tally = tallies.entry(key[0]).or_default();
            if let Some(old) = &cell.old {
                tally.remove(key, old);
            }
            if let Some(new) = &cell.new {
                tally.add(key, new);
            }
        }
    }

    /// Whether the fact was understood and about something that is there.
    fn fact(&mut self, entry: &Entry, fact: Fact) -> Result<bool, StoreError> {
        match fact {
            Fact::EngineStarted { version, .. } => self.engine("started", entry, version)?,
            Fact::EngineStopped { waiting } => self.engine("stopped", entry, format!("{waiting} waiting"))?,
            Fact::StoreRebuilt { cause } => self.engine("store rebuilt", entry, record::sentence(&cause))?,
            Fact::ImageDone(done) => self.image_done(entry, *done)?,
            Fact::ImageDuplicate(duplicate) => {
                let mut item = described(entry, &duplicate.file, ItemState::Duplicate);
                item.image = Some(duplicate.image);
                item.duplicate_of = Some((duplicate.of, duplicate.kind));
                self.put_item(item)?;
            }
            Fact::ImageQuarantined(quarantined) => {
                let mut item = described(entry, &quarantined.file, ItemState::Quarantined);
                item.image = Some(quarantined.image);
                item.code = Some(quarantined.code);
                item.reason = Some(record::sentence(&quarantined.sentence));
                self.put_item(item)?;
            }
            Fact::ImageFailed(failed) => {
                let mut item = described(entry, &failed.file, ItemState::Failed);
                item.reason = Some(record::sentence(&failed.error));
                item.attempts = failed.attempts;
                // The archive may have had it already; what was known of it still is.
                item.image = self.item(&item.id)?.and_then(|known| known.image);
                self.put_item(item)?;
            }
            Fact::QueueReleased { item } => return self.queue(entry, &item, ItemState::Waiting),
            Fact::QueueDiscarded { item, .. } => return self.queue(entry, &item, ItemState::Discarded),
            Fact::GalleryRelabelled { sighting, label } => {
                let Some(mut known) = self.sighting(&sighting)? else {
                    return Ok(false);
                };
                known.label = label;
                self.put_sighting(&sighting, &known)?;
            }
            Fact::GalleryRemoved { sighting } => {
                let Some(mut known) = self.sighting(&sighting)? else {
                    return Ok(false);
                };
                known.removed = true;
                self.put_sighting(&sighting, &known)?;
            }
            Fact::GalleryImported { sighting, enrolled, .. } => {
                self.enrol(entry, &sighting, enrolled, true)?;
            }
            Fact::GalleryReembedded { sighting, enrolled } => {
                let Some(mut known) = self.sighting(&sighting)? else {
                    return Ok(false);
                };
                known.label = enrolled.label;
                known.fingerprint = enrolled.fingerprint;
                known.vectors = enrolled.vectors;
                self.put_sighting(&sighting, &known)?;
            }
        }
        Ok(true)
    }

    fn engine(&mut self, name: &str, entry: &Entry, detail: String) -> Result<(), StoreError> {
        let fact = EngineFact { sequence: entry.sequence, wall_ms: entry.wall_ms, detail };
        self.put(record::engine_key(name), &fact)
    }

    fn image_done(&mut self, entry: &Entry, done: ImageDone) -> Result<(), StoreError> {
        let mut item = described(entry, &done.file, ItemState::Done);
        item.image = Some(done.image);
        item.sightings = done.sightings.len() as u32;
        item.enrolled = done.sightings.iter().filter(|s| s.enrolled.is_some()).count() as u32;
        let decisions = || done.sightings.iter().filter_map(|s| s.decision.as_ref());
        item.accepted = decisions().filter(|d| d.is_accept()).count() as u32;
        item.decision = decisions().next().cloned();
        if done.sightings.is_empty() && done.file.mode == Mode::Identify {
            item.decision = Some(Decision::abstain(AbstainReason::NoObject));
        }
        let ms = done.ms;
        item.total_ms = Some(ms.archive + ms.decode + ms.detect + ms.embed + ms.search);
        let image = ImageRecord {
            sequence: entry.sequence,
            item: item.id.clone(),
            format: record::sentence(&done.format),
            width: done.width,
            height: done.height,
            perceptual: record::sentence(&done.perceptual),
            detector: done.detector,
            embedder: done.embedder,
            sightings: item.sightings,
        };
        self.put(record::image_key(&done.image), &image)?;
        self.put_item(item)?;
        for sighting in done.sightings {
            if let Some(enrolled) = sighting.enrolled {
                let id = SightingId { image: done.image, index: sighting.index };
                self.enrol(entry, &id, enrolled, false)?;
            }
        }
        Ok(())
    }

    fn queue(&mut self, entry: &Entry, id: &ItemId, state: ItemState) -> Result<bool, StoreError> {
        let Some(mut item) = self.item(id)? else {
            return Ok(false);
        };
        item.state = state;
        item.released = state == ItemState::Waiting;
        (item.sequence, item.updated_ms) = (entry.sequence, entry.wall_ms);
        self.put_item(item)?;
        Ok(true)
    }

    fn enrol(&mut self, entry: &Entry, id: &SightingId, enrolled: Enrolled, imported: bool) -> Result<(), StoreError> {
        let Enrolled { label, fingerprint, vectors } = enrolled;
        let sequence = entry.sequence;
        self.put_sighting(id, &SightingRecord { label, fingerprint, vectors, sequence, removed: false, imported })
    }

    fn item(&mut self, id: &ItemId) -> Result<Option<ItemRecord>, StoreError> {
        self.get(&record::item_key(id))
    }

    fn put_item(&mut self, item: ItemRecord) -> Result<(), StoreError> {
        if let Some(known) = self.item(&item.id)? {
            self.set(record::state_key(known.state, &item.id.0), None)?;
            self.count(record::state_count_key(known.state), -1)?;
        }
        self.set(record::state_key(item.state, &item.id.0), Some(Vec::new()))?;
        self.count(record::state_count_key(item.state), 1)?;
        self.set(record::item_key(&item.id), Some(record::encode_item(&item)?))
    }

    fn sighting(&mut self, id: &SightingId) -> Result<Option<SightingRecord>, StoreError> {
        let Some(stored) = self.get::<StoredSighting>(&record::sighting_key(id))? else {
            return Ok(None);
        };
        query::complete(stored, |part| self.body(&record::vectors_key(id, part))).map(Some)
    }

    fn put_sighting(&mut self, id: &SightingId, sighting: &SightingRecord) -> Result<(), StoreError> {
        if let Some(known) = self.sighting(id)? {
            if !known.removed {
                self.set(record::label_index_key(&known.label, id), None)?;
                self.label(&known.label, -1)?;
            }
            for part in 0..parts(known.vectors.len()) {
                self.set(record::vectors_key(id, part), None)?;
            }
        }
        if !sighting.removed {
            self.set(record::label_index_key(&sighting.label, id), Some(Vec::new()))?;
            self.label(&sighting.label, 1)?;
        }
        let (inside, more) = sighting.vectors.split_at(sighting.vectors.len().min(record::VECTORS_INSIDE));
        for (part, vectors) in (0..).zip(more.chunks(record::VECTORS_MORE)) {
            self.set(record::vectors_key(id, part), Some(record::pack(vectors)))?;
        }
        let stored = StoredSighting {
            label: sighting.label.clone(),
            fingerprint: sighting.fingerprint,
            vectors: BASE64.encode(record::pack(inside)),
            more: parts(sighting.vectors.len()),
            sequence: sighting.sequence,
            removed: sighting.removed,
            imported: sighting.imported,
        };
        self.put(record::sighting_key(id), &stored)
    }

    fn label(&mut self, label: &Label, change: i64) -> Result<(), StoreError> {
        let key = record::label_key(label.as_str());
        let sightings = self.get::<LabelRecord>(&key)?.map_or(0, |l| l.sightings).saturating_add_signed(change);
        if sightings == 0 { self.set(key, None) } else { self.put(key, &LabelRecord { sightings }) }
    }

    fn count(&mut self, key: Bytes, change: i64) -> Result<(), StoreError> {
        let count = self.get::<u64>(&key)?.unwrap_or(0).saturating_add_signed(change);
        if count == 0 { self.set(key, None) } else { self.put(key, &count) }
    }

    fn get<T: DeserializeOwned>(&mut self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.body(key)?.map(|body| record::decode(&body)).transpose()
    }

    fn put(&mut self, key: Bytes, record: &impl Serialize) -> Result<(), StoreError> {
        self.set(key, Some(record::encode(record)?))
    }

    /// The record as the changes so far leave it.
    fn body(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(cell) = self.cells.get(key) {
            return Ok(cell.new.clone());
        }
        let old = self.kv.get(key)?;
        self.cells.insert(key.to_vec(), Cell { old: old.clone(), new: old.clone() });
        Ok(old)
    }

    fn set(&mut self, key: Bytes, new: Option<Bytes>) -> Result<(), StoreError> {
        self.body(&key)?;
        if let Some(cell) = self.cells.get_mut(&key) {
            cell.new = new;
        }
        Ok(())
    }
}

/// Further records for so many vectors.
fn parts(vectors: usize) -> u16 {
    vectors.saturating_sub(record::VECTORS_INSIDE).div_ceil(record::VECTORS_MORE) as u16
}

/// An item with everything that its file tells.
fn described(entry: &Entry, file: &FileFacts, state: ItemState) -> ItemRecord {
    let (path, source) = record::paths(&file.path, &file.source);
    ItemRecord {
        id: file.item.clone(),
        sequence: entry.sequence,
        described: entry.sequence,
        state,
        path,
        source,
        mode: file.mode.clone(),
        bytes: file.bytes,
        image: None,
        code: None,
        reason: None,
        duplicate_of: None,
        sightings: 0,
        enrolled: 0,
        accepted: 0,
        decision: None,
        arrived_ms: file.arrived_ms,
        updated_ms: entry.wall_ms,
        total_ms: None,
        attempts: 0,
        released: false,
    }
}
