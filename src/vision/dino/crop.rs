//! What the embedder is shown of a detection.

use image::imageops::FilterType;
use image::{Rgb, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use super::plan::PATCH;
use crate::domain::Detection;
use crate::vision::masks;

/// The mean colour of ImageNet: what the network sees as nothing.
pub const FILL: Rgb<u8> = Rgb([124, 116, 104]);

/// How a detection becomes the embedder's input. Part of an embedding's fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropPolicy {
    /// How much is added on each side, as a fraction of the box's longer side, 0 to 1.
    pub padding: f32,
    /// Whether a crop that is not square is filled up to a square (true) or stretched to one (false).
    pub square: bool,
    /// Whether pixels outside the detection's mask are filled; without a mask nothing is.
    pub mask_background: bool,
    /// The side of the embedder's input in pixels, a multiple of 14.
    pub input_size: u32,
}

impl Default for CropPolicy {
    fn default() -> Self {
        Self { padding: 0.05, square: true, mask_background: false, input_size: 224 }
    }
}

impl CropPolicy {
    /// The largest input, in pixels: 110 x 110 patches.
    pub const MAX_INPUT: u32 = 1540;

    /// Whether the values lie in their ranges.
    ///
    /// # Errors
    /// A sentence naming the value that does not.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.padding) {
            return Err(format!("the crop's padding {} must lie between 0 and 1", self.padding));
        }
        if self.input_size == 0 || !self.input_size.is_multiple_of(PATCH as u32) || self.input_size > Self::MAX_INPUT {
            let (size, most) = (self.input_size, Self::MAX_INPUT);
            return Err(format!("the crop's input size {size} must be a multiple of 14 from 14 to {most}"));
        }
        Ok(())
    }
}

/// Cuts a detection out of its upright picture, ready for the embedder: `input_size` pixels square.
#[must_use]
pub fn crop(picture: &RgbImage, detection: &Detection, policy: &CropPolicy) -> RgbImage {
    let [x1, y1, x2, y2] = detection.bounding_box.0;
    let margin = policy.padding * detection.bounding_box.width().max(detection.bounding_box.height());
    let low = |edge: f32, len: u32| ((edge - margin).floor().max(0.0) as u32).min(len.saturating_sub(1));
    let high =
        |edge: f32, low: u32, len: u32| ((edge + margin).ceil().max(0.0) as u32).clamp(low + 1, len.max(low + 1));
    let (left, top) = (low(x1, picture.width()), low(y1, picture.height()));
    let width = high(x2, left, picture.width()) - left;
    let height = high(y2, top, picture.height()) - top;
    let mut cut = imageops::crop_imm(picture, left, top, width, height).to_image();
    if policy.mask_background
        && let Some(mask) = &detection.mask
        && mask.size == [picture.height(), picture.width()]
        && let Ok(inside) = masks::crop(mask, left, top, width, height)
    {
        for (x, y, pixel) in cut.enumerate_pixels_mut() {
            if !inside.get(x, y) {
                *pixel = FILL;
            }
        }
    }
    fit(&cut, policy)
}

/// Brings a whole picture to the embedder's input: filled up or stretched to a square, smoothly scaled.
#[must_use]
pub fn fit(picture: &RgbImage, policy: &CropPolicy) -> RgbImage {
    let size = policy.input_size;
    if picture.dimensions() == (size, size) || picture.width() == 0 || picture.height() == 0 {
        return picture.clone();
    }
    // Bicubic with support for shrinking, as DINOv2's own evaluation scales.
    let scale = |width, height| imageops::resize(picture, width, height, FilterType::CatmullRom);
    if !policy.square {
        return scale(size, size);
    }
    let longer = f64::from(picture.width().max(picture.height()));
    let side = |length: u32| ((f64::from(length) / longer * f64::from(size)).round() as u32).clamp(1, size);
    let (width, height) = (side(picture.width()), side(picture.height()));
    let mut square = RgbImage::from_pixel(size, size, FILL);
    let (left, top) = (i64::from((size - width) / 2), i64::from((size - height) / 2));
    imageops::replace(&mut square, &scale(width, height), left, top);
    square
}

