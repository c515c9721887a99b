//! `see` and `embed`: the models on pictures, without a workspace's engine.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::arguments::{Embed, See};
use super::output::Out;
use super::save::Album;
use super::{CliError, Ended, Outcome, pictures};
use crate::archive::image_id;
use crate::config::{Config, Precision};
use crate::domain::{Detection, Embedding, ImageId, RawPath};
use crate::engine::{crop_policy, embedder_precision, runtime, shown_policy};
use crate::intake::clean::{Clean, Limits, clean};
use crate::vision::precision::{Settled, settle};
use crate::vision::{self, DetectOptions, checkpoint, draw, yolo};

/// A line of `see --json`: the contract of the command line.
#[derive(Serialize)]
struct Seen {
    image: RawPath,
    sha256: ImageId,
    width: u32,
    height: u32,
    orientation: u8,
    detections: Vec<SeenObject>,
    runs: Runs,
    ms: Times,
}

/// What the networks run on, and why so precisely.
#[derive(Clone, Serialize)]
struct Runs {
    detector: Run,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedder: Option<Run>,
}

#[derive(Clone, Serialize)]
struct Run {
    device: String,
    precision: Precision,
    why: String,
}

impl From<Settled> for Run {
    fn from(Settled { runtime, why }: Settled) -> Self {
        Self { device: runtime.place(), precision: runtime.precision(), why }
    }
}

#[derive(Serialize)]
struct SeenObject {
    #[serde(flatten)]
    detection: Detection,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Embedding>,
}

#[derive(Default, Serialize)]
struct Times {
    decode: f32,
    detect: f32,
    embed: f32,
}

fn ms(since: Instant) -> f32 {
    since.elapsed().as_secs_f32() * 1000.0
}

/// Reads and decodes a picture; says what is wrong with one that cannot be had.
pub(super) fn read(path: &Path, most: u64, limits: &Limits) -> Option<(ImageId, Clean)> {
    let read = pictures::read(path, most).and_then(|bytes| {
        let clean = clean(&bytes, limits).map_err(|reject| reject.to_string())?;
        Ok((image_id(&bytes), clean))
    });
    read.inspect_err(|error| pictures::complain(path, error)).ok()
}

/// `see IMAGE…`
pub(super) fn see(out: &mut Out, workspace: &Path, arguments: &See) -> Ended {
    let config = Config::load(workspace)?;
    if let Some(side) = arguments.imgsz.filter(|side| !yolo::possible(*side)) {
        return Err(CliError::Usage(format!(
            "--imgsz {side}: the network's input is a multiple of 32 up to 4096, such as 640"
        )));
    }
    let listed = pictures::find(&arguments.images)?;
    let runtime = runtime(&config).map_err(CliError::failed)?;
    let weights = arguments.model.as_ref().unwrap_or(&config.models.detector);
    let model = checkpoint::read(weights)?;
    let options = DetectOptions {
        confidence: f64::from(arguments.conf),
        iou: f64::from(arguments.iou),
        limit: config.detect.max_objects as usize,
        input_size: arguments.imgsz.or(model.info.input_size).unwrap_or(yolo::INPUT_SIZE),
        multi_label: false,
    };
    let settled = settle(config.precision, runtime, weights, model.info.sha256, options.input_size);
    let detector = vision::Detector::of(&model, settled.runtime).map_err(CliError::failed)?;
    let mut policy = shown_policy(&config.crop);
    let mut runs = Runs { detector: settled.into(), embedder: None };
    let embedder = match &arguments.embed {
        Some(weights) => {
            let model = checkpoint::read(weights)?;
            let settled = embedder_precision(&config, runtime, weights, &model.info);
            policy = crop_policy(&config.crop, &model.info);
            let embedder = vision::Embedder::of(&model, policy, settled.runtime).map_err(CliError::failed)?;
            runs.embedder = Some(settled.into());
            Some(embedder)
        }
        None => None,
    };
    let limits = Limits { min_side: 1, min_contrast: 0.0, ..Limits::from(&config.intake) };
    let mut album = arguments.save.as_deref().map(Album::new);
    let (mut good, mut found) = (listed.unread == 0, false);
    for path in listed.files {
        let began = Instant::now();
        let Some((sha256, Clean { image, orientation, .. })) = read(&path, config.intake.max_file_bytes, &limits)
        else {
            good = false;
            continue;
        };
        let mut times = Times { decode: ms(began), ..Times::default() };
        let began = Instant::now();
        let detections = detector.detect(&[&image], &options).map_err(|error| match error {
            vision::VisionError::Setting(text) => CliError::Usage(text),
            other => CliError::failed(other),
        })?;
        let detections = detections.into_iter().next().unwrap_or_default();
        times.detect = ms(began);
        if let Some(album) = &mut album
            && let Err(error) = album.save(&path, &sha256, &draw::annotate(&image, &detections))
        {
            // What was seen is told all the same.
            pictures::complain(&path, &error);
            good = false;
        }
        let began = Instant::now();
        let embeddings: Vec<Option<Embedding>> = match &embedder {
            Some(embedder) if !detections.is_empty() => {
                let crops: Vec<_> =
                    detections.iter().map(|detection| vision::crop(&image, detection, &policy)).collect();
                embedder.embed(&crops).map_err(CliError::failed)?.into_iter().map(Some).collect()
            }
            _ => vec![None; detections.len()],
        };
        times.embed = ms(began);
        found |= !detections.is_empty();
        let objects =
            detections.into_iter().zip(embeddings).map(|(detection, embedding)| SeenObject { detection, embedding });
        let seen = Seen {
            image: RawPath(path),
            sha256,
            width: image.width(),
            height: image.height(),
            orientation,
            detections: objects.collect(),
            runs: runs.clone(),
            ms: times,
        };
        if out.json { out.value(&seen)? } else { describe(out, &seen)? }
    }
    Ok(match (good, found) {
        (false, _) => Outcome::NotOk,
        (true, true) => Outcome::Done,
        (true, false) => Outcome::Nothing,
    })
}

