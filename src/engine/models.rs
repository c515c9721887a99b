//! The models of a workspace: loaded when first needed, by the thread that owns them.

use std::path::Path;

use image::RgbImage;

use crate::config::{self, Config, Objects};
use crate::domain::{BoundingBox, Detection, Embedding, Fingerprint, ImageId, Rotation};
use crate::vision::checkpoint::ModelInfo;
use crate::vision::precision::{Settled, settle};
use crate::vision::{self, CropPolicy, Detect, DetectOptions, Embed, VisionError, checkpoint, yolo};

/// The loaded models and how they are used.
pub struct Models {
    /// None where whole pictures are embedded.
    pub detector: Option<Box<dyn Detect>>,
    /// SHA-256 of the detector's file.
    pub detector_id: Option<ImageId>,
    /// The side of the input that the detector's weights were trained with, pixels, where they state it.
    pub trained_size: Option<u32>,
    /// The embedder.
    pub embedder: Box<dyn Embed>,
    /// The processor, in words.
    pub device: String,
    /// What the cards say of both, in words.
    pub details: [String; 2],
    /// Whether the cards say that they were never trained.
    pub untrained: [bool; 2],
}

/// Makes the models; run on the thread that will own them.
pub type Loader = Box<dyn Fn(&Config) -> Result<Models, String> + Send>;

/// Where the networks run; at fp32 where the precision is to be found.
///
/// # Errors
/// When a CUDA device was asked for and is not there.
pub fn runtime(config: &Config) -> Result<vision::Runtime, VisionError> {
    let threads = u16::try_from(config.engine.model_threads).ok().filter(|threads| *threads > 0);
    vision::Runtime::open(config.device, config.precision, threads)
}

/// The precision a detector's file runs in under this config, and why.
#[must_use]
pub fn detector_precision(config: &Config, runtime: vision::Runtime, path: &Path, model: &ModelInfo) -> Settled {
    settle(config.precision, runtime, path, model.sha256, detect_options(&config.detect, model.input_size).input_size)
}

/// The precision an embedder's file runs in under this config, and why.
#[must_use]
pub fn embedder_precision(config: &Config, runtime: vision::Runtime, path: &Path, model: &ModelInfo) -> Settled {
    settle(config.precision, runtime, path, model.sha256, crop_policy(&config.crop, model).input_size)
}

/// Loads the weights that the config names.
///
/// # Errors
/// One sentence: which file, what is wrong, what to do.
pub fn load_models(config: &Config) -> Result<Models, String> {
    let runtime = runtime(config).map_err(|e| e.to_string())?;
    let (mut detector, mut trained_size) = (None, None);
    let mut details = ["not used: detect.objects is whole".to_owned(), String::new()];
    if config.detect.objects != Objects::Whole {
        let path = present(&config.models.detector, "models.detector")?;
        let said = |error: VisionError| format!("models.detector: {}: {error}", path.display());
        let read = checkpoint::read(path).map_err(|error| error.to_string())?;
        let settled = detector_precision(config, runtime, path, &read.info);
        let loaded = vision::Detector::of(&read, settled.runtime).map_err(said)?;
        trained_size = read.info.input_size;
        details[0] = format!("{}, {}", read.info.architecture, settled.describe());
        detector = Some((loaded, read.info.sha256, checkpoint::is_untrained(path), settled.runtime.precision()));
    }
    let path = present(&config.models.embedder, "models.embedder")?;
    let said = |error: VisionError| format!("models.embedder: {}: {error}", path.display());
    let read = checkpoint::read(path).map_err(|error| error.to_string())?;
    let settled = embedder_precision(config, runtime, path, &read.info);
    let policy = crop_policy(&config.crop, &read.info);
    let embedder = vision::Embedder::of(&read, policy, settled.runtime).map_err(said)?;
    details[1] = format!("{}, {}", read.info.architecture, settled.describe());
    let (place, precision) = (runtime.place(), settled.runtime.precision());
    let device = match &detector {
        Some((.., detects)) if *detects != precision => format!("{place}, detector {detects}, embedder {precision}"),
        _ => format!("{place} {precision}"),
    };
    let untrained = [detector.as_ref().is_some_and(|(_, _, untrained, _)| *untrained), checkpoint::is_untrained(path)];
    let (detector, detector_id) =
        detector.map(|(detector, id, ..)| (Box::new(detector) as Box<dyn Detect>, id)).unzip();
    Ok(Models { detector, detector_id, trained_size, embedder: Box::new(embedder), device, details, untrained })
}

fn present<'a>(path: &'a Path, key: &str) -> Result<&'a Path, String> {
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{key}: there are no weights at {}; put some there with `sightline model import FILE --name {}`, or name others in config.yaml",
        path.display(),
        path.file_stem().unwrap_or_default().to_string_lossy()
    ))
}

