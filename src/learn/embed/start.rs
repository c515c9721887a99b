//! The weights a run begins with: random ones, or those of a checkpoint; and a head for the labels.

use super::network::MARGIN;
use crate::vision::checkpoint::{TensorData, Weights};
use crate::vision::dino::{LINEAR, Plan};
use crate::vision::random;

/// How far weights lie from nothing (uniform up to the root of three times this deviation; DINOv2 draws a normal one of it).
const SPREAD: f64 = 0.02;

/// How much branches count at first: the deeper the network, the less (Touvron et al., arXiv:2103.17239, 3.1).
fn first_scale(depth: usize) -> f32 {
    match depth {
        ..=18 => 0.1,
        19..=24 => 1e-5,
        _ => 1e-6,
    }
}

/// Random weights for a plan.
#[must_use]
pub fn scratch(plan: &Plan, seed: u64) -> Weights {
    let mut weights = Weights::default();
    for (name, shape) in plan.manifest() {
        let count = shape.iter().product();
        let constant = |value: f32| TensorData::from_f32(&shape, &vec![value; count]);
        let is_norm = name.ends_with("norm.weight") || name.ends_with("norm1.weight") || name.ends_with("norm2.weight");
        let tensor = if name.ends_with(".bias") {
            constant(0.0)
        } else if is_norm {
            constant(1.0)
        } else if name.ends_with(".gamma") {
            constant(first_scale(plan.depth))
        } else {
            let spread = match name.as_str() {
                "cls_token" | "register_tokens" => 1e-6,
                // As PyTorch begins convolutions: by the root of their inputs.
                "patch_embed.proj.weight" => 1.0 / (3.0 * shape[1..].iter().product::<usize>() as f64).sqrt(),
                _ => SPREAD,
            };
            uniform(&name, &shape, spread, seed)
        };
        weights.tensors.insert(name, tensor);
    }
    weights
}

/// Random numbers of a deviation, the same for a name and a seed.
fn uniform(name: &str, shape: &[usize], deviation: f64, seed: u64) -> TensorData {
    let bound = deviation * 3.0_f64.sqrt();
    let count = shape.iter().product();
    let values: Vec<f32> = random::uniform(name, seed).take(count).map(|value| (value * bound) as f32).collect();
    TensorData::from_f32(shape, &values)
}

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
