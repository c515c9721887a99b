//! Convolutions of 3x3 on the CPU by Winograd's minimal filtering: Lavin and Gray, Fast Algorithms for Convolutional
//! Neural Networks (arXiv:1509.09308), F(4x4, 3x3).
//!
//! A tile of 4x4 results takes 36 products a pair of channels instead of 144. Tile and kernel are brought into a space
//! where the convolution is 36 products of matrices, `[tiles, inputs]` by `[inputs, outputs]`, and the result is brought
//! back. oneDNN's convolutions are at the limit of the arithmetic; this moves the limit. What it costs are a few
//! roundings of 2^-24 more: the results are within some 1e-6 of the largest (the tests hold them against libtorch's).
//!
//! Tiles are worked on in groups that stay in a core's own cache from the first step to the last. The channels of a pixel
//! lie together, and pixels may be any distance apart: half of a layer's channels are read where they lie. In bf16
//! oneDNN's convolutions are as fast, so this is for fp32.

use tch::{Device, Kind, TchError, Tensor};

use super::onednn::Then;

/// Side of a tile's results, and of what they are made from.
const TILE: usize = 4;
const SEEN: usize = TILE + 2;
/// Products of a tile and a pair of channels.
const PRODUCTS: usize = SEEN * SEEN;
/// Channels that are worked on together.
const LANES: usize = 16;
/// Bytes of a group of tiles, on their way.
const GROUP: usize = 512 << 10;
/// The kernels take four times the room that they have as weights: above so many bytes a layer is not worth it.
const LARGEST: usize = 10 << 20;
/// Fewer products are not worth another thread.
const A_THREAD: usize = 4 << 20;

/// The kernels of a layer, in the space where they are multiplied.
#[derive(Debug)]
pub struct Kernels {
    inputs: usize,
    outputs: usize,
    /// `[product][outputs / wide][inputs][wide]`, where `wide` are [`Kernels::registers`] of outputs.
    values: Vec<f32>,
    bias: Vec<f32>,
}

/// Whether a layer with weights `[out, in, height, width]` over values of this kind is worked on so, here.
#[must_use]
pub fn serves(weight: &Tensor, stride: i64, kind: Kind) -> bool {
    let [outputs, inputs, 3, 3] = weight.size()[..] else { return false };
    let whole = |channels: i64| channels > 0 && channels % LANES as i64 == 0;
    let fits = inputs.saturating_mul(outputs).saturating_mul(4 * PRODUCTS as i64) <= LARGEST as i64;
    kind == Kind::Float && stride == 1 && whole(inputs) && whole(outputs) && fits && has_instructions()
}

fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Kernels {
    /// Brings weights `[out, in, 3, 3]` and their bias `[out]` into that space, in double precision.
    ///
    /// # Errors
    /// When [`serves`] says no, or libtorch fails.
    pub fn new(weight: &Tensor, bias: &Tensor) -> Result<Self, TchError> {
        /// What brings three weights to six points: 0, 1, -1, 2, -2 and infinity.
        const POINTS: [[f64; 3]; SEEN] = [
            [1.0 / 4.0, 0.0, 0.0],
            [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
            [0.0, 0.0, 1.0],
        ];
        let (outputs, inputs, _, _) = weight.size4()?;
        if !serves(weight, 1, Kind::Float) || bias.size() != [outputs] {
            return Err(TchError::Kind("weights that Winograd's scheme does not serve".into()));
        }
        let (inputs, outputs) = (inputs as usize, outputs as usize);
        let plain = |tensor: &Tensor| -> Result<Vec<f64>, TchError> {
            Vec::try_from(tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_contiguous()?.f_view([-1])?)
        };
        let bias = plain(bias)?.into_iter().map(|value| value as f32).collect();
        let mut kernels = Self { inputs, outputs, values: vec![0.0; PRODUCTS * inputs * outputs], bias };
        let wide = kernels.registers() * LANES;
        for (pair, kernel) in plain(weight)?.chunks_exact(9).enumerate() {
            let (output, input) = (pair / inputs, pair % inputs);
            for (product, [row, column]) in (0..PRODUCTS).map(|n| (n, [n / SEEN, n % SEEN])) {
                let by_row = |c: usize| (0..3).map(|r| POINTS[row][r] * kernel[3 * r + c]).sum::<f64>();
                let value: f64 = (0..3).map(|c| by_row(c) * POINTS[column][c]).sum();
                let block = product * (outputs / wide) + output / wide;
                kernels.values[(block * inputs + input) * wide + output % wide] = value as f32;
            }
        }
        Ok(kernels)
    }

    /// Registers of outputs that are summed side by side.
    fn registers(&self) -> usize {
        let all = self.outputs / LANES;
        [4, 5, 3, 2].into_iter().find(|n| all.is_multiple_of(*n)).unwrap_or(1)
    }
}

/// A convolution with a border of zeros, what follows it, and then the addition of `plus`, `[batch, out, height, width]`. `x`
/// is `[batch, in, height, width]`; the result has its channels last.
///
/// # Errors
/// When shapes or kinds do not fit each other, the activation is neither nothing nor SiLU, or libtorch fails.
pub fn convolve(x: &Tensor, kernels: &Kernels, then: Then, plus: Option<&Tensor>) -> Result<Tensor, TchError> {
    let (batch, inputs, height, width) = x.size4()?;
    let outputs = kernels.outputs as i64;
    let plain = |tensor: &Tensor| tensor.device() == Device::Cpu && tensor.kind() == Kind::Float;
    let fits = inputs as usize == kernels.inputs
        && plain(x)
        && [Then::Nothing, Then::Silu].contains(&then)
        && plus.is_none_or(|plus| plain(plus) && plus.size() == [batch, outputs, height, width]);
    if !fits || !has_instructions() {
        return Err(TchError::Kind("a convolution over values that do not fit".into()));
    }
    let result =
        Tensor::f_empty([batch, height, width, outputs], (Kind::Float, Device::Cpu))?.f_permute([0, 3, 1, 2])?;
    if result.numel() == 0 {
        return Ok(result);
    }
    let (x, plus) = (channels_last(x)?, plus.map(channels_last).transpose()?);
    #[cfg(target_arch = "x86_64")]
    x86::run(&x, kernels, then == Then::Silu, plus.as_ref(), &result);
    Ok(result)
}

/// The same values with those of each pixel together: a copy only where they are not.
fn channels_last(x: &Tensor) -> Result<Tensor, TchError> {
    if x.stride()[1] == 1 {
        return Ok(x.shallow_clone());
    }
    x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
}

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail, and says why it is skipped")]

    use super::*;

    fn values(shape: &[i64], seed: i64) -> Tensor {
        tch::manual_seed(seed);
        Tensor::rand(shape, (Kind::Float, Device::Cpu)) * 2.0 - 1.0
    }

    /// The greatest difference, as a share of the greatest value.
    fn apart(found: &Tensor, expected: &Tensor) -> f64 {
        let expected = expected.to_kind(Kind::Double);
        let most = f64::try_from((found.to_kind(Kind::Double) - &expected).abs().max()).unwrap();
        most / f64::try_from(expected.abs().max()).unwrap()
    }

    /// Sides that tiles do and do not divide, channels for every number of registers, half of another tensor's channels,
    /// with and without what follows, against libtorch's convolution in double precision.
    #[test]
    fn it_says_what_the_convolution_says() {
        if !has_instructions() {
            println!("skipped: this processor has no AVX-512");
            return;
        }
        for (case, (batch, inputs, outputs, height, width)) in [
            (1, 16, 16, 1, 1),
            (2, 32, 48, 13, 18),
            (1, 64, 64, 40, 24),
            (3, 48, 80, 5, 31),
            (1, 128, 112, 20, 20),
            (2, 16, 32, 4, 3),
        ]
        .into_iter()
        .enumerate()
        {
            let weight = values(&[outputs, inputs, 3, 3], 1) / (inputs as f64).sqrt();
            let bias = values(&[outputs], 2);
            assert!(serves(&weight, 1, Kind::Float) && !serves(&weight, 2, Kind::Float));
            assert!(!serves(&weight, 1, Kind::BFloat16));
            let kernels = Kernels::new(&weight, &bias).unwrap();
            let whole = values(&[batch, height, width, 2 * inputs], 3).permute([0, 3, 1, 2]);
            let half = whole.narrow(1, inputs, inputs);
            let more = values(&[batch, outputs, height, width], 4);
            let double = |t: &Tensor| t.to_kind(Kind::Double);
            for (x, then, plus) in [
                (&half, Then::Silu, None),
                (&half.contiguous(), Then::Nothing, Some(&more)),
                (&half, Then::Silu, Some(&more)),
            ] {
                let mut expected = double(x).conv2d(&double(&weight), Some(&double(&bias)), [1, 1], [1, 1], [1, 1], 1);
                if then == Then::Silu {
                    expected = expected.silu();
                }
                if let Some(plus) = plus {
                    expected += double(plus);
                }
                let found = convolve(x, &kernels, then, plus).unwrap();
                assert_eq!((found.size(), found.kind()), (expected.size(), Kind::Float));
                let apart = apart(&found, &expected);
                assert!(apart < 1e-5, "case {case}, {then:?}: {apart}");
            }
            assert!(convolve(&half, &kernels, Then::Gelu, None).is_err());
            assert!(convolve(&whole, &kernels, Then::Silu, None).is_err(), "other channels");
            assert!(convolve(&half, &kernels, Then::Silu, Some(&half.to_kind(Kind::Double))).is_err());
        }
    }

    /// What is no number, or too large to be one, comes out as such and nowhere else.
    #[test]
    fn what_is_no_number_stays_in_its_tiles() {
        if !has_instructions() {
            println!("skipped: this processor has no AVX-512");
            return;
        }
        let kernels = Kernels::new(&values(&[16, 16, 3, 3], 1), &values(&[16], 2)).unwrap();
        let mut x = values(&[1, 16, 12, 12], 3);
        _ = x.narrow(2, 1, 1).narrow(3, 1, 1).fill_(f64::NAN);
        let found = convolve(&x, &kernels, Then::Silu, None).unwrap();
        let none = |t: &Tensor| i64::try_from(t.isnan().sum(Kind::Int64)).unwrap();
        assert_eq!(none(&found.narrow(2, 4, 8).narrow(3, 4, 8)), 0);
        assert_eq!(none(&found.narrow(2, 1, 1).narrow(3, 1, 1)), 16);
        _ = x.fill_(-1e4);
        assert_eq!(none(&convolve(&x, &kernels, Then::Silu, None).unwrap()), 0);
    }
}
