//! Weights to begin with where there are none: random, but so that there is something to learn from at the first step.
//!
//! A transformer of plain noise learns nothing for a long time. What it is begun with instead:
//! - Patches are decorrelated: nearly all that varies in a patch is how bright it is, and print would be lost beside that.
//!   (As Coates and Ng, ICML 2011, and Jordan, arXiv:2404.00498, begin convolutions; here without looking at the data.)
//! - Attention begins as trained networks end: a token sees itself and what is like it, above all its neighbours, and what
//!   is seen is taken off (after Trockman and Kolter, arXiv:2305.09828, by products that need no decomposition).
//! - Positions are waves of their coordinates, so that neighbours are alike (Vaswani et al., arXiv:1706.03762, in two dimensions).

use tch::{Device, Kind, TchError, Tensor};

use crate::vision::checkpoint::{TensorData, Weights};
use crate::vision::dino::{HEAD, PATCH, Plan};
use crate::vision::random;

/// How far other weights lie from nothing (uniform up to the root of three times this deviation; DINOv2 draws a normal one of it).
const SPREAD: f64 = 0.02;
/// How much the waves of positions count beside patches of about unit variance.
const WAVES: f64 = 0.7;
/// The product of a head's queries and keys: its size, and how much of it is likeness rather than chance.
const SEEN: (f64, f64) = (1.5, 0.8);
/// The product of values and what becomes of them: this much of what is seen is taken off, and as much chance is added.
const TAKEN: f64 = 0.4;

/// How much branches count at first: the deeper the network, the less (Touvron et al., arXiv:2103.17239, 3.1; shallow ones
/// are not held back).
fn first_scale(depth: usize) -> f32 {
    match depth {
        ..=12 => 1.0,
        13..=18 => 0.1,
        19..=24 => 1e-5,
        _ => 1e-6,
    }
}

/// Random weights for a plan; the same for a seed.
///
/// # Errors
/// When libtorch fails.
pub fn scratch(plan: &Plan, seed: u64) -> Result<Weights, TchError> {
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
        } else if name == "pos_embed" {
            data(&positions(plan)?, &shape)?
        } else if name == "patch_embed.proj.weight" {
            data(&patches(plan.width, seed)?, &shape)?
        } else if name.ends_with("attn.qkv.weight") {
            data(&seeing(&name, plan.width, seed)?, &shape)?
        } else if let Some(block) = name.strip_suffix("attn.proj.weight") {
            data(&taking(block, plan.width, seed)?, &shape)?
        } else {
            let spread = if name == "cls_token" || name == "register_tokens" { 1e-6 } else { SPREAD };
            uniform(&name, &shape, spread, seed)
        };
        weights.tensors.insert(name, tensor);
    }
    Ok(weights)
}

/// Random numbers of a deviation, the same for a name and a seed.
pub(super) fn uniform(name: &str, shape: &[usize], deviation: f64, seed: u64) -> TensorData {
    let bound = deviation * 3.0_f64.sqrt();
    let count = shape.iter().product();
    let values: Vec<f32> = random::uniform(name, seed).take(count).map(|value| (value * bound) as f32).collect();
    TensorData::from_f32(shape, &values)
}

fn data(tensor: &Tensor, shape: &[usize]) -> Result<TensorData, TchError> {
    let values = Vec::<f32>::try_from(&tensor.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?)?;
    Ok(TensorData::from_f32(shape, &values))
}

/// Random numbers of unit variance, `[rows, columns]`.
fn noise(name: &str, rows: usize, columns: usize, seed: u64) -> Result<Tensor, TchError> {
    let values: Vec<f64> =
        random::uniform(name, seed).take(rows * columns).map(|value| value * 3.0_f64.sqrt()).collect();
    Tensor::f_from_slice(&values)?.f_view([rows as i64, columns as i64])
}

/// Random directions, `[rows, columns]`, at right angles to each other; no more columns than rows.
fn directions(name: &str, rows: usize, columns: usize, seed: u64) -> Result<Tensor, TchError> {
    Ok(Tensor::f_linalg_qr(&noise(name, rows, columns, seed)?, "reduced")?.0)
}

