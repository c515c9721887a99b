//! Exact search: every enrolled vector of the probe's weights is looked at in 8 bits, and those that may be among the
//! nearest are compared as they were enrolled.

use std::cmp::Ordering;

use super::filter::Sieve;
use super::members::{Member, Place, Set};
use super::segment::Scratch;
use super::{Gallery, GalleryError};
use crate::domain::{Embedding, Fingerprint, Neighbour, Rotation, SightingId};

/// Sums kept apart in a dot product, so that the compiler can do them side by side.
const LANES: usize = 64;

/// A sighting's best rotation.
#[derive(Clone, Copy)]
pub(super) struct Hit<'a> {
    pub similarity: f32,
    pub rotation: Rotation,
    pub member: &'a Member,
}

impl Hit<'_> {
    /// Nearest first, equally near ones by their names.
    fn by_nearness(&self, other: &Self) -> Ordering {
        let similar = other.similarity.total_cmp(&self.similarity);
        similar.then_with(|| self.member.sighting.cmp(&other.member.sighting))
    }
}

impl Gallery {
    /// The `k` enrolled sightings nearest to a probe, nearest first; equally near ones by their names.
    ///
    /// All rotations of a sighting are compared and the best stands for it. Only sightings whose vectors were made
    /// with the probe's weights are seen: [`Gallery::made_with_others`] says how many are not. Empty where nothing is
    /// enrolled.
    ///
    /// # Errors
    /// Everything enrolled was made with other weights; the probe has another dimension; a vector that may be among the
    /// nearest is no longer what was enrolled ([`GalleryError::Row`]; [`Gallery::doubt`] finds the others).
    pub fn search(
        &self,
        fingerprint: Fingerprint,
        probe: &Embedding,
        k: usize,
    ) -> Result<Vec<Neighbour>, GalleryError> {
        Ok(self.search_all(fingerprint, std::slice::from_ref(probe), k)?.pop().unwrap_or_default())
    }

    /// As [`Gallery::search`], for several probes in one pass over the vectors; an answer for each, in their order.
    ///
    /// # Errors
    /// As [`Gallery::search`].
    pub fn search_all(
        &self,
        fingerprint: Fingerprint,
        probes: &[Embedding],
        k: usize,
    ) -> Result<Vec<Vec<Neighbour>>, GalleryError> {
        let Some(set) = self.set(fingerprint, probes)? else {
            return Ok(vec![Vec::new(); probes.len()]);
        };
        if k == 0 {
            return Ok(vec![Vec::new(); probes.len()]);
        }
        let mut answers = Vec::with_capacity(probes.len());
        for probes in probes.chunks(super::kernel::TOGETHER) {
            let ready: Vec<_> = probes.iter().map(|probe| set.filter.probe(probe.as_slice())).collect();
            let mut sieves: Vec<Sieve> = probes.iter().map(|_| Sieve::new(k)).collect();
            set.filter.sift(&ready, &mut sieves);
            for (probe, sieve) in probes.iter().zip(sieves) {
                answers.push(nearest(self.compared(set, probe.as_slice(), k, &sieve.left())?, k));
            }
        }
        Ok(answers)
    }

    /// What is enrolled with a probe's weights; none where nothing is enrolled at all.
    pub(super) fn set(&self, fingerprint: Fingerprint, probes: &[Embedding]) -> Result<Option<&Set>, GalleryError> {
        let Some(set) = self.members.sets.get(&fingerprint) else {
            let most = self.members.sets.iter().max_by_key(|(_, set)| set.members.len());
            return most.map_or(Ok(None), |(enrolled, set)| {
                let sightings = set.members.len();
                Err(GalleryError::OtherWeights { probe: fingerprint, enrolled: *enrolled, sightings })
            });
        };
        let expected = set.filter.dimension();
        match probes.iter().map(|probe| probe.as_slice().len()).find(|given| *given != expected) {
            Some(given) => Err(GalleryError::Dimension { fingerprint, expected, given }),
            None => Ok(Some(set)),
        }
    }

