//! Dot products of small integers: sixteen rows at a time, for one probe or several.
//!
//! A block holds sixteen rows turned so that a line of 64 bytes has four components of each: one instruction multiplies
//! a line with the same four components of a probe, and the sums of the rows stay side by side.

/// Rows of a block.
pub(super) const ROWS: usize = 16;
/// Components of each row in a line.
pub(super) const STEP: usize = 4;
/// Probes that share one pass over the rows at most: as many sums as stay in registers.
pub(super) const TOGETHER: usize = 8;

/// Four components of each of sixteen rows, 128 added to each component.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Line(pub [u8; ROWS * STEP]);

/// The sums of a block's rows.
pub(super) type Sums = [i32; ROWS];

/// `sums[p][r]` becomes the product of row `r` with probe `p`, each component of the row 128 too large. A probe has four
/// components of 8 bits a word, the first in the lowest byte, and as many words as the block has lines.
pub(super) fn products(block: &[Line], probes: &[&[i32]], sums: &mut [Sums]) {
    let mut done = 0;
    while done < probes.len() {
        done += match probes.len() - done {
            8.. => together::<8>(block, &probes[done..], &mut sums[done..]),
            4.. => together::<4>(block, &probes[done..], &mut sums[done..]),
            2.. => together::<2>(block, &probes[done..], &mut sums[done..]),
            _ => together::<1>(block, &probes[done..], &mut sums[done..]),
        };
    }
}

/// As [`products`] for the first `P` probes; gives `P`.
fn together<const P: usize>(block: &[Line], probes: &[&[i32]], sums: &mut [Sums]) -> usize {
    let probes: [&[i32]; P] = std::array::from_fn(|p| probes.get(p).map_or(&[][..], |words| words));
    // So that the loops below need no checks.
    let lines = probes.iter().fold(block.len(), |least, words| least.min(words.len()));
    let (block, probes) = (&block[..lines], probes.map(|words| &words[..lines]));
    let found = multiplied(block, probes);
    for (sums, found) in sums.iter_mut().zip(found) {
        *sums = found;
    }
    P
}

/// The products of one probe with rows that lie as they are: row `n` has its `stride` bytes, 128 added to each, from
/// `n * stride` of `codes` on, and the probe as many. `found` becomes one sum for each of `rows`, in their order; rows that
/// are not there are left out together with all behind them.
pub(super) fn picked(codes: &[u8], stride: usize, probe: &[i8], rows: &[u32], found: &mut Vec<i32>) {
    found.clear();
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vnni")
        && stride.is_multiple_of(64)
        && probe.len() == stride
    {
        // SAFETY: the processor has just been found to have what the function is compiled for.
        unsafe { x86::picked_vnni(codes, stride, probe, rows, found) };
        return;
    }
    for row in rows {
        let Some(row) = codes.get(*row as usize * stride..).and_then(|rest| rest.get(..stride)) else { return };
        found.push(one(row, probe));
    }
}

/// Asks the memory for what is needed soon.
#[inline(always)]
pub(super) fn fetch<T>(places: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in places.chunks((64 / size_of::<T>().max(1)).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint reads nothing, wherever it points, and every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = places;
}

/// The product of a row with 128 added to each component and one without.
pub(super) fn one(row: &[u8], probe: &[i8]) -> i32 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the processor has just been found to have what the function is compiled for.
            return unsafe { x86::one_vnni(row, probe) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::one_avx2(row, probe) };
        }
    }
    one_plain(row, probe)
}

#[inline(always)]
fn one_plain(row: &[u8], probe: &[i8]) -> i32 {
    row.iter().zip(probe).map(|(a, b)| i32::from(i16::from(*a)) * i32::from(i16::from(*b))).sum()
}

fn multiplied<const P: usize>(block: &[Line], probes: [&[i32]; P]) -> [Sums; P] {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the processor has just been found to have what the function is compiled for.
            return unsafe { x86::vnni(block, probes) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::avx2(block, probes) };
        }
    }
    plain(block, probes)
}

