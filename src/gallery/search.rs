//! Exact search: every enrolled vector of the probe's weights is compared.

use std::cmp::Ordering;

use super::members::Member;
use super::{Gallery, GalleryError};
use crate::domain::{Embedding, Fingerprint, Neighbour, Rotation};

/// Sums kept apart in a dot product, so that the compiler can do them side by side.
const LANES: usize = 64;

/// A sighting's best rotation.
struct Hit<'a> {
    similarity: f32,
    rotation: Rotation,
    member: &'a Member,
}

impl Gallery {
    /// The `k` enrolled sightings nearest to a probe, nearest first; equally near ones by their names.
    ///
    /// All rotations of a sighting are compared and the best stands for it. Only sightings whose vectors were made
    /// with the probe's weights are seen: [`Gallery::made_with_others`] says how many are not. Empty where nothing is
    /// enrolled.
    ///
    /// # Errors
    /// Everything enrolled was made with other weights; the probe has another dimension.
    pub fn search(
        &self,
        fingerprint: Fingerprint,
        probe: &Embedding,
        k: usize,
    ) -> Result<Vec<Neighbour>, GalleryError> {
        let Some(set) = self.members.sets.get(&fingerprint) else {
            let most = self.members.sets.iter().max_by_key(|(_, set)| set.len());
            return most.map_or(Ok(Vec::new()), |(enrolled, set)| {
                let sightings = set.len();
                Err(GalleryError::OtherWeights { probe: fingerprint, enrolled: *enrolled, sightings })
            });
        };
        let (probe, mut scratch) = (probe.as_slice(), Vec::new());
        let mut hits = Vec::with_capacity(set.len());
        for member in set {
            let mut best: Option<(f32, Rotation)> = None;
            for place in &member.places {
                let Some(segment) = self.segments.get(&place.segment) else {
                    continue;
                };
                let components = segment.components(place.row, &mut scratch);
                if components.len() != probe.len() {
                    let (expected, given) = (segment.dimension, probe.len());
                    return Err(GalleryError::Dimension { fingerprint, expected, given });
                }
                let similarity = dot(components, probe);
                if best.is_none_or(|(so_far, _)| similarity > so_far) {
                    best = Some((similarity, place.rotation));
                }
            }
            hits.extend(best.map(|(similarity, rotation)| Hit { similarity, rotation, member }));
        }
        let by_nearness = |a: &Hit<'_>, b: &Hit<'_>| -> Ordering {
            b.similarity.total_cmp(&a.similarity).then_with(|| a.member.sighting.cmp(&b.member.sighting))
        };
        if k == 0 {
            return Ok(Vec::new());
        }
        if k < hits.len() {
            hits.select_nth_unstable_by(k - 1, by_nearness);
            hits.truncate(k);
        }
        hits.sort_unstable_by(by_nearness);
        let neighbour = |hit: Hit<'_>| Neighbour {
            label: hit.member.label.clone(),
            similarity: hit.similarity.clamp(-1.0, 1.0),
            rotation: hit.rotation,
            sighting: hit.member.sighting,
        };
        Ok(hits.into_iter().map(neighbour).collect())
    }
}

/// The dot product of two vectors of equal length, with the widest registers that the processor has.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has just been found to have what the function is compiled for.
            return unsafe { dot_avx512(a, b) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { dot_avx2(a, b) };
        }
    }
    products(a, b, |sum, a, b| sum + a * b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dot_avx512(a: &[f32], b: &[f32]) -> f32 {
    products(a, b, |sum, a, b| a.mul_add(b, sum))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
    products(a, b, |sum, a, b| a.mul_add(b, sum))
}

/// Inlined into each of the above, so that it is compiled for each one's registers.
#[inline(always)]
fn products(a: &[f32], b: &[f32], step: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] = step(sums[lane], a[lane], b[lane]);
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_multiplying_gives_the_same() {
        for length in [0, 1, 15, 64, 65, 383, 384, 1000] {
            let vector = |seed: f32| -> Vec<f32> { (0..length).map(|i| (i as f32 * seed).sin()).collect() };
            let (a, b) = (vector(0.37), vector(0.91));
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let plain = products(&a, &b, |sum, a, b| sum + a * b);
            for found in [dot(&a, &b), plain] {
                assert!((f64::from(found) - exact).abs() < 1e-3, "{length}: {found} instead of {exact}");
            }
        }
    }
}
