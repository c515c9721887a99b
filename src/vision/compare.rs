//! A faster precision against fp32: the same weights, the same pictures, both answers side by side.
//!
//! The limits below decide whether `auto` may take the faster one. They ask for less than an operator would notice
//! and for less than the decision rule's own margins, and for enough pictures to mean something.

use std::path::Path;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Task};
use super::precision::{Comparison, candidate};
use super::{CropPolicy, DetectOptions, Detector, Embedder, Precision, Runtime, VisionError, dino, masks, rotations};
use crate::domain::{Detection, Embedding, ImageId};

/// Fewest pictures that mean something.
pub const LEAST_PICTURES: u32 = 20;
/// Fewest detections, found by both, that mean something.
pub const LEAST_DETECTIONS: u32 = 20;
/// A detection may be missing on one side if its confidence lies so near the least one that was asked for.
pub const BORDER: f32 = 0.05;
/// Most change of a confidence.
pub const MOST_CONFIDENCE: f32 = 0.05;
/// Least overlap of the two boxes of a detection, where they differ by more than [`MOST_PIXELS`].
pub const LEAST_BOX_IOU: f32 = 0.90;
/// Corners that differ by no more are the same: on small objects a pixel is much of the overlap.
pub const MOST_PIXELS: f32 = 2.0;
/// Least overlap of the two masks of a detection.
pub const LEAST_MASK_IOU: f64 = 0.90;
/// Least cosine between the two vectors of a picture.
pub const LEAST_COSINE: f32 = 0.999;
/// Most change of the similarity between two pictures: a third of what the default `decision.min_margin` of 0.03
/// allows for, since both similarities of a margin may move.
pub const MOST_CHANGE: f32 = 0.005;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Figures {
    /// Of a detector.
    Detector(DetectorFigures),
    /// Of an embedder.
    Embedder(EmbedderFigures),
}

impl Figures {
    /// How much was looked at.
    #[must_use]
    pub fn counted(&self) -> String {
        match self {
            Self::Detector(found) => format!("{} detections in {} pictures", found.matched, found.pictures),
            Self::Embedder(found) => format!("{} vectors of {} pictures", found.vectors, found.pictures),
        }
    }

    /// Why the faster precision may not stand in for fp32; empty where it may.
    #[must_use]
    pub fn objections(&self) -> Vec<String> {
        match self {
            Self::Detector(found) => found.objections(),
            Self::Embedder(found) => found.objections(),
        }
    }
}

/// A detector's agreement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectorFigures {
    /// Pictures seen.
    pub pictures: u32,
    /// The least confidence asked for.
    pub confidence: f32,
    /// Detections that both found: the same class, boxes that overlap by half.
    pub matched: u32,
    /// Detections of one side alone, well above the least confidence.
    pub unmatched: u32,
    /// Detections of one side alone within [`BORDER`] of the least confidence.
    pub at_the_border: u32,
    /// The worst overlap of two boxes.
    pub least_box_iou: f32,
    /// The most that a corner moved, pixels of the picture.
    pub most_pixels: f32,
    /// Detections whose boxes are too far apart: less than [`LEAST_BOX_IOU`] and more than [`MOST_PIXELS`].
    pub boxes_apart: u32,
    /// The most that a confidence changed.
    pub most_confidence: f32,
    /// The worst overlap of two masks; none without masks.
    pub least_mask_iou: Option<f64>,
}

impl DetectorFigures {
    fn new(confidence: f32) -> Self {
        Self {
            pictures: 0,
            confidence,
            matched: 0,
            unmatched: 0,
            at_the_border: 0,
            least_box_iou: 1.0,
            most_pixels: 0.0,
            boxes_apart: 0,
            most_confidence: 0.0,
            least_mask_iou: None,
        }
    }

