//! The proofs: the journal against its signatures, everything else against the journal.

use std::ops::ControlFlow;

use super::EngineError;
use super::core::Engine;
use super::outcome::quarantined_data;
use super::prepare::hash_file;
use super::start::{StartError, take_lock};
use crate::config::Config;
use crate::domain::ItemState;
use crate::domain::view::{DbVerified, JournalVerified, SignedCheckpoint, Trusted};
use crate::files;
use crate::journal::{self, Checkpoint, Trust, VerifyReport};
use crate::store::ItemRecord;

impl Engine {
    /// Proves the journal, against evidence from elsewhere if any is given.
    ///
    /// # Errors
    /// When the evidence or the files cannot be read.
    pub fn journal_verify(&self, trusted: &Trusted) -> Result<JournalVerified, EngineError> {
        Ok(verified(self.reader.verify(&trust(trusted)?).map_err(EngineError::failed)?))
    }

    /// The journal's last signed checkpoint.
    ///
    /// # Errors
    /// When there is none yet, or the file cannot be read.
    pub fn journal_checkpoint(&self) -> Result<SignedCheckpoint, EngineError> {
        let last = self.reader.checkpoint().map_err(EngineError::failed)?;
        let last = last.ok_or_else(|| EngineError::NotFound("nothing was signed yet".into()))?;
        Ok(SignedCheckpoint { entries: last.size, root: hex::encode(last.root), note: last.note() })
    }

    /// Compares the projection, the vectors, the originals and what is set aside with the journal.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn db_verify(&self) -> Result<DbVerified, EngineError> {
        let report = self.store.verify();
        let mut problems = report.problems;
        let gallery = self.write_gallery()?.verify();
        let notes = self.index_notes()?;
        problems.extend(gallery.problems);
        let mut originals = 0;
        let mut images = Vec::new();
        let note = |image, _: &str| {
            images.push(image);
            ControlFlow::Continue(())
        };
        self.store.for_each_perceptual(note).map_err(EngineError::failed)?;
        for image in images {
            if let Some(record) = self.store.image(&image).map_err(EngineError::failed)? {
                originals += 1;
                problems.extend(self.archive.read(image, &record.format).err().map(|error| error.to_string()));
            }
        }
        problems.extend(self.set_aside_problems()?);
        let applied = self.store.applied();
        if applied != self.reader.len() {
            problems
                .push(format!("{applied} of {} journal entries are applied; restart the engine", self.reader.len()));
        }
        let mut records: Vec<(String, u64)> =
            report.counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        records.push(("records".into(), report.records));
        Ok(DbVerified {
            ok: problems.is_empty(),
            digest: report.digest,
            applied,
            records,
            vectors: gallery.rows,
            originals,
            problems,
            notes,
        })
    }

    /// Hands over every file that waits in quarantine for an operator, oldest first, until told to stop.
    pub(super) fn each_set_aside(
        &self,
        mut each: impl FnMut(ItemRecord) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        for state in [ItemState::Quarantined, ItemState::Failed] {
            let mut after = None;
            loop {
                let page = self.store.items(Some(state), after.as_ref(), 1000, false).map_err(EngineError::failed)?;
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                for record in page {
                    if each(record).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// What is wrong with the bytes of files that wait in quarantine for an operator.
    fn set_aside_problems(&self) -> Result<Vec<String>, EngineError> {
        let mut problems = Vec::new();
        self.each_set_aside(|record| {
            let path = quarantined_data(&self.quarantine, &record.id);
            match (files::open(&path).and_then(hash_file), record.image) {
                (Ok(found), Some(named)) if found != named => problems.push(format!(
                    "{}: its bytes are not those that the journal names; restore it from a backup, or `sightline queue discard {}`",
                    path.display(),
                    record.id
                )),
                (Err(error), _) => problems.push(format!("{}: {error}", path.display())),
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        Ok(problems)
    }

    /// Records and bytes of the projection.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn db_stats(&self) -> Result<serde_json::Value, EngineError> {
        let stats = self.store.stats().map_err(EngineError::failed)?;
        serde_json::to_value(stats).map_err(EngineError::failed)
    }
}

fn trust(trusted: &Trusted) -> Result<Trust, EngineError> {
    let key = trusted.key.as_deref().map(|text| text.trim().parse()).transpose();
    let key = key.map_err(|why| EngineError::BadRequest(format!("the trusted key cannot be read: {why}")))?;
    let checkpoint = trusted.checkpoint.as_deref().map(Checkpoint::parse).transpose();
    let checkpoint =
        checkpoint.map_err(|why| EngineError::BadRequest(format!("the trusted checkpoint cannot be read: {why}")))?;
    Ok(Trust { key, checkpoint })
}

fn verified(report: VerifyReport) -> JournalVerified {
    JournalVerified {
        ok: report.ok,
        entries: report.entries,
        checkpoint: report.checkpoint.unwrap_or(0),
        unanchored: report.unanchored,
        root: report.root,
        key: report.key.unwrap_or_default(),
        problems: report.problems,
        cannot_prove: report.cannot_prove,
    }
}

/// Proves a journal whose engine does not run, perhaps because it is damaged. Changes nothing.
///
/// # Errors
/// When an engine has the workspace, or the evidence or the files cannot be read.
pub fn verify_journal(config: &Config, trusted: &Trusted) -> Result<JournalVerified, EngineError> {
    // Where nothing can be written (a copy on read-only media), nobody else writes either, and no lock is needed.
    let _lock = match take_lock(config) {
        Ok(lock) => Some(lock),
        Err(StartError::Io { .. }) => None,
        Err(error) => return Err(EngineError::failed(error)),
    };
    let report = journal::verify(&config.database().join("journal"), &trust(trusted)?);
    Ok(verified(report.map_err(EngineError::failed)?))
}
