//! Labels of pictures that a camera stored lying on their side.
//!
//! EXIF says how a stored picture is to be turned; every reader here turns it. Labels of tools that do not turn give
//! places in the picture as it is stored: they are turned with it.

use std::path::Path;

use image::metadata::Orientation;
use image::{ImageDecoder as _, ImageReader};

use super::Outline;

/// How a picture is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    /// Pixels before it is turned: width and height.
    pub(super) size: (u32, u32),
    pub(super) orientation: Orientation,
}

/// What labels of a picture mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meant {
    /// Places in the upright picture.
    Upright,
    /// Places in the picture as it is stored.
    Stored(Orientation),
    /// Of a picture of another size.
    Other,
}

/// Reads a picture's head; none where it cannot be read, which a check of the set finds.
pub(super) fn stored(path: &Path) -> Option<Stored> {
    let mut decoder = ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_decoder().ok()?;
    let orientation = decoder.orientation().ok()?;
    Some(Stored { size: decoder.dimensions(), orientation })
}

/// What labels mean that were made for a picture of a size.
pub(super) fn meant(stored: Stored, labelled: (u32, u32)) -> Meant {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let (width, height) = stored.size;
    let lies = matches!(stored.orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH);
    let upright = if lies { (height, width) } else { (width, height) };
    if labelled == upright {
        // Also where both fit: readers that turn pictures are the rule.
        Meant::Upright
    } else if labelled == stored.size {
        Meant::Stored(stored.orientation)
    } else {
        Meant::Other
    }
}

/// An outline of the stored picture in the upright one.
pub(super) fn turned(outline: &Outline, by: Orientation) -> Outline {
    let turn = |[x, y]: [f32; 2]| match by {
        Orientation::NoTransforms => [x, y],
        Orientation::FlipHorizontal => [1.0 - x, y],
        Orientation::Rotate180 => [1.0 - x, 1.0 - y],
        Orientation::FlipVertical => [x, 1.0 - y],
        Orientation::Rotate90FlipH => [y, x],
        Orientation::Rotate90 => [1.0 - y, x],
        Orientation::Rotate270FlipH => [1.0 - y, 1.0 - x],
        Orientation::Rotate270 => [y, 1.0 - x],
    };
    match outline {
        Outline::Polygon(points) => Outline::Polygon(points.iter().copied().map(turn).collect()),
        Outline::Box([x, y, w, h]) => {
            let [x, y] = turn([*x, *y]);
            let swapped = turn([1.0, 0.0])[0] == turn([0.0, 0.0])[0];
            Outline::Box(if swapped { [x, y, *h, *w] } else { [x, y, *w, *h] })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlines_turn_as_pixels_do() {
        // One bright pixel in a small picture, turned by the image crate and by us.
        for exif in 1..=8 {
            let Some(orientation) = Orientation::from_exif(exif) else { continue };
            let mut picture = image::RgbImage::new(4, 3);
            picture.put_pixel(3, 1, image::Rgb([255; 3]));
            let mut upright = image::DynamicImage::ImageRgb8(picture);
            upright.apply_orientation(orientation);
            let upright = upright.into_rgb8();
            let at = upright.enumerate_pixels().find(|(_, _, pixel)| pixel.0[0] == 255).map(|(x, y, _)| (x, y));
            let outline = turned(&Outline::Box([3.5 / 4.0, 1.5 / 3.0, 0.25, 1.0 / 3.0]), orientation);
            let [left, top, right, bottom] = outline.corners();
            let (w, h) = (upright.width() as f32, upright.height() as f32);
            let ours = ((left * w).round() as u32, (top * h).round() as u32);
            assert_eq!(Some(ours), at, "EXIF {exif}");
            assert_eq!((((right - left) * w).round(), ((bottom - top) * h).round()), (1.0, 1.0), "EXIF {exif}");
        }
    }

    #[test]
    fn the_size_says_what_was_labelled() {
        let lying = Stored { size: (400, 300), orientation: Orientation::Rotate90 };
        assert_eq!(meant(lying, (300, 400)), Meant::Upright);
        assert_eq!(meant(lying, (400, 300)), Meant::Stored(Orientation::Rotate90));
        assert_eq!(meant(lying, (200, 150)), Meant::Other);
        let square = Stored { size: (300, 300), orientation: Orientation::Rotate90 };
        assert_eq!(meant(square, (300, 300)), Meant::Upright);
    }
}
