//! Masks in COCO's run-length encoding: runs down the columns, zeros first, written as text with five bits a
//! character (pycocotools' `maskApi.c` is the format's definition). No tensors here.

use crate::domain::Rle;

/// A few bytes can claim a mask of any size; what is decoded must fit in memory.
const MAX_PIXELS: u64 = 1 << 30;

/// Why a mask cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// A character or a run that cannot be.
    #[error("the mask's counts are damaged at character {0}")]
    Counts(usize),
    /// The runs do not fill the picture.
    #[error("the mask's runs cover {runs} pixels, the picture has {pixels}")]
    Size {
        /// Pixels in the runs.
        runs: u64,
        /// Pixels in the picture.
        pixels: u64,
    },
    /// A picture no camera makes.
    #[error("a mask of {0} pixels is larger than any picture that is accepted")]
    TooLarge(u64),
    /// Two masks of different pictures.
    #[error("masks of different sizes cannot be compared: {0:?} and {1:?} (height, width)")]
    Unlike([u32; 2], [u32; 2]),
}

/// A mask as pixels, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    pixels: Vec<bool>,
}

impl Bitmap {
    /// An empty mask.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, pixels: vec![false; width as usize * height as usize] }
    }

    /// Whether a pixel belongs to the mask; none outside does.
    #[must_use]
    pub fn get(&self, x: u32, y: u32) -> bool {
        x < self.width && y < self.height && self.pixels[self.at(x, y)]
    }

    /// Sets a pixel; outside, nothing happens.
    pub fn set(&mut self, x: u32, y: u32, inside: bool) {
        if x < self.width && y < self.height {
            let at = self.at(x, y);
            self.pixels[at] = inside;
        }
    }

    /// The rows, from the top.
    pub fn rows(&self) -> impl Iterator<Item = &[bool]> {
        self.pixels.chunks_exact((self.width as usize).max(1))
    }

    /// The rows, from the top, to change.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [bool]> {
        self.pixels.chunks_exact_mut((self.width as usize).max(1))
    }

    /// How many pixels belong to the mask.
    #[must_use]
    pub fn area(&self) -> u64 {
        self.pixels.iter().filter(|inside| **inside).count() as u64
    }

    fn at(&self, x: u32, y: u32) -> usize {
        y as usize * self.width as usize + x as usize
    }
}

/// Encodes a mask of a whole picture.
#[must_use]
pub fn encode(bitmap: &Bitmap) -> Rle {
    encode_window([bitmap.height, bitmap.width], 0, 0, bitmap)
}

/// Encodes a mask of which only a window is given; all outside is empty. What reaches past the picture is cut.
#[must_use]
pub fn encode_window(size: [u32; 2], left: u32, top: u32, window: &Bitmap) -> Rle {
    let height = u64::from(size[0]);
    let mut counts: Vec<u64> = Vec::new();
    let (mut inside, mut since, mut at) = (false, 0u64, 0u64);
    for x in 0..window.width.min(size[1].saturating_sub(left)) {
        let column = u64::from(left + x) * height + u64::from(top);
        for y in 0..window.height.min(size[0].saturating_sub(top)) {
            let here = column + u64::from(y);
            // Between the window's columns lie empty pixels.
            if inside && here > at {
                counts.push(at - since);
                (since, inside) = (at, false);
            }
            at = here + 1;
            if window.get(x, y) != inside {
                counts.push(here - since);
                (since, inside) = (here, !inside);
            }
        }
    }
    let pixels = height * u64::from(size[1]);
    if inside {
        counts.push(at - since);
        since = at;
    }
    // A last run of zeros is written only where it has pixels (or where there is nothing else).
    if pixels > since || counts.is_empty() {
        counts.push(pixels - since);
    }
    Rle { size, counts: to_text(&counts) }
}

/// The pixels of a mask.
///
/// # Errors
/// When the counts are damaged or do not fill the picture.
pub fn decode(rle: &Rle) -> Result<Bitmap, MaskError> {
    crop(rle, 0, 0, rle.size[1], rle.size[0])
}

