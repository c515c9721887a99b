//! What is to become small: crops of one label near each other and far from all others, or the right class's share.

use tch::{Kind, Reduction, TchError, Tensor};

/// Vectors scaled to unit length, `[batch, width]`.
///
/// # Errors
/// When libtorch fails.
pub fn unit(tokens: &Tensor) -> Result<Tensor, TchError> {
    let squares = tokens.f_square()?.f_sum_dim_intlist([1].as_slice(), true, Kind::Float)?;
    tokens.f_div(&squares.f_sqrt()?.f_clamp_min(1e-12)?)
}

/// The supervised contrastive loss (Khosla et al., arXiv:2004.11362, L_out): for each crop, how little the others of its label
/// are preferred to all other crops, its similarities sharpened by `temperature`. A mean over the crops whose label is
/// there at least twice; 0 where there is none.
///
/// `vectors` are of unit length, `[batch, width]`; `labels` are `[batch]` whole numbers.
///
/// # Errors
/// When libtorch fails.
pub fn contrastive(vectors: &Tensor, labels: &Tensor, temperature: f64) -> Result<Tensor, TchError> {
    let batch = vectors.size2()?.0;
    let alike = vectors.f_matmul(&vectors.f_transpose(0, 1)?)?.f_div_scalar(temperature)?;
    let itself = Tensor::f_eye(batch, (Kind::Bool, vectors.device()))?;
    let others = alike.f_masked_fill(&itself, f64::NEG_INFINITY)?.f_log_softmax(1, Kind::Float)?;
    let same = labels.f_unsqueeze(0)?.f_eq_tensor(&labels.f_unsqueeze(1)?)?.f_logical_and(&itself.f_logical_not()?)?;
    // A crop's likeness to itself is minus infinity, which no product may meet.
    let wanted =
        others.f_masked_fill(&same.f_logical_not()?, 0.0)?.f_sum_dim_intlist([1].as_slice(), false, Kind::Float)?;
    let count = same.f_sum_dim_intlist([1].as_slice(), false, Kind::Float)?;
    let each = wanted.f_div(&count.f_clamp_min(1.0)?)?;
    let anchors = count.f_gt(0.0)?.f_sum(Kind::Float)?.f_clamp_min(1.0)?;
    each.f_sum(Kind::Float)?.f_neg()?.f_div(&anchors)
}

/// The additive angular margin softmax (Deng et al., arXiv:1801.07698): each label has a direction, and a crop has to be
/// nearer to its own than to any other by an angle of `margin` radians. Where the margin would turn past the opposite
/// direction, the cosine falls by `margin * sin(margin)` instead, as in the authors' code.
///
/// `vectors` are of unit length, `directions` `[labels, width]` of any.
///
/// # Errors
/// When libtorch fails.
pub fn angular(
    vectors: &Tensor,
    directions: &Tensor,
    labels: &Tensor,
    margin: f64,
    scale: f64,
) -> Result<Tensor, TchError> {
    // At the ends of the range the angle has no gradient.
    let cosine = vectors.f_matmul(&unit(directions)?.f_transpose(0, 1)?)?.f_clamp(-1.0 + 1e-7, 1.0 - 1e-7)?;
    let of_own = labels.f_unsqueeze(1)?;
    let own = cosine.f_gather(1, &of_own, false)?;
    let sine = own.f_square()?.f_neg()?.f_add_scalar(1.0)?.f_sqrt()?;
    let turned = own.f_mul_scalar(margin.cos())?.f_sub(&sine.f_mul_scalar(margin.sin())?)?;
    let beyond = own.f_sub_scalar(margin * margin.sin())?;
    let moved = turned.f_where_self(&own.f_gt(-margin.cos())?, &beyond)?;
    cosine.f_scatter(1, &of_own, &moved)?.f_mul_scalar(scale)?.f_cross_entropy_loss::<Tensor>(
        labels,
        None,
        Reduction::Mean,
        -100,
        0.0,
    )
}

/// A classifier's scores, `[batch, classes]`: see [`crate::vision::dino::Linear`] for what its head is shown.
///
/// # Errors
/// When libtorch fails.
pub fn scores(vectors: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, TchError> {
    let width = vectors.size2()?.1 as f64;
    vectors.f_mul_scalar(width.sqrt())?.f_linear(weight, Some(bias))
}

/// Cross-entropy of scores, rare classes counting as `weights` says.
///
/// # Errors
/// When libtorch fails.
pub fn classes(scores: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Result<Tensor, TchError> {
    scores.f_cross_entropy_loss(labels, weights, Reduction::Mean, -100, 0.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    /// Two labels, two crops each, in the plane.
    fn made() -> (Tensor, Tensor) {
        let vectors = Tensor::from_slice2(&[[1.0_f32, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]]);
        (vectors, Tensor::from_slice(&[0_i64, 0, 1, 1]))
    }

    #[test]
    fn the_contrastive_loss_is_the_papers_formula() {
        let (vectors, labels) = made();
        let rows = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]];
        let alike = |a: usize, b: usize| (rows[a][0] * rows[b][0] + rows[a][1] * rows[b][1]) / 0.5_f64;
        let pairs = [(0, 1), (1, 0), (2, 3), (3, 2)];
        let of = |(anchor, wanted): (usize, usize)| {
            let all: f64 = (0..4).filter(|other| *other != anchor).map(|other| alike(anchor, other).exp()).sum();
            -(alike(anchor, wanted).exp() / all).ln()
        };
        let right = pairs.into_iter().map(of).sum::<f64>() / 4.0;
        let found = contrastive(&vectors, &labels, 0.5).unwrap().double_value(&[]);
        assert!((found - right).abs() < 1e-6, "{found}, not {right}");
        let alone = Tensor::from_slice(&[0_i64, 1, 2, 3]);
        assert_eq!(contrastive(&vectors, &alone, 0.5).unwrap().double_value(&[]), 0.0, "nobody has a partner");
    }

    #[test]
    fn a_margin_makes_it_harder_and_none_is_plain_softmax() {
        let (vectors, labels) = made();
        let directions = Tensor::from_slice2(&[[2.0_f32, 0.5], [-0.3, 0.9]]);
        let loss = |margin| angular(&vectors, &directions, &labels, margin, 4.0).unwrap().double_value(&[]);
        let plain = vectors.matmul(&unit(&directions).unwrap().transpose(0, 1)) * 4.0;
        let plain = classes(&plain, &labels, None).unwrap().double_value(&[]);
        assert!((loss(0.0) - plain).abs() < 1e-6);
        assert!(loss(0.3) > loss(0.0) && loss(0.5) > loss(0.3));
        // Past the opposite direction it goes on rising.
        let opposite = Tensor::from_slice2(&[[-1.0_f32, 0.001], [0.0, 1.0]]);
        let far = |margin| angular(&vectors, &opposite, &labels, margin, 4.0).unwrap().double_value(&[]);
        assert!(far(0.8) > far(0.4));
    }
}
