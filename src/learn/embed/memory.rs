//! What earlier batches looked like: more to be told apart from than a batch has room for.
//!
//! Cross-batch memory (Wang et al., arXiv:1912.06798): the network changes little in a few steps, so vectors of a few steps
//! ago are nearly those it would give now, and cost nothing. Here they are only what a crop has to be unlike; that of the
//! paper also draws a label's crops to its earlier ones, which may have been turned in another way (`upright`).

use std::collections::BTreeMap;

use tch::{Kind, TchError, Tensor};

/// Under these names it is kept with a run's state.
const KEPT: [&str; 2] = ["memory.vectors", "memory.labels"];

/// The last vectors of a run, each with its label.
#[derive(Debug)]
pub struct Memory {
    /// How many at most.
    most: i64,
    /// Unit vectors `[crops, width]` and whole numbers `[crops]`, the oldest first; none before the first batch.
    held: Option<(Tensor, Tensor)>,
}

impl Memory {
    /// An empty one, for so many crops; 0 for none.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most as i64, held: None }
    }

    /// One that goes on, from what [`Memory::state`] gave.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn resumed(most: usize, state: &BTreeMap<String, Tensor>) -> Result<Self, TchError> {
        let [vectors, labels] = KEPT.map(|name| state.get(name));
        let held = match (vectors, labels) {
            (Some(vectors), Some(labels)) => Some((vectors.shallow_clone(), labels.f_to_kind(Kind::Int64)?)),
            _ => None,
        };
        Ok(Self { held, ..Self::new(most) })
    }

    /// Its tensors by name, in fp32: a label is a whole number far below 2^24.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>, TchError> {
        let Some((vectors, labels)) = &self.held else { return Ok(BTreeMap::new()) };
        let [first, second] = KEPT.map(str::to_owned);
        Ok([(first, vectors.shallow_clone()), (second, labels.f_to_kind(Kind::Float)?)].into())
    }

    /// What it holds.
    #[must_use]
    pub fn held(&self) -> Option<(&Tensor, &Tensor)> {
        self.held.as_ref().map(|(vectors, labels)| (vectors, labels))
    }

    /// Adds a batch; the oldest give way.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn add(&mut self, vectors: &Tensor, labels: &Tensor) -> Result<(), TchError> {
        if self.most == 0 {
            return Ok(());
        }
        let last = |all: Tensor| {
            let count = all.size()[0];
            all.f_narrow(0, (count - self.most).max(0), count.min(self.most))?.f_contiguous()
        };
        let vectors = vectors.f_detach()?;
        self.held = Some(match &self.held {
            None => (last(vectors)?, last(labels.shallow_clone())?),
            Some((old, of)) => (last(Tensor::f_cat(&[old, &vectors], 0)?)?, last(Tensor::f_cat(&[of, labels], 0)?)?),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    #[test]
    fn the_last_crops_are_held_and_come_back_from_a_state() {
        let batch = |from: i64| {
            let labels = Tensor::arange_start(from, from + 3, (Kind::Int64, tch::Device::Cpu));
            (labels.to_kind(Kind::Float).unsqueeze(1), labels)
        };
        let mut none = Memory::new(0);
        let (vectors, labels) = batch(0);
        none.add(&vectors, &labels).unwrap();
        assert!(none.held().is_none() && none.state().unwrap().is_empty());
        let mut memory = Memory::new(5);
        for from in [0, 3, 6] {
            let (vectors, labels) = batch(from);
            memory.add(&vectors, &labels).unwrap();
        }
        let labels = |memory: &Memory| Vec::<i64>::try_from(memory.held().unwrap().1).unwrap();
        assert_eq!(labels(&memory), [4, 5, 6, 7, 8]);
        let again = Memory::resumed(5, &memory.state().unwrap()).unwrap();
        assert_eq!(labels(&again), labels(&memory));
        assert_eq!(again.held().unwrap().0, memory.held().unwrap().0);
    }
}
