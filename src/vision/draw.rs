//! A picture with what was found in it: masks tinted, boxes drawn, names written. For people's eyes only.

use image::{Rgb, RgbImage};

use super::masks;
use crate::domain::Detection;

/// Colours far apart for classes that follow each other (Okabe and Ito, 2008: also for colour-blind eyes).
const COLOURS: [[u8; 3]; 7] =
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]];
const TINT: u32 = 40;

/// Draws detections on a copy of their upright picture.
#[must_use]
pub fn annotate(picture: &RgbImage, detections: &[Detection]) -> RgbImage {
    let said =
        |detection: &Detection| format!("{} {:.2}", crate::domain::display_safe(&detection.name), detection.confidence);
    drawn(picture, detections, &said)
}

/// Draws what is known to be there: names without confidences.
#[must_use]
pub fn annotate_truth(picture: &RgbImage, objects: &[Detection]) -> RgbImage {
    drawn(picture, objects, &|object| crate::domain::display_safe(&object.name))
}

fn drawn(picture: &RgbImage, detections: &[Detection], said: &dyn Fn(&Detection) -> String) -> RgbImage {
    let mut canvas = picture.clone();
    // Lines and letters grow with the picture, so that they can be read when it is shown small.
    let scale = (picture.width().max(picture.height()) / 640).max(1);
    for detection in detections {
        tint(&mut canvas, detection);
    }
    for detection in detections {
        outline(&mut canvas, detection, scale);
    }
    // Names last, the most confident on top.
    for detection in detections.iter().rev() {
        caption(&mut canvas, detection, scale, &said(detection));
    }
    canvas
}

fn colour(detection: &Detection) -> Rgb<u8> {
    class_colour(detection.class)
}

/// The colour that a class is drawn in.
#[must_use]
pub fn class_colour(class: u32) -> Rgb<u8> {
    Rgb(COLOURS[class as usize % COLOURS.len()])
}

fn tint(canvas: &mut RgbImage, detection: &Detection) {
    let Some(mask) = &detection.mask else { return };
    if mask.size != [canvas.height(), canvas.width()] {
        return;
    }
    let Ok(inside) = masks::decode(mask) else { return };
    let colour = colour(detection);
    for (x, y, pixel) in canvas.enumerate_pixels_mut() {
        if inside.get(x, y) {
            for (channel, target) in pixel.0.iter_mut().zip(colour.0) {
                *channel = ((u32::from(*channel) * (100 - TINT) + u32::from(target) * TINT) / 100) as u8;
            }
        }
    }
}

fn outline(canvas: &mut RgbImage, detection: &Detection, thickness: u32) {
    let [x1, y1, x2, y2] = detection.bounding_box.0.map(|edge| edge.max(0.0).round() as u32);
    let (width, height) = (x2.saturating_sub(x1), y2.saturating_sub(y1));
    let colour = colour(detection);
    fill(canvas, [x1, y1, width, thickness], colour);
    fill(canvas, [x1, y2.saturating_sub(thickness), width, thickness], colour);
    fill(canvas, [x1, y1, thickness, height], colour);
    fill(canvas, [x2.saturating_sub(thickness), y1, thickness, height], colour);
}

fn caption(canvas: &mut RgbImage, detection: &Detection, scale: u32, text: &str) {
    let [x1, y1, ..] = detection.bounding_box.0.map(|edge| edge.max(0.0) as u32);
    let width = (text.chars().count() as u32 * ADVANCE + 1) * scale;
    let height = (GLYPH_HEIGHT + 2) * scale;
    let left = x1.min(canvas.width().saturating_sub(width));
    let top = y1.saturating_sub(height);
    fill(canvas, [left, top, width, height], colour(detection));
    for (place, letter) in text.chars().enumerate() {
        let at = left + (place as u32 * ADVANCE + 1) * scale;
        for (row, bits) in glyph(letter).iter().enumerate() {
            for column in 0..5u32 {
                if bits >> (4 - column) & 1 == 1 {
                    let dot = [at + column * scale, top + (row as u32 + 1) * scale, scale, scale];
                    fill(canvas, dot, Rgb([0, 0, 0]));
                }
            }
        }
    }
}

/// Fills `[left, top, width, height]`, cut to the picture.
fn fill(canvas: &mut RgbImage, [left, top, width, height]: [u32; 4], colour: Rgb<u8>) {
    for y in top.min(canvas.height())..top.saturating_add(height).min(canvas.height()) {
        for x in left.min(canvas.width())..left.saturating_add(width).min(canvas.width()) {
            canvas.put_pixel(x, y, colour);
        }
    }
}

/// Writes capitals, digits and a few signs in a 5x7 face, its upper left corner at `(x, y)`; what falls outside is cut.
pub fn text(canvas: &mut RgbImage, (x, y): (i64, i64), text: &str, scale: u32, colour: Rgb<u8>) {
    for (place, letter) in (0_i64..).zip(text.chars()) {
        for (row, bits) in (0_i64..).zip(glyph(letter.to_ascii_uppercase())) {
            for column in (0_i64..5).filter(|column| bits >> (4 - column) & 1 == 1) {
                let scale = i64::from(scale);
                let (left, top) = (x + (place * i64::from(ADVANCE) + column) * scale, y + row * scale);
                for (across, down) in (0..scale).flat_map(|a| (0..scale).map(move |d| (a, d))) {
                    if let (Ok(px), Ok(py)) = (u32::try_from(left + across), u32::try_from(top + down))
                        && let Some(pixel) = canvas.get_pixel_mut_checked(px, py)
                    {
                        *pixel = colour;
                    }
                }
            }
        }
    }
}