fn describe(out: &mut Out, seen: &Seen) -> Result<(), CliError> {
    out.line(format!(
        "{}  {}x{}  {} objects  {:.0} ms",
        seen.image,
        seen.width,
        seen.height,
        seen.detections.len(),
        seen.ms.detect
    ))?;
    for SeenObject { detection, .. } in &seen.detections {
        let [x1, y1, x2, y2] = detection.bounding_box.0;
        out.line(format!(
            "    {:<20} {:.2}  ({x1:.0}, {y1:.0}) to ({x2:.0}, {y2:.0})",
            detection.name, detection.confidence
        ))?;
    }
    Ok(())
}

/// `embed IMAGE… --embed W`
pub(super) fn embed(out: &mut Out, workspace: &Path, arguments: &Embed) -> Ended {
    #[derive(Serialize)]
    struct Embedded {
        image: RawPath,
        sha256: ImageId,
        width: u32,
        height: u32,
        embedding: Embedding,
    }
    let config = Config::load(workspace)?;
    let listed = pictures::find(&arguments.images)?;
    let runtime = runtime(&config).map_err(CliError::failed)?;
    let weights = arguments.embed.as_ref().unwrap_or(&config.models.embedder);
    let model = checkpoint::read(weights)?;
    let settled = embedder_precision(&config, runtime, weights, &model.info);
    let policy = crop_policy(&config.crop, &model.info);
    let embedder = vision::Embedder::of(&model, policy, settled.runtime).map_err(CliError::failed)?;
    let limits = Limits { min_side: 1, min_contrast: 0.0, ..Limits::from(&config.intake) };
    let mut good = listed.unread == 0;
    for path in listed.files {
        let Some((sha256, Clean { image, .. })) = read(&path, config.intake.max_file_bytes, &limits) else {
            good = false;
            continue;
        };
        let vectors = embedder.embed(&[vision::dino::fit(&image, &policy)]).map_err(CliError::failed)?;
        for embedding in vectors {
            if out.json {
                out.value(&Embedded {
                    image: RawPath(path.clone()),
                    sha256,
                    width: image.width(),
                    height: image.height(),
                    embedding,
                })?;
            } else {
                let shown: Vec<String> = embedding.as_slice().iter().take(6).map(|v| format!("{v:.4}")).collect();
                out.line(format!(
                    "{}  {} values: {} …",
                    RawPath(path.clone()),
                    embedding.as_slice().len(),
                    shown.join(" ")
                ))?;
            }
        }
    }
    Ok(if good { Outcome::Done } else { Outcome::NotOk })
}