/// For processors without the instructions below, and what they are tested against.
fn plain<const P: usize>(block: &[Line], probes: [&[i32]; P]) -> [Sums; P] {
    probes.map(|words| {
        let mut sums = [0; ROWS];
        for (line, word) in block.iter().zip(words) {
            let four = word.to_le_bytes().map(|b| i32::from(b as i8));
            for (sum, row) in sums.iter_mut().zip(line.0.chunks_exact(STEP)) {
                *sum += row.iter().zip(four).map(|(code, probe)| i32::from(*code) * probe).sum::<i32>();
            }
        }
        sums
    })
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Line, Sums};

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn vnni<const P: usize>(block: &[Line], probes: [&[i32]; P]) -> [Sums; P] {
        // Two sums each: an addition waits for the one before it into the same register.
        let (mut even, mut odd) = ([_mm512_setzero_si512(); P], [_mm512_setzero_si512(); P]);
        let mut at = 0;
        while at + 1 < block.len() {
            // SAFETY: a line is 64 bytes and aligned to 64.
            let (first, second) = unsafe { (load512(&block[at]), load512(&block[at + 1])) };
            for p in 0..P {
                even[p] = _mm512_dpbusd_epi32(even[p], first, _mm512_set1_epi32(probes[p][at]));
                odd[p] = _mm512_dpbusd_epi32(odd[p], second, _mm512_set1_epi32(probes[p][at + 1]));
            }
            at += 2;
        }
        if let Some(last) = block.get(at) {
            // SAFETY: as above.
            let last = unsafe { load512(last) };
            for p in 0..P {
                even[p] = _mm512_dpbusd_epi32(even[p], last, _mm512_set1_epi32(probes[p][at]));
            }
        }
        let mut sums = [[0; 16]; P];
        for p in 0..P {
            // SAFETY: sixteen sums are 64 bytes; the store asks for no alignment.
            unsafe { _mm512_storeu_si512(sums[p].as_mut_ptr().cast(), _mm512_add_epi32(even[p], odd[p])) };
        }
        sums
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn load512(line: &Line) -> __m512i {
        // SAFETY: a line is 64 bytes and aligned to 64.
        unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn one_vnni(row: &[u8], probe: &[i8]) -> i32 {
        let (rows, probes) = (row.chunks_exact(64), probe.chunks_exact(64));
        let rest = super::one_plain(rows.remainder(), probes.remainder());
        let mut sums = _mm512_setzero_si512();
        for (row, probe) in rows.zip(probes) {
            // SAFETY: both are 64 bytes long; the loads ask for no alignment.
            let (row, probe) =
                unsafe { (_mm512_loadu_si512(row.as_ptr().cast()), _mm512_loadu_si512(probe.as_ptr().cast())) };
            sums = _mm512_dpbusd_epi32(sums, row, probe);
        }
        _mm512_reduce_add_epi32(sums) + rest
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn one_avx2(row: &[u8], probe: &[i8]) -> i32 {
        super::one_plain(row, probe)
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn picked_vnni(codes: &[u8], stride: usize, probe: &[i8], rows: &[u32], found: &mut Vec<i32>) {
        let row = |number: u32| codes.get(number as usize * stride..).and_then(|rest| rest.get(..stride));
        // Rows lie all over the memory: each is on its way while those before it are multiplied.
        for row in rows.iter().filter_map(|number| row(*number)) {
            super::fetch(row);
        }
        for number in rows {
            let Some(row) = row(*number) else { return };
            found.push(one_vnni(row, probe));
        }
    }

    /// Four rows of a line at a time, widened to 16 bits: products of 8 bits added in 16 would not fit.
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2<const P: usize>(block: &[Line], probes: [&[i32]; P]) -> [Sums; P] {
        let mut sums = [[0; 16]; P];
        for (words, sums) in probes.iter().zip(&mut sums) {
            let mut pairs = [_mm256_setzero_si256(); 4];
            for (line, word) in block.iter().zip(*words) {
                let probe = _mm256_cvtepi8_epi16(_mm_set1_epi32(*word));
                for (quarter, pairs) in pairs.iter_mut().enumerate() {
                    // SAFETY: four quarters of 16 bytes lie in the line's 64.
                    let rows = unsafe { _mm_load_si128(line.0.as_ptr().add(16 * quarter).cast()) };
                    *pairs = _mm256_add_epi32(*pairs, _mm256_madd_epi16(_mm256_cvtepu8_epi16(rows), probe));
                }
            }
            for (pairs, sums) in pairs.iter().zip(sums.chunks_exact_mut(4)) {
                let mut halves = [0_i32; 8];
                // SAFETY: eight sums are 32 bytes; the store asks for no alignment.
                unsafe { _mm256_storeu_si256(halves.as_mut_ptr().cast(), *pairs) };
                for (sum, halves) in sums.iter_mut().zip(halves.chunks_exact(2)) {
                    *sum = halves[0] + halves[1];
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn single_rows_are_multiplied_as_plainly() {
        let mut rng = SmallRng::seed_from_u64(4);
        for stride in [0, 1, 63, 64, 65, 384, 448] {
            let codes: Vec<u8> = (0..stride * 9).map(|_| rng.random()).collect();
            let probe: Vec<i8> = (0..stride).map(|_| rng.random()).collect();
            let wanted: Vec<i32> = (0..9).map(|n| one_plain(&codes[n * stride..][..stride], &probe)).collect();
            let mut found = Vec::new();
            picked(&codes, stride, &probe, &[0, 1, 2, 3, 4, 5, 6, 7, 8], &mut found);
            assert_eq!(found, wanted);
            assert_eq!(one(&codes[..stride], &probe), wanted[0]);
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has just been found to have it.
                assert_eq!(unsafe { x86::one_avx2(&codes[..stride], &probe) }, wanted[0]);
            }
            picked(&codes, stride.max(1), &probe, &[1_000_000, 0], &mut found);
            assert!(found.is_empty(), "nothing is read past the end");
        }
    }

    #[test]
    fn every_way_of_multiplying_gives_the_same_with_the_greatest_numbers_too() {
        let mut rng = SmallRng::seed_from_u64(3);
        for lines in [0, 1, 2, 5, 96, 257] {
            for extreme in [false, true] {
                let byte = |rng: &mut SmallRng| match (extreme, rng.random::<bool>()) {
                    (true, high) => {
                        if high {
                            255
                        } else {
                            0
                        }
                    }
                    (false, _) => rng.random::<u8>(),
                };
                let block: Vec<Line> = (0..lines).map(|_| Line(std::array::from_fn(|_| byte(&mut rng)))).collect();
                let words: Vec<Vec<i32>> = (0..13)
                    .map(|_| (0..lines).map(|_| i32::from_le_bytes(std::array::from_fn(|_| byte(&mut rng)))).collect())
                    .collect();
                let probes: Vec<&[i32]> = words.iter().map(Vec::as_slice).collect();
                let wanted: Vec<Sums> = probes.iter().map(|words| plain(&block, [words])[0]).collect();
                let mut sums = vec![[0; ROWS]; probes.len()];
                products(&block, &probes, &mut sums);
                assert_eq!(sums, wanted);
                #[cfg(target_arch = "x86_64")]
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has just been found to have it.
                    let found = unsafe { x86::avx2(&block, [probes[0], probes[1]]) };
                    assert_eq!(found[..], wanted[..2]);
                }
            }
        }
    }
}
