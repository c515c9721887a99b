//! The whole ingest path, readable in one sitting: claim -> prepare -> triage -> see -> embed ->
//! identify or enrol -> record. [`decode`] runs on the decoders' threads, [`run`] on the models'.

use std::collections::HashSet;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use image::RgbImage;

use super::EngineError;
use super::core::Engine;
use super::lane::Taken;
use super::loaded::Loaded;
use super::models::{Loader, Models};
use super::outcome::Ended;
use super::prepare::{Prepared, Ready, Step, ms_since, prepare};
use super::queue::Work;
use crate::config::{DuplicatePolicy, Several};
use crate::domain::view::ProbeAnswer;
use crate::domain::{
    AbstainReason, Decision, Detection, DuplicateKind, Embedding, Enrolled, Fact, Fingerprint, ImageDone, ImageId,
    Label, Mode, QuarantineCode, Rotation, Sighting, SightingId, StageTimes, decide,
};
use crate::intake::clean::Reject;
use crate::intake::dedupe::PerceptualHasher;

/// The vectors of an object by rotation, and the weights that made them.
pub(super) type Vectors = (Fingerprint, Vec<(Rotation, Embedding)>);

/// What is asked of the thread that owns the models.
pub(super) enum Question {
    /// Who is in this picture?
    Identify { picture: Box<RgbImage>, reply: SyncSender<Result<Vec<ProbeAnswer>, EngineError>> },
    /// An object's vectors, for embedding anew.
    Embed { picture: Box<RgbImage>, object: Box<Detection>, reply: SyncSender<Result<Vectors, EngineError>> },
    /// Load the models, so that their fingerprint and the length of their vectors are known.
    Load { reply: SyncSender<Result<(Fingerprint, usize), EngineError>> },
}

/// A picture that goes through the models.
struct Seen {
    work: Work,
    image: ImageId,
    ready: Ready,
    near: Option<ImageId>,
    objects: Vec<Detection>,
    ms: StageTimes,
}

/// Duplicates that are recorded together at most.
const DUPLICATES: usize = 256;

/// Takes claims, prepares them, hands them on; ends when the queue is closed.
pub(super) fn decode(engine: &Arc<Engine>) {
    let hasher = PerceptualHasher::default();
    let mut ended = Vec::new();
    loop {
        // Duplicates end here, many under one sync, but none of them waits for the next file to come.
        let next = if ended.is_empty() { engine.queue.take() } else { engine.queue.take_now() };
        if next.is_none() || ended.len() >= DUPLICATES {
            let nothing_left = ended.is_empty();
            engine.end(std::mem::take(&mut ended));
            if nothing_left && next.is_none() {
                return;
            }
        }
        let Some(work) = next else { continue };
        if engine.is_idle() {
            engine.queue.put_back(work, None);
            std::thread::sleep(Duration::from_millis(200));
            continue;
        }
        match prepare(engine, &hasher, work) {
            Ok(Step::Ended(end)) => ended.push(end),
            Ok(Step::On(prepared)) => {
                // It may have to wait for room.
                engine.end(std::mem::take(&mut ended));
                if let Err(prepared) = engine.lane.put_picture(*prepared) {
                    engine.queue.put_back(prepared.work, None);
                }
            }
            Err((work, error)) => engine.try_again(work, error),
        }
    }
}

/// Owns the models; ends when the lane is closed.
pub(super) fn run(engine: &Arc<Engine>, loader: &Loader) {
    let mut models = Loaded::new(loader);
    loop {
        match engine.lane.take(engine.config.engine.batch, Duration::from_millis(500)) {
            Taken::Question(question) => answer(engine, &mut models, question),
            Taken::Pictures(batch) => batch_through(engine, &mut models, batch),
            Taken::Idle => {}
            Taken::Closed => return,
        }
        models.unpark(engine);
    }
}

fn batch_through(engine: &Arc<Engine>, models: &mut Loaded<'_>, batch: Vec<Prepared>) {
    engine.meters.batch(batch.len());
    let mut ended = Vec::new();
    let mut seen = Vec::new();
    let mut names = HashSet::new();
    for prepared in batch {
        engine.meters.latency(0, prepared.archive_ms);
        engine.meters.latency(1, prepared.decode_ms);
        // The same bytes twice in a batch: the second waits until the first is recorded.
        if !names.insert(prepared.image) {
            engine.queue.put_back(prepared.work, Some(Duration::from_millis(50)));
            continue;
        }
        match triage(engine, prepared, &seen) {
            Ok(Fate::Ended(end)) => ended.push(*end),
            Ok(Fate::See(picture)) => seen.push(*picture),
            Ok(Fate::Wait(work)) => engine.queue.put_back(work, Some(Duration::from_millis(50))),
            Err((work, error)) => engine.try_again(work, error),
        }
    }
    if !seen.is_empty() {
        match models.get(engine) {
            Ok(models) => see_all(engine, models, seen, &mut ended),
            // Without models the pictures wait: that is no fault of theirs.
            Err(_) => seen.into_iter().for_each(|s| engine.queue.park(s.work)),
        }
    }
    let began = Instant::now();
    engine.end(ended);
    engine.meters.latency(5, ms_since(began));
}

