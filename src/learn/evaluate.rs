//! Judging a detector by pictures with labels; and, in rooms of their own, a classifier and an embedder, and holding
//! figures against a gate.

pub mod classes;
pub mod gate;
pub mod identification;
pub mod pixels;

use image::RgbImage;
use serde::Serialize;

use super::augment::{Marked, area, bounds, fill};
use super::metrics::{self, ultralytics};
use super::metrics::{Found, Picture, Runs, Shape, Truth};
use super::train::TrainError;
use super::train::assign::Wanted;
use super::train::loader::map;
use super::train::loss::{Gains, Targets, loss};
use crate::domain::{Detection, Rle};
use crate::vision::letterbox::Letterbox;
use crate::vision::masks::{self, Bitmap};
use crate::vision::{DetectOptions, Detector, VisionError};

/// What counts as found while judging: nearly everything, for curves over all confidences, a place as each of the classes that it
/// may be (Ultralytics' `val`).
#[must_use]
pub fn judging(input_size: u32) -> DetectOptions {
    DetectOptions { confidence: 0.001, iou: 0.7, limit: 300, input_size, multi_label: true }
}

/// A picture with what is in it, in its pixels.
#[derive(Debug)]
pub struct Labelled {
    /// The upright picture.
    pub pixels: RgbImage,
    /// What is in it.
    pub objects: Vec<Marked>,
    /// Where there are too many to tell apart: what is found there counts neither for nor against, by the protocol of COCO.
    pub crowds: Vec<Marked>,
}

impl Labelled {
    /// Objects, then crowds.
    fn marks(&self) -> impl Iterator<Item = (&Marked, bool)> {
        self.objects.iter().map(|object| (object, false)).chain(self.crowds.iter().map(|crowd| (crowd, true)))
    }
}

/// What pictures have in them and what was found, by boxes and, for a network that outlines, by masks.
#[derive(Debug, Default)]
pub struct Judged {
    /// By boxes.
    pub boxes: Vec<Picture>,
    /// By masks.
    pub masks: Option<Vec<Picture>>,
    /// Losses with their gains, added up over batches: boxes, masks, classes, distances.
    losses: [f64; 4],
    batches: usize,
}

/// The figures by Ultralytics' protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// By boxes.
    pub boxes: ultralytics::Scores,
    /// By masks.
    pub masks: Option<ultralytics::Scores>,
}

impl Judged {
    /// An empty one, for a network that outlines or not.
    #[must_use]
    pub fn new(outlines: bool) -> Self {
        Self { masks: outlines.then(Vec::new), ..Self::default() }
    }

    /// The mean losses with their gains: boxes, masks, classes, distances.
    #[must_use]
    pub fn losses(&self) -> [f64; 4] {
        self.losses.map(|sum| sum / self.batches.max(1) as f64)
    }

    /// The figures by Ultralytics' protocol.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            boxes: metrics::ultralytics::score(&self.boxes),
            masks: self.masks.as_deref().map(metrics::ultralytics::score),
        }
    }

    /// Judges some pictures at once; with `gains` the losses are counted as well.
    ///
    /// # Errors
    /// When the network fails, or a label is not one of its classes.
    pub fn add(
        &mut self,
        detector: &Detector,
        pictures: &[Labelled],
        options: &DetectOptions,
        gains: Option<&Gains>,
    ) -> Result<Vec<Vec<Detection>>, TrainError> {
        let pixels: Vec<&RgbImage> = pictures.iter().map(|picture| &picture.pixels).collect();
        let mut all = vec![Vec::new(); pictures.len()];
        for group in detector.run(&pixels, options)? {
            if let Some(gains) = gains {
                let (targets, size) = targets(pictures, &group.members, self.masks.is_some());
                let parts = tch::no_grad(|| loss(&group.heads, &targets, size, gains, &[]))?.parts;
                // A mean over pictures, however they fall into groups.
                let share = group.members.len() as f64;
                self.losses.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part * share);
                self.batches += group.members.len();
            }
            for place in 0..group.members.len() {
                all[group.members[place].0] = detector.read(&group, place, options)?;
            }
        }
        for (picture, found) in pictures.iter().zip(&all) {
            self.boxes.push(by_boxes(picture, found));
            if let Some(masks) = &mut self.masks {
                let size = (picture.pixels.width(), picture.pixels.height());
                masks.push(by_masks(picture, found, size)?);
            }
        }
        Ok(all)
    }
}

/// What is in a group's pictures, in pixels of the network's input; and its height and width.
fn targets(pictures: &[Labelled], members: &[(usize, Letterbox)], outlines: bool) -> (Targets, (i64, i64)) {
    let (mut objects, mut masks, mut size) = (Vec::new(), Vec::new(), (0, 0));
    for (index, fitted) in members {
        size = (i64::from(fitted.height), i64::from(fitted.width));
        let gain = [fitted.resized.0 as f32 / fitted.source.0 as f32, fitted.resized.1 as f32 / fitted.source.1 as f32];
        let offset = [fitted.left as f32, fitted.top as f32];
        let here = |corner: &[f32; 2]| -> [f32; 2] { std::array::from_fn(|i| corner[i] * gain[i] + offset[i]) };
        let moved: Vec<Marked> = pictures[*index]
            .objects
            .iter()
            .map(|object| Marked { corners: object.corners.iter().map(here).collect(), ..object.clone() })
            .collect();
        objects.push(moved.iter().map(|m| Wanted { class: m.class, corners: bounds(&m.corners) }).collect());
        if outlines {
            masks.push(map(&moved, fitted.width, fitted.height));
        }
    }
    (Targets { objects, masks: outlines.then_some(masks) }, size)
}

fn by_boxes(picture: &Labelled, found: &[Detection]) -> Picture {
    let shape = |[l, t, r, b]: [f32; 4]| Shape::Box([l, t, r - l, b - t].map(f64::from));
    let truth = |(object, crowd): (&Marked, bool)| {
        let shape = shape(bounds(&object.corners));
        // By its outline where it has one, as COCO files state it: it decides what counts as small.
        let area = if object.outlined { f64::from(area(&object.corners)) } else { shape.area() };
        Truth { class: object.class, area, shape, crowd }
    };
    let one = |detection: &Detection| Found {
        class: detection.class,
        shape: shape(detection.bounding_box.0),
        score: f64::from(detection.confidence),
    };
    Picture { truths: picture.marks().map(truth).collect(), found: found.iter().map(one).collect() }
}

/// The pixels within an object's outline, in a picture of that width and height.
#[must_use]
pub fn mask(object: &Marked, (width, height): (u32, u32)) -> Rle {
    let mut bitmap = Bitmap::new(width, height);
    fill(&object.corners, width as usize, height as usize, |place| {
        bitmap.set(place as u32 % width, place as u32 / width, true);
    });
    masks::encode(&bitmap)
}

fn by_masks(labelled: &Labelled, found: &[Detection], (width, height): (u32, u32)) -> Result<Picture, VisionError> {
    let damaged = |error: masks::MaskError| VisionError::Setting(error.to_string());
    let mut picture = Picture::default();
    for (object, crowd) in labelled.marks() {
        let shape = Shape::Mask(Runs::within(&object.corners, (width, height)));
        let area = f64::from(area(&object.corners));
        picture.truths.push(Truth { class: object.class, area, shape, crowd });
    }
    for detection in found {
        let Some(mask) = &detection.mask else { continue };
        let shape = Shape::Mask(Runs::of(mask).map_err(damaged)?);
        picture.found.push(Found { class: detection.class, shape, score: f64::from(detection.confidence) });
    }
    Ok(picture)
}
