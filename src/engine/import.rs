//! Enrolling vectors that come from a file.

use super::EngineError;
use super::core::Engine;
use crate::archive::image_id;
use crate::domain::view::{Changed, Import, Intent};
use crate::domain::{Draft, Fact, Label, RawPath, Rotation, SightingId};
use crate::files::{self, Unread};
use crate::gallery::{NamedVectors, read_export};
use crate::vision::checkpoint::{Fault, vectors};

/// What can be imported, for whoever named something else.
const KINDS: &str =
    "name a .safetensors that `sightline gallery export` wrote, or a .pkl with a dict of name to vectors";

impl Engine {
    /// Enrols a file of vectors: a PillTrack `.pkl` (names to vectors, made by the weights in use), or a
    /// `.safetensors` that `gallery export` wrote.
    ///
    /// # Errors
    /// When the file cannot be read, or does not fit the weights in use.
    pub fn import(&self, actor: &str, intent: &Intent<Import>) -> Result<Changed, EngineError> {
        let source = intent.act.path.clone();
        let bytes = self.vectors_file(&source)?;
        let file = image_id(&bytes);
        drop(self.read_gallery()?);
        // Told by its content, whatever it is called: the length of a JSON text, then that text.
        let header = bytes.first_chunk().map_or(u64::MAX, |length| u64::from_le_bytes(*length));
        let is_safetensors = header < bytes.len() as u64 && bytes.get(8) == Some(&b'{');
        let mut originals = Vec::new();
        let (fingerprint, sightings) = if is_safetensors {
            let exported =
                read_export(&source.to_string(), &bytes).map_err(|error| EngineError::BadRequest(error.to_string()))?;
            // Vectors of other weights would stop every answer until they were taken out again.
            if let Ok((in_use, _)) = self.load_models()
                && in_use != exported.fingerprint
            {
                return Err(EngineError::Refused(format!(
                    "{source} was made with weights {}, in use are {}; export it anew from a workspace with these weights",
                    exported.fingerprint.0.short(),
                    in_use.0.short()
                )));
            }
            originals = exported.originals;
            (exported.fingerprint, exported.sightings)
        } else {
            // A pickle does not say which weights made its vectors: the operator vouches for those in use. What they
            // cannot have made is noticed.
            let sightings = pickled(&source, &bytes)?;
            let (in_use, dimension) = self.load_models()?;
            let unfit = sightings.iter().flat_map(|(label, all)| all.iter().map(move |(_, v)| (label, v.len())));
            if let Some((label, given)) = unfit.into_iter().find(|(_, given)| *given != dimension) {
                return Err(EngineError::BadRequest(format!(
                    "{source}: a vector of `{label}` has {given} numbers, the weights in use make {dimension}; import vectors that these weights have made"
                )));
            }
            (in_use, sightings)
        };
        drop(bytes);
        self.intents.once(&intent.intent, format!("import {source}"), || {
            let mut truth = self.truth()?;
            // What is there already stays as it is (relabelled, perhaps); a crash may have left only a part of the file.
            let known = |index| {
                let known = self.store.sighting(&SightingId { image: file, index }).map_err(EngineError::failed)?;
                Ok(known.filter(|record| !record.removed))
            };
            let known = (0..sightings.len() as u32).map(known).collect::<Result<Vec<_>, EngineError>>()?;
            // A backup that is read back where it was made adds only what is missing there.
            let lives = |id: &SightingId| {
                let record = self.store.sighting(id).ok().flatten().filter(|record| !record.removed);
                record.is_some_and(|record| record.fingerprint == fingerprint) && !self.is_damaged(*id)
            };
            let original_lives: Vec<bool> = originals.iter().map(lives).collect();
            let sound = |index: u32| {
                let there = known.get(index as usize).is_some_and(Option::is_some);
                let sound = there && !self.is_damaged(SightingId { image: file, index });
                sound || !there && original_lives.get(index as usize) == Some(&true)
            };
            if (0..sightings.len() as u32).all(sound) {
                return Ok(Changed { sightings: 0 });
            }
            let imported = self
                .write_gallery()?
                .import(fingerprint, file, sightings)
                .map_err(|error| EngineError::BadRequest(error.to_string()))?;
            let sound: Vec<bool> = (0..known.len() as u32).map(sound).collect();
            let new = imported.into_iter().filter(|(id, _)| sound.get(id.index as usize) != Some(&true));
            let drafts = new.map(|(sighting, mut enrolled)| {
                // A damaged one is made good under the label that it has by now.
                if let Some(Some(record)) = known.get(sighting.index as usize) {
                    enrolled.label = record.label.clone();
                }
                Draft {
                    actor: actor.into(),
                    fact: Fact::GalleryImported { sighting, enrolled, source: source.clone() },
                    before: None,
                    reason: Some(intent.reason.clone()).filter(|reason| !reason.is_empty()),
                }
            });
            self.record_all(&mut truth, drafts.collect())
        })
    }

    /// The bytes of a file to import.
    fn vectors_file(&self, source: &RawPath) -> Result<Vec<u8>, EngineError> {
        let most = self.config.max_import_bytes;
        files::read_within(source.as_path(), most).map_err(|unread| match unread {
            Unread::Io(error) => EngineError::NotFound(format!("cannot read {source}: {error}")),
            Unread::Kind(kind) => EngineError::BadRequest(format!("{source} is {kind}, not a regular file; {KINDS}")),
            Unread::TooLarge { bytes, most } => EngineError::BadRequest(format!(
                "{source} has {} MB, and gallery.import_max_mb allows {}; if it is what you meant to import, set that higher: \
                 an import takes about three times the file's size in memory",
                bytes.div_ceil(1 << 20),
                most >> 20
            )),
        })
    }
}

/// Each vector of a pickle is a sighting of its own; which way it was turned is not known.
fn pickled(source: &RawPath, bytes: &[u8]) -> Result<Vec<NamedVectors>, EngineError> {
    // How a pickle of a dict begins, and what torch.save writes: of other files the reader's words would say nothing.
    if !matches!(bytes.first(), Some(0x80 | b'(' | b'}' | b'P')) {
        return Err(EngineError::BadRequest(format!("{source} is no file of vectors; {KINDS}")));
    }
    let named = vectors::parse(bytes).map_err(|fault| EngineError::BadRequest(refused(source, &fault)))?;
    let mut imported = Vec::new();
    for (name, vectors) in named {
        let label = Label::new(&name).map_err(|why| EngineError::BadRequest(format!("{source}: {why}")))?;
        imported.extend(vectors.into_iter().map(|values| (label.clone(), vec![(Rotation::R0, values)])));
    }
    Ok(imported)
}

/// What is the matter with a file that was meant to hold vectors. The reader's own words are about models.
fn refused(source: &RawPath, fault: &Fault) -> String {
    match fault {
        Fault::Damaged(what) => {
            format!("{source} holds no vectors that can be read ({what}): it is damaged or of another kind; {KINDS}")
        }
        Fault::Unsupported(what) => format!("{source} is no file of vectors that can be read: {what}; {KINDS}"),
        Fault::Limit(what) => format!("{source} is refused: {what}, more than a file of vectors needs; {KINDS}"),
        Fault::Unsafe(what) => {
            format!("{source} is refused, and nothing in it was executed: {what}; vectors need none of that. {KINDS}")
        }
    }
}
