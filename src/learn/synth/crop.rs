//! One pack as the embedder sees it, without a set on the disk.

use image::{GrayImage, RgbImage, imageops};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::design::{Form, Pack, one_of, stirred};
use super::lens::{self, Harshness};
use super::paint::Frame;
use super::scene::{Placed, Stage, lay, paint, photograph, stand};
use super::{blister, clutter, face, table};
use crate::vision::CropPolicy;
use crate::vision::dino::{FILL, fit, level};
use crate::vision::masks::Bitmap;
use crate::vision::rectangle::Rectangle;

/// One pack as the embedder sees it: cut out of a photograph by a detector's slightly wrong box, with what lies around it,
/// at any turn, in any light; `policy.input_size` pixels square. Drawn at about that size, so that it takes milliseconds.
/// Where the policy aligns, it lies level, but any side of it may be up unless it is to be `upright`.
#[must_use]
pub fn crop(pack: &Pack, policy: &CropPolicy, upright: bool, seed: u64) -> RgbImage {
    let mut rng = SmallRng::seed_from_u64(stirred(&[seed, 2]));
    let side = policy.input_size.max(1);
    // What is turned or stretched afterwards is drawn larger, so that little is lost.
    let drawn = match (policy.align, policy.square) {
        (_, false) => side * 3 / 2,
        (true, true) => side * 4 / 3,
        (false, true) => side,
    };
    let mut stage = Stage::new(1000.0, 1000.0, 110.0, 0.5, &mut rng);
    let yaw = if stage.standing { rng.random_range(-0.6..0.6) } else { rng.random_range(0.0..std::f32::consts::TAU) };
    let at = [rng.random_range(-30.0..30.0), rng.random_range(-30.0..30.0)];
    stage.ppm = 0.01;
    let first = stand(pack, 0, &stage, at, 0.0, yaw, &mut SmallRng::seed_from_u64(seed));
    let corners: Vec<[f32; 2]> = first
        .patches
        .iter()
        .flat_map(|patch| patch.corners)
        .map(|corner| {
            let seen = stage.camera.see(corner);
            [seen.x, seen.y]
        })
        .collect();
    let fold = |axis: usize, pick: fn(f32, f32) -> f32, from: f32| corners.iter().map(|c| c[axis]).fold(from, pick);
    let (left, top) = (fold(0, f32::min, f32::MAX), fold(1, f32::min, f32::MAX));
    let (right, bottom) = (fold(0, f32::max, f32::MIN), fold(1, f32::max, f32::MIN));
    let longer = (right - left).max(bottom - top).max(1.0);
    // A detector's box is a little off.
    let mut off = || longer * (policy.padding + rng.random_range(-0.03..0.03_f32));
    let (left, top, right, bottom) = (left - off(), top - off(), right + off(), bottom + off());
    let scale = drawn as f32 / (right - left).max(bottom - top).max(1.0);
    let length = |from: f32, to: f32| (((to - from) * scale).round() as u32).clamp(1, drawn);
    let (width, height) = (length(left, right), length(top, bottom));
    stage.camera.cut([left, top], scale);
    stage.ppm = stage.camera.focal * stage.camera.see([at[0], at[1], 0.0]).near;
    let mut placed = vec![stand(pack, 0, &stage, at, 0.0, yaw, &mut SmallRng::seed_from_u64(seed))];
    let reading = placed[0].rotation;
    beside(&mut placed, &stage, &mut rng);
    let mut frame = Frame::new(width, height);
    table::lay(&mut frame, &stage.camera, &mut rng);
    let _areas = paint(&mut frame, placed, &stage.camera, &stage.light, &mut rng);
    let owners = (policy.mask_background || policy.align).then(|| frame.owner.clone());
    let large = drawn as f32 / 224.0;
    let mut picture = lens::expose(frame, Harshness { blur: 1.3 * large, motion: 3.5 * large, noise: 0.055 }, &mut rng);
    if let Some(owners) = owners {
        // A detector's outline is a little off, too: rounded, and too narrow or too wide.
        let inside = owners.iter().map(|owner| if *owner == 0 { 255 } else { 0 }).collect();
        if let Some(exact) = GrayImage::from_raw(width, height, inside) {
            let soft = imageops::blur(&exact, 1.5 * large.max(0.5));
            let edge = rng.random_range(50..=200);
            if policy.mask_background {
                picture.pixels_mut().zip(soft.pixels()).filter(|(_, s)| s.0[0] < edge).for_each(|(p, _)| *p = FILL);
            }
            if policy.align {
                let mut outline = Bitmap::new(width, height);
                soft.enumerate_pixels().for_each(|(x, y, s)| outline.set(x, y, s.0[0] >= edge));
                if let Some(lies) = Rectangle::of(&outline) {
                    let room = lies.size[0].max(lies.size[1]) * (policy.padding + rng.random_range(-0.02..0.02_f32));
                    let square = level(&picture, &lies.grown(room.max(0.0)), policy);
                    let turned = (reading - lies.angle.to_degrees()) / 90.0;
                    return if upright { turned_back(&square, turned.round() as i32) } else { square };
                }
            }
        }
    }
    if !policy.square {
        return fit(&picture, policy);
    }
    let mut square = RgbImage::from_pixel(side, side, FILL);
    imageops::replace(&mut square, &picture, i64::from((side - width) / 2), i64::from((side - height) / 2));
    square
}