enum Fate {
    Ended(Box<Ended>),
    See(Box<Seen>),
    /// It depends on another picture of the batch, which is to be recorded first.
    Wait(Work),
}

impl Fate {
    fn ended(ended: Ended) -> Self {
        Self::Ended(Box::new(ended))
    }
}

/// Decides what needs no model: rejects, duplicates, contradictions. `batch` is what goes through the models with it.
fn triage(engine: &Engine, prepared: Prepared, batch: &[Seen]) -> Result<Fate, (Work, String)> {
    let Prepared { work, image, result, archive_ms, decode_ms } = prepared;
    let ready = match result {
        Ok(ready) => ready,
        Err(reject) => return engine.quarantine(work, image, reject).map(Fate::ended),
    };
    let (intake, released) = (&engine.config.intake, work.claim.released);
    match engine.known(image, &work.claim.facts.mode) {
        Err(error) => return Err((work, error.to_string())),
        Ok(Known::New) => {}
        Ok(Known::Enrolled(label)) => {
            let sentence =
                format!("the same picture is enrolled as `{label}`; if that is wrong, relabel or remove it first");
            return engine
                .quarantine(work, image, Reject::new(QuarantineCode::NotEnrollable, sentence))
                .map(Fate::ended);
        }
        Ok(Known::Before) => match intake.exact_duplicates {
            DuplicatePolicy::Keep => {}
            DuplicatePolicy::Flag if !released => {
                let sentence = format!("the same bytes as {}; intake.exact_duplicates is flag", image.short());
                return engine
                    .quarantine(work, image, Reject::new(QuarantineCode::NearDuplicate, sentence))
                    .map(Fate::ended);
            }
            _ => return Ok(Fate::ended(Engine::duplicate(work, image, image, DuplicateKind::Exact))),
        },
    }
    let near = engine
        .perceptual
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .nearest(ready.perceptual, intake.near_distance);
    let near = near.map(|(of, _)| of).filter(|of| *of != image);
    let mate = || batch.iter().find(|seen| seen.ready.perceptual.distance(ready.perceptual) <= intake.near_distance);
    let near = match (near, mate()) {
        (None, Some(mate)) if intake.near_duplicates == DuplicatePolicy::Keep || released => Some(mate.image),
        (None, Some(_)) => return Ok(Fate::Wait(work)),
        (near, _) => near,
    };
    match (near, intake.near_duplicates) {
        (Some(of), DuplicatePolicy::Skip) if !released => {
            return Ok(Fate::ended(Engine::duplicate(work, image, of, DuplicateKind::Near)));
        }
        (Some(of), DuplicatePolicy::Flag) if !released => {
            let sentence = format!("it looks nearly the same as {}; intake.near_duplicates is flag", of.short());
            return engine
                .quarantine(work, image, Reject::new(QuarantineCode::NearDuplicate, sentence))
                .map(Fate::ended);
        }
        _ => {}
    }
    let ms = StageTimes { archive: archive_ms, decode: decode_ms, ..StageTimes::default() };
    Ok(Fate::See(Box::new(Seen { work, image, ready, near, objects: Vec::new(), ms })))
}

/// What is known of a picture's bytes.
enum Known {
    New,
    Before,
    /// Enrolled, under another label than the one it is dropped for now.
    Enrolled(Label),
}

impl Engine {
    /// Whether a file's bytes are known and the policy is to do no more about it.
    pub(super) fn is_plain_duplicate(&self, image: ImageId, work: &Work) -> bool {
        let mode = &work.claim.facts.mode;
        self.config.intake.exact_duplicates == DuplicatePolicy::Skip
            && !work.claim.released
            && *mode != Mode::Unlabelled
            && matches!(self.known(image, mode), Ok(Known::Before))
    }

