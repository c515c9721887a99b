//! Logistic regression, solved to the end: the objective of scikit-learn's `LogisticRegression` with its `lbfgs` solver.
//!
//! It is convex, so where the gradient vanishes is the answer, whatever the way there: here L-BFGS (Nocedal and Wright, Numerical
//! Optimization, 7.2) in double precision.

use std::collections::VecDeque;

use tch::{Kind, TchError, Tensor};

use crate::learn::train::TrainError;

/// The gradient's largest number at which it has vanished.
const SMALL: f64 = 1e-9;
/// Steps after which something is wrong.
const MOST: usize = 20_000;
/// Steps that are remembered.
const MEMORY: usize = 20;

/// A solved head.
#[derive(Clone, Debug, PartialEq)]
pub struct Solved {
    /// `[classes][features]`.
    pub weight: Vec<Vec<f64>>,
    /// `[classes]`.
    pub bias: Vec<f64>,
    /// Steps it took.
    pub steps: usize,
}

struct Problem<'a> {
    features: &'a Tensor,
    wanted: Tensor,
    classes: i64,
    /// What the square of a weight costs, half of it.
    held: f64,
}

/// Solves for features `[pictures, features]` in double precision and a class each. `c` is scikit-learn's C: the larger, the
/// less weights are held back. With two classes the held-back weights are those of their difference, as there.
///
/// Features are used as they are: see [`standardised`].
///
/// # Errors
/// libtorch fails, or no end is reached (features that are not finite).
pub fn solve(features: &Tensor, labels: &[u32], classes: usize, c: f64) -> Result<Solved, TrainError> {
    let (count, width) = features.size2()?;
    let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
    let wanted = Tensor::f_from_slice(&labels)?.f_one_hot(classes as i64)?.f_to_kind(Kind::Double)?;
    // Rows of two classes are a vector and its opposite, half as long: what they cost together is half of what it costs.
    let factor = if classes == 2 { 2.0 } else { 1.0 };
    let problem = Problem { features, wanted, classes: classes as i64, held: factor / (c * count as f64) };
    let (solution, steps) = problem.solve()?;
    let rows = solution.f_view([classes as i64, width + 1])?;
    let rows: Vec<Vec<f64>> = Vec::try_from(rows)?;
    let bias = rows.iter().map(|row| row.last().copied().unwrap_or_default()).collect();
    let weight = rows.into_iter().map(|row| row[..width as usize].to_vec()).collect();
    Ok(Solved { weight, bias, steps })
}

impl Problem<'_> {
    /// The objective (a mean over pictures) and its gradient, for rows of weights with their bias last.
    fn at(&self, point: &Tensor) -> Result<(f64, Tensor), TchError> {
        let (count, width) = self.features.size2()?;
        let rows = point.f_view([self.classes, width + 1])?;
        let (weight, bias) = (rows.f_narrow(1, 0, width)?, rows.f_select(1, width)?);
        let logs = self.features.f_matmul(&weight.f_transpose(0, 1)?)?.f_add(&bias)?.f_log_softmax(1, Kind::Double)?;
        let loss = -logs.f_mul(&self.wanted)?.f_sum(Kind::Double)?.f_double_value(&[])? / count as f64;
        let cost = 0.5 * self.held * weight.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?;
        let off = logs.f_exp()?.f_sub(&self.wanted)?.f_div_scalar(count as f64)?;
        let by_weight = off.f_transpose(0, 1)?.f_matmul(self.features)?.f_add(&weight.f_mul_scalar(self.held)?)?;
        let by_bias = off.f_sum_dim_intlist([0].as_slice(), false, Kind::Double)?.f_unsqueeze(1)?;
        Ok((loss + cost, Tensor::f_cat(&[by_weight, by_bias], 1)?.f_view([-1])?))
    }

    fn solve(&self) -> Result<(Tensor, usize), TrainError> {
        let size = self.classes * (self.features.size2()?.1 + 1);
        let mut point = Tensor::f_zeros([size], (Kind::Double, self.features.device()))?;
        let (mut value, mut gradient) = self.at(&point)?;
        let mut memory: VecDeque<(Tensor, Tensor, f64)> = VecDeque::new();
        for step in 0..MOST {
            let largest = gradient.f_abs()?.f_max()?.f_double_value(&[])?;
            if !largest.is_finite() {
                return Err(TrainError::NotFinite);
            }
            if largest < SMALL {
                return Ok((point, step));
            }
            let way = direction(&gradient, &memory)?;
            let slope = dot(&way, &gradient)?;
            let mut length =
                if memory.is_empty() { 1.0 / gradient.f_norm()?.f_double_value(&[])?.max(1.0) } else { 1.0 };
            let moved = loop {
                let next = point.f_add(&way.f_mul_scalar(length)?)?;
                let (there, after) = self.at(&next)?;
                // Near the end the objective falls by less than it can be told; the gradient still says where to go.
                if there <= value + 1e-4 * length * slope + 1e-14 * value.abs() {
                    break Some((next, there, after));
                }
                length *= 0.5;
                if length < 1e-20 {
                    break None;
                }
            };
            let Some((next, there, after)) = moved else {
                if memory.is_empty() {
                    break;
                }
                // What was remembered leads nowhere: begin again from here.
                memory.clear();
                continue;
            };
            let (by, change) = (next.f_sub(&point)?, after.f_sub(&gradient)?);
            let curved = dot(&by, &change)?;
            if curved > 0.0 {
                memory.push_back((by, change, curved));
                if memory.len() > MEMORY {
                    memory.pop_front();
                }
            }
            (point, value, gradient) = (next, there, after);
        }
        Err(TrainError::Weights(
            "the linear probe reached no end: its features cannot be told apart by numbers; a smaller C helps (`c=0.01`)"
                .into(),
        ))
    }
}