/// The crop settings for an embedder, in the vision room's terms.
#[must_use]
pub fn crop_policy(crop: &config::Crop, embedder: &ModelInfo) -> CropPolicy {
    shown_policy(&config::Crop {
        image_size: crop.image_size.or(embedder.input_size),
        mask_background: crop.mask_background.or(embedder.mask_background),
        align: crop.align.or(embedder.align),
        square: crop.square.or(embedder.square),
        padding: crop.padding,
    })
}

/// The crop settings where no embedder is at hand: to show what one sees.
#[must_use]
pub fn shown_policy(crop: &config::Crop) -> CropPolicy {
    CropPolicy {
        padding: crop.padding,
        square: crop.square.unwrap_or(CropPolicy::default().square),
        mask_background: crop.mask_background.unwrap_or(CropPolicy::default().mask_background),
        align: crop.align.unwrap_or(CropPolicy::default().align),
        input_size: crop.image_size.unwrap_or(CropPolicy::default().input_size),
    }
}

/// The detector's settings in the vision room's terms; `trained` is the input's side that its weights state.
#[must_use]
pub fn detect_options(detect: &config::Detect, trained: Option<u32>) -> DetectOptions {
    DetectOptions {
        confidence: f64::from(detect.confidence),
        iou: f64::from(detect.iou),
        limit: detect.max_objects as usize,
        input_size: detect.image_size.or(trained).unwrap_or(yolo::INPUT_SIZE),
        multi_label: false,
    }
}

/// The whole picture as its only object.
fn whole(image: &RgbImage) -> Detection {
    let bounding_box = BoundingBox([0.0, 0.0, image.width() as f32, image.height() as f32]);
    Detection { class: 0, name: "picture".into(), confidence: 1.0, bounding_box, mask: None }
}

impl Models {
    /// What is to be embedded of each picture, by `detect.objects`.
    ///
    /// # Errors
    /// When the detector fails.
    pub fn objects(&self, config: &Config, images: &[&RgbImage]) -> Result<Vec<Vec<Detection>>, VisionError> {
        let Some(detector) = &self.detector else {
            return Ok(images.iter().map(|image| vec![whole(image)]).collect());
        };
        let mut found = detector.detect(images, &detect_options(&config.detect, self.trained_size))?;
        if config.detect.objects == Objects::FoundOrWhole {
            for (objects, image) in found.iter_mut().zip(images) {
                if objects.is_empty() {
                    objects.push(whole(image));
                }
            }
        }
        Ok(found)
    }

    /// The vector of an object as it lies.
    ///
    /// # Errors
    /// When the embedder fails.
    pub fn probes(&self, config: &Config, crops: &[(&RgbImage, &Detection)]) -> Result<Vec<Embedding>, VisionError> {
        let policy = self.embedder.policy();
        let crops: Vec<RgbImage> =
            crops.iter().map(|(image, detection)| vision::crop(image, detection, policy)).collect();
        self.embed(config, &crops)
    }

    /// The vectors of each object in its four rotations, embedded together.
    ///
    /// # Errors
    /// When the embedder fails.
    pub fn enrolments(
        &self,
        config: &Config,
        image: &RgbImage,
        objects: &[Detection],
    ) -> Result<Vec<Vec<(Rotation, Embedding)>>, VisionError> {
        let policy = self.embedder.policy();
        let turned = objects.iter().flat_map(|object| vision::rotations(&vision::crop(image, object, policy)));
        let vectors = self.embed(config, &turned.collect::<Vec<_>>())?;
        let of_one = |vectors: &[Embedding]| Rotation::ALL.into_iter().zip(vectors.iter().cloned()).collect();
        Ok(vectors.chunks(Rotation::ALL.len()).map(of_one).collect())
    }

    fn embed(&self, config: &Config, crops: &[RgbImage]) -> Result<Vec<Embedding>, VisionError> {
        let mut vectors = Vec::with_capacity(crops.len());
        for batch in crops.chunks((config.engine.batch * 4).max(1)) {
            vectors.extend(self.embedder.embed(batch)?);
        }
        Ok(vectors)
    }

    /// How many numbers a vector has.
    ///
    /// # Errors
    /// When the embedder fails.
    pub fn dimension(&self, config: &Config) -> Result<usize, VisionError> {
        let side = self.embedder.policy().input_size;
        let vectors = self.embed(config, &[RgbImage::new(side, side)])?;
        Ok(vectors.first().map_or(0, |vector| vector.as_slice().len()))
    }

    /// How crops are cut for the embedder.
    #[must_use]
    pub fn crops(&self) -> CropPolicy {
        *self.embedder.policy()
    }

    /// The embedder's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.embedder.fingerprint()
    }
}