    fn known(&self, image: ImageId, mode: &Mode) -> Result<Known, EngineError> {
        let Some(record) = self.store.image(&image).map_err(EngineError::failed)? else { return Ok(Known::New) };
        let Mode::Enroll(label) = mode else { return Ok(Known::Before) };
        // The last entry about the picture may have seen fewer objects than the one that enrolled it.
        for index in 0..record.sightings.max(self.config.detect.max_objects) {
            let sighting = self.store.sighting(&SightingId { image, index }).map_err(EngineError::failed)?;
            if let Some(sighting) = sighting.filter(|s| !s.removed) {
                return Ok(if sighting.label == *label { Known::Before } else { Known::Enrolled(sighting.label) });
            }
        }
        // Seen as a probe only, or taken out of the gallery since: enrolling it is something new.
        Ok(Known::New)
    }
}

/// Runs pictures through the models; what fails is tried again alone.
fn see_all(engine: &Arc<Engine>, models: &Models, mut seen: Vec<Seen>, ended: &mut Vec<Ended>) {
    // While the gallery is still being read, everything waits for it; an engine that stops meanwhile reads no further.
    if engine.read_gallery().is_err() {
        seen.into_iter().for_each(|s| engine.queue.put_back(s.work, None));
        return;
    }
    if let Err(why) = engine.can_compare(models.fingerprint()) {
        // A probe could not be answered, so the networks are not run for it. It is no fault of the picture's.
        engine.warn(format!("pictures wait: {why}"));
        let enrols = |s: &Seen| matches!(s.work.claim.facts.mode, Mode::Enroll(_));
        let (enrolments, probes): (Vec<Seen>, Vec<Seen>) = seen.into_iter().partition(enrols);
        probes.into_iter().for_each(|probe| engine.queue.park(probe.work));
        seen = enrolments;
        if seen.is_empty() {
            return;
        }
    }
    let began = Instant::now();
    let pictures: Vec<&RgbImage> = seen.iter().map(|s| &s.ready.picture).collect();
    match models.objects(&engine.config, &pictures) {
        Ok(objects) => {
            let each = ms_since(began) / seen.len() as f32;
            for (picture, objects) in seen.iter_mut().zip(objects) {
                picture.objects = objects;
                picture.ms.detect = each;
                engine.meters.latency(2, each);
            }
        }
        Err(error) if seen.len() == 1 => {
            seen.into_iter().for_each(|s| engine.try_again(s.work, error.to_string()));
            return;
        }
        Err(_) => {
            seen.into_iter().for_each(|one| see_all(engine, models, vec![one], ended));
            return;
        }
    }
    for picture in seen {
        // A stop does not wait for a whole batch; what is left is worked on after the restart.
        if engine.lane.is_closed() {
            engine.queue.put_back(picture.work, None);
            continue;
        }
        let work = picture.work.clone();
        let done = match work.claim.facts.mode.clone() {
            Mode::Enroll(label) => enrol(engine, models, picture, &label),
            Mode::Identify | Mode::Unlabelled => identify(engine, models, picture),
        };
        match done {
            Ok(end) => ended.push(end),
            // The gallery cannot be compared: no fault of the picture's, so it waits.
            Err(EngineError::Refused(why)) => {
                engine.warn(format!("pictures wait: {why}"));
                engine.queue.park(work);
            }
            Err(error) => engine.try_again(work, error.to_string()),
        }
    }
    // Vectors lie on the disk before the entry that names them.
    let synced = engine.write_gallery().and_then(|mut gallery| gallery.sync().map_err(EngineError::failed));
    if let Err(error) = synced {
        std::mem::take(ended).into_iter().for_each(|end| engine.try_again(end.work, error.to_string()));
    }
}

fn identify(engine: &Engine, models: &Models, mut seen: Seen) -> Result<Ended, EngineError> {
    let (answers, embed, search) = ask(engine, models, &seen.ready.picture, &seen.objects)?;
    (seen.ms.embed, seen.ms.search) = (embed, search);
    let sightings = answers.into_iter().enumerate().filter_map(|(index, answer)| {
        engine.meters.decision(&answer.decision);
        Some(Sighting {
            index: index as u32,
            detection: answer.detection?,
            decision: Some(answer.decision),
            enrolled: None,
        })
    });
    let sightings = sightings.collect();
    Ok(done(models, seen, sightings))
}

