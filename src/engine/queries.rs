//! What the engine shows: windows on the queue, the gallery and the journal, and the proofs.

use std::sync::atomic::Ordering;

use super::EngineError;
use super::core::{Engine, lock};
use crate::domain::view::{
    Answer, GalleryStats, Item, ItemDetail, JournalQuery, LabelRow, Role, SightingRow, Stats, Status,
};
use crate::domain::{
    AbstainReason, Decision, Entry, Fact, Fingerprint, ItemId, ItemState, Label, Mode, Neighbour, RawPath, SightingId,
};
use crate::intake::claim::Claim;
use crate::journal::Filter;
use crate::store::{ItemRecord, SightingRecord};

fn mode_name(mode: &Mode) -> String {
    match mode {
        Mode::Identify => "identify".into(),
        Mode::Enroll(label) => label.to_string(),
        Mode::Unlabelled => "unlabelled".into(),
    }
}

fn claim_row(claim: Claim, attempts: u32, working: bool) -> Item {
    let reason = (attempts > 0).then(|| format!("try {} after a failure", attempts + 1));
    Item {
        id: claim.facts.item,
        mode: mode_name(&claim.facts.mode),
        path: claim.facts.path,
        state: if working { ItemState::Working } else { ItemState::Waiting },
        reason,
        code: None,
        sha256: None,
        sightings: None,
        answer: None,
        arrived_ms: claim.facts.arrived_ms,
        updated_ms: claim.facts.arrived_ms,
        ms: None,
        sequence: None,
    }
}

fn answer(decision: Decision) -> Answer {
    match decision {
        Decision::Accept { label, similarity, margin, .. } => {
            Answer { label: Some(label), reason: None, similarity: Some(similarity), margin: Some(margin) }
        }
        Decision::Abstain { reason, similarity, margin, .. } => {
            Answer { label: None, reason: Some(reason), similarity, margin }
        }
    }
}

fn record_row(record: ItemRecord) -> Item {
    let nothing_seen = record.state == ItemState::Done && record.sightings == 0 && record.mode == Mode::Identify;
    let decision = record.decision.or_else(|| nothing_seen.then(|| Decision::abstain(AbstainReason::NoObject)));
    let duplicate =
        record.duplicate_of.map(|(of, kind)| format!("{kind:?} duplicate of {}", of.short()).to_lowercase());
    Item {
        id: record.id,
        path: record.path.path,
        state: record.state,
        reason: record.reason.or(duplicate),
        code: record.code,
        sha256: record.image,
        sightings: (record.state == ItemState::Done).then_some(record.sightings),
        mode: mode_name(&record.mode),
        answer: decision.map(answer),
        arrived_ms: record.arrived_ms,
        updated_ms: record.updated_ms,
        ms: record.total_ms,
        sequence: Some(record.sequence),
    }
}

