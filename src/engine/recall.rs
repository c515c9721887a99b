//! How often the approximate search finds what the exact one does, on the probes that really come.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::core::lock;
use crate::domain::Neighbour;

/// Probes that the figure is taken over: the last ones that were asked both ways.
const WINDOW: usize = 500;
/// Probes without which there is no judgement.
const ENOUGH: usize = 20;
/// With less the approximate search is not used.
const LEAST: f64 = 0.99;

/// The neighbours of a probe that were found, and how many there were.
type Measured = (u32, u32);

/// Recall at the length of the lists.
#[derive(Default)]
pub(super) struct Recall {
    probes: AtomicU64,
    window: Mutex<VecDeque<Measured>>,
    overruled: AtomicU64,
}

impl Recall {
    /// Counts a probe; true for every so many-th, the first among them: it is to be asked both ways.
    pub(super) fn is_due(&self, every: u64) -> bool {
        self.probes.fetch_add(1, Ordering::Relaxed).is_multiple_of(every.max(1))
    }

    /// Takes up a probe that was asked both ways. A neighbour just as near as the last of the exact list counts as found.
    pub(super) fn measure(&self, approximate: &[Neighbour], exact: &[Neighbour]) {
        let Some(last) = exact.last() else { return };
        let found = approximate.iter().filter(|neighbour| neighbour.similarity >= last.similarity).count();
        let mut window = lock(&self.window);
        window.push_back((found.min(exact.len()) as u32, exact.len() as u32));
        if window.len() > WINDOW {
            window.pop_front();
        }
    }

    /// Counts an answer that the exact search has changed.
    pub(super) fn overrule(&self) {
        self.overruled.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers that the exact search has changed.
    pub(super) fn overruled(&self) -> u64 {
        self.overruled.load(Ordering::Relaxed)
    }

    /// The share that was found (0 to 1), none while nothing was measured; and over how many probes.
    pub(super) fn value(&self) -> (Option<f64>, usize) {
        let window = lock(&self.window);
        let (found, of) =
            window.iter().fold((0, 0), |(found, of), one| (found + u64::from(one.0), of + u64::from(one.1)));
        ((of > 0).then(|| found as f64 / of as f64), window.len())
    }

    /// Whether it is too low to go on.
    pub(super) fn is_low(&self) -> bool {
        matches!(self.value(), (Some(value), measured) if measured >= ENOUGH && value < LEAST)
    }

    /// Begins anew: another index is in use.
    pub(super) fn clear(&self) {
        lock(&self.window).clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::domain::{ImageId, Label, Rotation, SightingId};

    fn list(similarities: &[f32]) -> Vec<Neighbour> {
        let neighbour = |similarity: &f32| Neighbour {
            label: Label::new("a").unwrap(),
            similarity: *similarity,
            rotation: Rotation::R0,
            sighting: SightingId { image: ImageId([0; 32]), index: 0 },
        };
        similarities.iter().map(neighbour).collect()
    }

    #[test]
    fn a_missed_neighbour_lowers_it_and_an_equally_near_one_does_not() {
        let recall = Recall::default();
        assert_eq!(recall.value(), (None, 0));
        recall.measure(&list(&[0.9, 0.8, 0.8]), &list(&[0.9, 0.8, 0.8]));
        assert_eq!(recall.value(), (Some(1.0), 1));
        recall.measure(&list(&[0.9, 0.7, 0.6]), &list(&[0.9, 0.8, 0.7]));
        assert_eq!(recall.value(), (Some(5.0 / 6.0), 2));
        recall.measure(&[], &list(&[0.9, 0.8]));
        assert_eq!(recall.value(), (Some(5.0 / 8.0), 3));
        assert!(!recall.is_low(), "three probes are no judgement");
        (0..ENOUGH).for_each(|_| recall.measure(&list(&[0.5]), &list(&[0.9])));
        assert!(recall.is_low());
        (0..WINDOW).for_each(|_| recall.measure(&list(&[0.9]), &list(&[0.9])));
        assert_eq!(recall.value(), (Some(1.0), WINDOW), "what is long past does not count");
        recall.clear();
        assert!(!recall.is_low() && recall.value() == (None, 0));
    }

    #[test]
    fn every_so_many_th_probe_is_due() {
        let recall = Recall::default();
        let due: Vec<bool> = (0..7).map(|_| recall.is_due(3)).collect();
        assert_eq!(due, [true, false, false, true, false, false, true]);
        assert!((0..5).all(|_| Recall::default().is_due(1)));
    }
}
