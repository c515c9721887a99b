//! Where an annotation's object is.

use super::super::Outline;
use super::super::mask;
use super::file::{Annotation, Image, Segmentation};

/// How far a corner may lie outside of its picture, as a share of the side, without a word: rounding puts some there.
const OUTSIDE: f64 = 0.01;

/// What an annotation gave.
pub(super) struct Shape {
    pub(super) outline: Outline,
    /// Whether it was traced from a mask.
    pub(super) traced: bool,
    /// What was mended, in words.
    pub(super) mended: Option<String>,
}

/// The place of an annotation's object in its picture, as shares of its sides.
///
/// # Errors
/// Why it cannot be used, in words.
pub(super) fn shape(annotation: &Annotation, image: &Image) -> Result<Shape, String> {
    let size = (image.width, image.height);
    let (width, height) = (f64::from(image.width.max(1)), f64::from(image.height.max(1)));
    let share = |x: f64, y: f64| [(x / width).clamp(0.0, 1.0) as f32, (y / height).clamp(0.0, 1.0) as f32];
    let of_pixels = |corners: Vec<[f32; 2]>| corners.into_iter().map(|[x, y]| share(x.into(), y.into())).collect();
    let far =
        |x: f64, y: f64| [x / width, y / height].into_iter().any(|share| !(-OUTSIDE..=1.0 + OUTSIDE).contains(&share));
    let cut = || "it reached out of the picture and was cut off there".to_owned();
    match &annotation.segmentation {
        Some(Segmentation::Polygons(parts)) if !parts.is_empty() => {
            for part in parts {
                if part.len() < 6 || part.len() % 2 == 1 || part.iter().any(|v| !v.is_finite()) {
                    return Err(format!(
                        "a part of its outline has {} numbers; pairs are needed, three or more",
                        part.len()
                    ));
                }
            }
            let outside = parts.iter().flat_map(|part| part.chunks_exact(2)).any(|p| far(p[0], p[1]));
            let (points, joined) = if let [part] = parts.as_slice() {
                (part.chunks_exact(2).map(|p| share(p[0], p[1])).collect(), None)
            } else {
                let within = |p: &[f64]| [p[0].clamp(0.0, width) as f32, p[1].clamp(0.0, height) as f32];
                let parts = parts.iter().map(|part| part.chunks_exact(2).map(within).collect()).collect();
                let whole = mask::joined(parts, size)?;
                (of_pixels(whole.corners), whole.mended)
            };
            let outline = Outline::Polygon(points);
            let [left, top, right, bottom] = outline.corners();
            if right <= left || bottom <= top {
                return Err("its outline has no area in the picture".into());
            }
            Ok(Shape { outline, traced: false, mended: together([joined, outside.then(cut)]) })
        }
        Some(Segmentation::Runs(runs)) => {
            let traced = mask::outline(runs, size)?;
            Ok(Shape { outline: Outline::Polygon(of_pixels(traced.corners)), traced: true, mended: traced.mended })
        }
        Some(Segmentation::Other(_)) => Err("its `segmentation` is neither outlines nor runs of a mask".into()),
        _ => {
            let &[x, y, w, h] = annotation.bbox.as_slice() else {
                return Err("it has neither an outline of corners nor a box".into());
            };
            let ([left, top], [right, bottom]) = (share(x, y), share(x + w, y + h));
            // A comparison with NaN is false, and false must not pass.
            if !(right > left && bottom > top) {
                return Err(format!("its box [{x}, {y}, {w}, {h}] has no area in the picture"));
            }
            let outline = Outline::Box([(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]);
            let outside = far(x, y) || far(x + w, y + h);
            Ok(Shape { outline, traced: false, mended: outside.then(cut) })
        }
    }
}

/// What was mended, in one sentence; none where nothing was.
fn together(mended: [Option<String>; 2]) -> Option<String> {
    let all: Vec<String> = mended.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}
