//! The head that weights get for the labels of a run, and what is taken off again.

use super::network::MARGIN;
use super::scratch::uniform;
use crate::vision::checkpoint::{TensorData, Weights};
use crate::vision::dino::LINEAR;

/// Gives weights a classifier's head that knows nothing yet, in place of one that they may have. A head of the same
/// classes stays.
pub fn linear(weights: &mut Weights, width: usize, names: &[String], seed: u64) {
    let [weight, bias] = LINEAR;
    let shape = [names.len(), width];
    let same = weights.names.as_deref() == Some(names) && weights.get(weight).is_some_and(|head| head.shape == shape);
    if !same {
        weights.tensors.insert(weight.into(), uniform(weight, &shape, 0.01, seed));
        weights.tensors.insert(bias.into(), TensorData::from_f32(&[names.len()], &vec![0.0; names.len()]));
    }
    weights.names = Some(names.to_vec());
}

/// Gives weights a random direction for each label.
pub fn margin(weights: &mut Weights, width: usize, labels: usize, seed: u64) {
    weights.tensors.insert(MARGIN.into(), uniform(MARGIN, &[labels, width], 0.01, seed));
}

/// Takes off what no embedder needs.
pub fn bare(weights: &mut Weights) {
    LINEAR.into_iter().chain([MARGIN]).for_each(|name| drop(weights.tensors.remove(name)));
    weights.names = None;
}
