//! What a transformer adds up from layer to layer, and its layer norms, in one pass over memory.
//!
//! Beside layers in bf16 the sums stay in fp32: rounded to 8 bits after each of two dozen additions, they would lose more
//! than all layers between them. libtorch would add, norm and round in three passes, and convert what it adds in a fourth.

use tch::{Device, Kind, TchError, Tensor};

/// Fewer rows are not worth another thread.
const ROWS_A_THREAD: usize = 256;

/// A layer norm (arXiv:1607.06450) with its gain and bias, each `[width]` and of the sums' kind.
#[derive(Debug)]
pub struct Norm {
    weight: Tensor,
    bias: Tensor,
    /// Added to the variance.
    eps: f64,
    /// What the layer behind it takes.
    to: Kind,
}

impl Norm {
    /// A norm whose results have this kind.
    #[must_use]
    pub fn new(weight: Tensor, bias: Tensor, eps: f64, to: Kind) -> Self {
        Self { weight, bias, eps, to }
    }

    /// Adds `more` to the sums, `[..., width]` both, and norms them: the new sums, in the memory of the old ones where that can
    /// be, and what the next layer takes.
    ///
    /// # Errors
    /// When libtorch fails, as for shapes that do not fit.
    pub fn add_and_run(&self, mut sums: Tensor, more: Option<&Tensor>) -> Result<(Tensor, Tensor), TchError> {
        if let Some(normed) = self.in_one_pass(&mut sums, more)? {
            return Ok((sums, normed));
        }
        let sums = match more {
            Some(more) => sums.f_add(more)?,
            None => sums,
        };
        let normed = sums.f_layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), self.eps, true)?;
        let normed = normed.f_to_kind(self.to)?;
        Ok((sums, normed))
    }

    /// None where libtorch is to do it.
    fn in_one_pass(&self, sums: &mut Tensor, more: Option<&Tensor>) -> Result<Option<Tensor>, TchError> {
        let plain = |tensor: &Tensor, kinds: &[Kind]| {
            tensor.device() == Device::Cpu && tensor.is_contiguous() && kinds.contains(&tensor.kind())
        };
        let width = self.weight.numel();
        let narrow = [Kind::Float, Kind::BFloat16];
        let served = plain(sums, &[Kind::Float])
            && more.is_none_or(|more| plain(more, &narrow) && more.size() == sums.size())
            && sums.size().last() == Some(&(width as i64))
            && [&self.weight, &self.bias].iter().all(|t| plain(t, &[Kind::Float]) && t.numel() == width)
            && narrow.contains(&self.to)
            && width.is_multiple_of(LANES)
            && width > 0;
        if !served || !has_instructions() {
            return Ok(None);
        }
        let mut normed = Tensor::f_empty(sums.size(), (self.to, Device::Cpu))?;
        #[cfg(target_arch = "x86_64")]
        x86::run(self, sums, more, &mut normed);
        Ok(Some(normed))
    }
}

/// Values that are worked on together.
const LANES: usize = 16;

fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use tch::{Kind, Tensor};

    use super::{LANES, Norm, ROWS_A_THREAD};

    /// A value as it lies in memory.
    trait Stored: Copy + Send + Sync {
        fn wide(self) -> f32;
        fn narrowed(value: f32) -> Self;
    }

    impl Stored for f32 {
        #[inline(always)]
        fn wide(self) -> f32 {
            self
        }

        #[inline(always)]
        fn narrowed(value: f32) -> Self {
            value
        }
    }

    /// The upper half of an fp32.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    struct Bf16(u16);

    impl Stored for Bf16 {
        #[inline(always)]
        fn wide(self) -> f32 {
            f32::from_bits(u32::from(self.0) << 16)
        }

        /// To the nearest, ties to even. What is no number stays none.
        #[inline(always)]
        fn narrowed(value: f32) -> Self {
            let bits = value.to_bits();
            let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
            Self(if value.is_nan() { 0x7fc0 } else { rounded as u16 })
        }
    }

    /// All values of a contiguous tensor on the CPU.
    ///
    /// # Safety
    /// The tensor's kind is `T`'s, and nobody else writes to it while the slice lives.
    unsafe fn values<T: Stored>(tensor: &Tensor) -> &[T] {
        // SAFETY: as promised by the caller; a contiguous tensor has `numel` values from its pointer on.
        unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
    }

    /// As [`values`], to be written.
    ///
    /// # Safety
    /// As [`values`], and nobody else reads it either.
    unsafe fn values_mut<T: Stored>(tensor: &mut Tensor) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
    }

    pub(super) fn run(norm: &Norm, sums: &mut Tensor, more: Option<&Tensor>, normed: &mut Tensor) {
        // SAFETY: the caller has checked kinds, places and sizes, and borrows all of them.
        unsafe {
            let sums = values_mut::<f32>(sums);
            match (more.map(Tensor::kind), norm.to) {
                (Some(Kind::BFloat16), Kind::BFloat16) => {
                    all::<Bf16, Bf16>(norm, sums, more.map(|t| values(t)), values_mut(normed));
                }
                (Some(Kind::BFloat16), _) => all::<Bf16, f32>(norm, sums, more.map(|t| values(t)), values_mut(normed)),
                (_, Kind::BFloat16) => all::<f32, Bf16>(norm, sums, more.map(|t| values(t)), values_mut(normed)),
                (..) => all::<f32, f32>(norm, sums, more.map(|t| values(t)), values_mut(normed)),
            }
        }
    }

    /// # Safety
    /// The instructions are there; the norm's own tensors are fp32 on the CPU.
    unsafe fn all<M: Stored, N: Stored>(norm: &Norm, sums: &mut [f32], more: Option<&[M]>, normed: &mut [N]) {
        // SAFETY: promised by the caller; nobody writes to a norm.
        let (gain, bias) = unsafe { (values::<f32>(&norm.weight), values::<f32>(&norm.bias)) };
        let (width, eps) = (gain.len(), norm.eps as f32);
        let rows = sums.len() / width;
        let threads = (rows / ROWS_A_THREAD).clamp(1, tch::get_num_threads().max(1) as usize);
        let part = rows.div_ceil(threads) * width;
        let work = |number: usize, sums: &mut [f32], normed: &mut [N]| {
            let more = more.map(|more| &more[number * part..number * part + sums.len()]);
            // SAFETY: promised by the caller.
            unsafe { some(sums, more, normed, gain, bias, eps) }
        };
        std::thread::scope(|scope| {
            let mut parts = sums.chunks_mut(part.max(1)).zip(normed.chunks_mut(part.max(1))).enumerate();
            let first = parts.next();
            for (number, (sums, normed)) in parts {
                let work = &work;
                scope.spawn(move || work(number, sums, normed));
            }
            if let Some((number, (sums, normed))) = first {
                work(number, sums, normed);
            }
        });
    }

    /// # Safety
    /// The instructions are there.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
    unsafe fn some<M: Stored, N: Stored>(
        sums: &mut [f32],
        more: Option<&[M]>,
        normed: &mut [N],
        gain: &[f32],
        bias: &[f32],
        eps: f32,
    ) {
        let width = gain.len();
        for (row, (sums, normed)) in sums.chunks_exact_mut(width).zip(normed.chunks_exact_mut(width)).enumerate() {
            if let Some(more) = more {
                for (sum, more) in sums.iter_mut().zip(&more[row * width..(row + 1) * width]) {
                    *sum += more.wide();
                }
            }
            let mean = total(sums, |x| x) / width as f32;
            let variance = total(sums, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = 1.0 / (variance + eps).sqrt();
            for (((normed, sum), gain), bias) in normed.iter_mut().zip(&*sums).zip(gain).zip(bias) {
                *normed = N::narrowed(((sum - mean) * scale).mul_add(*gain, *bias));
            }
        }
    }

    /// A sum in as many lanes as a register has, which the compiler may not make of one by itself.
    #[inline(always)]
    fn total(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
        let mut lanes = [0.0; LANES];
        for chunk in row.as_chunks::<LANES>().0 {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += of(*value);
            }
        }
        lanes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail")]

    use super::*;

    fn values(shape: &[i64], seed: i64) -> Tensor {
        let count: i64 = shape.iter().product();
        ((Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.37 + seed).sin() * 3.0 + 1.0).view(shape)
    }

    fn most_apart(a: &Tensor, b: &Tensor) -> f64 {
        f64::try_from((a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max()).unwrap()
    }

    /// One pass against libtorch's own, at all kinds, with one thread and with several.
    #[test]
    fn one_pass_says_what_libtorch_says() {
        for (rows, width) in [(1, 16), (257, 384), (1028, 384)] {
            for (kind, to) in [
                (Kind::Float, Kind::Float),
                (Kind::BFloat16, Kind::BFloat16),
                (Kind::BFloat16, Kind::Float),
                (Kind::Float, Kind::BFloat16),
            ] {
                let norm = Norm::new(values(&[width], 1), values(&[width], 2), 1e-6, to);
                let (sums, more) = (values(&[1, rows, width], 3), values(&[1, rows, width], 4).to_kind(kind));
                for more in [None, Some(&more)] {
                    let expected = more.map_or_else(|| sums.shallow_clone(), |more| &sums + more);
                    let normed = expected.layer_norm([width], Some(&norm.weight), Some(&norm.bias), 1e-6, true);
                    let (added, found) = norm.add_and_run(sums.copy(), more).unwrap();
                    assert_eq!((found.kind(), most_apart(&added, &expected)), (to, 0.0));
                    // Rounding to bf16 is half of a 128th part of at most 16.
                    let bound = if to == Kind::Float { 2e-5 } else { 0.04 };
                    assert!(
                        most_apart(&found, &normed) < bound,
                        "{rows} {kind:?} {to:?}: {}",
                        most_apart(&found, &normed)
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none_and_rounding_is_to_the_nearest() {
        let norm = Norm::new(values(&[16], 1), values(&[16], 2), 1e-6, Kind::BFloat16);
        let (_, found) = norm.add_and_run(values(&[1, 16], 3) * f64::NAN, None).unwrap();
        assert_eq!(found.isnan().all(), Tensor::from(true));
        let norm = Norm::new(values(&[384], 1), values(&[384], 2), 1e-6, Kind::BFloat16);
        let wide = Norm::new(values(&[384], 1), values(&[384], 2), 1e-6, Kind::Float);
        let (_, narrow) = norm.add_and_run(values(&[9, 384], 3), None).unwrap();
        let (_, exact) = wide.add_and_run(values(&[9, 384], 3), None).unwrap();
        assert_eq!(narrow, exact.to_kind(Kind::BFloat16));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let norm = Norm::new(values(&[16], 1), values(&[16], 2), 1e-6, Kind::Float);
        assert!(norm.add_and_run(values(&[3, 16], 1), Some(&values(&[2, 16], 1))).is_err());
        assert!(norm.add_and_run(values(&[3, 17], 1), None).is_err());
    }
}