/// A crop whose print is turned clockwise by so many right angles, turned so that it reads from left to right.
fn turned_back(crop: &RgbImage, quarters: i32) -> RgbImage {
    match quarters.rem_euclid(4) {
        1 => imageops::rotate270(crop),
        2 => imageops::rotate180(crop),
        3 => imageops::rotate90(crop),
        _ => crop.clone(),
    }
}

/// Other things at a pack's side, and now and then one over its edge.
fn beside(placed: &mut Vec<Placed>, stage: &Stage, rng: &mut SmallRng) {
    let (middle, half) = (placed[0].middle, placed[0].half);
    let top = placed[0].top;
    for _ in 0..one_of(rng, &[0, 0, 0, 1, 1, 2]) {
        let thing = clutter::anything(rng, stage.ppm.clamp(0.1, 12.0));
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        let far = half[0].hypot(half[1]) + thing.size[0].hypot(thing.size[1]) / 2.0 - rng.random_range(0.0..25.0);
        let at = [middle[0] + angle.cos() * far, middle[1] + angle.sin() * far];
        placed.push(lay(thing, at, 0.0, rng.random_range(0.0..std::f32::consts::TAU), rng));
    }
    if !stage.standing && rng.random_bool(0.08) {
        let thing = clutter::covering(rng, stage.ppm.clamp(0.1, 12.0));
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        let far = half[0].min(half[1]) * 0.75 + thing.size[0] / 2.0;
        let at = [middle[0] + angle.cos() * far, middle[1] + angle.sin() * far];
        placed.push(lay(thing, at, top + 1.0, angle, rng));
    }
}

impl Pack {
    /// Its front, straight on and evenly lit.
    #[must_use]
    pub fn face(&self) -> RgbImage {
        const SCALE: f32 = 3.0;
        let [a, b, c] = self.design.size;
        let drawn = match self.design.form {
            Form::Carton => face::front(self, [a, b], SCALE),
            Form::Blister => blister::sheet(self, SCALE),
            Form::Bottle if self.design.turned => face::front(self, [b * 1.15, a * c], SCALE),
            Form::Bottle => face::front(self, [a * c, b], SCALE),
        };
        let pixels = drawn.data.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
        RgbImage::from_raw(drawn.width, drawn.height, pixels).unwrap_or_default()
    }

    /// A photograph of it alone: somewhere on a table, turned, tilted, lit from a side; 640 by 480 pixels.
    #[must_use]
    pub fn photograph(&self, seed: u64) -> RgbImage {
        photograph(std::slice::from_ref(self), 640, 480, seed).picture
    }

    /// Itself as the embedder sees it; see [`crop`].
    #[must_use]
    pub fn crop(&self, policy: &CropPolicy, upright: bool, seed: u64) -> RgbImage {
        crop(self, policy, upright, seed)
    }
}
