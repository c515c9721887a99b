//! What the kernels of our own share: functions of sixteen numbers at once (AVX-512).

use std::arch::x86_64::*;

/// Numbers of a register.
pub(super) const LANES: usize = 16;

/// Two to the power of each; within 2e-7 of it. A polynomial of degree 6 on the fraction (its Taylor series around 0,
/// where the fraction lies between -1/2 and 1/2).
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn exp2(x: __m512) -> __m512 {
    const TERMS: [f32; 7] = [1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, 6.931_472e-1, 1.0];
    // Beyond these the power is zero or infinite; an infinity would give no number as its own fraction.
    let x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-1000.0)), _mm512_set1_ps(1000.0));
    let whole = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    let fraction = _mm512_sub_ps(x, whole);
    let mut power = _mm512_set1_ps(TERMS[0]);
    for term in &TERMS[1..] {
        power = _mm512_fmadd_ps(power, fraction, _mm512_set1_ps(*term));
    }
    _mm512_scalef_ps(power, whole)
}

/// `x * sigmoid(x)`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn silu(x: __m512) -> __m512 {
    let power = exp2(_mm512_mul_ps(x, _mm512_set1_ps(-std::f32::consts::LOG2_E)));
    _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0), power))
}
