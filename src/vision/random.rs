//! Untrained weights, the same on every machine: for trying the engine out before trained ones are at hand, and for
//! proving the networks against the reference implementations (`tests/golden/weights.py` makes the same numbers).
//!
//! A number is `splitmix64(fnv1a64(name) + seed + (index + 1) * 0x9e3779b97f4a7c15)`, its top 24 bits taken as a
//! uniform value in [-1, 1), then scaled and shifted by what the tensor is for.

use super::checkpoint::{TensorData, Weights};
use super::{dino, yolo};

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Untrained weights of a published DINOv2: `dinov2_vits14`, `dinov2_vits14_reg`, …, `dinov2_vitg14_reg`.
///
/// `None` where there is no such model.
#[must_use]
pub fn dinov2(variant: &str, seed: u64) -> Option<Weights> {
    let rest = variant.strip_prefix("dinov2_vit")?;
    let (size, registers) = match rest.strip_suffix("_reg") {
        Some(rest) => (rest.strip_suffix("14")?, true),
        None => (rest.strip_suffix("14")?, false),
    };
    Some(fill(&dino::Plan::published(size, registers)?.manifest(), seed))
}

/// Untrained weights of a published YOLOv8, `yolov8n` or `yolov8n-seg` and so on, for so many classes.
///
/// `None` where there is no such model, or no class.
#[must_use]
pub fn yolov8(variant: &str, classes: u32, seed: u64) -> Option<Weights> {
    let rest = variant.strip_prefix("yolov8")?;
    let (size, segments) = rest.strip_suffix("-seg").map_or((rest, false), |size| (size, true));
    if classes == 0 {
        return None;
    }
    let mut weights = fill(&yolo::Plan::published(size, classes, segments)?.manifest(), seed);
    weights.names = Some((0..classes).map(|class| format!("untrained class {class}")).collect());
    Some(weights)
}

fn fill(manifest: &[(String, Vec<usize>)], seed: u64) -> Weights {
    let mut weights = Weights::default();
    for (name, shape) in manifest {
        weights.tensors.insert(name.clone(), tensor(name, shape, seed));
    }
    weights.meta.insert("origin".into(), format!("random, untrained (seed {seed})"));
    weights.meta.insert("licence".into(), "none needed: random numbers".into());
    weights
}

/// One tensor of untrained weights: `shift + spread * uniform(-1, 1)`.
#[must_use]
pub fn tensor(name: &str, shape: &[usize], seed: u64) -> TensorData {
    let (shift, spread) = range(name, shape);
    let count = shape.iter().product();
    let value = |uniform: f64| (shift + spread * uniform) as f32;
    let values: Vec<f32> = match shape {
        // The embedder's patch filters are flat in each quarter: filters of noise would see only noise.
        [out, inputs, rows, columns] if name == "patch_embed.proj.weight" => {
            let quarters: Vec<f32> = uniform(name, seed).take(out * inputs * 4).map(value).collect();
            let place = |i: usize| (i / (rows * columns), i / columns % rows * 2 / rows, i % columns * 2 / columns);
            let of = |(filter, down, across): (usize, usize, usize)| quarters[filter * 4 + down * 2 + across];
            (0..count).map(|i| of(place(i))).collect()
        }
        _ => uniform(name, seed).take(count).map(value).collect(),
    };
    TensorData::from_f32(shape, &values)
}

/// The endless row of uniform values in [-1, 1) that belongs to a name.
pub fn uniform(name: &str, seed: u64) -> impl Iterator<Item = f64> + use<> {
    let start = fnv1a64(name.as_bytes()).wrapping_add(seed);
    (1u64..).map(move |place| {
        let bits = splitmix64(start.wrapping_add(place.wrapping_mul(GOLDEN))) >> 40;
        bits as f64 / f64::from(1u32 << 23) - 1.0
    })
}

/// Spreads keep the size of the signal from layer to layer (He et al., arXiv:1502.01852); a uniform value in
/// [-a, a) has the deviation a / sqrt(3).
fn range(name: &str, shape: &[usize]) -> (f64, f64) {
    let last = |suffix: &str| name.ends_with(suffix);
    let inputs: usize = shape.iter().skip(1).product();
    if last("running_var") {
        (1.0, 0.5)
    } else if last("bn.weight") || last("norm.weight") || last("norm1.weight") || last("norm2.weight") || last("gamma")
    {
        (1.0, 0.25)
    } else if name.starts_with("model.22.cv3.") && last(".2.bias") {
        // An untrained detector should not see things.
        (-4.0, 0.1)
    } else if last("pos_embed") {
        (0.0, 1.0)
    } else if last("cls_token") || last("register_tokens") || shape.len() < 2 {
        // Small, so that what a picture's vector says comes from the picture.
        (0.0, 0.02)
    } else if last("patch_embed.proj.weight") {
        (0.0, 0.5 * (6.0 / inputs as f64).sqrt())
    } else if last("qkv.weight") {
        // Attention that chooses: measured on photographs, different ones come out at 0.66 on average, a picture and
        // itself turned below 0.94, and a picture and itself two pixels further above 0.95.
        (0.0, 1.5 * (3.0 / inputs as f64).sqrt())
    } else if shape.len() == 4 {
        (0.0, (6.0 / inputs as f64).sqrt())
    } else {
        (0.0, (3.0 / inputs as f64).sqrt())
    }
}

/// Fowler, Noll, Vo: FNV-1a, 64 bits.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of Steele, Lea and Flood's SplitMix64 (OOPSLA 2014).
fn splitmix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
