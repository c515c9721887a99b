//! What the embedder is shown of a detection.

use image::imageops::FilterType;
use image::{Rgb, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use super::plan::PATCH;
use crate::domain::Detection;
use crate::vision::masks::{self, Bitmap};
use crate::vision::rectangle::Rectangle;

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
    /// Whether a detection is turned so that the smallest rectangle around its mask lies level, by 45 degrees at most; without a
    /// mask nothing is. Which of the four sides is up is then for the four rotations that are enrolled.
    #[serde(default)]
    pub align: bool,
    /// The side of the embedder's input in pixels, a multiple of 14.
    pub input_size: u32,
}

impl Default for CropPolicy {
    fn default() -> Self {
        Self { padding: 0.05, square: true, mask_background: false, align: false, input_size: 224 }
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
    let mask = detection.mask.as_ref().filter(|mask| mask.size == [picture.height(), picture.width()]);
    if policy.align
        && let Some(mask) = mask
    {
        let [left, top, width, height] = window(picture, [x1, y1, x2, y2]);
        let inside = masks::crop(mask, left, top, width, height).ok();
        if let Some(lies) = inside.as_ref().and_then(Rectangle::of) {
            let middle = [lies.middle[0] + left as f32, lies.middle[1] + top as f32];
            let lies = Rectangle { middle, ..lies }.grown(policy.padding * lies.size[0].max(lies.size[1]));
            let window @ [left, top, width, height] = window(picture, lies.bounds());
            let inside = masks::crop(mask, left, top, width, height).ok().filter(|_| policy.mask_background);
            let middle = [lies.middle[0] - left as f32, lies.middle[1] - top as f32];
            return level(&cut(picture, window, inside.as_ref()), &Rectangle { middle, ..lies }, policy);
        }
    }
    let margin = policy.padding * detection.bounding_box.width().max(detection.bounding_box.height());
    let window @ [left, top, width, height] = window(picture, [x1 - margin, y1 - margin, x2 + margin, y2 + margin]);
    let inside = mask.filter(|_| policy.mask_background).and_then(|m| masks::crop(m, left, top, width, height).ok());
    fit(&cut(picture, window, inside.as_ref()), policy)
}

/// The left and upper end, width and height of what corners cover of a picture: at least a pixel.
fn window(picture: &RgbImage, [x1, y1, x2, y2]: [f32; 4]) -> [u32; 4] {
    let low = |edge: f32, len: u32| (edge.floor().max(0.0) as u32).min(len.saturating_sub(1));
    let high = |edge: f32, low: u32, len: u32| (edge.ceil().max(0.0) as u32).clamp(low + 1, len.max(low + 1));
    let (left, top) = (low(x1, picture.width()), low(y1, picture.height()));
    [left, top, high(x2, left, picture.width()) - left, high(y2, top, picture.height()) - top]
}

/// A window of a picture; what lies outside of a mask is filled.
fn cut(picture: &RgbImage, [left, top, width, height]: [u32; 4], inside: Option<&Bitmap>) -> RgbImage {
    let mut cut = imageops::crop_imm(picture, left, top, width, height).to_image();
    if let Some(inside) = inside {
        cut.enumerate_pixels_mut().filter(|(x, y, _)| !inside.get(*x, *y)).for_each(|(_, _, pixel)| *pixel = FILL);
    }
    cut
}

/// What a rectangle covers of a picture, turned so that it lies level and brought to the embedder's input; what lies outside
/// of the picture is filled.
#[must_use]
pub fn level(picture: &RgbImage, lies: &Rectangle, policy: &CropPolicy) -> RgbImage {
    // Twice the input's side is all that can be told apart afterwards; a photograph of many megapixels shrinks first.
    let most = lies.size[0].max(lies.size[1]) / (2.0 * policy.input_size as f32);
    let (smaller, shrunk);
    let (picture, lies) = if most >= 1.5 {
        let side = |length: u32| ((length as f32 / most).round() as u32).max(1);
        let (width, height) = (side(picture.width()), side(picture.height()));
        shrunk = imageops::thumbnail(picture, width, height);
        let by = [width as f32 / picture.width() as f32, height as f32 / picture.height() as f32];
        let along = (by[0] + by[1]) / 2.0;
        let middle = [lies.middle[0] * by[0], lies.middle[1] * by[1]];
        smaller = Rectangle { middle, size: lies.size.map(|length| length * along), ..*lies };
        (&shrunk, &smaller)
    } else {
        (picture, lies)
    };
    let [width, height] = lies.size.map(|length| (length.round() as u32).max(1));
    let step = [lies.size[0] / width as f32, lies.size[1] / height as f32];
    let turned = RgbImage::from_fn(width, height, |x, y| {
        let [x, y] = lies.place([(x as f32 + 0.5) * step[0], (y as f32 + 0.5) * step[1]]);
        between(picture, x - 0.5, y - 0.5)
    });
    fit(&turned, policy)
}

/// The colour at a place between pixels' middles, by its four neighbours (bilinear).
fn between(picture: &RgbImage, x: f32, y: f32) -> Rgb<u8> {
    let (left, top) = (x.floor(), y.floor());
    let (u, v) = (x - left, y - top);
    let (left, top) = (left as i64, top as i64);
    let at = |x: i64, y: i64| -> Rgb<u8> {
        let pixel = u32::try_from(x).ok().zip(u32::try_from(y).ok());
        pixel.and_then(|(x, y)| picture.get_pixel_checked(x, y)).copied().unwrap_or(FILL)
    };
    let (a, b, c, d) = (at(left, top), at(left + 1, top), at(left, top + 1), at(left + 1, top + 1));
    Rgb([0, 1, 2].map(|i| {
        let upper = f32::from(a.0[i]) * (1.0 - u) + f32::from(b.0[i]) * u;
        let lower = f32::from(c.0[i]) * (1.0 - u) + f32::from(d.0[i]) * u;
        (upper * (1.0 - v) + lower * v).round() as u8
    }))
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
    fn a_tilted_pack_comes_out_level() {
        // Left half red, right half blue, on green; turned by 30 degrees and cut off by no edge.
        let lies = Rectangle { middle: [150.0, 140.0], size: [160.0, 80.0], angle: 30_f32.to_radians() };
        let (sin, cos) = lies.angle.sin_cos();
        let mut window = Bitmap::new(300, 300);
        let picture = RgbImage::from_fn(300, 300, |x, y| {
            let (dx, dy) = (x as f32 + 0.5 - 150.0, y as f32 + 0.5 - 140.0);
            let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
            let inside = u.abs() < 80.0 && v.abs() < 40.0;
            window.set(x, y, inside);
            Rgb(if !inside {
                [0, 200, 0]
            } else if u < 0.0 {
                [200, 0, 0]
            } else {
                [0, 0, 200]
            })
        });
        let [x1, y1, x2, y2] = lies.bounds();
        let mut one = detection([x1, y1, x2, y2]);
        one.mask = Some(masks::encode(&window));
        for mask_background in [false, true] {
            let policy =
                CropPolicy { padding: 0.0, input_size: 56, align: true, mask_background, ..CropPolicy::default() };
            let cut = crop(&picture, &one, &policy);
            // 56 by 28 pixels in the middle of the square.
            for (x, y, truth) in
                [(3, 17, [200, 0, 0]), (25, 39, [200, 0, 0]), (31, 17, [0, 0, 200]), (53, 39, [0, 0, 200])]
            {
                assert_eq!(cut.get_pixel(x, y).0, truth, "{x} {y}");
            }
            assert_eq!((cut.get_pixel(28, 10), cut.get_pixel(28, 45)), (&FILL, &FILL));
            // A photograph twelve times as large gives the same crop.
            let large = imageops::resize(&picture, 3600, 3600, FilterType::Nearest);
            let mut same = detection([x1, y1, x2, y2].map(|edge| edge * 12.0));
            let mut pixels = Bitmap::new(3600, 3600);
            (0..3600).for_each(|y| (0..3600).for_each(|x| pixels.set(x, y, window.get(x / 12, y / 12))));
            same.mask = Some(masks::encode(&pixels));
            let again = crop(&large, &same, &policy);
            let off: u64 = cut.as_raw().iter().zip(again.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            assert!(off < 56 * 56 * 3 * 4, "{off}");
        }
        // Without an outline it is cut as it lies.
        one.mask = None;
        let policy = CropPolicy { input_size: 56, ..CropPolicy::default() };
        assert_eq!(crop(&picture, &one, &CropPolicy { align: true, ..policy }), crop(&picture, &one, &policy));
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
