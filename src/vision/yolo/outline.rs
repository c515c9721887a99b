//! From a mask's logits at the prototypes' resolution to its pixels at the picture's own.
//!
//! As Ultralytics does with `retina_masks=True` (`process_mask_native`), its way to masks at the picture's own
//! resolution: the logits are first enlarged 1, 2 or 4 times, so that the padding can be cut off on whole pixels,
//! then scaled to the picture (bilinear, half-pixel centres), cut at zero, and cropped to the box. Only the
//! pixels inside the box are ever computed.

use std::ops::Range;

use crate::domain::BoundingBox;
use crate::vision::masks::Bitmap;

/// A picture's mask logits: row-major, `width` x `height`.
#[derive(Clone, Debug)]
pub struct Logits {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The values.
    pub values: Vec<f32>,
}

/// Where the picture lies in the logits, and how far they are enlarged before it is cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    enlarge: usize,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Frame {
    fn of(logits: (usize, usize), picture: (u32, u32)) -> Self {
        let (width, height) = (f64::from(picture.0), f64::from(picture.1));
        let scaled = |length: f64, gain: f64| ((length * gain).round_ties_even() as usize).max(1);
        let input = (4 * logits.0, 4 * logits.1);
        let gain = (input.1 as f64 / height).min(input.0 as f64 / width);
        let pad = input.1.saturating_sub(scaled(height, gain)) | input.0.saturating_sub(scaled(width, gain));
        // The least enlargement that makes half the padding whole.
        let enlarge = match pad | (pad / 2) {
            pad if pad % 4 == 0 => 1,
            pad if pad % 2 == 0 => 2,
            _ => 4,
        };
        let (across, down) = (enlarge * logits.0, enlarge * logits.1);
        let gain = (down as f64 / height).min(across as f64 / width);
        let (inner_width, inner_height) = (scaled(width, gain).min(across), scaled(height, gain).min(down));
        let before = |outer: usize, inner: usize| ((outer - inner) as f64 / 2.0 - 0.1).round_ties_even() as usize;
        Self {
            enlarge,
            left: before(across, inner_width),
            top: before(down, inner_height),
            width: inner_width,
            height: inner_height,
        }
    }
}

/// One axis of a bilinear scaling: the two inputs of an output and the share of the second.
#[derive(Clone, Copy)]
struct Tap(usize, usize, f32);

impl Tap {
    fn of(out: usize, scale: f32, len: usize) -> Self {
        let at = ((out as f32 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(len - 1);
        Self(first, (first + 1).min(len - 1), (at - first as f32).clamp(0.0, 1.0))
    }
}

/// The mask's pixels inside the box, and the place of the first.
///
/// `picture` is the picture's width and height; the box is in its pixels.
#[must_use]
pub fn trace(logits: &Logits, picture: (u32, u32), bounding_box: BoundingBox) -> (u32, u32, Bitmap) {
    let frame = Frame::of((logits.width, logits.height), picture);
    // A pixel belongs to the box when x1 <= x < x2.
    let [x1, y1, x2, y2] = bounding_box.0;
    let inside =
        |low: f32, high: f32, len: u32| low.max(0.0).ceil() as usize..(high.max(0.0).ceil() as usize).min(len as usize);
    let (columns, rows) = (inside(x1, x2, picture.0), inside(y1, y2, picture.1));
    if columns.is_empty() || rows.is_empty() {
        return (0, 0, Bitmap::new(0, 0));
    }
    let taps = |range: Range<usize>, len: usize, out: u32| -> Vec<Tap> {
        let scale = (len as f64 / f64::from(out)) as f32;
        range.map(|i| Tap::of(i, scale, len)).collect()
    };
    let across = taps(columns.clone(), frame.width, picture.0);
    let down = taps(rows.clone(), frame.height, picture.1);
    let span = |taps: &[Tap]| taps.first().map_or(0, |tap| tap.0)..taps.last().map_or(0, |tap| tap.1 + 1);
    let (wide, tall) = (span(&across), span(&down));
    let enlarged = enlarge(logits, frame, &wide, &tall);
    let mut bitmap = Bitmap::new(columns.len() as u32, rows.len() as u32);
    for (tap, line) in down.iter().zip(bitmap.rows_mut()) {
        let row = |at: usize| &enlarged[(at - tall.start) * wide.len()..(at - tall.start + 1) * wide.len()];
        let (above, below) = (row(tap.0), row(tap.1));
        for (pixel, Tap(a, b, share)) in line.iter_mut().zip(&across) {
            let (a, b) = (a - wide.start, b - wide.start);
            let top = above[a] * (1.0 - share) + above[b] * share;
            let bottom = below[a] * (1.0 - share) + below[b] * share;
            *pixel = top * (1.0 - tap.2) + bottom * tap.2 > 0.0;
        }
    }
    (columns.start as u32, rows.start as u32, bitmap)
}

/// A window of the enlarged logits, in coordinates of the frame.
fn enlarge(logits: &Logits, frame: Frame, columns: &Range<usize>, rows: &Range<usize>) -> Vec<f32> {
    let scale = 1.0 / frame.enlarge as f32;
    let across: Vec<Tap> = columns.clone().map(|x| Tap::of(x + frame.left, scale, logits.width)).collect();
    let mut window = Vec::with_capacity(columns.len() * rows.len());
    for y in rows.clone() {
        let Tap(above, below, down) = Tap::of(y + frame.top, scale, logits.height);
        let row = |at: usize| &logits.values[at * logits.width..(at + 1) * logits.width];
        let (above, below) = (row(above), row(below));
        window.extend(across.iter().map(|Tap(a, b, share)| {
            let top = above[*a] * (1.0 - share) + above[*b] * share;
            let bottom = below[*a] * (1.0 - share) + below[*b] * share;
            top * (1.0 - down) + bottom * down
        }));
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_cuts_the_padding_on_whole_pixels() {
        let exact = Frame::of((160, 112), (1000, 700));
        assert_eq!(exact, Frame { enlarge: 1, left: 0, top: 0, width: 160, height: 112 });
        let odd = Frame::of((112, 160), (333, 500));
        assert_eq!(odd, Frame { enlarge: 4, left: 11, top: 0, width: 426, height: 640 });
    }

    #[test]
    fn a_mask_of_one_half_is_half_the_box() {
        let values = (0..160 * 112).map(|i| if i % 160 < 80 { 1.0 } else { -1.0 }).collect();
        let logits = Logits { width: 160, height: 112, values };
        let (left, top, bitmap) = trace(&logits, (1000, 700), BoundingBox([100.4, 50.0, 900.0, 60.0]));
        assert_eq!((left, top, bitmap.width, bitmap.height), (101, 50, 799, 10));
        let first = bitmap.rows().next().unwrap_or_default();
        assert_eq!(first.iter().filter(|inside| **inside).count(), 399, "columns 101 to 499");
        assert!(first[398] && !first[399]);
    }

    #[test]
    fn a_box_outside_the_picture_has_no_pixels() {
        let logits = Logits { width: 8, height: 8, values: vec![1.0; 64] };
        assert_eq!(trace(&logits, (32, 32), BoundingBox([32.0, 0.0, 32.0, 9.0])).2.width, 0);
    }
}