    /// Compares vectors as they were enrolled: the best of each sighting that may be among the `k` nearest. `candidates` are
    /// slots, ascending, and what their similarities do not exceed.
    ///
    /// # Errors
    /// One of them is no longer what was enrolled: without it, the list could show the next of kin.
    pub(super) fn compared<'a>(
        &self,
        set: &'a Set,
        probe: &[f32],
        k: usize,
        candidates: &[(u32, f32)],
    ) -> Result<Vec<Hit<'a>>, GalleryError> {
        // The most promising first: with what they have, most of the others need not be read.
        let each = set.filter.rows().div_ceil(set.members.len().max(1));
        let cut = greatest(k.saturating_mul(each), candidates.iter().map(|(_, upper)| *upper));
        let mut scratch = Scratch::default();
        let mut similarity = |slot: u32| -> Result<Option<(u32, Hit<'a>)>, GalleryError> {
            let Some(member) = set.filter.owner(slot).and_then(|owner| set.members.get(owner)) else { return Ok(None) };
            let Some(place) = member.places.get((slot - member.slot) as usize) else { return Ok(None) };
            let vector = self.enrolled(member.sighting, place, &mut scratch)?;
            Ok(Some((slot, Hit { similarity: dot(vector, probe), rotation: place.rotation, member })))
        };
        let promising = candidates.iter().filter(|(_, upper)| *upper >= cut);
        let mut found: Vec<(u32, Hit<'a>)> =
            promising.filter_map(|(slot, _)| similarity(*slot).transpose()).collect::<Result<_, _>>()?;
        if cut > f32::NEG_INFINITY {
            let least = greatest(k, best_of_each(&found).map(|hit| hit.similarity));
            let others = candidates.iter().filter(|(_, upper)| *upper < cut && *upper >= least);
            for (slot, _) in others {
                found.extend(similarity(*slot)?);
            }
            found.sort_unstable_by_key(|(slot, _)| *slot);
        }
        Ok(best_of_each(&found).collect())
    }

    /// A vector as it was enrolled.
    ///
    /// # Errors
    /// What is on the disk is no longer that.
    pub(super) fn enrolled<'a>(
        &self,
        sighting: SightingId,
        place: &Place,
        scratch: &'a mut Scratch,
    ) -> Result<&'a [f32], GalleryError> {
        let segment = self.segments.get(&place.segment);
        let read = segment.map(|segment| segment.components(place.row, place.crc, scratch));
        read.unwrap_or_else(|| Err("is in a segment that is gone".into())).map_err(|detail| GalleryError::Row {
            path: self.segment_path(place.segment),
            row: place.row,
            sighting: Some(sighting),
            detail,
        })
    }
}

/// The `n`-th greatest; minus infinity where there are fewer.
fn greatest(n: usize, values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    match n.checked_sub(1) {
        Some(place) if place < values.len() => *values.select_nth_unstable_by(place, |a, b| b.total_cmp(a)).1,
        _ => f32::NEG_INFINITY,
    }
}

/// The best rotation of each sighting, of slots in ascending order: those of a sighting lie together.
fn best_of_each<'a>(found: &[(u32, Hit<'a>)]) -> impl Iterator<Item = Hit<'a>> {
    found.chunk_by(|(_, a), (_, b)| std::ptr::eq(a.member, b.member)).filter_map(|sighting| {
        let hits = sighting.iter().map(|(_, hit)| *hit);
        hits.reduce(|best, hit| if hit.similarity > best.similarity { hit } else { best })
    })
}

/// The `k` nearest of them as they are told.
pub(super) fn nearest(mut hits: Vec<Hit<'_>>, k: usize) -> Vec<Neighbour> {
    if k == 0 {
        return Vec::new();
    }
    if k < hits.len() {
        hits.select_nth_unstable_by(k - 1, Hit::by_nearness);
        hits.truncate(k);
    }
    hits.sort_unstable_by(Hit::by_nearness);
    let neighbour = |hit: Hit<'_>| Neighbour {
        label: hit.member.label.clone(),
        similarity: hit.similarity.clamp(-1.0, 1.0),
        rotation: hit.rotation,
        sighting: hit.member.sighting,
    };
    hits.into_iter().map(neighbour).collect()
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
impl Gallery {
    /// The definition: every vector compared as it was enrolled.
    pub(super) fn scan(&self, fingerprint: Fingerprint, probe: &Embedding, k: usize) -> Vec<Neighbour> {
        let set = &self.members.sets[&fingerprint];
        let slots = set.members.iter().flat_map(|m| m.slot..m.slot + m.places.len() as u32);
        let mut unbounded: Vec<(u32, f32)> = slots.map(|slot| (slot, f32::INFINITY)).collect();
        unbounded.sort_unstable_by_key(|(slot, _)| *slot);
        nearest(self.compared(set, probe.as_slice(), k, &unbounded).unwrap_or_default(), k)
    }
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
