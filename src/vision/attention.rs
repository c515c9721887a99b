//! Attention in bf16 on CPUs that multiply bf16 pairs (AVX-512 BF16), with scores and softmax in fp32.
//!
//! libtorch's fused attention brings bf16 to fp32 before it multiplies, so bf16 gains nothing there; its plain products are
//! fast, but round the scores to 8 bits before the softmax. Here both products multiply bf16 and sum in fp32, scores never
//! leave fp32, and the shares are rounded to bf16 once, as in libtorch's fused attention. Queries, keys and values are read
//! where the layer before wrote them, and the result lies as the next layer wants it: nothing is copied in between.

use tch::{Device, Kind, TchError, Tensor};

use super::dino::HEAD;

/// Where one of queries, keys and values lies: `[batch, tokens, stride]` with each head's `HEAD` values together.
#[derive(Debug)]
pub struct Part<'a> {
    /// The layer's values, `[batch, tokens, width]`, contiguous.
    pub of: &'a Tensor,
    /// The first column.
    pub from: i64,
}

/// Whether [`attend`] serves these values here.
#[must_use]
pub fn serves(values: &Tensor) -> bool {
    values.kind() == Kind::BFloat16 && values.device() == Device::Cpu && has_instructions()
}

fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// What each query sees, `[batch, queries, heads * HEAD]`: the softmax of its products with the keys, over
/// `sqrt(HEAD)`, as shares of the values.
///
/// # Errors
/// When the parts do not fit each other, or this machine or these values are not served (see [`serves`]).
pub fn attend(queries: &Part, keys: &Part, values: &Part, heads: i64) -> Result<Tensor, TchError> {
    let head = HEAD as i64;
    let (batch, count, _) = queries.of.size3()?;
    let (_, tokens, _) = keys.of.size3()?;
    for (part, rows) in [(queries, count), (keys, tokens), (values, tokens)] {
        let fits = part.of.size3()? == (batch, rows, part.of.size3()?.2)
            && part.from >= 0
            && part.from + heads * head <= part.of.size3()?.2;
        if !fits || !serves(part.of) || !part.of.is_contiguous() {
            return Err(TchError::Kind("attention over values that do not fit".into()));
        }
    }
    let mut seen = Tensor::f_empty([batch, count, heads * head], (Kind::BFloat16, Device::Cpu))?;
    if batch * count * tokens * heads == 0 {
        return seen.f_zero_();
    }
    #[cfg(target_arch = "x86_64")]
    x86::run(queries, keys, values, &mut seen, heads as usize, tch::get_num_threads().max(1) as usize)?;
    Ok(seen)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tch::{TchError, Tensor};

    use super::{HEAD, Part};
    use crate::vision::lanes::{LANES, exp2};

    /// Registers of a head.
    const SPANS: usize = HEAD / LANES;
    /// Queries that are worked on together: with four registers of keys or values, sixteen sums.
    const ROWS: usize = 4;
    /// Registers of keys that are worked on together.
    const ACROSS: usize = 4;

    /// A matrix in memory: where, and how far apart its rows are, in bf16 values.
    #[derive(Clone, Copy)]
    struct Rows {
        at: *const u16,
        stride: usize,
        count: usize,
    }

    // SAFETY: it is only read, within `run`, whose borrows keep the tensors alive.
    unsafe impl Send for Rows {}
    // SAFETY: as above.
    unsafe impl Sync for Rows {}

    /// The result's place. Every head of every picture is written by one thread.
    #[derive(Clone, Copy)]
    struct Out(*mut u16);

    // SAFETY: threads write to different parts of it.
    unsafe impl Send for Out {}
    // SAFETY: as above.
    unsafe impl Sync for Out {}

    impl Out {
        /// # Safety
        /// The place is the result's.
        unsafe fn from(&self, place: usize) -> *mut u16 {
            // SAFETY: says the caller.
            unsafe { self.0.add(place) }
        }
    }

    impl Rows {
        fn of(part: &Part) -> Result<Self, TchError> {
            let (_, count, stride) = part.of.size3()?;
            // SAFETY: `attend` has checked that the columns from `from` on lie within the rows.
            let at = unsafe { part.of.data_ptr().cast::<u16>().cast_const().add(part.from as usize) };
            Ok(Self { at, stride: stride as usize, count: count as usize })
        }

        /// The head of a picture.
        ///
        /// # Safety
        /// Picture and head are the tensor's.
        unsafe fn head(self, picture: usize, head: usize) -> Self {
            // SAFETY: it lies within the tensor, says the caller.
            Self { at: unsafe { self.at.add(picture * self.count * self.stride + head * HEAD) }, ..self }
        }
    }

    pub fn run(
        queries: &Part,
        keys: &Part,
        values: &Part,
        seen: &mut Tensor,
        heads: usize,
        threads: usize,
    ) -> Result<(), TchError> {
        let (queries, keys, values) = (Rows::of(queries)?, Rows::of(keys)?, Rows::of(values)?);
        let (batch, count, width) = seen.size3()?;
        let (batch, count, width) = (batch as usize, count as usize, width as usize);
        let out = Out(seen.data_ptr().cast());
        let (next, tasks) = (AtomicUsize::new(0), batch * heads);
        let work = || {
            let mut scratch = Scratch::new(keys.count);
            loop {
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    return;
                }
                let (picture, head) = (task / heads, task % heads);
                // SAFETY: picture and head are within the tensors; `serves` found the instructions; the result has `count` rows of
                // `width` values a picture, and this head's columns are nobody else's.
                unsafe {
                    let place = out.from(picture * count * width + head * HEAD);
                    let (q, k, v) = (queries.head(picture, head), keys.head(picture, head), values.head(picture, head));
                    one_head(q, k, v, place, width, &mut scratch);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(tasks) {
                scope.spawn(work);
            }
            work();
        });
        Ok(())
    }

    /// A thread's own memory for one head.
    struct Scratch {
        /// Keys, for each block of 16 and each pair of components a register: pair `p` of key `j` in lane `j`.
        keys: Vec<[u32; LANES]>,
        /// Values, for each pair of tokens four registers: component `d` of both in lane `d`.
        values: Vec<[u32; LANES]>,
        /// The scores of [`ROWS`] queries.
        scores: [Vec<f32>; ROWS],
        /// Their shares, as bf16 pairs.
        shares: [Vec<u32>; ROWS],
    }

    impl Scratch {
        fn new(tokens: usize) -> Self {
            let blocks = tokens.div_ceil(LANES).next_multiple_of(ACROSS);
            let wide = blocks * LANES;
            Self {
                keys: vec![[0; LANES]; blocks * (HEAD / 2)],
                values: vec![[0; LANES]; wide / 2 * SPANS],
                scores: std::array::from_fn(|_| vec![0.0; wide]),
                shares: std::array::from_fn(|_| vec![0; wide / 2]),
            }
        }
    }

    /// # Safety
    /// The rows are readable, the place writable, the instructions there.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn one_head(q: Rows, k: Rows, v: Rows, place: *mut u16, width: usize, scratch: &mut Scratch) {
        // SAFETY: as promised by the caller; the scratch was made for this number of tokens.
        unsafe {
            lay_out(k, v, scratch);
            for first in (0..q.count).step_by(ROWS) {
                // The last rows are worked on again rather than fewer: a row too many costs less than another loop.
                let row = |n: usize| (first + n).min(q.count - 1);
                let at: [*const u16; ROWS] = std::array::from_fn(|n| q.at.add(row(n) * q.stride));
                score(at, scratch);
                let sums: [f32; ROWS] = std::array::from_fn(|n| {
                    let (scores, shares) = (&mut scratch.scores[n], &mut scratch.shares[n]);
                    softmax(scores, shares, k.count)
                });
                let to: [*mut u16; ROWS] = std::array::from_fn(|n| place.add(row(n) * width));
                mix(scratch, sums, to, k.count);
            }
        }
    }

    /// Brings keys and values into the order in which pairs are multiplied. What is beyond the last token stays zero.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn lay_out(k: Rows, v: Rows, scratch: &mut Scratch) {
        const PAIRS: usize = HEAD / 2;
        // SAFETY: within the rows; pairs are read unaligned.
        unsafe {
            for token in 0..k.count {
                let row = k.at.add(token * k.stride).cast::<u32>();
                let block = &mut scratch.keys[token / LANES * PAIRS..][..PAIRS];
                for (pair, lanes) in block.iter_mut().enumerate() {
                    lanes[token % LANES] = row.add(pair).read_unaligned();
                }
            }
            for pair in 0..v.count.div_ceil(2) {
                let one = v.at.add(2 * pair * v.stride);
                let other = (2 * pair + 1 < v.count).then(|| one.add(v.stride));
                for span in 0..SPANS {
                    let wide =
                        |row: *const u16| _mm512_cvtepu16_epi32(_mm256_loadu_si256(row.add(span * LANES).cast()));
                    let high = other.map_or(_mm512_setzero_si512(), |row| _mm512_slli_epi32::<16>(wide(row)));
                    let both = _mm512_or_si512(wide(one), high);
                    _mm512_storeu_si512(scratch.values[pair * SPANS + span].as_mut_ptr().cast(), both);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: the same 512 bits, seen as bf16.
        let (a, b) =
            unsafe { (std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b)) };
        _mm512_dpbf16_ps(sum, a, b)
    }

    /// The products of four queries with every key.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn score(queries: [*const u16; ROWS], scratch: &mut Scratch) {
        const PAIRS: usize = HEAD / 2;
        // SAFETY: each query has `HEAD` values; the scores have a place for every block's lanes.
        unsafe {
            for (group, blocks) in scratch.keys.chunks_exact(PAIRS * ACROSS).enumerate() {
                let mut sums = [[_mm512_setzero_ps(); ACROSS]; ROWS];
                for pair in 0..PAIRS {
                    let keys: [__m512i; ACROSS] =
                        std::array::from_fn(|n| _mm512_loadu_si512(blocks[n * PAIRS + pair].as_ptr().cast()));
                    for (row, sums) in queries.iter().zip(&mut sums) {
                        let both = _mm512_set1_epi32(row.cast::<i32>().add(pair).read_unaligned());
                        for (sum, keys) in sums.iter_mut().zip(keys) {
                            *sum = multiply(*sum, both, keys);
                        }
                    }
                }
                for (row, sums) in scratch.scores.iter_mut().zip(sums) {
                    for (n, sum) in sums.into_iter().enumerate() {
                        _mm512_storeu_ps(row.as_mut_ptr().add((group * ACROSS + n) * LANES), sum);
                    }
                }
            }
        }
    }

    /// Scores to shares that are not yet divided by their sum, which is given back. Beyond the last token they are zero.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn softmax(scores: &mut [f32], shares: &mut [u32], tokens: usize) -> f32 {
        let scale = (HEAD as f32).sqrt().recip() * std::f32::consts::LOG2_E;
        scores[tokens..].fill(f32::NEG_INFINITY);
        // SAFETY: both slices are whole registers long.
        unsafe {
            let mut most = _mm512_set1_ps(f32::NEG_INFINITY);
            for lanes in scores.as_chunks::<LANES>().0 {
                most = _mm512_max_ps(most, _mm512_loadu_ps(lanes.as_ptr()));
            }
            let most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
            let scale = _mm512_set1_ps(scale);
            let mut sum = _mm512_setzero_ps();
            for (lanes, pairs) in scores.as_chunks::<LANES>().0.iter().zip(shares.as_chunks_mut::<{ LANES / 2 }>().0) {
                let share = exp2(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(lanes.as_ptr()), most), scale));
                sum = _mm512_add_ps(sum, share);
                let short = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(share));
                _mm256_storeu_si256(pairs.as_mut_ptr().cast(), short);
            }
            _mm512_reduce_add_ps(sum)
        }
    }

    /// The values by their shares, divided by the shares' sum, to four rows of the result.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn mix(scratch: &Scratch, sums: [f32; ROWS], to: [*mut u16; ROWS], tokens: usize) {
        // SAFETY: each row of the result has `HEAD` places.
        unsafe {
            let mut seen = [[_mm512_setzero_ps(); SPANS]; ROWS];
            for pair in 0..tokens.div_ceil(2) {
                let values: [__m512i; SPANS] =
                    std::array::from_fn(|n| _mm512_loadu_si512(scratch.values[pair * SPANS + n].as_ptr().cast()));
                for (shares, seen) in scratch.shares.iter().zip(&mut seen) {
                    let both = _mm512_set1_epi32(shares[pair].cast_signed());
                    for (sum, values) in seen.iter_mut().zip(values) {
                        *sum = multiply(*sum, both, values);
                    }
                }
            }
            for ((row, total), to) in seen.into_iter().zip(sums).zip(to) {
                let part = _mm512_set1_ps(total.recip());
                for (n, sum) in row.into_iter().enumerate() {
                    let short = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(_mm512_mul_ps(sum, part)));
                    _mm256_storeu_si256(to.add(n * LANES).cast(), short);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test's panic is its report")]
    use super::*;

    /// The root mean square of the difference, relative to the spread of what is right.
    fn error(found: &Tensor, right: &Tensor) -> f64 {
        let off = (found.to_kind(Kind::Float) - right).square().mean(Kind::Float).sqrt();
        (off / right.std(true)).double_value(&[])
    }

    #[test]
    fn it_sees_what_exact_attention_sees() {
        if !has_instructions() {
            println!("attention: skipped, this CPU has no AVX-512 BF16");
            return;
        }
        tch::manual_seed(5);
        let (heads, head) = (3_i64, HEAD as i64);
        let width = heads * head;
        for (batch, tokens, sharp) in [
            (1, 1, 1.0),
            (2, 2, 1.0),
            (1, 15, 2.0),
            (3, 16, 1.0),
            (1, 17, 4.0),
            (2, 257, 8.0),
            (1, 261, 1.0),
            (1, 1370, 3.0),
        ] {
            let values = Tensor::randn([batch, tokens, 3 * width], (Kind::Float, Device::Cpu)) * f64::sqrt(sharp);
            let values = values.to_kind(Kind::BFloat16);
            let part = |from| Part { of: &values, from };
            let found = attend(&part(0), &part(width), &part(2 * width), heads).unwrap();
            let exact: Vec<Tensor> =
                values.to_kind(Kind::Float).view([batch, tokens, 3, heads, head]).permute([2, 0, 3, 1, 4]).unbind(0);
            let right = Tensor::scaled_dot_product_attention::<Tensor>(
                &exact[0], &exact[1], &exact[2], None, 0.0, false, None, false,
            );
            let right = right.transpose(1, 2).reshape([batch, tokens, width]);
            let off = error(&found, &right);
            // Rounding the result to bf16 alone is 0.0017.
            assert!(off < 0.003, "{tokens} tokens: {off}");

            // One query over the keys and values of another layer.
            let (query, answers) = (
                values.narrow(1, 0, 1).narrow(2, 0, width).contiguous(),
                values.narrow(2, width, 2 * width).contiguous(),
            );
            let (query, keys) = (Part { of: &query, from: 0 }, Part { of: &answers, from: 0 });
            let one = attend(&query, &keys, &Part { of: &answers, from: width }, heads).unwrap();
            assert!(one.equal(&found.narrow(1, 0, 1)), "{tokens} tokens, one query");
        }
    }

    #[test]
    fn very_unlike_scores_give_numbers() {
        if !has_instructions() {
            return;
        }
        let head = HEAD as i64;
        let values = (Tensor::randn([1, 40, 3 * head], (Kind::Float, Device::Cpu)) * 300.0).to_kind(Kind::BFloat16);
        let part = |from| Part { of: &values, from };
        let found = attend(&part(0), &part(head), &part(2 * head), 1).unwrap();
        assert!(found.to_kind(Kind::Float).isfinite().all().int64_value(&[]) == 1);
        assert!(attend(&part(0), &part(head), &part(3 * head), 1).is_err(), "columns that are not there");
    }
}
