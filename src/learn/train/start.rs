//! The weights a run begins with: random ones, or those of a checkpoint as far as they fit.

use crate::vision::checkpoint::{TensorData, Weights};
use crate::vision::random;
use crate::vision::yolo::Plan;

/// The input's side for which class scores begin at so many objects a picture (Lin et al., arXiv:1708.02002, 4.1).
const SIDE: f64 = 640.0;
/// Objects of each class that a picture is expected to have at first, times its classes.
const EXPECTED: f64 = 5.0;

/// Random weights for a plan.
#[must_use]
pub fn scratch(plan: &Plan, names: Vec<String>, seed: u64) -> Weights {
    let mut weights = Weights { names: Some(names), ..Weights::default() };
    let inputs: std::collections::BTreeMap<String, usize> = plan
        .manifest()
        .into_iter()
        .filter(|(_, shape)| shape.len() == 4)
        .map(|(name, shape)| (name, shape[1..].iter().product()))
        .collect();
    for (name, shape) in plan.manifest() {
        weights.tensors.insert(name.clone(), first(&name, &shape, plan, &inputs, seed));
    }
    weights
}

/// How a tensor begins: convolutions as in PyTorch (uniform, by the root of their inputs), norms as nothing, the heads
/// so that boxes are some cells wide and objects rare.
fn first(
    name: &str,
    shape: &[usize],
    plan: &Plan,
    inputs: &std::collections::BTreeMap<String, usize>,
    seed: u64,
) -> TensorData {
    let count: usize = shape.iter().product();
    let constant = |value: f32| TensorData::from_f32(shape, &vec![value; count]);
    let ends = |end: &str| name.ends_with(end);
    if ends("bn.weight") || ends("running_var") || (name.starts_with("model.22.cv2.") && ends(".2.bias")) {
        return constant(1.0);
    }
    if ends("bn.bias") || ends("running_mean") {
        return constant(0.0);
    }
    if name.starts_with("model.22.cv3.") && ends(".2.bias") {
        let level = name.split('.').nth(3).and_then(|level| level.parse::<u32>().ok()).unwrap_or(0);
        let cells = (SIDE / f64::from(8_u32 << level)).powi(2);
        return constant((EXPECTED / f64::from(plan.classes) / cells).ln() as f32);
    }
    let weight = name.strip_suffix(".bias").map_or_else(|| name.to_owned(), |layer| format!("{layer}.weight"));
    let bound = 1.0 / (inputs.get(&weight).copied().unwrap_or(1) as f64).sqrt();
    let values: Vec<f32> = random::uniform(name, seed).take(count).map(|value| (value * bound) as f32).collect();
    TensorData::from_f32(shape, &values)
}

/// A checkpoint's weights for classes that may be others: what has the same name and shape is taken over, the rest is
/// random. Also says how many tensors of the plan were taken over.
///
/// # Errors
/// A sentence: the checkpoint is no YOLOv8.
pub fn from_checkpoint(weights: &Weights, names: Vec<String>, seed: u64) -> Result<(Weights, usize), String> {
    let old = Plan::of(weights).map_err(|fault| fault.to_string())?;
    let classes = u32::try_from(names.len()).unwrap_or(u32::MAX);
    // The class branch keeps its width, whatever that would be for so few classes: all of it but its last layer, whose rows are
    // classes, then knows already what it knew. So does Ultralytics (8.4.190, observed: 349 of 355 tensors of yolov8n.pt
    // for 3 classes).
    let plan = Plan { classes, ..old };
    let mut fresh = scratch(&plan, names, seed);
    let mut taken = 0;
    for (name, tensor) in &mut fresh.tensors {
        if let Some(old) = weights.get(name).filter(|old| old.shape == tensor.shape) {
            *tensor = old.clone();
            taken += 1;
        }
    }
    for key in ["bn_eps", "linear"] {
        if let Some(value) = weights.meta.get(key) {
            fresh.meta.insert(key.into(), value.clone());
        }
    }
    Ok((fresh, taken))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    #[test]
    fn other_classes_take_over_all_but_the_last_layer_of_their_branch() {
        let plan = Plan::published("n", 80, false).unwrap();
        let names = |count: usize| (0..count).map(|n| format!("class {n}")).collect::<Vec<_>>();
        let old = scratch(&plan, names(80), 1);
        let (fresh, taken) = from_checkpoint(&old, names(3), 2).unwrap();
        let other: Vec<&String> =
            fresh.tensors.iter().filter(|(name, tensor)| old.get(name) != Some(tensor)).map(|(name, _)| name).collect();
        assert_eq!(taken + other.len(), fresh.tensors.len());
        assert_eq!(other.len(), 6, "{other:?}");
        assert!(other.iter().all(|name| name.starts_with("model.22.cv3.") && name.contains(".2.")), "{other:?}");
        assert_eq!(fresh.get("model.22.cv3.1.2.weight").unwrap().shape, [3, 80, 1, 1]);
        assert_eq!(Plan::of(&fresh).unwrap().classes, 3, "such a network is still known");
        let (same, taken) = from_checkpoint(&old, names(80), 2).unwrap();
        assert_eq!((taken, same.tensors), (old.tensors.len(), old.tensors));
    }
}
