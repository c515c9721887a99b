//! What a detector is judged by: the objects that are there, those it found, and how far two of them overlap.

use crate::domain::Rle;
use crate::vision::masks::{self, MaskError};

/// Where an object is.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Left, top, width, height, in pixels.
    Box([f64; 4]),
    /// Its pixels.
    Mask(Runs),
}

/// A mask as runs down the columns, in pixels from the first; only the runs inside, each as its start and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    runs: Vec<(u64, u64)>,
    area: u64,
}

impl Runs {
    /// Reads a mask.
    ///
    /// # Errors
    /// Its counts are damaged.
    pub fn of(rle: &Rle) -> Result<Self, MaskError> {
        let (mut at, mut area, mut runs) = (0, 0, Vec::new());
        for (number, count) in masks::counts(rle)?.into_iter().enumerate() {
            if number % 2 == 1 && count > 0 {
                runs.push((at, at + count));
                area += count;
            }
            at += count;
        }
        Ok(Self { runs, area })
    }

    /// The runs between places in rising order, at each of which the mask turns on or off; two at one place undo each other.
    pub(super) fn between(turns: &[u64], pixels: u64) -> Self {
        let (mut runs, mut area, mut inside) = (Vec::<(u64, u64)>::new(), 0, None);
        for turn in turns.iter().copied().chain([pixels]) {
            inside = match inside {
                None => Some(turn),
                Some(from) => {
                    match runs.last_mut() {
                        Some((_, end)) if *end == from => *end = turn,
                        _ if turn > from => runs.push((from, turn)),
                        _ => {}
                    }
                    area += turn - from;
                    None
                }
            };
        }
        Self { runs, area }
    }

    /// The runs inside, each as its start and its end, in pixels down the columns from the first.
    #[must_use]
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.runs
    }

    /// Pixels inside.
    #[must_use]
    pub fn area(&self) -> u64 {
        self.area
    }

    /// Pixels inside both.
    fn intersection(&self, other: &Self) -> u64 {
        let (mut a, mut b, mut both) = (0, 0, 0);
        while let (Some(&(from, to)), Some(&(start, end))) = (self.runs.get(a), other.runs.get(b)) {
            both += to.min(end).saturating_sub(from.max(start));
            if to <= end {
                a += 1;
            } else {
                b += 1;
            }
        }
        both
    }
}

impl Shape {
    /// In pixels.
    #[must_use]
    pub fn area(&self) -> f64 {
        match self {
            Self::Box([_, _, width, height]) => width * height,
            Self::Mask(runs) => runs.area as f64,
        }
    }

    /// The area of both together; none where a box meets a mask.
    fn intersection(&self, other: &Self) -> f64 {
        match (self, other) {
            (Self::Box([x, y, w, h]), Self::Box([u, v, s, t])) => {
                let width = (x + w).min(u + s) - x.max(*u);
                let height = (y + h).min(v + t) - y.max(*v);
                if width <= 0.0 || height <= 0.0 { 0.0 } else { width * height }
            }
            (Self::Mask(a), Self::Mask(b)) => a.intersection(b) as f64,
            _ => 0.0,
        }
    }

    /// Intersection over union, 0 to 1, as pycocotools has it: with a crowd, over what was found alone.
    #[must_use]
    pub fn overlap(&self, truth: &Self, crowd: bool) -> f64 {
        let both = self.intersection(truth);
        if both == 0.0 {
            return 0.0;
        }
        let whole = if crowd { self.area() } else { self.area() + truth.area() - both };
        both / whole
    }
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// The class's number.
    pub class: u32,
    /// Where it is.
    pub shape: Shape,
    /// Its area as labelled, in pixels: what its size is told by.
    pub area: f64,
    /// Many objects as one: what lies in it counts neither for nor against.
    pub crowd: bool,
}

/// An object that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The class's number.
    pub class: u32,
    /// Where it is.
    pub shape: Shape,
    /// How sure the model is, 0 to 1.
    pub score: f64,
}

/// A picture with what is in it and what was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// What is there.
    pub truths: Vec<Truth>,
    /// What was found.
    pub found: Vec<Found>,
}

impl Picture {
    /// The places in `found` of one class, the surest first; equally sure ones in their order.
    pub(super) fn ranked(&self, class: u32) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.found.len()).filter(|&i| self.found[i].class == class).collect();
        places.sort_by(|&a, &b| self.found[b].score.total_cmp(&self.found[a].score));
        places
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use proptest::prelude::*;

    use super::*;
    use crate::vision::masks::{Bitmap, encode};

    fn bitmap(pixels: &[bool]) -> Bitmap {
        let mut bitmap = Bitmap::new(7, 6);
        for (n, inside) in pixels.iter().enumerate() {
            bitmap.set(n as u32 % 7, n as u32 / 7, *inside);
        }
        bitmap
    }

    proptest! {
        #[test]
        fn masks_overlap_as_their_pixels_do(
            a in prop::collection::vec(any::<bool>(), 42),
            b in prop::collection::vec(any::<bool>(), 42),
        ) {
            let both = a.iter().zip(&b).filter(|(a, b)| **a && **b).count() as f64;
            let either = a.iter().zip(&b).filter(|(a, b)| **a || **b).count() as f64;
            let shape = |pixels: &[bool]| Shape::Mask(Runs::of(&encode(&bitmap(pixels))).unwrap());
            let expected = if both == 0.0 { 0.0 } else { both / either };
            prop_assert_eq!(shape(&a).overlap(&shape(&b), false), expected);
            let alone = a.iter().filter(|inside| **inside).count() as f64;
            let expected = if both == 0.0 { 0.0 } else { both / alone };
            prop_assert_eq!(shape(&a).overlap(&shape(&b), true), expected);
        }
    }
}
