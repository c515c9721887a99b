//! What operators do to the queue. Each act is an intent: done once, recorded, then acknowledged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::EngineError;
use super::core::Engine;
use super::outcome::quarantined_data;
use crate::domain::view::{Ingest, Ingested, Intent, Item, Nothing};
use crate::domain::{Draft, Fact, FileFacts, ItemId, ItemState, Mode, RawPath};
use crate::files;
use crate::intake::claim::Candidate;

impl Engine {
    /// The operator's words; an act that changes something needs some.
    pub(super) fn reason<A>(intent: &Intent<A>) -> Result<String, EngineError> {
        let reason = intent.reason.trim();
        if reason.is_empty() {
            return Err(EngineError::BadRequest("say why: the reason goes into the journal".into()));
        }
        Ok(reason.chars().take(1000).collect())
    }

    /// What an item's file was, from the entry that describes it.
    pub(super) fn file_facts(&self, sequence: u64) -> Result<FileFacts, EngineError> {
        let entry = self.reader.entry(sequence).map_err(EngineError::failed)?;
        match entry.fact().map_err(EngineError::failed)? {
            Fact::ImageDone(done) => Ok(done.file),
            Fact::ImageDuplicate(duplicate) => Ok(duplicate.file),
            Fact::ImageQuarantined(quarantined) => Ok(quarantined.file),
            Fact::ImageFailed(failed) => Ok(failed.file),
            other => Err(EngineError::Failed(format!("entry {sequence} is {}, not about a file", other.action()))),
        }
    }

    fn set_aside(&self, item: &ItemId, intent: &Intent<Nothing>) -> Result<crate::store::ItemRecord, EngineError> {
        let record = self.store.item(item).map_err(EngineError::failed)?;
        let record =
            record.ok_or_else(|| EngineError::NotFound(format!("there is no file {item} in the queue's records")))?;
        if !matches!(record.state, ItemState::Quarantined | ItemState::Failed) {
            let state = record.state.name();
            return Err(EngineError::Refused(format!(
                "{item} is {state}; only quarantined or failed files can be released or discarded"
            )));
        }
        if intent.seen.is_some() && intent.seen != record.image {
            return Err(EngineError::Refused(format!("{item} is not the picture you saw; look again")));
        }
        Ok(record)
    }

    /// Sends a quarantined or failed file through again; doubts about quality no longer hold it up.
    ///
    /// # Errors
    /// When it is not set aside, or the act cannot be recorded.
    pub fn release(&self, actor: &str, item: &ItemId, intent: &Intent<Nothing>) -> Result<Item, EngineError> {
        let reason = Self::reason(intent)?;
        self.intents.once(&intent.intent, format!("release {item}"), || {
            let mut truth = self.truth()?;
            let record = self.set_aside(item, intent)?;
            let facts = self.file_facts(record.described)?;
            let aside = quarantined_data(&self.quarantine, item);
            if !aside.exists() {
                return Err(EngineError::Failed(format!(
                    "{} is gone; the bytes of {item} cannot be sent through again",
                    aside.display()
                )));
            }
            let before =
                Some(serde_json::json!({ "state": record.state, "code": record.code, "reason": record.reason }));
            let fact = Fact::QueueReleased { item: item.clone() };
            self.commit_locked(&mut truth, vec![Draft { actor: actor.into(), fact, before, reason: Some(reason) }])?;
            // Recorded: if the next step fails, the next start takes it up.
            let claim = self.claims.put_back(&facts, &aside).map_err(EngineError::failed)?;
            self.queue.restore(claim);
            self.item_row(item)
        })
    }

    /// Drops a quarantined or failed file for good.
    ///
    /// # Errors
    /// When it is not set aside, or the act cannot be recorded.
    pub fn discard(&self, actor: &str, item: &ItemId, intent: &Intent<Nothing>) -> Result<Item, EngineError> {
        let reason = Self::reason(intent)?;
        self.intents.once(&intent.intent, format!("discard {item}"), || {
            let mut truth = self.truth()?;
            let record = self.set_aside(item, intent)?;
            let image = match record.image {
                Some(image) => image,
                None => crate::archive::image_id(
                    &files::read(&quarantined_data(&self.quarantine, item)).map_err(EngineError::failed)?,
                ),
            };
            let before =
                Some(serde_json::json!({ "state": record.state, "code": record.code, "reason": record.reason }));
            let fact = Fact::QueueDiscarded { item: item.clone(), image };
            self.commit_locked(&mut truth, vec![Draft { actor: actor.into(), fact, before, reason: Some(reason) }])?;
            self.forget_aside(item);
            self.item_row(item)
        })
    }

    /// Queues copies of files and of everything below folders.
    ///
    /// # Errors
    /// When nothing could be queued at all.
    pub fn ingest(&self, _actor: &str, intent: &Intent<Ingest>) -> Result<Ingested, EngineError> {
        self.intents.once(&intent.intent, "queue files".into(), || self.copy_in(&intent.act))
    }

    fn copy_in(&self, act: &Ingest) -> Result<Ingested, EngineError> {
        let mode = act.label.clone().map_or(Mode::Identify, Mode::Enroll);
        let mut files = Vec::new();
        let mut problems = Vec::new();
        for path in &act.paths {
            collect(path.as_path(), &mut files, &mut problems);
        }
        if files.is_empty() {
            let why = problems.first().cloned().unwrap_or_else(|| "no path was given".into());
            return Err(EngineError::NotFound(format!("nothing to queue: {why}")));
        }
        if self.space.is_full() {
            self.look_at_space();
            return Err(EngineError::Unavailable(
                "the disk is nearly full, so nothing is taken in; make room first".into(),
            ));
        }
        let job = self.meters.job(format!("queueing {} files", files.len()), files.len() as u64);
        let mut items = Vec::with_capacity(files.len());
        for (index, path) in files.into_iter().enumerate() {
            if self.stopping.load(Ordering::Relaxed) {
                problems.push(format!("{}: the engine is stopping; queue it again", RawPath(path)));
                continue;
            }
            let candidate = Candidate { path, source: PathBuf::from("command"), mode: mode.clone() };
            match self.claims.copy(&candidate) {
                Ok(claim) => {
                    items.push(claim.facts.item.clone());
                    // Already in the queue's folder: the bound on what waits is for the watched folders.
                    self.queue.restore(claim);
                }
                Err(error) => problems.push(error.to_string()),
            }
            self.meters.progress(job, index as u64 + 1);
        }
        Ok(Ingested { items, problems })
    }
}

/// Every regular file at or below a path, in order; links are not followed below it.
fn collect(path: &Path, files: &mut Vec<PathBuf>, problems: &mut Vec<String>) {
    let shown = RawPath(path.to_owned());
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => files.push(path.to_owned()),
        Ok(meta) if meta.is_dir() => {
            let mut below: Vec<_> = match fs::read_dir(path) {
                Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
                Err(error) => return problems.push(format!("{shown}: {error}")),
            };
            below.sort();
            for path in below {
                match fs::symlink_metadata(&path) {
                    Ok(meta) if meta.is_symlink() => {
                        problems.push(format!("{}: is a link; links are not followed", RawPath(path)))
                    }
                    _ => collect(&path, files, problems),
                }
            }
        }
        Ok(_) => problems.push(format!("{shown}: is neither a file nor a folder")),
        Err(error) => problems.push(format!("{shown}: {error}")),
    }
}