impl Engine {
    /// The engine as it stands, for whoever asks.
    #[must_use]
    pub fn status(&self, asker: &str, role: Role) -> Status {
        let models = lock(&self.models).clone();
        let unanchored = self.truth.lock().map_or(0, |truth| truth.journal.unanchored());
        let mut warnings = lock(&self.warnings).clone();
        warnings.reverse();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            workspace: RawPath(self.config.workspace.clone()),
            watching: self.watching,
            uptime_seconds: self.meters.uptime_seconds(),
            you: asker.into(),
            role,
            device: models.device,
            detector: models.detector,
            embedder: models.embedder,
            warnings,
            halted: lock(&self.halted).clone(),
            checkpoint: self.reader.len() - unanchored,
            entries: self.reader.len(),
        }
    }

    /// Live figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (waiting, _) = self.queue.counts();
        let disk = rustix::fs::statvfs(self.config.database()).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        Stats {
            oldest_waiting_seconds: self.queue.oldest_seconds(),
            disk_free_bytes: disk,
            device: lock(&self.models).device.clone(),
            ..self.meters.stats(waiting)
        }
    }

    /// A window on the queue. Without a state: what is worked on, what waits, then what has ended.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn items(
        &self,
        state: Option<ItemState>,
        after: Option<&ItemId>,
        limit: usize,
        newest: bool,
    ) -> Result<Vec<Item>, EngineError> {
        let in_memory = |working| {
            self.queue
                .window(working, after, limit)
                .into_iter()
                .map(move |(c, attempts)| claim_row(c, attempts, working))
        };
        let recorded = |state, after, limit| {
            let records = self.store.items(state, after, limit, newest).map_err(EngineError::failed)?;
            Ok::<_, EngineError>(records.into_iter().filter(|r| !self.queue.holds(&r.id)).map(record_row))
        };
        match state {
            Some(ItemState::Waiting) => Ok(in_memory(false).collect()),
            Some(ItemState::Working) => Ok(in_memory(true).collect()),
            Some(state) => Ok(recorded(Some(state), after, limit)?.collect()),
            None => {
                let mut rows: Vec<Item> =
                    if after.is_none() { in_memory(true).chain(in_memory(false)).collect() } else { Vec::new() };
                let left = limit.saturating_sub(rows.len());
                rows.extend(recorded(None, after, left.max(1))?);
                rows.truncate(limit);
                Ok(rows)
            }
        }
    }

    pub(super) fn item_row(&self, id: &ItemId) -> Result<Item, EngineError> {
        if let Some((claim, attempts, working)) = self.queue.find(id) {
            return Ok(claim_row(claim, attempts, working));
        }
        let record = self.store.item(id).map_err(EngineError::failed)?;
        record.map(record_row).ok_or_else(|| EngineError::NotFound(format!("there is no file {id} in the queue")))
    }

    /// One file with what was seen in it.
    ///
    /// # Errors
    /// When there is none of that id.
    pub fn item(&self, id: &ItemId) -> Result<ItemDetail, EngineError> {
        let item = self.item_row(id)?;
        let mut detail = ItemDetail { item, sightings: Vec::new(), size: None, duplicate_of: None };
        let Some(sequence) = detail.item.sequence else { return Ok(detail) };
        match self.journal_entry(sequence)?.fact().map_err(EngineError::failed)? {
            Fact::ImageDone(done) => {
                detail.size = Some([done.width, done.height]);
                detail.duplicate_of = done.near_duplicate_of;
                detail.sightings = done.sightings;
            }
            Fact::ImageDuplicate(duplicate) => detail.duplicate_of = Some(duplicate.of),
            _ => {}
        }
        Ok(detail)
    }

    /// A window on the labels.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn labels(
        &self,
        filter: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LabelRow>, EngineError> {
        let after = after.map(Label::new).transpose().map_err(EngineError::BadRequest)?;
        let labels = self.store.labels(filter.unwrap_or(""), after.as_ref(), limit).map_err(EngineError::failed)?;
        Ok(labels.into_iter().map(|(label, record)| LabelRow { label, sightings: record.sightings }).collect())
    }

    fn sighting_row(&self, sighting: SightingId, record: SightingRecord) -> SightingRow {
        SightingRow {
            sighting,
            label: record.label,
            fingerprint: record.fingerprint,
            rotations: record.vectors.iter().map(|vector| vector.rotation).collect(),
            sequence: record.sequence,
            has_image: !record.imported,
        }
    }

    /// A window on a label's sightings.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn sightings(
        &self,
        label: &Label,
        after: Option<SightingId>,
        limit: usize,
    ) -> Result<Vec<SightingRow>, EngineError> {
        let rows = self.store.sightings(label, after.as_ref(), limit).map_err(EngineError::failed)?;
        Ok(rows.into_iter().map(|(id, record)| self.sighting_row(id, record)).collect())
    }

    fn live_sighting(&self, id: SightingId) -> Result<SightingRecord, EngineError> {
        let record = self.store.sighting(&id).map_err(EngineError::failed)?.filter(|record| !record.removed);
        record.ok_or_else(|| EngineError::NotFound(format!("no sighting {id} is enrolled")))
    }

    /// One enrolled sighting.
    ///
    /// # Errors
    /// When it is not enrolled.
    pub fn sighting(&self, id: SightingId) -> Result<SightingRow, EngineError> {
        Ok(self.sighting_row(id, self.live_sighting(id)?))
    }

    /// What is enrolled nearest to a sighting, itself left out.
    ///
    /// # Errors
    /// When it is not enrolled.
    pub fn neighbours(&self, id: SightingId) -> Result<Vec<Neighbour>, EngineError> {
        let record = self.live_sighting(id)?;
        let Some(vector) = record.vectors.first() else { return Ok(Vec::new()) };
        let gallery = self.read_gallery()?;
        let probe = gallery.vector(vector).map_err(|e| self.refused(e))?;
        let neighbours = self.listed(&gallery, record.fingerprint, &probe, 21)?;
        Ok(neighbours.into_iter().filter(|neighbour| neighbour.sighting != id).collect())
    }

    /// The gallery in numbers.
    ///
    /// # Errors
    /// When the projection cannot be read.
    pub fn gallery_stats(&self) -> Result<GalleryStats, EngineError> {
        let (labels, in_use) = (self.store.label_count(), lock(&self.models).fingerprint);
        let gallery = match self.gallery_so_far() {
            Ok(gallery) => gallery,
            Err(reading) => {
                let sightings = reading.done;
                return Ok(GalleryStats {
                    labels,
                    sightings,
                    in_use,
                    reading: Some(reading),
                    ..GalleryStats::default()
                });
            }
        };
        let (stats, indexes, index_health) = (gallery.stats(), self.index_rows(&gallery), self.index_health(&gallery));
        let unreadable = stats.unreadable.iter();
        let unreadable = unreadable.map(|(number, why)| format!("{}: {why}", gallery.segment_path(*number).display()));
        let unreadable = unreadable.collect();
        drop(gallery);
        let named = |(name, count): (String, usize)| Some((Fingerprint(name.parse().ok()?), count as u64));
        Ok(GalleryStats {
            labels,
            sightings: stats.sightings as u64,
            vectors: stats.vectors as u64,
            rows_on_disk: stats.segments.iter().map(|segment| u64::from(segment.rows)).sum(),
            bytes: stats.segments.iter().map(|segment| segment.bytes).sum(),
            fingerprints: stats.by_weights.into_iter().filter_map(named).collect(),
            in_use,
            indexes,
            index_health,
            damaged: stats.damaged as u64,
            unreadable,
            reading: None,
        })
    }

    /// Entries that fit, newest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn journal_query(&self, query: &JournalQuery) -> Result<Vec<Entry>, EngineError> {
        let filter = Filter {
            actor: query.actor.clone(),
            action: query.action.clone(),
            subject: query.subject.clone(),
            from_ms: query.from_ms,
            to_ms: query.to_ms,
            text: query.text.clone(),
        };
        let limit = query.limit.unwrap_or(100).clamp(1, 1000);
        let mut entries = Vec::new();
        let mut before = query.before;
        loop {
            // A page ends when a time slice is used up; go on until there is enough or the beginning is reached.
            let page = self.reader.query(&filter, before, limit - entries.len()).map_err(EngineError::failed)?;
            entries.extend(page.entries);
            match page.next {
                Some(next) if entries.len() < limit && !self.stopping.load(Ordering::Relaxed) => before = Some(next),
                _ => return Ok(entries),
            }
        }
    }

    /// One entry.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn journal_entry(&self, sequence: u64) -> Result<Entry, EngineError> {
        if sequence >= self.reader.len() {
            return Err(EngineError::NotFound(format!(
                "the journal has entries 0 to {}; there is no {sequence}",
                self.reader.len().saturating_sub(1)
            )));
        }
        self.reader.entry(sequence).map_err(EngineError::failed)
    }
}