    fn objections(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.pictures < LEAST_PICTURES {
            all.push(format!("{} pictures are too few to tell, {LEAST_PICTURES} are needed", self.pictures));
        }
        if self.matched < LEAST_DETECTIONS {
            all.push(format!("{} common detections are too few to tell, {LEAST_DETECTIONS} are needed", self.matched));
        }
        if self.unmatched > 0 {
            all.push(format!("{} detections were found by one side alone", self.unmatched));
        }
        if self.boxes_apart > 0 {
            all.push(format!(
                "{} boxes overlap by less than {LEAST_BOX_IOU}; the worst by {:.3}",
                self.boxes_apart, self.least_box_iou
            ));
        }
        // Written so that a value that is no number objects as well.
        if !matches!(self.most_confidence, 0.0..=MOST_CONFIDENCE) {
            all.push(format!("a confidence moved by {:.3}, {MOST_CONFIDENCE} is allowed", self.most_confidence));
        }
        if self.least_mask_iou.is_some_and(|iou| !matches!(iou, LEAST_MASK_IOU..=1.0)) {
            all.push(format!(
                "two masks overlap by {:.3}, {LEAST_MASK_IOU} is needed",
                self.least_mask_iou.unwrap_or_default()
            ));
        }
        all
    }

    /// Takes in a picture's detections: `ours` in fp32, `theirs` in the candidate, both most confident first.
    fn add(&mut self, ours: &[Detection], theirs: &[Detection]) -> Result<(), VisionError> {
        self.pictures += 1;
        let mut free: Vec<&Detection> = theirs.iter().collect();
        for one in ours {
            let overlap = |other: &Detection| one.bounding_box.iou(&other.bounding_box);
            let same = free.iter().enumerate().filter(|(_, other)| other.class == one.class && overlap(other) >= 0.5);
            let Some(at) = same.max_by(|a, b| overlap(a.1).total_cmp(&overlap(b.1))).map(|(at, _)| at) else {
                self.alone(one);
                continue;
            };
            self.pair(one, free.remove(at))?;
        }
        free.into_iter().for_each(|one| self.alone(one));
        Ok(())
    }

    fn alone(&mut self, one: &Detection) {
        if one.confidence <= self.confidence + BORDER { self.at_the_border += 1 } else { self.unmatched += 1 }
    }

    fn pair(&mut self, a: &Detection, b: &Detection) -> Result<(), VisionError> {
        let iou = a.bounding_box.iou(&b.bounding_box);
        let pixels = a.bounding_box.0.iter().zip(b.bounding_box.0).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        self.matched += 1;
        self.least_box_iou = self.least_box_iou.min(iou);
        self.most_pixels = self.most_pixels.max(pixels);
        self.boxes_apart += u32::from(iou < LEAST_BOX_IOU && pixels > MOST_PIXELS);
        self.most_confidence = self.most_confidence.max((a.confidence - b.confidence).abs());
        if let (Some(a), Some(b)) = (&a.mask, &b.mask) {
            let iou = masks::iou(a, b).map_err(|error| VisionError::Setting(error.to_string()))?;
            self.least_mask_iou = Some(self.least_mask_iou.map_or(iou, |least| least.min(iou)));
        }
        Ok(())
    }
}

/// An embedder's agreement. Each picture is embedded whole, in its four rotations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EmbedderFigures {
    /// Pictures seen.
    pub pictures: u32,
    /// Vectors compared.
    pub vectors: u32,
    /// The worst cosine between the two vectors of one picture.
    pub least_cosine: f32,
    /// The most that the similarity of two pictures changed, both at the same precision.
    pub most_change: f32,
    /// The most that it changed with one picture in fp32 and the other in the candidate: what a gallery that mixed
    /// them would see. It never does: the precision is part of an embedding's fingerprint.
    pub most_mixed_change: f32,
    /// Pictures whose nearest other picture is another one.
    pub nearest_changed: u32,
    /// The largest lead that the nearest had in fp32 where it changed.
    pub most_lead_lost: f32,
}

impl EmbedderFigures {
    /// Compares two rows of vectors, four a picture.
    fn of(ours: &[Embedding], theirs: &[Embedding]) -> Self {
        let count = ours.len().min(theirs.len());
        let mut found = Self {
            pictures: (count / 4) as u32,
            vectors: count as u32,
            least_cosine: 1.0,
            most_change: 0.0,
            most_mixed_change: 0.0,
            nearest_changed: 0,
            most_lead_lost: 0.0,
        };
        let most = |most: &mut f32, change: f32| *most = most.max(change);
        for i in 0..count {
            let cosine = ours[i].similarity(theirs[i].as_slice());
            found.least_cosine = found.least_cosine.min(cosine);
            // The nearest vector of another picture, in fp32 and in the candidate: (similarity in fp32, in the candidate, picture).
            let (mut near, mut near_there) = ((f32::MIN, 0), (f32::MIN, 0.0, 0));
            for j in (0..count).filter(|j| j / 4 != i / 4) {
                let full = ours[i].similarity(ours[j].as_slice());
                let there = theirs[i].similarity(theirs[j].as_slice());
                most(&mut found.most_change, (full - there).abs());
                most(&mut found.most_mixed_change, (full - ours[i].similarity(theirs[j].as_slice())).abs());
                if full > near.0 {
                    near = (full, j / 4);
                }
                if there > near_there.0 {
                    near_there = (there, full, j / 4);
                }
            }
            // Probes are asked as they lie.
            if i % 4 == 0 && near.1 != near_there.2 {
                found.nearest_changed += 1;
                most(&mut found.most_lead_lost, near.0 - near_there.1);
            }
        }
        found
    }