/// A picture turned clockwise by 0, 90, 180 and 270 degrees (in the order of `Rotation::ALL`), pixel for pixel.
#[must_use]
pub fn rotations(picture: &RgbImage) -> [RgbImage; 4] {
    [picture.clone(), imageops::rotate90(picture), imageops::rotate180(picture), imageops::rotate270(picture)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BoundingBox;
    use crate::vision::masks::Bitmap;

    fn detection(corners: [f32; 4]) -> Detection {
        Detection { class: 0, name: "pack".into(), confidence: 0.9, bounding_box: BoundingBox(corners), mask: None }
    }

    fn gradient() -> RgbImage {
        RgbImage::from_fn(60, 40, |x, y| Rgb([x as u8, y as u8, 7]))
    }

    #[test]
    fn a_square_crop_of_the_input_size_is_untouched() {
        let policy = CropPolicy { padding: 0.0, input_size: 28, ..CropPolicy::default() };
        let cut = crop(&gradient(), &detection([10.0, 5.0, 38.0, 33.0]), &policy);
        assert_eq!(cut.dimensions(), (28, 28));
        assert_eq!((cut.get_pixel(0, 0).0, cut.get_pixel(27, 27).0), ([10, 5, 7], [37, 32, 7]));
    }

    #[test]
    fn a_long_crop_is_filled_up_or_stretched() {
        let mut policy = CropPolicy { padding: 0.0, input_size: 28, ..CropPolicy::default() };
        let flat = RgbImage::from_pixel(60, 40, Rgb([200, 0, 0]));
        let filled = crop(&flat, &detection([0.0, 0.0, 56.0, 28.0]), &policy);
        assert_eq!((filled.get_pixel(14, 0), filled.get_pixel(14, 14).0), (&FILL, [200, 0, 0]));
        policy.square = false;
        let stretched = crop(&flat, &detection([0.0, 0.0, 56.0, 28.0]), &policy);
        assert!(stretched.pixels().all(|p| p.0 == [200, 0, 0]));
    }

    #[test]
    fn the_background_is_filled_where_there_is_a_mask() {
        let policy = CropPolicy { padding: 0.0, input_size: 28, mask_background: true, ..CropPolicy::default() };
        let mut window = Bitmap::new(14, 28);
        window.rows_mut().for_each(|row| row.fill(true));
        let mut one = detection([10.0, 5.0, 38.0, 33.0]);
        one.mask = Some(masks::encode_window([40, 60], 10, 5, &window));
        let cut = crop(&gradient(), &one, &policy);
        assert_eq!((cut.get_pixel(13, 3).0, cut.get_pixel(14, 3)), ([23, 8, 7], &FILL));
    }

    #[test]
    fn a_box_at_the_edge_or_outside_still_gives_a_crop() {
        for corners in [[59.9, 39.9, 60.0, 40.0], [60.0, 40.0, 60.0, 40.0], [-5.0, -5.0, 0.0, 0.0], [0.0; 4]] {
            let cut = crop(&gradient(), &detection(corners), &CropPolicy::default());
            assert_eq!(cut.dimensions(), (224, 224), "{corners:?}");
        }
    }

    #[test]
    fn turning_is_clockwise_and_exact() {
        let [r0, r90, r180, r270] = rotations(&gradient());
        assert_eq!(r0, gradient());
        assert_eq!(r90.dimensions(), (40, 60));
        assert_eq!(r90.get_pixel(39, 0).0, [0, 0, 7], "the top left corner goes to the top right");
        assert_eq!(r180.get_pixel(59, 39).0, [0, 0, 7]);
        assert_eq!(r270.get_pixel(0, 59).0, [0, 0, 7]);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(CropPolicy::default().check().is_ok());
        for (padding, input_size) in [(-0.1, 224), (f32::NAN, 224), (0.1, 0), (0.1, 225), (0.1, 14_000)] {
            assert!(CropPolicy { padding, input_size, ..CropPolicy::default() }.check().is_err());
        }
    }
}
