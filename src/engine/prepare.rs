//! The first half of a picture's way: read, name, decode, check. Runs on the decoders' threads.

use std::fs;
use std::time::Instant;

use image::RgbImage;

use super::core::Engine;
use super::outcome::Ended;
use super::queue::Work;
use crate::archive::image_id;
use crate::domain::{DuplicateKind, ImageId, Mode, QuarantineCode};
use crate::files;
use crate::intake::clean::{Clean, Limits, Reject, clean};
use crate::intake::dedupe::{PerceptualHash, PerceptualHasher};

/// A picture ready for the models, or the reason why it is not.
pub(super) struct Prepared {
    pub(super) work: Work,
    pub(super) image: ImageId,
    pub(super) result: Result<Ready, Reject>,
    pub(super) archive_ms: f32,
    pub(super) decode_ms: f32,
}

pub(super) struct Ready {
    pub(super) picture: RgbImage,
    pub(super) format: &'static str,
    pub(super) orientation: u8,
    pub(super) perceptual: PerceptualHash,
}

pub(super) fn ms_since(instant: Instant) -> f32 {
    instant.elapsed().as_secs_f32() * 1000.0
}

/// How far a file has come.
pub(super) enum Step {
    /// Its way has ended: the same bytes have been there before.
    Ended(Ended),
    /// It goes on to the thread that owns the models.
    On(Box<Prepared>),
}

/// Reads and checks a claimed file; what passes is in the archive when this returns. What is known by its bytes is not
/// even decoded, where the policy is to skip it.
///
/// # Errors
/// A sentence, when the disk fails: a reason to try again, not one against the picture.
pub(super) fn prepare(engine: &Engine, hasher: &PerceptualHasher, work: Work) -> Result<Step, (Work, String)> {
    let began = Instant::now();
    let data = &work.claim.data;
    let length = match fs::metadata(data) {
        Ok(meta) => meta.len(),
        Err(error) => return Err((work.clone(), format!("cannot look at {}: {error}", data.display()))),
    };
    if length > engine.config.intake.max_file_bytes {
        return match files::open(data).and_then(hash_file) {
            Ok(image) => {
                let sentence =
                    format!("{} MB; intake.max_file_mb is {}", length >> 20, engine.config.intake.max_file_bytes >> 20);
                let result = Err(Reject::new(QuarantineCode::TooManyBytes, sentence));
                Ok(Step::On(Box::new(Prepared { work, image, result, archive_ms: ms_since(began), decode_ms: 0.0 })))
            }
            Err(error) => Err((work.clone(), format!("cannot read {}: {error}", data.display()))),
        };
    }
    let bytes = match files::read(data) {
        Ok(bytes) => bytes,
        Err(error) => return Err((work.clone(), format!("cannot read {}: {error}", data.display()))),
    };
    let image = image_id(&bytes);
    let mut archive_ms = ms_since(began);
    if engine.is_plain_duplicate(image, &work) {
        engine.meters.latency(0, archive_ms);
        return Ok(Step::Ended(Engine::duplicate(work, image, image, DuplicateKind::Exact)));
    }

    let began = Instant::now();
    let limits = Limits::from(&engine.config.intake);
    let limits = if work.claim.released { limits.released() } else { limits };
    let mut result = clean(&bytes, &limits).map(|Clean { image, format, orientation }| Ready {
        perceptual: hasher.hash(&image),
        picture: image,
        format: format.extension(),
        orientation,
    });
    if work.claim.facts.mode == Mode::Unlabelled && result.is_ok() {
        let sentence = "it lies in an enroll folder but in no sub-folder whose name could be its label";
        result = Err(Reject::new(QuarantineCode::NotEnrollable, sentence));
    }
    let decode_ms = ms_since(began);

    if let Ok(ready) = &result {
        let began = Instant::now();
        if let Err(error) = engine.archive.put(image, ready.format, &bytes) {
            return Err((work, error.to_string()));
        }
        archive_ms += ms_since(began);
    }
    Ok(Step::On(Box::new(Prepared { work, image, result, archive_ms, decode_ms })))
}

/// The SHA-256 of a file's bytes.
pub(super) fn hash_file(mut file: fs::File) -> std::io::Result<ImageId> {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher)?;
    Ok(ImageId(hasher.finalize().into()))
}