/// Filters for patches, `[width, 3 * 14 * 14]`: waves across a patch (the discrete cosine transform) in brightness and two
/// opponent colours, those that vary most, each brought to unit variance, mixed at random.
fn patches(width: usize, seed: u64) -> Result<Tensor, TchError> {
    let side = PATCH;
    let wave = |frequency: usize, at: usize| {
        let scale = if frequency == 0 { 1.0 } else { 2.0 } / side as f64;
        scale.sqrt() * (std::f64::consts::PI * (at as f64 + 0.5) * frequency as f64 / side as f64).cos()
    };
    // Brightness, yellow to blue, green to magenta, in colours that are normed already.
    let colours = [[3.0_f64.sqrt().recip(); 3], [0.5_f64.sqrt(), 0.0, -0.5_f64.sqrt()], {
        let unit = 6.0_f64.sqrt().recip();
        [unit, -2.0 * unit, unit]
    }];
    let all = (0..3).flat_map(|colour| (0..side * side).map(move |wave| (colour, wave / side, wave % side)));
    let mut waves: Vec<(f64, (usize, usize, usize))> =
        all.map(|(colour, down, across)| (variance(colour, down, across), (colour, down, across))).collect();
    waves.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    waves.truncate(width / 2);
    let filters: Vec<f64> = waves
        .iter()
        .flat_map(|(variance, (colour, down, across))| {
            // What varies less than this is noise.
            let gain = (variance + 0.02).sqrt().recip();
            let places = (0..3).flat_map(|c| (0..side * side).map(move |at| (c, at / side, at % side)));
            places.map(move |(c, y, x)| gain * colours[*colour][c] * wave(*down, y) * wave(*across, x))
        })
        .collect();
    let filters = Tensor::f_from_slice(&filters)?.f_view([waves.len() as i64, -1])?;
    directions("patch_embed.proj.weight", width, waves.len(), seed)?.f_matmul(&filters)
}

/// How much a wave varies from patch to patch, in colours normed by ImageNet's deviation: as measured on crops of packs; in
/// all photographs it falls about so with the frequency (Field, 1987).
fn variance(colour: usize, down: usize, across: usize) -> f64 {
    let frequency = (down as f64).hypot(across as f64);
    let bright = if frequency == 0.0 { 420.0 } else { 33.0 * frequency.powf(-2.5) };
    if colour == 0 { bright } else { bright / 13.0 }
}

/// `[1 + grid², width]`: nothing for the class token; for patches a quarter of the channels each sines and cosines of the column,
/// and of the row.
fn positions(plan: &Plan) -> Result<Tensor, TchError> {
    let (grid, quarter) = (plan.grid, plan.width / 4);
    let mut values = vec![0.0_f64; plan.width];
    for (row, column) in (0..grid).flat_map(|row| (0..grid).map(move |column| (row, column))) {
        for at in [column, row] {
            let angle = move |channel: usize| at as f64 / 10_000.0_f64.powf(channel as f64 / quarter as f64);
            values.extend((0..quarter).map(|channel| WAVES * angle(channel).sin()));
            values.extend((0..quarter).map(|channel| WAVES * angle(channel).cos()));
        }
    }
    Tensor::f_from_slice(&values)
}

/// A block's queries, keys and values, `[3 * width, width]`: keys of a head are mostly its queries, values keep everything.
fn seeing(name: &str, width: usize, seed: u64) -> Result<Tensor, TchError> {
    let (size, alike) = SEEN;
    let (mut queries, mut keys) = (Vec::new(), Vec::new());
    for head in 0..width / HEAD {
        let query = directions(&format!("{name}.q{head}"), width, HEAD, seed)?.f_mul_scalar(size.sqrt())?;
        let other = directions(&format!("{name}.k{head}"), width, HEAD, seed)?.f_mul_scalar(size.sqrt())?;
        let key = query.f_mul_scalar(alike)?.f_add(&other.f_mul_scalar((1.0 - alike * alike).sqrt())?)?;
        queries.push(query.f_transpose(0, 1)?);
        keys.push(key.f_transpose(0, 1)?);
    }
    let block = name.trim_end_matches("attn.qkv.weight");
    let values = kept(block, width, seed)?.f_mul_scalar(TAKEN.sqrt())?;
    Tensor::f_cat(&[Tensor::f_cat(&queries, 0)?, Tensor::f_cat(&keys, 0)?, values], 0)
}

