//! The pictures in a run's folder: what it was shown, what it finds, and how it went.

use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage, imageops};

use super::TrainError;
use super::loader::{Batch, SHRINK};
use crate::domain::Detection;
use crate::files;
use crate::learn::augment::bounds;
use crate::learn::evaluate::{Figures, Judged, Labelled, mask};
use crate::learn::metrics::confusion::Confusion;
use crate::learn::plots;
use crate::vision::draw;

/// Pictures of a sheet, and a row of it.
const SHOWN: usize = 16;
const COLUMNS: usize = 4;
/// Pixels of a picture's place on a sheet.
const SIDE: u32 = 320;
/// Detections below this are not drawn.
const SURE: f32 = 0.25;

/// Writes a PNG.
///
/// # Errors
/// The disk refuses.
pub fn save(path: &Path, picture: &RgbImage) -> Result<(), TrainError> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let failed = |error: image::ImageError| TrainError::io("write", path)(std::io::Error::other(error));
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(failed)?;
    files::put(path, bytes.get_ref()).map_err(TrainError::io("write", path))
}

/// Pictures beside and below each other, at most sixteen, each scaled to its place.
#[must_use]
pub fn sheet(pictures: &[RgbImage]) -> RgbImage {
    let shown = pictures.len().min(SHOWN);
    let rows = shown.div_ceil(COLUMNS).max(1) as u32;
    let mut sheet = RgbImage::from_pixel(COLUMNS as u32 * SIDE, rows * SIDE, Rgb([96, 96, 96]));
    for (number, picture) in (0..).zip(pictures.iter().take(shown)) {
        let scale = f64::from(SIDE - 4) / f64::from(picture.width().max(picture.height()).max(1));
        let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        let small = imageops::thumbnail(picture, side(picture.width()), side(picture.height()));
        let (left, top) = (number % COLUMNS as u32 * SIDE + 2, number / COLUMNS as u32 * SIDE + 2);
        imageops::replace(&mut sheet, &small, i64::from(left), i64::from(top));
    }
    sheet
}

/// What a batch shows, its labels drawn: outlines tinted, boxes drawn, as they are learnt from.
#[must_use]
pub fn batch(batch: &Batch, names: &[String]) -> RgbImage {
    let side = batch.size as usize;
    let mut pictures = Vec::new();
    for (number, bytes) in batch.pixels.chunks_exact(side * side * 3).enumerate().take(SHOWN) {
        let Some(mut picture) = RgbImage::from_raw(batch.size, batch.size, bytes.to_vec()) else { continue };
        let objects = &batch.targets.objects[number];
        if let Some(masks) = &batch.targets.masks {
            for (x, y, pixel) in picture.enumerate_pixels_mut() {
                let place = y as usize / SHRINK * (side / SHRINK) + x as usize / SHRINK;
                let owner = usize::from(masks[number][place]);
                if owner > 0 {
                    let tint = draw::class_colour(objects[owner - 1].class).0;
                    pixel.0 = std::array::from_fn(|i| ((u16::from(pixel.0[i]) * 3 + u16::from(tint[i]) * 2) / 5) as u8);
                }
            }
        }
        let shown: Vec<Detection> = objects
            .iter()
            .map(|object| Detection {
                class: object.class,
                name: names.get(object.class as usize).cloned().unwrap_or_default(),
                confidence: 1.0,
                bounding_box: crate::domain::BoundingBox(object.corners),
                mask: None,
            })
            .collect();
        pictures.push(draw::annotate_truth(&picture, &shown));
    }
    sheet(&pictures)
}

/// What was found in pictures, each after what there is to find.
#[must_use]
pub fn found(pictures: &[Labelled], found: &[Vec<Detection>], names: &[String]) -> RgbImage {
    let pair = |(picture, all): (&Labelled, &Vec<Detection>)| {
        let truth: Vec<Detection> = picture
            .objects
            .iter()
            .map(|object| Detection {
                class: object.class,
                name: names.get(object.class as usize).cloned().unwrap_or_default(),
                confidence: 1.0,
                bounding_box: crate::domain::BoundingBox(bounds(&object.corners)),
                mask: object.outlined.then(|| mask(object, picture.pixels.dimensions())),
            })
            .collect();
        let sure: Vec<Detection> = all.iter().filter(|one| one.confidence >= SURE).cloned().collect();
        [draw::annotate_truth(&picture.pixels, &truth), draw::annotate(&picture.pixels, &sure)]
    };
    let drawn: Vec<RgbImage> = pictures.iter().zip(found).take(SHOWN / 2).flat_map(pair).collect();
    sheet(&drawn)
}

/// The plots of figures: curves of boxes and masks, and which class was taken for which.
///
/// # Errors
/// One cannot be drawn, or the disk refuses.
pub fn figures(dir: &Path, figures: &Figures, judged: &Judged, names: &[String]) -> Result<(), TrainError> {
    let failed = |error: plots::PlotError| TrainError::Weights(error.to_string());
    for (scores, what) in [(Some(&figures.boxes), "Box"), (figures.masks.as_ref(), "Mask")] {
        let Some(scores) = scores else { continue };
        for (file, picture) in plots::detector(scores, names, what).map_err(failed)? {
            save(&dir.join(file), &picture)?;
        }
    }
    let confusion = Confusion::of(&judged.boxes, names.len());
    save(&dir.join("confusion_matrix.png"), &plots::confusion(&confusion, names).map_err(failed)?)
}

/// How a run went: a chart a column of `results.csv`.
///
/// # Errors
/// It cannot be drawn, or the disk refuses.
pub fn results(dir: &Path, columns: &[String], rows: &[String]) -> Result<(), TrainError> {
    let numbers = |row: &String| row.split(',').map(|value| value.parse().unwrap_or(f64::NAN)).collect();
    let rows: Vec<Vec<f64>> = rows.iter().map(numbers).collect();
    let picture = plots::results(columns, &rows).map_err(|error| TrainError::Weights(error.to_string()))?;
    save(&dir.join("results.png"), &picture)
}
