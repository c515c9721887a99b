//! Which labels the network itself finds alike: a batch of those teaches more than one of labels that were told apart long ago
//! (class-based hard example mining: Suh et al., CVPR 2019).

use rand::seq::SliceRandom as _;
use tch::{Kind, TchError, Tensor};

use super::crops::Crops;
use super::loss;
use super::network::Network;
use crate::learn::train::TrainError;
use crate::learn::train::loader::dice;

/// Crops that a label is known by.
const CROPS: usize = 2;
/// Crops that are looked at at once.
const TOGETHER: usize = 64;
/// Neighbours of each label that are looked through, for each one that is to stand beside it.
const DEPTH: usize = 8;
/// Labels whose neighbours are looked for at once.
const ROWS: i64 = 1024;

/// The labels that have crops, those that the network finds alike in runs of `together`, the runs in no order; the same for weights,
/// a seed and an epoch. None where `tell` (crops looked at, of how many) wants to stop.
///
/// # Errors
/// A crop cannot be read, or libtorch fails.
pub fn alike(
    network: &Network,
    crops: &Crops,
    together: usize,
    (seed, epoch): (u64, u64),
    tell: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<Vec<u32>>, TrainError> {
    let mut rng = dice(seed, epoch, u64::MAX / 3);
    let (mut labels, mut places) = (Vec::new(), Vec::new());
    for (label, of) in crops.by_label().iter().enumerate().filter(|(_, of)| !of.is_empty()) {
        let mut of = of.clone();
        of.shuffle(&mut rng);
        labels.push(label as u32);
        places.extend(of.iter().cycle().take(CROPS).copied());
    }
    let mut vectors = Vec::with_capacity(places.len() / TOGETHER + 1);
    for (number, some) in places.chunks(TOGETHER).enumerate() {
        if !tell(number * TOGETHER, places.len()) {
            return Ok(None);
        }
        let pixels = crops.together(some)?;
        vectors.push(tch::no_grad(|| loss::unit(&network.forward(&pixels)?))?);
    }
    let vectors = Tensor::f_cat(&vectors, 0)?.f_view([labels.len() as i64, CROPS as i64, -1])?;
    let means = loss::unit(&vectors.f_mean_dim([1].as_slice(), false, Kind::Float)?)?;
    let neighbours = neighbours(&means, together.saturating_mul(DEPTH))?;
    let mut first: Vec<usize> = (0..labels.len()).collect();
    first.shuffle(&mut rng);
    Ok(Some(runs(&first, &neighbours, together).into_iter().map(|place| labels[place]).collect()))
}

/// The nearest rows of each row, the nearest first, itself among them; `count` at most.
fn neighbours(rows: &Tensor, count: usize) -> Result<Vec<Vec<usize>>, TchError> {
    let all = rows.size2()?.0;
    let count = (count as i64).min(all);
    let mut found = Vec::with_capacity(all as usize);
    for from in (0..all).step_by(ROWS as usize) {
        let some = rows.f_narrow(0, from, ROWS.min(all - from))?;
        let (_, nearest) = some.f_matmul(&rows.f_transpose(0, 1)?)?.f_topk(count, 1, true, true)?;
        let nearest = Vec::<i64>::try_from(&nearest.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_view([-1])?)?;
        found.extend(nearest.chunks(count as usize).map(|of| of.iter().map(|n| *n as usize).collect::<Vec<_>>()));
    }
    Ok(found)
}

/// All of `first`, each with the nearest that are not taken yet; runs that stay short come last.
fn runs(first: &[usize], neighbours: &[Vec<usize>], together: usize) -> Vec<usize> {
    let mut taken = vec![false; neighbours.len()];
    let (mut full, mut short) = (Vec::with_capacity(first.len()), Vec::new());
    for one in first {
        if std::mem::replace(&mut taken[*one], true) {
            continue;
        }
        let mut run = vec![*one];
        for near in &neighbours[*one] {
            if run.len() < together && !std::mem::replace(&mut taken[*near], true) {
                run.push(*near);
            }
        }
        if run.len() == together { &mut full } else { &mut short }.extend(run);
    }
    full.extend(short);
    full
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_that_are_alike_stand_together() {
        // Four directions, three labels near each, mixed.
        let rows: Vec<[f32; 2]> = (0..12)
            .map(|n| {
                let angle = (n % 4) as f32 * 1.5 + (n / 4) as f32 * 0.05;
                [angle.cos(), angle.sin()]
            })
            .collect();
        let found = neighbours(&Tensor::from_slice2(&rows), 24).unwrap();
        assert!(found.iter().enumerate().all(|(n, of)| of[0] == n && of.len() == 12), "{found:?}");
        let order = runs(&[5, 0, 11, 2, 1, 3, 4, 6, 7, 8, 9, 10], &found, 3);
        for run in order.chunks(3) {
            assert!(run.iter().all(|n| n % 4 == run[0] % 4), "{order:?}");
        }
        assert_eq!(order[0], 5, "the first ones begin");
    }

    proptest! {
        #[test]
        fn every_label_has_its_place_once(
            points in prop::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 1..40), together in 1_usize..9, depth in 1_usize..20,
        ) {
            let rows: Vec<[f32; 2]> = points.iter().map(|(x, y)| [*x, *y]).collect();
            let found = neighbours(&Tensor::from_slice2(&rows), depth).unwrap();
            let first: Vec<usize> = (0..rows.len()).rev().collect();
            let mut order = runs(&first, &found, together);
            order.sort_unstable();
            prop_assert_eq!(order, (0..rows.len()).collect::<Vec<_>>());
        }
    }
}
