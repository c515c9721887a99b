//! What operators do to the gallery.

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;

use super::EngineError;
use super::core::{Engine, Truth};
use super::pipeline::{Question, Vectors};
use crate::archive::image_id;
use crate::domain::view::{Changed, Export, Identified, Intent, Nothing, Relabel, Remove, Which};
use crate::domain::{Detection, Draft, Enrolled, Fact, Fingerprint, SightingId};
use crate::intake::clean::{Limits, clean};
use crate::store::SightingRecord;

impl Engine {
    /// Asks the model thread and waits for its answer.
    fn question<T>(
        &self,
        question: impl FnOnce(std::sync::mpsc::SyncSender<Result<T, EngineError>>) -> Question,
    ) -> Result<T, EngineError> {
        let (reply, answer) = sync_channel(1);
        self.lane
            .put_question(question(reply))
            .map_err(|_| EngineError::Unavailable("the engine is busy or stopping; ask again".into()))?;
        answer.recv().unwrap_or_else(|_| Err(EngineError::Unavailable("the engine is stopping".into())))
    }

    /// Asks the gallery about a picture; nothing is recorded.
    ///
    /// # Errors
    /// When the picture is refused, or the models are not to be had.
    pub fn identify(&self, bytes: &[u8]) -> Result<Identified, EngineError> {
        let sha256 = image_id(bytes);
        let picture = clean(bytes, &Limits::from(&self.config.intake))
            .map_err(|reject| EngineError::BadRequest(reject.to_string()))?
            .image;
        let (width, height) = picture.dimensions();
        let answers = self.question(|reply| Question::Identify { picture: Box::new(picture), reply })?;
        Ok(Identified { sha256, width, height, answers })
    }

    /// Loads the models if need be and tells the fingerprint of the embedder, and how many numbers its vectors have.
    pub(super) fn load_models(&self) -> Result<(Fingerprint, usize), EngineError> {
        self.question(|reply| Question::Load { reply })
    }

    /// The live sightings an act is about.
    fn chosen(&self, which: &Which) -> Result<Vec<(SightingId, SightingRecord)>, EngineError> {
        match which {
            Which::Sighting(id) => {
                let record = self.store.sighting(id).map_err(EngineError::failed)?.filter(|record| !record.removed);
                let record = record.ok_or_else(|| EngineError::NotFound(format!("no sighting {id} is enrolled")))?;
                Ok(vec![(*id, record)])
            }
            Which::Label(label) => {
                let (mut all, mut after) = (Vec::new(), None);
                loop {
                    let page = self.store.sightings(label, after.as_ref(), 1000).map_err(EngineError::failed)?;
                    match page.last() {
                        Some((last, _)) => after = Some(*last),
                        None => break,
                    }
                    all.extend(page);
                }
                if all.is_empty() {
                    return Err(EngineError::NotFound(format!(
                        "no label `{label}`; `sightline gallery list` shows them"
                    )));
                }
                Ok(all)
            }
        }
    }

    pub(super) fn record_all(&self, truth: &mut Truth, drafts: Vec<Draft>) -> Result<Changed, EngineError> {
        let sightings = drafts.len() as u64;
        if !drafts.is_empty() {
            self.commit_locked(truth, drafts)?;
        }
        Ok(Changed { sightings })
    }

    /// Gives a sighting, or every sighting of a label, another label.
    ///
    /// # Errors
    /// When there is nothing of that name, or the act cannot be recorded.
    pub fn relabel(&self, actor: &str, intent: &Intent<Relabel>) -> Result<Changed, EngineError> {
        let reason = Self::reason(intent)?;
        let Relabel { which, to } = &intent.act;
        drop(self.read_gallery()?);
        self.intents.once(&intent.intent, format!("relabel {which:?} to {to}"), || {
            let mut truth = self.truth()?;
            let chosen = self.chosen(which)?;
            let drafts = chosen.into_iter().filter(|(_, record)| record.label != *to).map(|(sighting, record)| Draft {
                actor: actor.into(),
                fact: Fact::GalleryRelabelled { sighting, label: to.clone() },
                before: Some(serde_json::json!({ "label": record.label })),
                reason: Some(reason.clone()),
            });
            self.record_all(&mut truth, drafts.collect())
        })
    }

    /// Takes a sighting, or every sighting of a label, out of the gallery. The vectors stay on disk, unused.
    ///
    /// # Errors
    /// When there is nothing of that name, or the act cannot be recorded.
    pub fn remove(&self, actor: &str, intent: &Intent<Remove>) -> Result<Changed, EngineError> {
        let reason = Self::reason(intent)?;
        let Remove { which } = &intent.act;
        drop(self.read_gallery()?);
        self.intents.once(&intent.intent, format!("remove {which:?}"), || {
            let mut truth = self.truth()?;
            let drafts = self.chosen(which)?.into_iter().map(|(sighting, record)| Draft {
                actor: actor.into(),
                fact: Fact::GalleryRemoved { sighting },
                before: Some(serde_json::json!({ "label": record.label })),
                reason: Some(reason.clone()),
            });
            self.record_all(&mut truth, drafts.collect())
        })
    }