    fn objections(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.pictures < LEAST_PICTURES {
            all.push(format!("{} pictures are too few to tell, {LEAST_PICTURES} are needed", self.pictures));
        }
        if !matches!(self.least_cosine, LEAST_COSINE..=1.001) {
            all.push(format!(
                "a picture's two vectors have the cosine {:.5}, {LEAST_COSINE} is needed",
                self.least_cosine
            ));
        }
        if !matches!(self.most_change, 0.0..=MOST_CHANGE) {
            all.push(format!("a similarity moved by {:.4}, {MOST_CHANGE} is allowed", self.most_change));
        }
        all
    }
}

enum Pair {
    Detectors { full: Box<Detector>, other: Box<Detector>, options: DetectOptions, figures: DetectorFigures },
    Embedders { full: Box<Embedder>, other: Box<Embedder>, vectors: [Vec<Embedding>; 2] },
}

/// A comparison under way.
pub struct Trial {
    pair: Pair,
    weights: ImageId,
    candidate: Precision,
    machine: &'static str,
    input_size: u32,
}

impl Trial {
    /// Loads the model twice: in fp32, and in the device's faster precision.
    ///
    /// # Errors
    /// When the device has no faster precision, the file is no model, or libtorch fails.
    pub fn open(
        path: &Path,
        runtime: Runtime,
        options: DetectOptions,
        policy: CropPolicy,
    ) -> Result<Self, VisionError> {
        let Some((candidate, machine)) = candidate(runtime.device) else {
            return Err(VisionError::Setting(
                "there is nothing to compare: this CPU has neither avx512_bf16 nor amx_bf16, so auto is fp32 here"
                    .into(),
            ));
        };
        let checkpoint::Checkpoint { weights, info } = checkpoint::read(path)?;
        if info.task == Task::Classify {
            let (architecture, found) = (info.architecture, info.task);
            return Err(VisionError::Task { architecture, found, needed: "detect, segment or embed" });
        }
        let (full, other) = (runtime.with(Precision::Fp32), runtime.with(candidate));
        let (pair, input_size) = if info.task == Task::Embed {
            let pair = Pair::Embedders {
                full: Box::new(Embedder::new(&weights, policy, full)?),
                other: Box::new(Embedder::new(&weights, policy, other)?),
                vectors: [Vec::new(), Vec::new()],
            };
            (pair, policy.input_size)
        } else {
            let pair = Pair::Detectors {
                full: Box::new(Detector::new(&weights, full)?),
                other: Box::new(Detector::new(&weights, other)?),
                options,
                figures: DetectorFigures::new(options.confidence as f32),
            };
            (pair, options.input_size)
        };
        Ok(Self { pair, weights: info.sha256, candidate, machine, input_size })
    }

    /// What is compared with fp32: the precision, and what computes it.
    #[must_use]
    pub fn candidate(&self) -> (Precision, &'static str) {
        (self.candidate, self.machine)
    }

    /// Shows both an upright picture.
    ///
    /// # Errors
    /// When an option is out of range, the picture has no pixels, or a network fails.
    pub fn add(&mut self, picture: &RgbImage) -> Result<(), VisionError> {
        match &mut self.pair {
            Pair::Detectors { full, other, options, figures } => {
                let found = |detector: &Detector| -> Result<Vec<Detection>, VisionError> {
                    Ok(detector.detect(&[picture], options)?.into_iter().flatten().collect())
                };
                figures.add(&found(full)?, &found(other)?)
            }
            Pair::Embedders { full, other, vectors } => {
                let turned = rotations(&dino::fit(picture, full.policy()));
                vectors[0].extend(full.embed(&turned)?);
                vectors[1].extend(other.embed(&turned)?);
                Ok(())
            }
        }
    }

