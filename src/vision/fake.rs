//! Deterministic stand-ins for the models, for tests of everything around them. Not reachable from the command line.

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::dino::CropPolicy;
use super::yolo::DetectOptions;
use super::{Detect, Embed, VisionError, masks};
use crate::domain::{BoundingBox, Detection, Embedding, Fingerprint, ImageId};

/// Finds one object in every picture that is not all one colour: the box around the pixels that differ from the
/// top left one, and its filled mask.
#[derive(Debug)]
pub struct TestDetector {
    names: Vec<String>,
}

impl Default for TestDetector {
    fn default() -> Self {
        Self { names: vec!["object".into()] }
    }
}

impl Detect for TestDetector {
    fn detect(&self, pictures: &[&RgbImage], options: &DetectOptions) -> Result<Vec<Vec<Detection>>, VisionError> {
        let find = |picture: &&RgbImage| -> Vec<Detection> {
            let Some(background) = picture.pixels().next() else { return Vec::new() };
            let (mut low, mut high) = ([u32::MAX; 2], [0u32; 2]);
            for (x, y, pixel) in picture.enumerate_pixels() {
                if pixel != background {
                    low = [low[0].min(x), low[1].min(y)];
                    high = [high[0].max(x + 1), high[1].max(y + 1)];
                }
            }
            if low[0] == u32::MAX || options.confidence >= 0.9 {
                return Vec::new();
            }
            let mut window = masks::Bitmap::new(high[0] - low[0], high[1] - low[1]);
            window.rows_mut().for_each(|row| row.fill(true));
            let size = [picture.height(), picture.width()];
            vec![Detection {
                class: 0,
                name: self.names[0].clone(),
                confidence: 0.9,
                bounding_box: BoundingBox([low[0] as f32, low[1] as f32, high[0] as f32, high[1] as f32]),
                mask: Some(masks::encode_window(size, low[0], low[1], &window)),
            }]
        };
        Ok(pictures.iter().map(find).collect())
    }

    fn names(&self) -> &[String] {
        &self.names
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint(ImageId(Sha256::digest(b"test detector").into()))
    }
}

/// Embeds a picture as its colours on an 8x8 grid, less their mean: alike pictures are near, turned ones are not.
#[derive(Debug)]
pub struct TestEmbedder {
    policy: CropPolicy,
    name: String,
}

impl TestEmbedder {
    /// An embedder whose fingerprint depends on a name, so that a test can change "weights".
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { policy: CropPolicy { input_size: 56, ..CropPolicy::default() }, name: name.into() }
    }
}

impl Default for TestEmbedder {
    fn default() -> Self {
        Self::named("test embedder")
    }
}

impl Embed for TestEmbedder {
    fn embed(&self, pictures: &[RgbImage]) -> Result<Vec<Embedding>, VisionError> {
        let one = |picture: &RgbImage| {
            let small = image::imageops::resize(picture, 8, 8, image::imageops::FilterType::Triangle);
            let values: Vec<f32> = small.as_raw().iter().map(|v| f32::from(*v)).collect();
            let mean = values.iter().sum::<f32>() / values.len().max(1) as f32;
            let centred = values.iter().map(|v| v - mean).chain([1.0]).collect();
            Embedding::normalised(centred).ok_or(VisionError::NotFinite)
        };
        pictures.iter().map(one).collect()
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint(ImageId(Sha256::digest(self.name.as_bytes()).into()))
    }

    fn policy(&self) -> &CropPolicy {
        &self.policy
    }
}
