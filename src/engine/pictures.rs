//! Pictures for consoles: originals, reduced and annotated, and crops.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, RgbImage};

use super::EngineError;
use super::core::Engine;
use super::models::crop_policy;
use crate::domain::{Detection, Fact, ImageId, SightingId};
use crate::intake::clean::{Limits, clean};
use crate::vision;

/// The most pixels of a side that are sent.
const LARGEST: u32 = 4096;

impl Engine {
    /// An original's bytes and its format.
    ///
    /// # Errors
    /// When it is not in the archive, or not what its name says.
    pub fn original(&self, image: ImageId) -> Result<(Vec<u8>, String), EngineError> {
        let record = self.store.image(&image).map_err(EngineError::failed)?;
        let record = record.ok_or_else(|| EngineError::NotFound(format!("there is no original {image}")))?;
        let bytes = self.archive.read(image, &record.format).map_err(EngineError::failed)?;
        Ok((bytes, record.format))
    }

    /// An original, decoded and upright.
    pub(super) fn upright(&self, image: ImageId) -> Result<RgbImage, EngineError> {
        let (bytes, _) = self.original(image)?;
        let limits = Limits::from(&self.config.intake).released();
        Ok(clean(&bytes, &limits).map_err(EngineError::failed)?.image)
    }

    /// An original as PNG, within a size, with what was seen in it drawn if `annotated`.
    ///
    /// # Errors
    /// When it is not in the archive.
    pub fn picture(
        &self,
        image: ImageId,
        size: (Option<u32>, Option<u32>),
        annotated: bool,
    ) -> Result<Vec<u8>, EngineError> {
        let mut picture = self.upright(image)?;
        if annotated {
            let objects = self.objects_of(image)?;
            picture = vision::draw::annotate(&picture, &objects);
        }
        png(&within(picture, size))
    }

    fn objects_of(&self, image: ImageId) -> Result<Vec<Detection>, EngineError> {
        let Some(record) = self.store.image(&image).map_err(EngineError::failed)? else { return Ok(Vec::new()) };
        let entry = self.reader.entry(record.sequence).map_err(EngineError::failed)?;
        match entry.fact().map_err(EngineError::failed)? {
            Fact::ImageDone(done) => Ok(done.sightings.into_iter().map(|sighting| sighting.detection).collect()),
            _ => Ok(Vec::new()),
        }
    }

    /// A sighting's crop as PNG, as the embedder sees it, within a size.
    ///
    /// # Errors
    /// When there is no such sighting, or it was imported.
    pub fn crop(&self, sighting: SightingId, size: (Option<u32>, Option<u32>)) -> Result<Vec<u8>, EngineError> {
        let (picture, object) = self.seen_as(sighting)?;
        png(&within(vision::crop(&picture, &object, &crop_policy(&self.config.crop)), size))
    }
}

/// Reduces a picture to fit, keeping its proportions; never enlarges it.
fn within(picture: RgbImage, (width, height): (Option<u32>, Option<u32>)) -> RgbImage {
    let (width, height) = (width.unwrap_or(LARGEST).clamp(1, LARGEST), height.unwrap_or(LARGEST).clamp(1, LARGEST));
    if picture.width() <= width && picture.height() <= height {
        return picture;
    }
    DynamicImage::ImageRgb8(picture).resize(width, height, FilterType::Triangle).into_rgb8()
}

fn png(picture: &RgbImage) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(EngineError::failed)?;
    Ok(bytes.into_inner())
}