/// What a block's values keep, `[width, width]`: everything, turned.
fn kept(block: &str, width: usize, seed: u64) -> Result<Tensor, TchError> {
    directions(&format!("{block}attn.v"), width, width, seed)
}

/// What becomes of a block's values, `[width, width]`: they are turned back and taken off, with chance beside it.
fn taking(block: &str, width: usize, seed: u64) -> Result<Tensor, TchError> {
    let chance = noise(&format!("{block}attn.proj"), width, width, seed)?.f_div_scalar((width as f64).sqrt())?;
    let product = chance.f_sub(&Tensor::f_eye(width as i64, (Kind::Double, Device::Cpu))?)?;
    product.f_matmul(&kept(block, width, seed)?.f_transpose(0, 1)?)?.f_mul_scalar(TAKEN.sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    fn matrix(weights: &Weights, name: &str) -> Tensor {
        crate::vision::checkpoint::to_tensor(weights.get(name).unwrap(), Device::Cpu, Kind::Double).unwrap()
    }

    #[test]
    fn tokens_see_what_is_like_them_and_it_is_taken_off() {
        let plan = Plan::named("dinov2_vit128x2_14", 4).unwrap();
        let weights = scratch(&plan, 3).unwrap();
        let names = |weights: &Weights| weights.tensors.keys().cloned().collect::<Vec<_>>();
        let mut right: Vec<String> = plan.manifest().into_iter().map(|(name, _)| name).collect();
        right.sort();
        assert_eq!(names(&weights), right);
        let qkv = matrix(&weights, "blocks.1.attn.qkv.weight");
        let (query, key, value) = (qkv.narrow(0, 64, 64), qkv.narrow(0, 192, 64), qkv.narrow(0, 256, 128));
        let trace = |product: Tensor| product.trace().double_value(&[]);
        let seen = trace(query.transpose(0, 1).matmul(&key));
        assert!((60.0..110.0).contains(&seen), "64 directions of a head, 1.5 by 0.8 each: {seen}");
        let taken = trace(matrix(&weights, "blocks.1.attn.proj.weight").matmul(&value));
        assert!((-128.0 * 0.5..-128.0 * 0.3).contains(&taken), "{taken}");
        assert_eq!(
            matrix(&scratch(&plan, 3).unwrap(), "patch_embed.proj.weight"),
            matrix(&weights, "patch_embed.proj.weight")
        );
    }

    #[test]
    fn neighbours_are_alike_by_their_positions_and_fine_print_counts_like_brightness() {
        let plan = Plan::named("dinov2_vit128x2_14", 8).unwrap();
        let weights = scratch(&plan, 3).unwrap();
        let positions = matrix(&weights, "pos_embed").squeeze_dim(0);
        let alike = |a: i64, b: i64| positions.get(1 + a).dot(&positions.get(1 + b)).double_value(&[]);
        assert!(alike(9, 10) > alike(9, 13) && alike(9, 17) > alike(9, 41) && alike(9, 9) > alike(9, 10));
        let filters = matrix(&weights, "patch_embed.proj.weight").view([128, -1]);
        let answer = |patch: &dyn Fn(usize, usize) -> f64| {
            let values: Vec<f64> = (0..3).flat_map(|_| (0..196).map(|at| patch(at / 14, at % 14))).collect();
            filters.matmul(&Tensor::from_slice(&values)).norm().double_value(&[])
        };
        let (flat, lines) = (answer(&|_, _| 0.9), answer(&|_, x| if x / 2 % 2 == 0 { 0.3 } else { -0.3 }));
        assert!(lines > flat, "stripes {lines}, a flat patch of three times the size {flat}");
    }
}
