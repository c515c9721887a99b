//! `see` and `embed`: the models on pictures, without a workspace's engine.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::arguments::{Embed, See};
use super::output::Out;
use super::{CliError, Ended, Outcome};
use crate::archive::image_id;
use crate::config::{Config, Precision};
use crate::domain::{Detection, Embedding, ImageId, RawPath};
use crate::engine::{crop_policy, embedder_precision, runtime};
use crate::intake::clean::{Clean, Limits, clean};
use crate::vision::precision::{Settled, settle};
use crate::vision::{self, DetectOptions, checkpoint, draw};

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

/// Every file named, and every file in a folder named, in order.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        let meta = std::fs::metadata(path)
            .map_err(|error| CliError::NotFound(format!("{}: {error}", RawPath(path.clone()))))?;
        if !meta.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries =
            std::fs::read_dir(path).map_err(|error| CliError::Failed(format!("{}: {error}", RawPath(path.clone()))))?;
        let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        below.sort();
        for path in below {
            if path.is_dir() { files.extend(self::files(&[path])?) } else { files.push(path) }
        }
    }
    Ok(files)
}

fn ms(since: Instant) -> f32 {
    since.elapsed().as_secs_f32() * 1000.0
}

pub(super) fn read(path: &Path, limits: &Limits) -> Result<(ImageId, Clean), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let clean = clean(&bytes, limits).map_err(|reject| reject.to_string())?;
    Ok((image_id(&bytes), clean))
}

/// Says what is wrong with one picture and goes on with the next.
#[allow(clippy::print_stderr, reason = "errors go to stderr")]
pub(super) fn complain(path: &Path, error: &str) {
    eprintln!("sightline: {}: {error}", RawPath(path.to_owned()));
}

/// `see IMAGE…`
pub(super) fn see(out: &mut Out, workspace: &Path, arguments: &See) -> Ended {
    let config = Config::load(workspace)?;
    let options = DetectOptions {
        confidence: f64::from(arguments.conf),
        iou: f64::from(arguments.iou),
        limit: config.detect.max_objects as usize,
        input_size: arguments.imgsz,
    };
    let runtime = runtime(&config).map_err(CliError::failed)?;
    let weights = arguments.model.as_ref().unwrap_or(&config.models.detector);
    let model = checkpoint::read(weights)?;
    let settled = settle(config.precision, runtime, weights, model.info.sha256, arguments.imgsz.next_multiple_of(32));
    let detector = vision::Detector::of(&model, settled.runtime).map_err(CliError::failed)?;
    let policy = crop_policy(&config.crop);
    let mut runs = Runs { detector: settled.into(), embedder: None };
    let embedder = match &arguments.embed {
        Some(weights) => {
            let model = checkpoint::read(weights)?;
            let settled = embedder_precision(&config, runtime, weights, model.info.sha256);
            let embedder = vision::Embedder::of(&model, policy, settled.runtime).map_err(CliError::failed)?;
            runs.embedder = Some(settled.into());
            Some(embedder)
        }
        None => None,
    };
    let limits = Limits { min_side: 1, min_contrast: 0.0, ..Limits::from(&config.intake) };
    let (mut good, mut found) = (true, false);
    for path in files(&arguments.images)? {
        let began = Instant::now();
        let (sha256, Clean { image, orientation, .. }) = match read(&path, &limits) {
            Ok(read) => read,
            Err(error) => {
                complain(&path, &error);
                good = false;
                continue;
            }
        };
        let mut times = Times { decode: ms(began), ..Times::default() };
        let began = Instant::now();
        let detections = detector.detect(&[&image], &options).map_err(|error| match error {
            vision::VisionError::Setting(text) => CliError::Usage(text),
            other => CliError::failed(other),
        })?;
        let detections = detections.into_iter().next().unwrap_or_default();
        times.detect = ms(began);
        if let Some(dir) = &arguments.save {
            save(&path, dir, &draw::annotate(&image, &detections))?;
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

/// Writes an annotated picture beside others of the same name without overwriting one of this run's.
fn save(path: &Path, dir: &Path, picture: &image::RgbImage) -> Result<(), CliError> {
    std::fs::create_dir_all(dir)
        .map_err(|error| CliError::Failed(format!("cannot make {}: {error}", dir.display())))?;
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    // Two folders may hold pictures of one name.
    if let Some(parent) = path.parent().and_then(Path::file_name) {
        name = parent.to_owned();
        name.push("-");
        name.push(path.file_stem().unwrap_or_default());
    }
    name.push(".jpg");
    let to = dir.join(name);
    picture
        .save_with_format(&to, image::ImageFormat::Jpeg)
        .map_err(|error| CliError::Failed(format!("cannot write {}: {error}", RawPath(to))))
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
    let policy = crop_policy(&config.crop);
    let runtime = runtime(&config).map_err(CliError::failed)?;
    let weights = arguments.embed.as_ref().unwrap_or(&config.models.embedder);
    let model = checkpoint::read(weights)?;
    let settled = embedder_precision(&config, runtime, weights, model.info.sha256);
    let embedder = vision::Embedder::of(&model, policy, settled.runtime).map_err(CliError::failed)?;
    let limits = Limits { min_side: 1, min_contrast: 0.0, ..Limits::from(&config.intake) };
    let mut good = true;
    for path in files(&arguments.images)? {
        let (sha256, Clean { image, .. }) = match read(&path, &limits) {
            Ok(read) => read,
            Err(error) => {
                complain(&path, &error);
                good = false;
                continue;
            }
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