/// The pixels of a window of a mask; what lies past the picture is empty.
///
/// # Errors
/// When the counts are damaged or do not fill the picture.
pub fn crop(rle: &Rle, left: u32, top: u32, width: u32, height: u32) -> Result<Bitmap, MaskError> {
    let counts = counts(rle)?;
    let mut bitmap = Bitmap::new(width, height);
    let rows = u64::from(rle.size[0]).max(1);
    let (low, high) = (u64::from(top), u64::from(top) + u64::from(height));
    let mut start = 0u64;
    for (run, count) in counts.iter().enumerate() {
        let end = start + count;
        let mut at = start;
        while run % 2 == 1 && at < end {
            let (column, row) = (at / rows, at % rows);
            let stop = end.min((column + 1) * rows);
            let x = column.wrapping_sub(u64::from(left));
            if x < u64::from(width) {
                for y in row.max(low)..(row + stop - at).min(high) {
                    bitmap.set(x as u32, (y - low) as u32, true);
                }
            }
            at = stop;
        }
        start = end;
    }
    Ok(bitmap)
}

/// How many pixels a mask has.
///
/// # Errors
/// When the counts are damaged or do not fill the picture.
pub fn area(rle: &Rle) -> Result<u64, MaskError> {
    Ok(counts(rle)?.iter().skip(1).step_by(2).sum())
}

/// Intersection over union of two masks, 0 to 1; 0 for two empty ones.
///
/// # Errors
/// When counts are damaged or the masks are of different sizes.
pub fn iou(a: &Rle, b: &Rle) -> Result<f64, MaskError> {
    if a.size != b.size {
        return Err(MaskError::Unlike(a.size, b.size));
    }
    let (left, right) = (counts(a)?, counts(b)?);
    let (mut i, mut j) = (0, 0);
    let (mut left_run, mut right_run) = (left.first().copied().unwrap_or(0), right.first().copied().unwrap_or(0));
    let (mut shared, mut union) = (0u64, 0u64);
    while i < left.len() && j < right.len() {
        let step = left_run.min(right_run);
        let (in_a, in_b) = (i % 2 == 1, j % 2 == 1);
        shared += if in_a && in_b { step } else { 0 };
        union += if in_a || in_b { step } else { 0 };
        left_run -= step;
        right_run -= step;
        if left_run == 0 {
            i += 1;
            left_run = left.get(i).copied().unwrap_or(0);
        }
        if right_run == 0 {
            j += 1;
            right_run = right.get(j).copied().unwrap_or(0);
        }
    }
    Ok(if union == 0 { 0.0 } else { shared as f64 / union as f64 })
}

/// The runs, zeros first, checked to fill the picture.
///
/// # Errors
/// When the counts are damaged or do not fill the picture.
pub fn counts(rle: &Rle) -> Result<Vec<u64>, MaskError> {
    let pixels = u64::from(rle.size[0]) * u64::from(rle.size[1]);
    if pixels > MAX_PIXELS {
        return Err(MaskError::TooLarge(pixels));
    }
    let counts = from_text(&rle.counts)?;
    let runs = counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    if runs == pixels { Ok(counts) } else { Err(MaskError::Size { runs, pixels }) }
}

/// Five bits a character from `0`, the sixth says that more follow; from the fourth run on, the difference to the
/// run before the last.
fn to_text(counts: &[u64]) -> String {
    let mut text = String::new();
    for (i, count) in counts.iter().enumerate() {
        let mut rest = *count as i64;
        if i > 2 {
            rest -= counts[i - 2] as i64;
        }
        loop {
            let bits = (rest & 0x1f) as u8;
            rest >>= 5;
            let more = if bits & 0x10 == 0 { rest != 0 } else { rest != -1 };
            text.push(char::from(48 + bits + if more { 0x20 } else { 0 }));
            if !more {
                break;
            }
        }
    }
    text
}

