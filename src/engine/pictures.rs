//! Pictures for consoles: originals, reduced and annotated, and crops.

use std::io::Cursor;
use std::ops::ControlFlow;

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, RgbImage};

use super::EngineError;
use super::core::{Engine, lock};
use super::outcome::quarantined_data;
use crate::domain::{Detection, Fact, ImageId, SightingId};
use crate::files;
use crate::intake::clean::{Format, Limits, clean};
use crate::vision::{self, CropPolicy};

/// The most pixels of a side that are sent.
const LARGEST: u32 = 4096;

impl Engine {
    /// An original's bytes and its format.
    ///
    /// # Errors
    /// When it is not in the archive, or not what its name says.
    pub fn original(&self, image: ImageId) -> Result<(Vec<u8>, String), EngineError> {
        let Some(record) = self.store.image(&image).map_err(EngineError::failed)? else {
            return self.in_quarantine(image);
        };
        let bytes = self.archive.read(image, &record.format).map_err(EngineError::failed)?;
        Ok((bytes, record.format))
    }

    /// The bytes of a file that waits in quarantine: whoever is to release or discard it must be able to look.
    fn in_quarantine(&self, image: ImageId) -> Result<(Vec<u8>, String), EngineError> {
        let mut item = None;
        self.each_set_aside(|record| {
            if record.image != Some(image) {
                return ControlFlow::Continue(());
            }
            item = Some(record.id);
            ControlFlow::Break(())
        })?;
        let item = item.ok_or_else(|| EngineError::NotFound(format!("there is no original {image}")))?;
        let bytes = files::read(&quarantined_data(&self.quarantine, &item)).map_err(EngineError::failed)?;
        let format = Format::sniff(&bytes).map_or("bin", Format::extension);
        Ok((bytes, format.into()))
    }

    /// An original, decoded and upright.
    pub(super) fn upright(&self, image: ImageId) -> Result<RgbImage, EngineError> {
        let (bytes, _) = self.original(image)?;
        let limits = Limits::from(&self.config.intake).released();
        let shown = clean(&bytes, &limits);
        // What is damaged is not shown either: half a picture would be taken for a whole one.
        Ok(shown.map_err(|reject| EngineError::Refused(format!("it cannot be shown: {reject}")))?.image)
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

    /// A sighting's crop as PNG, cut as for the embedder, within a size; finer than it sees it where its input is small.
    ///
    /// # Errors
    /// When there is no such sighting, or it was imported.
    pub fn crop(&self, sighting: SightingId, size: (Option<u32>, Option<u32>)) -> Result<Vec<u8>, EngineError> {
        let (picture, object) = self.seen_as(sighting)?;
        let mut policy = lock(&self.models).crops;
        policy.input_size = policy.input_size.max(CropPolicy::default().input_size);
        png(&within(vision::crop(&picture, &object, &policy), size))
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
