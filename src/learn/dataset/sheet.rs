//! A sheet of pictures with their labels drawn, to be looked at.

use std::path::Path;

use image::{Rgb, RgbImage, imageops};

use super::{Dataset, Item, Object, Outline};
use crate::vision::draw;

/// Pixels of a picture's place on the sheet.
const SIDE: u32 = 320;
const COLUMNS: u32 = 5;
const ROWS: u32 = 5;

/// Draws up to 25 pictures, spread over the set. Pictures that cannot be read leave their place grey.
#[must_use]
pub fn draw(set: &Dataset, read: impl Fn(&Path) -> Option<RgbImage>) -> RgbImage {
    let places = (COLUMNS * ROWS) as usize;
    let step = set.items.len().div_ceil(places).max(1);
    let chosen: Vec<&Item> = set.items.iter().step_by(step).take(places).collect();
    let rows = (chosen.len() as u32).div_ceil(COLUMNS).max(1);
    let mut sheet = RgbImage::from_pixel(COLUMNS * SIDE, rows * SIDE, Rgb([96, 96, 96]));
    for (number, item) in (0..).zip(chosen) {
        let Some(picture) = read(&item.image) else { continue };
        let scale = f64::from(SIDE - 4) / f64::from(picture.width().max(picture.height()));
        let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        let (width, height) = (side(picture.width()), side(picture.height()));
        let mut small = imageops::thumbnail(&picture, width, height);
        item.objects.iter().for_each(|object| label(&mut small, set, object, ""));
        item.crowds.iter().for_each(|crowd| label(&mut small, set, crowd, "crowd: "));
        let (left, top) = ((number % COLUMNS) * SIDE, (number / COLUMNS) * SIDE);
        let (left, top) = (left + (SIDE - width) / 2, top + (SIDE - height) / 2);
        imageops::replace(&mut sheet, &small, i64::from(left), i64::from(top));
    }
    sheet
}

fn label(canvas: &mut RgbImage, set: &Dataset, object: &Object, before: &str) {
    let (width, height) = (canvas.width() as f32, canvas.height() as f32);
    let colour = draw::class_colour(object.class);
    let name = set.names.get(object.class as usize).map_or("?", String::as_str);
    let corners = match &object.outline {
        None => Vec::new(),
        Some(outline @ Outline::Box(_)) => {
            let [left, top, right, bottom] = outline.corners();
            vec![[left, top], [right, top], [right, bottom], [left, bottom]]
        }
        Some(Outline::Polygon(points)) => points.clone(),
    };
    for (from, to) in corners.iter().zip(corners.iter().cycle().skip(1)) {
        line(canvas, [from[0] * width, from[1] * height], [to[0] * width, to[1] * height], colour);
    }
    let first = corners.first().copied().unwrap_or_default();
    let short: String = before.chars().chain(name.chars()).take(16).collect();
    draw::text(canvas, ((first[0] * width) as i64 + 2, (first[1] * height) as i64 + 2), &short, 1, colour);
}

fn line(canvas: &mut RgbImage, from: [f32; 2], to: [f32; 2], colour: Rgb<u8>) {
    let steps = (to[0] - from[0]).abs().max((to[1] - from[1]).abs()).ceil().max(1.0) as u32;
    for step in 0..=steps {
        let share = step as f32 / steps as f32;
        let [x, y] = [0, 1].map(|axis| (from[axis] + (to[axis] - from[axis]) * share).max(0.0) as u32);
        if x < canvas.width() && y < canvas.height() {
            canvas.put_pixel(x, y, colour);
        }
    }
}