const ADVANCE: u32 = 6;
const GLYPH_HEIGHT: u32 = 7;

/// A letter of five by seven dots, a row a byte; small letters as capitals, what is unknown as a box.
fn glyph(letter: char) -> [u8; 7] {
    match letter.to_ascii_uppercase() {
        ' ' => [0; 7],
        'A' => [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'B' => [0x1e, 0x11, 0x11, 0x1e, 0x11, 0x11, 0x1e],
        'C' => [0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e],
        'D' => [0x1e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1e],
        'E' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f],
        'F' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x10],
        'G' => [0x0e, 0x11, 0x10, 0x17, 0x11, 0x11, 0x0f],
        'H' => [0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'I' => [0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e],
        'J' => [0x07, 0x02, 0x02, 0x02, 0x02, 0x12, 0x0c],
        'K' => [0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11],
        'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f],
        'M' => [0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11],
        'N' => [0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11],
        'O' => [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'P' => [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10],
        'Q' => [0x0e, 0x11, 0x11, 0x11, 0x15, 0x12, 0x0d],
        'R' => [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
        'S' => [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e],
        'T' => [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        'U' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'V' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x0a, 0x04],
        'W' => [0x11, 0x11, 0x11, 0x15, 0x15, 0x1b, 0x11],
        'X' => [0x11, 0x11, 0x0a, 0x04, 0x0a, 0x11, 0x11],
        'Y' => [0x11, 0x11, 0x0a, 0x04, 0x04, 0x04, 0x04],
        'Z' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x10, 0x1f],
        '0' => [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
        '1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        '2' => [0x0e, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1f],
        '3' => [0x1e, 0x01, 0x01, 0x0e, 0x01, 0x01, 0x1e],
        '4' => [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
        '5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        '6' => [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        '7' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
        '8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        '9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
        '.' => [0, 0, 0, 0, 0, 0x0c, 0x0c],
        ',' => [0, 0, 0, 0, 0x0c, 0x04, 0x08],
        '-' => [0, 0, 0, 0x1f, 0, 0, 0],
        '_' => [0, 0, 0, 0, 0, 0, 0x1f],
        '/' => [0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x10],
        '(' => [0x02, 0x04, 0x08, 0x08, 0x08, 0x04, 0x02],
        ')' => [0x08, 0x04, 0x02, 0x02, 0x02, 0x04, 0x08],
        '%' => [0x18, 0x19, 0x02, 0x04, 0x08, 0x13, 0x03],
        '+' => [0, 0x04, 0x04, 0x1f, 0x04, 0x04, 0],
        ':' => [0, 0x0c, 0x0c, 0, 0x0c, 0x0c, 0],
        '\'' => [0x0c, 0x04, 0x08, 0, 0, 0, 0],
        '&' => [0x08, 0x14, 0x14, 0x08, 0x15, 0x12, 0x0d],
        _ => [0x1f, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1f],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BoundingBox;

    #[test]
    fn the_box_is_drawn_and_the_rest_is_left_alone() {
        let picture = RgbImage::from_pixel(100, 80, Rgb([9, 9, 9]));
        let mut window = masks::Bitmap::new(4, 4);
        window.rows_mut().for_each(|row| row.fill(true));
        let detection = Detection {
            class: 1,
            name: "pack".into(),
            confidence: 0.5,
            bounding_box: BoundingBox([20.0, 30.0, 60.0, 70.0]),
            mask: Some(masks::encode_window([80, 100], 40, 50, &window)),
        };
        let drawn = annotate(&picture, &[detection]);
        assert_eq!(drawn.get_pixel(20, 50), &Rgb(COLOURS[1]));
        assert_ne!(drawn.get_pixel(41, 51), &Rgb([9, 9, 9]), "tinted");
        assert_eq!(drawn.get_pixel(30, 60), &Rgb([9, 9, 9]));
        assert_eq!(drawn.get_pixel(90, 75), &Rgb([9, 9, 9]));
    }

    #[test]
    fn nothing_outside_the_picture_is_touched() {
        let picture = RgbImage::new(3, 3);
        let mut detection = Detection {
            class: 5,
            name: "a very long name \u{202E}".into(),
            confidence: 1.0,
            bounding_box: BoundingBox([-5.0, -5.0, 900.0, 900.0]),
            mask: None,
        };
        assert_eq!(annotate(&picture, std::slice::from_ref(&detection)).dimensions(), (3, 3));
        detection.bounding_box = BoundingBox([f32::NAN; 4]);
        assert_eq!(annotate(&RgbImage::new(0, 0), &[detection]).dimensions(), (0, 0));
    }
}
