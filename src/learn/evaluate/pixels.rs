//! Judging outlines by the classes of pixels: which object a pixel belongs to does not matter, background is a class.

use crate::domain::Detection;
use crate::learn::augment::{Marked, area, fill};
use crate::learn::metrics::classification::MetricError;
use crate::learn::metrics::semantic::{Counter, Scores};
use crate::learn::train::TrainError;
use crate::vision::masks;

/// Counts pixels.
#[derive(Clone, Debug)]
pub struct Pixels {
    counter: Counter,
    background: usize,
    confidence: f32,
}

impl Pixels {
    /// For so many classes; detections below a confidence (0 to 1) are background.
    #[must_use]
    pub fn new(classes: usize, confidence: f32) -> Self {
        Self { counter: Counter::new(classes + 1, None), background: classes, confidence }
    }

    /// Adds an upright picture of this width and height: its objects, with corners in pixels, and what was found in it.
    /// Of objects that overlap the smaller one is seen, of detections the surer one.
    ///
    /// # Errors
    /// A mask is damaged, or a class is none of those.
    pub fn add(
        &mut self,
        objects: &[Marked],
        found: &[Detection],
        (width, height): (u32, u32),
    ) -> Result<(), TrainError> {
        let (wide, high) = (width as usize, height as usize);
        let mut truths = vec![self.background; wide * high];
        let mut sorted: Vec<&Marked> = objects.iter().collect();
        sorted.sort_by(|a, b| area(&b.corners).total_cmp(&area(&a.corners)));
        for object in sorted {
            fill(&object.corners, wide, high, |place| truths[place] = object.class as usize);
        }
        let mut answers = vec![self.background; wide * high];
        let mut sure: Vec<&Detection> = found.iter().filter(|one| one.confidence >= self.confidence).collect();
        sure.sort_by(|a, b| a.confidence.total_cmp(&b.confidence));
        for detection in sure {
            let Some(mask) = &detection.mask else { continue };
            let inside = masks::decode(mask).map_err(|error| TrainError::Weights(error.to_string()))?;
            for y in 0..height {
                for x in (0..width).filter(|x| inside.get(*x, y)) {
                    answers[y as usize * wide + x as usize] = detection.class as usize;
                }
            }
        }
        self.counter.add(&truths, &answers).map_err(|error| TrainError::Weights(error.to_string()))
    }

    /// The figures so far; the last class is background.
    ///
    /// # Errors
    /// Nothing was counted.
    pub fn scores(&self) -> Result<Scores, MetricError> {
        self.counter.scores()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;
    use crate::domain::BoundingBox;
    use crate::vision::masks::{Bitmap, encode};

    fn marked(class: u32, [l, t, r, b]: [f32; 4]) -> Marked {
        Marked { class, corners: vec![[l, t], [r, t], [r, b], [l, b]], outlined: true }
    }

    fn found(class: u32, confidence: f32, [l, t, r, b]: [u32; 4]) -> Detection {
        let mut bitmap = Bitmap::new(10, 10);
        (t..b).for_each(|y| (l..r).for_each(|x| bitmap.set(x, y, true)));
        let bounding_box = BoundingBox([l, t, r, b].map(|edge| edge as f32));
        Detection { class, name: String::new(), confidence, bounding_box, mask: Some(encode(&bitmap)) }
    }

    #[test]
    fn pixels_are_counted_by_class() {
        let mut pixels = Pixels::new(2, 0.25);
        // A small object of class 1 on a large one of class 0; of it half is found, and a doubtful thing elsewhere.
        let objects = [marked(1, [2.0, 2.0, 4.0, 4.0]), marked(0, [0.0, 0.0, 10.0, 5.0])];
        let answers = [found(0, 0.9, [0, 0, 10, 5]), found(1, 0.95, [2, 2, 4, 3]), found(1, 0.1, [0, 6, 9, 9])];
        pixels.add(&objects, &answers, (10, 10)).unwrap();
        let scores = pixels.scores().unwrap();
        assert!((scores.pixel_accuracy - 0.98).abs() < 1e-12, "{scores:?}");
        let expected = [46.0 / 48.0, 2.0 / 4.0, 1.0];
        scores
            .iou
            .iter()
            .zip(expected)
            .for_each(|(iou, value)| assert!((iou.unwrap() - value).abs() < 1e-12, "{iou:?}"));
    }
}