fn from_text(text: &str) -> Result<Vec<u64>, MaskError> {
    let mut counts: Vec<u64> = Vec::new();
    let (mut value, mut shift) = (0i64, 0u32);
    for (at, byte) in text.bytes().enumerate() {
        let bits = byte.checked_sub(48).filter(|bits| *bits < 64 && shift < 60).ok_or(MaskError::Counts(at))?;
        value |= i64::from(bits & 0x1f) << shift;
        shift += 5;
        if bits & 0x20 != 0 {
            continue;
        }
        if bits & 0x10 != 0 {
            value |= -1i64 << shift;
        }
        if counts.len() > 2 {
            value = value.checked_add(counts[counts.len() - 2] as i64).ok_or(MaskError::Counts(at))?;
        }
        counts.push(u64::try_from(value).map_err(|_| MaskError::Counts(at))?);
        (value, shift) = (0, 0);
    }
    if shift == 0 { Ok(counts) } else { Err(MaskError::Counts(text.len())) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use proptest::prelude::*;

    use super::*;

    fn bitmap(width: u32, height: u32, bits: &[bool]) -> Bitmap {
        Bitmap { width, height, pixels: bits.to_vec() }
    }

    #[test]
    fn damaged_counts_are_errors() {
        let rle = |counts: &str| Rle { size: [4, 4], counts: counts.into() };
        assert_eq!(counts(&rle("`0")), Ok(vec![16]));
        assert_eq!(counts(&rle("\u{20}")), Err(MaskError::Counts(0)));
        assert_eq!(counts(&rle("P")), Err(MaskError::Counts(1)), "more was promised");
        assert_eq!(counts(&rle("O")), Err(MaskError::Counts(0)), "a negative run");
        assert_eq!(counts(&rle("3")), Err(MaskError::Size { runs: 3, pixels: 16 }));
        assert!(counts(&rle(&"o".repeat(40))).is_err());
        let absurd = Rle { size: [u32::MAX; 2], counts: "0".into() };
        assert!(matches!(decode(&absurd), Err(MaskError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            (width, height, bits) in (1u32..40, 1u32..40)
                .prop_flat_map(|(w, h)| (Just(w), Just(h), prop::collection::vec(any::<bool>(), (w * h) as usize)))
        ) {
            let mask = bitmap(width, height, &bits);
            let rle = encode(&mask);
            prop_assert_eq!(&decode(&rle).unwrap(), &mask);
            prop_assert_eq!(area(&rle).unwrap(), mask.area());
        }

        #[test]
        fn a_window_is_the_same_as_the_whole(
            left in 0u32..12, top in 0u32..12, bits in prop::collection::vec(any::<bool>(), 7 * 5)
        ) {
            let window = bitmap(7, 5, &bits);
            let mut whole = Bitmap::new(16, 14);
            for y in 0..5 {
                for x in 0..7 {
                    whole.set(left + x, top + y, window.get(x, y));
                }
            }
            let rle = encode_window([14, 16], left, top, &window);
            prop_assert_eq!(&rle, &encode(&whole));
            let back = crop(&rle, left, top, 7, 5).unwrap();
            for y in 0..5u32.min(14 - top) {
                for x in 0..7u32.min(16 - left) {
                    prop_assert_eq!(back.get(x, y), window.get(x, y));
                }
            }
        }

        #[test]
        fn overlap_is_counted_right(
            a in prop::collection::vec(any::<bool>(), 13 * 9), b in prop::collection::vec(any::<bool>(), 13 * 9)
        ) {
            let both = a.iter().zip(&b).filter(|(a, b)| **a && **b).count() as f64;
            let either = a.iter().zip(&b).filter(|(a, b)| **a || **b).count() as f64;
            let expected = if either == 0.0 { 0.0 } else { both / either };
            let found = iou(&encode(&bitmap(13, 9, &a)), &encode(&bitmap(13, 9, &b))).unwrap();
            prop_assert!((found - expected).abs() < 1e-12);
        }
    }
}