/// Downhill, as far as the steps remembered tell how the ground curves.
fn direction(gradient: &Tensor, memory: &VecDeque<(Tensor, Tensor, f64)>) -> Result<Tensor, TchError> {
    let mut way = gradient.f_neg()?;
    let mut shares = Vec::with_capacity(memory.len());
    for (by, change, curved) in memory.iter().rev() {
        let share = dot(by, &way)? / curved;
        way = way.f_sub(&change.f_mul_scalar(share)?)?;
        shares.push(share);
    }
    if let Some((_, change, curved)) = memory.back() {
        way = way.f_mul_scalar(curved / dot(change, change)?)?;
    }
    for ((by, change, curved), share) in memory.iter().zip(shares.into_iter().rev()) {
        let back = dot(change, &way)? / curved;
        way = way.f_add(&by.f_mul_scalar(share - back)?)?;
    }
    Ok(way)
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64, TchError> {
    a.f_dot(b)?.f_double_value(&[])
}

/// Features moved and scaled to a mean of 0 and a deviation of 1 each; the means; the deviations. A feature that is always the
/// same is only moved.
///
/// # Errors
/// libtorch fails.
pub fn standardised(features: &Tensor) -> Result<(Tensor, Vec<f64>, Vec<f64>), TchError> {
    let mean = features.f_mean_dim([0].as_slice(), true, Kind::Double)?;
    let moved = features.f_sub(&mean)?;
    let deviation = moved.f_square()?.f_mean_dim([0].as_slice(), true, Kind::Double)?.f_sqrt()?;
    let flat = deviation.f_lt(1e-12)?;
    let deviation = deviation.f_masked_fill(&flat, 1.0)?;
    let scaled = moved.f_div(&deviation)?;
    Ok((scaled, Vec::try_from(mean.f_view([-1])?)?, Vec::try_from(deviation.f_view([-1])?)?))
}

impl Solved {
    /// The same head for features before they were [`standardised`].
    #[must_use]
    pub fn unscaled(&self, means: &[f64], deviations: &[f64]) -> Self {
        let weight: Vec<Vec<f64>> = self
            .weight
            .iter()
            .map(|row| row.iter().zip(deviations).map(|(w, deviation)| w / deviation).collect())
            .collect();
        let shift = |row: &Vec<f64>| row.iter().zip(means).map(|(w, mean)| w * mean).sum::<f64>();
        let bias = self.bias.iter().zip(&weight).map(|(bias, row)| bias - shift(row)).collect();
        Self { weight, bias, steps: self.steps }
    }
}
