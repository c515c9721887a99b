//! Fitting a picture into the detector's input: scaled to fit, centred, padded with grey to a multiple of
//! the stride on the short side only (Ultralytics' rectangular letterbox, the default of `yolo predict`).

use image::RgbImage;

use super::resize;
use crate::domain::BoundingBox;

/// The detector's coarsest stride: inputs are multiples of it.
pub const STRIDE: u32 = 32;
/// The grey of the padding.
pub const PADDING: u8 = 114;

/// How a picture lies in the detector's input. Pure geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letterbox {
    /// The picture, in pixels.
    pub source: (u32, u32),
    /// The picture once scaled.
    pub resized: (u32, u32),
    /// Grey columns before it.
    pub left: u32,
    /// Grey rows before it.
    pub top: u32,
    /// The input's width.
    pub width: u32,
    /// The input's height.
    pub height: u32,
}

impl Letterbox {
    /// Fits a picture into a square of `size` pixels (a multiple of [`STRIDE`]), less what padding can be spared.
    #[must_use]
    pub fn fit(width: u32, height: u32, size: u32) -> Self {
        let (w, h, side) = (f64::from(width), f64::from(height), f64::from(size));
        let ratio = (side / h).min(side / w);
        // Python rounds halves to even.
        let scaled = |length: f64| ((length * ratio).round_ties_even() as u32).max(1);
        let resized = (scaled(w), scaled(h));
        let padding = |length: u32| {
            let half = f64::from(size.saturating_sub(length) % STRIDE) / 2.0;
            let (before, after) = ((half - 0.1).round_ties_even(), (half + 0.1).round_ties_even());
            (before as u32, after as u32)
        };
        let ((left, right), (top, bottom)) = (padding(resized.0), padding(resized.1));
        Self {
            source: (width, height),
            resized,
            left,
            top,
            width: resized.0 + left + right,
            height: resized.1 + top + bottom,
        }
    }

    /// The input: the picture scaled and padded.
    #[must_use]
    pub fn apply(&self, picture: &RgbImage) -> RgbImage {
        let scaled = resize::bilinear(picture, self.resized.0, self.resized.1);
        if self.resized == (self.width, self.height) {
            return scaled;
        }
        let mut input = RgbImage::from_pixel(self.width, self.height, image::Rgb([PADDING; 3]));
        image::imageops::replace(&mut input, &scaled, i64::from(self.left), i64::from(self.top));
        input
    }

    /// A box in the input, back in the picture and cut to it.
    #[must_use]
    pub fn restore(&self, input: [f32; 4]) -> BoundingBox {
        let (width, height) = (self.source.0 as f32, self.source.1 as f32);
        let gain_x = (f64::from(self.resized.0) / f64::from(self.source.0)) as f32;
        let gain_y = (f64::from(self.resized.1) / f64::from(self.source.1)) as f32;
        let x = |x: f32| ((x - self.left as f32) / gain_x).clamp(0.0, width);
        let y = |y: f32| ((y - self.top as f32) / gain_y).clamp(0.0, height);
        BoundingBox([x(input[0]), y(input[1]), x(input[2]), y(input[3])])
    }
}

/// A picture with its longer side brought to `size` pixels, smoothly, as the detector's input is.
#[must_use]
pub fn scaled(picture: &RgbImage, size: u32) -> RgbImage {
    let fitted = Letterbox::fit(picture.width(), picture.height(), size);
    resize::bilinear(picture, fitted.resized.0, fitted.resized.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_side_is_padded_to_the_stride_only() {
        let fitted = Letterbox::fit(1000, 700, 640);
        assert_eq!((fitted.resized, fitted.left, fitted.top), ((640, 448), 0, 0));
        assert_eq!((fitted.width, fitted.height), (640, 448));
        let fitted = Letterbox::fit(333, 500, 640);
        assert_eq!((fitted.resized, fitted.left, fitted.width, fitted.height), ((426, 640), 11, 448, 640));
        let thin = Letterbox::fit(1, 3000, 640);
        assert_eq!((thin.resized, thin.width, thin.height), ((1, 640), 32, 640));
    }

    #[test]
    fn boxes_come_back_where_they_were() {
        let fitted = Letterbox::fit(333, 500, 640);
        let there = fitted.restore([11.0, 0.0, 11.0 + 426.0, 640.0]);
        assert_eq!(there, BoundingBox([0.0, 0.0, 333.0, 500.0]));
        assert_eq!(fitted.restore([-50.0, -1.0, 9999.0, 700.0]), there, "cut to the picture");
    }

    #[test]
    fn every_input_is_a_multiple_of_the_stride() {
        for width in 1..200 {
            for height in [1, 7, 31, 32, 33, 480, 641, 4000] {
                let fitted = Letterbox::fit(width * 13, height, 640);
                assert!(fitted.width.is_multiple_of(32) && fitted.height.is_multiple_of(32), "{fitted:?}");
                assert!(fitted.width <= 640 && fitted.height <= 640, "{fitted:?}");
            }
        }
    }
}