    /// Writes the live gallery to a `.safetensors` file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn export(&self, _actor: &str, intent: &Intent<Export>) -> Result<Changed, EngineError> {
        drop(self.read_gallery()?);
        let fingerprints = self.gallery_stats()?.fingerprints;
        let fingerprint = match fingerprints.as_slice() {
            [] => return Err(EngineError::NotFound("the gallery is empty: there is nothing to export".into())),
            [(only, _)] => *only,
            // A file holds vectors of one kind.
            _ => {
                return Err(EngineError::Refused(
                    "the gallery has vectors of several weights; `sightline gallery reembed` first".into(),
                ));
            }
        };
        let path = intent.act.path.as_path();
        if path.symlink_metadata().is_ok() {
            let said = format!("{} is there already and is not written over; name another file", intent.act.path);
            return Err(EngineError::Refused(said));
        }
        let exported =
            self.read_gallery()?.export(intent.act.path.as_path(), fingerprint).map_err(|e| self.refused(e))?;
        Ok(Changed { sightings: exported.sightings as u64 })
    }

    /// Embeds every sighting anew that other weights than those in use have made.
    ///
    /// # Errors
    /// When the models are not to be had, or an original is missing.
    pub fn reembed(&self, actor: &str, intent: &Intent<Nothing>) -> Result<Changed, EngineError> {
        self.intents.once(&intent.intent, "embed anew".into(), || self.reembed_all(actor, intent))
    }

    pub(super) fn is_damaged(&self, id: SightingId) -> bool {
        self.read_gallery().is_ok_and(|gallery| gallery.damaged().contains(&id))
    }

    fn reembed_all(&self, actor: &str, intent: &Intent<Nothing>) -> Result<Changed, EngineError> {
        let (in_use, _) = self.load_models()?;
        drop(self.read_gallery()?);
        let mut old = Vec::new();
        self.store
            .for_each_sighting(|sighting| {
                old.extend(sighting.filter(|(id, record)| record.fingerprint != in_use || self.is_damaged(*id)));
                ControlFlow::Continue(())
            })
            .map_err(EngineError::failed)?;
        let job = self.meters.job(format!("embedding {} sightings anew", old.len()), old.len() as u64);
        let mut imported = 0;
        let mut sightings = 0;
        for (index, (id, record)) in old.into_iter().enumerate() {
            if record.imported {
                imported += 1;
                continue;
            }
            match self.reembed_one(actor, intent, id) {
                Ok(done) => sightings += u64::from(done),
                Err(error) => {
                    self.meters.job_failed(job, error.to_string());
                    return Err(error);
                }
            }
            self.meters.progress(job, index as u64 + 1);
        }
        if imported > 0 {
            self.warn(format!("{imported} imported sightings have no original to embed anew; import their file again (vectors of the weights in use), or remove them"));
        }
        Ok(Changed { sightings })
    }

    /// Embeds one sighting anew; false where it left the gallery meanwhile.
    fn reembed_one(&self, actor: &str, intent: &Intent<Nothing>, id: SightingId) -> Result<bool, EngineError> {
        let (picture, object) = self.seen_as(id)?;
        let (fingerprint, vectors): Vectors =
            self.question(|reply| Question::Embed { picture: Box::new(picture), object: Box::new(object), reply })?;
        // Embedding took its time: what an operator has done to the sighting meanwhile holds.
        let mut truth = self.truth()?;
        let known = self.store.sighting(&id).map_err(EngineError::failed)?;
        let Some(record) = known.filter(|record| !record.removed) else { return Ok(false) };
        let vectors = {
            let mut gallery = self.write_gallery()?;
            let vectors = gallery.append(fingerprint, id, &vectors).map_err(EngineError::failed)?;
            gallery.sync().map_err(EngineError::failed)?;
            vectors
        };
        let enrolled = Enrolled { label: record.label, fingerprint, vectors };
        let draft = Draft {
            actor: actor.into(),
            fact: Fact::GalleryReembedded { sighting: id, enrolled },
            before: Some(serde_json::json!({ "fingerprint": record.fingerprint })),
            reason: Some(intent.reason.clone()).filter(|reason| !reason.is_empty()),
        };
        self.commit_locked(&mut truth, vec![draft])?;
        Ok(true)
    }

    /// An enrolled object as it was seen: its upright picture and its detection.
    pub(super) fn seen_as(&self, id: SightingId) -> Result<(image::RgbImage, Detection), EngineError> {
        // The entry that enrolled it: a later one about the same picture may count its objects otherwise.
        let enrolled = self.store.sighting(&id).map_err(EngineError::failed)?.filter(|record| !record.imported);
        let sequence = match enrolled {
            Some(record) => Some(record.sequence),
            None => self.store.image(&id.image).map_err(EngineError::failed)?.map(|record| record.sequence),
        };
        let sequence =
            sequence.ok_or_else(|| EngineError::NotFound(format!("{id} has no original: it was imported")))?;
        let entry = self.reader.entry(sequence).map_err(EngineError::failed)?;
        let Fact::ImageDone(done) = entry.fact().map_err(EngineError::failed)? else {
            return Err(EngineError::Failed(format!("entry {sequence} does not describe {id}")));
        };
        let sighting = done.sightings.into_iter().find(|sighting| sighting.index == id.index);
        let sighting = sighting
            .ok_or_else(|| EngineError::NotFound(format!("there is no object {} in {}", id.index, id.image.short())))?;
        Ok((self.upright(id.image)?, sighting.detection))
    }
}
