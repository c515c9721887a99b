//! Which class objects were taken for, as Ultralytics' validator counts: at a confidence of 0.25, pairs that overlap by
//! more than 0.45, the best overlaps first. What is missed or found where nothing is, is background.

use serde::Serialize;

use super::shape::Picture;

/// The least confidence.
const CONFIDENCE: f64 = 0.25;
/// The least overlap, exclusive.
const OVERLAP: f64 = 0.45;

/// Counts of what was found for what is there; the last place of both is the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// One of so many classes that has counted nothing.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; (classes + 1) * (classes + 1)] }
    }

    /// Counts pictures.
    #[must_use]
    pub fn of(pictures: &[Picture], classes: usize) -> Self {
        let mut all = Self::new(classes);
        pictures.iter().for_each(|picture| all.picture(picture));
        all
    }

    /// How many classes there are, without the background.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `found` was found for `there`; `classes()` is the background.
    #[must_use]
    pub fn count(&self, found: usize, there: usize) -> u64 {
        self.counts[found * (self.classes + 1) + there]
    }

    /// Counts one. Classes that there are none of count as background.
    pub fn add(&mut self, found: usize, there: usize) {
        let (found, there) = (found.min(self.classes), there.min(self.classes));
        self.counts[found * (self.classes + 1) + there] += 1;
    }

    fn picture(&mut self, picture: &Picture) {
        let sure: Vec<usize> =
            (0..picture.found.len()).filter(|found| picture.found[*found].score > CONFIDENCE).collect();
        let mut pairs = Vec::new();
        for &found in &sure {
            for (there, truth) in picture.truths.iter().enumerate().filter(|(_, truth)| !truth.crowd) {
                let overlap = picture.found[found].shape.overlap(&truth.shape, truth.crowd);
                if overlap > OVERLAP {
                    pairs.push((overlap, found, there));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut found_taken, mut there_taken) = (vec![false; picture.found.len()], vec![false; picture.truths.len()]);
        for (_, found, there) in pairs {
            if !found_taken[found] && !there_taken[there] {
                (found_taken[found], there_taken[there]) = (true, true);
                self.add(picture.found[found].class as usize, picture.truths[there].class as usize);
            }
        }
        for (there, truth) in picture.truths.iter().enumerate().filter(|(_, truth)| !truth.crowd) {
            if !there_taken[there] {
                self.add(self.classes, truth.class as usize);
            }
        }
        for found in sure.into_iter().filter(|found| !found_taken[*found]) {
            self.add(picture.found[found].class as usize, self.classes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Found, Shape, Truth};
    use super::*;

    #[test]
    fn each_object_is_counted_once() {
        let shape = |left: f64| Shape::Box([left, 0.0, 10.0, 10.0]);
        let truth = |class, left| Truth { class, shape: shape(left), area: 100.0, crowd: false };
        let found = |class, left, score| Found { class, shape: shape(left), score };
        let picture = Picture {
            truths: vec![truth(0, 0.0), truth(1, 40.0), truth(1, 80.0)],
            found: vec![found(0, 1.0, 0.9), found(0, 2.0, 0.8), found(0, 40.0, 0.7), found(1, 80.0, 0.2)],
        };
        let all = Confusion::of(&[picture], 2);
        assert_eq!(all.count(0, 0), 1, "the nearer of two");
        assert_eq!(all.count(0, 2), 1, "the other is of nothing");
        assert_eq!(all.count(0, 1), 1, "taken for another class");
        assert_eq!(all.count(2, 1), 1, "not sure enough: missed");
        assert_eq!((0..3).map(|f| (0..3).map(|t| all.count(f, t)).sum::<u64>()).sum::<u64>(), 4);
    }
}