    /// The outcome.
    #[must_use]
    pub fn finish(self, date: String) -> Comparison {
        let figures = match self.pair {
            Pair::Detectors { figures, .. } => Figures::Detector(figures),
            Pair::Embedders { vectors: [ours, theirs], .. } => Figures::Embedder(EmbedderFigures::of(&ours, &theirs)),
        };
        let objections = figures.objections();
        Comparison {
            weights: self.weights,
            candidate: self.candidate,
            machine: self.machine.into(),
            input_size: self.input_size,
            date,
            agreed: objections.is_empty(),
            objections,
            figures,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail")]

    use std::slice::from_ref;

    use super::*;
    use crate::domain::BoundingBox;

    fn detection(class: u32, confidence: f32, corners: [f32; 4]) -> Detection {
        Detection { class, name: "pack".into(), confidence, bounding_box: BoundingBox(corners), mask: None }
    }

    /// Enough pictures that agree, and then one more.
    fn after(ours: &[Detection], theirs: &[Detection]) -> DetectorFigures {
        let mut figures = DetectorFigures::new(0.25);
        let common = [detection(0, 0.9, [0.0, 0.0, 100.0, 100.0])];
        for _ in 0..20 {
            figures.add(&common, &common).unwrap();
        }
        assert_eq!(figures.objections(), Vec::<String>::new());
        figures.add(ours, theirs).unwrap();
        figures
    }

    #[test]
    fn a_detector_agrees_only_where_every_detection_does() {
        let one = detection(1, 0.8, [0.0, 0.0, 100.0, 100.0]);
        let near = detection(1, 0.77, [1.0, 0.0, 101.0, 99.0]);
        assert_eq!(after(from_ref(&one), &[near]).objections(), Vec::<String>::new());
        let weak = detection(1, 0.29, [0.0, 0.0, 100.0, 100.0]);
        assert_eq!(after(from_ref(&weak), &[]).objections(), Vec::<String>::new(), "at the border");
        let tiny = |left| detection(1, 0.8, [left, 0.0, left + 8.0, 8.0]);
        assert_eq!(after(&[tiny(0.0)], &[tiny(1.5)]).objections(), Vec::<String>::new(), "a pixel of a small object");
        for (theirs, objection) in [
            (vec![], "one side alone"),
            (vec![detection(2, 0.8, [0.0, 0.0, 100.0, 100.0])], "one side alone"),
            (vec![detection(1, 0.7, [0.0, 0.0, 100.0, 100.0])], "a confidence moved"),
            (vec![detection(1, 0.8, [0.0, 0.0, 100.0, 80.0])], "overlap by less"),
            (vec![one.clone(), detection(0, 0.9, [500.0, 0.0, 600.0, 100.0])], "one side alone"),
        ] {
            let objections = after(from_ref(&one), &theirs).objections();
            assert!(objections.iter().any(|text| text.contains(objection)), "{objections:?}: {objection}");
        }
        assert_eq!(DetectorFigures::new(0.25).objections().len(), 2, "nothing was seen, nothing is proved");
    }

    #[test]
    fn an_embedder_agrees_only_where_similarities_hold() {
        let vector = |n: usize, by: f32| {
            let values = (0..64).map(|i| ((n * 64 + i) as f32 * 0.7).sin() + by * ((i * 7 + n) as f32).cos());
            Embedding::normalised(values.collect()).unwrap()
        };
        let row = |by| (0..80).map(|n| vector(n, by)).collect::<Vec<_>>();
        let same = EmbedderFigures::of(&row(0.0), &row(0.0));
        assert_eq!((same.pictures, same.vectors, same.nearest_changed), (20, 80, 0));
        assert!(same.objections().is_empty() && same.least_cosine > 0.9999, "{same:?}");
        let moved = EmbedderFigures::of(&row(0.0), &row(0.2));
        let objections = moved.objections();
        assert!(objections.iter().any(|text| text.contains("cosine")), "{objections:?}");
        assert!(objections.iter().any(|text| text.contains("similarity moved")), "{objections:?}");
        assert_eq!(EmbedderFigures::of(&row(0.0)[..8], &row(0.0)[..8]).objections().len(), 1, "two pictures are few");
    }
}