/// The answers for the objects of a picture; one abstention where there are none. With the milliseconds spent.
fn ask(
    engine: &Engine,
    models: &Models,
    picture: &RgbImage,
    objects: &[Detection],
) -> Result<(Vec<ProbeAnswer>, f32, f32), EngineError> {
    if objects.is_empty() {
        let none = ProbeAnswer {
            detection: None,
            decision: Decision::abstain(AbstainReason::NoObject),
            neighbours: Vec::new(),
        };
        return Ok((vec![none], 0.0, 0.0));
    }
    let began = Instant::now();
    let crops: Vec<(&RgbImage, &Detection)> = objects.iter().map(|object| (picture, object)).collect();
    let probes = models.probes(&engine.config, &crops).map_err(EngineError::failed)?;
    let embed = ms_since(began);
    engine.meters.latency(3, embed);
    let began = Instant::now();
    let mut answers = Vec::with_capacity(objects.len());
    let nearest = engine.nearest(models.fingerprint(), &probes)?;
    for (object, neighbours) in objects.iter().zip(nearest) {
        let decision = decide(&neighbours, engine.config.decision);
        answers.push(ProbeAnswer { detection: Some(object.clone()), decision, neighbours });
    }
    let search = ms_since(began);
    engine.meters.latency(4, search);
    Ok((answers, embed, search))
}

fn enrol(engine: &Engine, models: &Models, mut seen: Seen, label: &Label) -> Result<Ended, EngineError> {
    let objects = std::mem::take(&mut seen.objects);
    let refuse = |seen: Seen, sentence: String| {
        let reject = Reject::new(QuarantineCode::NotEnrollable, sentence);
        engine.quarantine(seen.work, seen.image, reject).map_err(|(_, error)| EngineError::Failed(error))
    };
    let chosen = match (objects.len(), engine.config.several) {
        (0, _) => return refuse(seen, "no object was found in it; take another picture, or set detect.objects".into()),
        (1, _) | (_, Several::All) => objects,
        (_, Several::Largest) => objects.into_iter().max_by(|a, b| area(a).total_cmp(&area(b))).into_iter().collect(),
        (n, Several::Refuse) => {
            return refuse(seen, format!("{n} objects were found in it; which one is `{label}`? See enroll.several"));
        }
    };
    let began = Instant::now();
    let mut sightings = Vec::with_capacity(chosen.len());
    let vectors = models.enrolments(&engine.config, &seen.ready.picture, &chosen).map_err(EngineError::failed)?;
    for ((index, detection), vectors) in (0..).zip(chosen).zip(vectors) {
        let id = SightingId { image: seen.image, index };
        let mut gallery = engine.write_gallery()?;
        let vectors = gallery.append(models.fingerprint(), id, &vectors).map_err(EngineError::failed)?;
        let enrolled = Enrolled { label: label.clone(), fingerprint: models.fingerprint(), vectors };
        sightings.push(Sighting { index, detection, decision: None, enrolled: Some(enrolled) });
    }
    seen.ms.embed = ms_since(began);
    engine.meters.latency(3, seen.ms.embed);
    engine.meters.enrolled(sightings.len() as u64);
    Ok(done(models, seen, sightings))
}

fn area(detection: &Detection) -> f32 {
    detection.bounding_box.width() * detection.bounding_box.height()
}

fn done(models: &Models, seen: Seen, sightings: Vec<Sighting>) -> Ended {
    let Seen { work, image, ready, near, ms, .. } = seen;
    let fact = Fact::ImageDone(Box::new(ImageDone {
        file: work.claim.facts.clone(),
        image,
        format: ready.format.into(),
        width: ready.picture.width(),
        height: ready.picture.height(),
        orientation: ready.orientation,
        perceptual: ready.perceptual.to_hex(),
        near_duplicate_of: near,
        detector: models.detector_id,
        embedder: models.fingerprint(),
        sightings,
        ms,
    }));
    Ended { work, fact }
}

/// Answers somebody who waits; where they have gone away meanwhile, nothing is lost.
fn answer(engine: &Engine, models: &mut Loaded<'_>, question: Question) {
    let models = models.get(engine).map_err(EngineError::Unavailable);
    match question {
        Question::Identify { picture, reply } => {
            let answers = models.and_then(|models| {
                let objects = models.objects(&engine.config, &[&picture]).map_err(EngineError::failed)?;
                let objects = objects.into_iter().next().unwrap_or_default();
                ask(engine, models, &picture, &objects).map(|(answers, ..)| answers)
            });
            drop(reply.send(answers));
        }
        Question::Embed { picture, object, reply } => {
            let vectors = models.and_then(|models| {
                let vectors = models.enrolments(&engine.config, &picture, &[*object]).map_err(EngineError::failed)?;
                Ok((models.fingerprint(), vectors.into_iter().next().unwrap_or_default()))
            });
            drop(reply.send(vectors));
        }
        Question::Load { reply } => {
            let known = models.and_then(|models| {
                let dimension = models.dimension(&engine.config).map_err(EngineError::failed)?;
                Ok((models.fingerprint(), dimension))
            });
            drop(reply.send(known));
        }
    }
}
