//! Pictures made other than they were taken: four in one, moved, turned, scaled, tilted, mirrored, in other light. Labels
//! follow.
//!
//! A sample is drawn in one pass: each of its pixels is looked up in the pictures it is made of, so that no canvas between
//! is drawn, and nothing is blurred twice.

mod colour;
pub mod crops;
mod outline;
mod warp;

use image::{Rgb, RgbImage};
use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

pub use outline::{area, clip, fill};
pub use warp::Warp;

/// The grey of what no picture covers (as in the detector's letterbox).
const NOTHING: Rgb<u8> = Rgb([114, 114, 114]);
/// Objects with a shorter side, pixels, are left out.
const SHORTEST: f32 = 2.0;
/// Objects longer than this by their width are left out.
const LONGEST: f32 = 100.0;

/// How much is changed, with Ultralytics' names and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// Hue, as a share of the circle, 0 to 1.
    pub hsv_h: f32,
    /// Saturation, as a share, 0 to 1.
    pub hsv_s: f32,
    /// Brightness, as a share, 0 to 1.
    pub hsv_v: f32,
    /// Turned by up to so many degrees, 0 to 180.
    pub degrees: f32,
    /// Moved by up to this share of the side, 0 to 1.
    pub translate: f32,
    /// Scaled by 1 less to 1 and this share, 0 to 1.
    pub scale: f32,
    /// Sheared by up to so many degrees, 0 to 80.
    pub shear: f32,
    /// Tilted, 0 to 0.001 (per pixel).
    pub perspective: f32,
    /// Turned upside down with this probability.
    pub flipud: f32,
    /// Mirrored with this probability.
    pub fliplr: f32,
    /// Four pictures in one with this probability.
    pub mosaic: f32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            hsv_h: 0.015,
            hsv_s: 0.7,
            hsv_v: 0.4,
            degrees: 0.0,
            translate: 0.1,
            scale: 0.5,
            shear: 0.0,
            perspective: 0.0,
            flipud: 0.0,
            fliplr: 0.5,
            mosaic: 1.0,
        }
    }
}

impl Recipe {
    /// Pictures as they are.
    #[must_use]
    pub fn none() -> Self {
        Self {
            hsv_h: 0.0,
            hsv_s: 0.0,
            hsv_v: 0.0,
            degrees: 0.0,
            translate: 0.0,
            scale: 0.0,
            shear: 0.0,
            perspective: 0.0,
            flipud: 0.0,
            fliplr: 0.0,
            mosaic: 0.0,
        }
    }

    /// Whether every value lies in its range.
    ///
    /// # Errors
    /// A sentence naming the value that does not.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            ("hsv_h", self.hsv_h, 1.0),
            ("hsv_s", self.hsv_s, 1.0),
            ("hsv_v", self.hsv_v, 1.0),
            ("degrees", self.degrees, 180.0),
            ("translate", self.translate, 1.0),
            ("scale", self.scale, 1.0),
            ("shear", self.shear, 80.0),
            ("perspective", self.perspective, 0.001),
            ("flipud", self.flipud, 1.0),
            ("fliplr", self.fliplr, 1.0),
            ("mosaic", self.mosaic, 1.0),
        ];
        match ranges.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
            Some((name, value, most)) => Err(format!("`{name}: {value}` must lie between 0 and {most}")),
            None => Ok(()),
        }
    }
}

/// Where an object is, in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    /// Its class.
    pub class: u32,
    /// Its corners in order: of its outline, or of its box.
    pub corners: Vec<[f32; 2]>,
    /// Whether the corners are an outline's.
    pub outlined: bool,
}

/// A picture with what is in it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The upright picture, its longer side as long as the network's input.
    pub pixels: RgbImage,
    /// What is in it.
    pub objects: Vec<Marked>,
}

/// What the network is shown.
#[derive(Clone, Debug)]
pub struct Sample {
    /// A square picture.
    pub pixels: RgbImage,
    /// What is in it, cut to it.
    pub objects: Vec<Marked>,
}

/// How pictures lie on the canvas that is looked at.
struct Placed<'a> {
    picture: &'a Scene,
    /// The canvas's place of its first pixel.
    origin: [f32; 2],
}

/// Makes a sample of `size` pixels a side of one picture or, where `others` has three more, of four.
#[must_use]
pub fn compose(picture: &Scene, others: &[Scene], recipe: &Recipe, size: u32, rng: &mut StdRng) -> Sample {
    let side = size as f32;
    let (placed, centre, canvas) = if let [second, third, fourth] = others {
        let mut place = || rng.random_range(0.5 * side..=1.5 * side);
        let centre = [place(), place()];
        (four([picture, second, third, fourth], centre), centre, 2.0 * side)
    } else {
        let (width, height) = (picture.pixels.width() as f32, picture.pixels.height() as f32);
        let origin = [((side - width) / 2.0).round(), ((side - height) / 2.0).round()];
        (vec![Placed { picture, origin }], [0.0, 0.0], side)
    };
    let warp = Warp::random(recipe, canvas, side, rng);
    let tint = colour::Tint::random(recipe, rng);
    let mut chance = |of: f32| of > 0.0 && rng.random_bool(f64::from(of));
    let (over, aside) = (chance(recipe.flipud), chance(recipe.fliplr));
    let pixels = draw(&placed, centre, &warp, size, (over, aside), &tint);

    let mut objects = Vec::new();
    for Placed { picture, origin } in &placed {
        for object in &picture.objects {
            let here = |corner: &[f32; 2]| {
                let [x, y] = warp.forward([corner[0] + origin[0], corner[1] + origin[1]]);
                [if aside { side - x } else { x }, if over { side - y } else { y }]
            };
            // What lies outside the canvas was never in the sample.
            let kept = if placed.len() > 1 {
                clip(&shifted(&object.corners, *origin), canvas, canvas)
            } else {
                shifted(&object.corners, *origin)
            };
            let whole: Vec<[f32; 2]> =
                kept.iter().map(|corner| here(&[corner[0] - origin[0], corner[1] - origin[1]])).collect();
            let outline = if object.outlined { whole } else { boxed(&whole) };
            let cut = clip(&outline, side, side);
            if stays(&outline, &cut, object.outlined) {
                let corners = if object.outlined { cut } else { boxed(&cut) };
                objects.push(Marked { class: object.class, corners, outlined: object.outlined });
            }
        }
    }
    Sample { pixels, objects }
}

fn shifted(corners: &[[f32; 2]], by: [f32; 2]) -> Vec<[f32; 2]> {
    corners.iter().map(|[x, y]| [x + by[0], y + by[1]]).collect()
}

/// Four pictures around a point: each with the corner at it that lies towards the middle.
fn four(pictures: [&Scene; 4], centre: [f32; 2]) -> Vec<Placed<'_>> {
    let place = |(number, picture): (usize, _)| {
        let picture: &Scene = picture;
        let (width, height) = (picture.pixels.width() as f32, picture.pixels.height() as f32);
        let (x, y) = (centre[0].round(), centre[1].round());
        let origin = [if number % 2 == 0 { x - width } else { x }, if number < 2 { y - height } else { y }];
        Placed { picture, origin }
    };
    pictures.into_iter().enumerate().map(place).collect()
}

/// The box around corners, as corners.
fn boxed(corners: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let [left, top, right, bottom] = bounds(corners);
    if corners.is_empty() { Vec::new() } else { vec![[left, top], [right, top], [right, bottom], [left, bottom]] }
}

/// The edges of the box around corners: left, top, right, bottom.
#[must_use]
pub fn bounds(corners: &[[f32; 2]]) -> [f32; 4] {
    corners.iter().fold([f32::MAX, f32::MAX, f32::MIN, f32::MIN], |[l, t, r, b], [x, y]| {
        [l.min(*x), t.min(*y), r.max(*x), b.max(*y)]
    })
}

/// Whether enough of an object is left to be asked for: of a box a tenth, of an outline a hundredth.
fn stays(whole: &[[f32; 2]], cut: &[[f32; 2]], outlined: bool) -> bool {
    if cut.len() < 3 || whole.is_empty() {
        return false;
    }
    let [left, top, right, bottom] = bounds(cut);
    let (width, height) = (right - left, bottom - top);
    let [l, t, r, b] = bounds(whole);
    let least = if outlined { 0.01 } else { 0.1 };
    width > SHORTEST
        && height > SHORTEST
        && width * height > least * (r - l) * (b - t)
        && (width / height).max(height / width) < LONGEST
}

/// Looks every pixel of the sample up.
fn draw(
    placed: &[Placed],
    centre: [f32; 2],
    warp: &Warp,
    size: u32,
    (over, aside): (bool, bool),
    tint: &colour::Tint,
) -> RgbImage {
    let mut sample = RgbImage::from_pixel(size, size, NOTHING);
    for (x, y, pixel) in sample.enumerate_pixels_mut() {
        let (x, y) = (if aside { size - 1 - x } else { x }, if over { size - 1 - y } else { y });
        let [u, v] = warp.back([x as f32 + 0.5, y as f32 + 0.5]);
        let which = match placed {
            [_] => 0,
            _ => usize::from(u >= centre[0].round()) + 2 * usize::from(v >= centre[1].round()),
        };
        let Placed { picture, origin } = &placed[which];
        if let Some(found) = between(&picture.pixels, u - origin[0], v - origin[1]) {
            *pixel = Rgb(found);
        }
        *pixel = tint.of(*pixel);
    }
    sample
}

/// The picture's colour at a point (a pixel's centre has halves), none outside it.
fn between(picture: &RgbImage, x: f32, y: f32) -> Option<[u8; 3]> {
    let (width, height) = (picture.width() as i32, picture.height() as i32);
    if !(x >= 0.0 && y >= 0.0 && x < width as f32 && y < height as f32) {
        return None;
    }
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let raw = picture.as_raw();
    let at = |dx: i32, dy: i32| {
        let column = (left as i32 + dx).clamp(0, width - 1) as usize;
        let row = (top as i32 + dy).clamp(0, height - 1) as usize;
        let start = (row * width as usize + column) * 3;
        [raw[start], raw[start + 1], raw[start + 2]]
    };
    let (a, b, c, d) = (at(0, 0), at(1, 0), at(0, 1), at(1, 1));
    Some(std::array::from_fn(|i| {
        let above = f32::from(a[i]) * (1.0 - fx) + f32::from(b[i]) * fx;
        let below = f32::from(c[i]) * (1.0 - fx) + f32::from(d[i]) * fx;
        (above * (1.0 - fy) + below * fy + 0.5) as u8
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use rand::SeedableRng as _;

    use super::*;

    /// A grey picture with a red rectangle that is marked.
    fn picture(width: u32, height: u32, [l, t, r, b]: [u32; 4]) -> Scene {
        let inside = |x, y| (l..r).contains(&x) && (t..b).contains(&y);
        let pixels =
            RgbImage::from_fn(width, height, |x, y| if inside(x, y) { Rgb([250, 0, 0]) } else { Rgb([60, 60, 60]) });
        let [l, t, r, b] = [l, t, r, b].map(|edge| edge as f32);
        let corners = vec![[l, t], [r, t], [r, b], [l, b]];
        Scene { pixels, objects: vec![Marked { class: 3, corners, outlined: true }] }
    }

    fn is_red(pixel: &Rgb<u8>) -> bool {
        i32::from(pixel.0[0]) - i32::from(pixel.0[1]) > 100
    }

    #[test]
    fn nothing_is_changed_where_nothing_should_be() {
        let one = picture(64, 64, [10, 20, 30, 44]);
        let sample = compose(&one, &[], &Recipe::none(), 64, &mut StdRng::seed_from_u64(1));
        assert_eq!(sample.pixels, one.pixels);
        assert_eq!(sample.objects, one.objects);
        let flat = picture(64, 32, [10, 10, 30, 20]);
        let sample = compose(&flat, &[], &Recipe::none(), 64, &mut StdRng::seed_from_u64(1));
        assert_eq!(sample.pixels.get_pixel(0, 0), &NOTHING);
        assert_eq!(bounds(&sample.objects[0].corners), [10.0, 26.0, 30.0, 36.0]);
    }

    #[test]
    fn labels_lie_on_what_they_mark_however_it_is_changed() {
        let recipe = Recipe {
            degrees: 180.0,
            translate: 0.2,
            scale: 0.5,
            shear: 10.0,
            perspective: 0.0005,
            flipud: 0.5,
            fliplr: 0.5,
            hsv_h: 0.0,
            hsv_s: 0.0,
            ..Recipe::default()
        };
        let all =
            [[20, 30, 90, 80], [5, 5, 60, 110], [40, 40, 100, 90], [10, 60, 120, 100]].map(|b| picture(128, 120, b));
        let mut seen = 0;
        for seed in 0..60 {
            let mut rng = StdRng::seed_from_u64(seed);
            let others = if seed % 2 == 0 { &all[1..] } else { &[] };
            let sample = compose(&all[0], others, &recipe, 128, &mut rng);
            let mut marked = vec![0_u16; 128 * 128];
            for (n, object) in sample.objects.iter().enumerate() {
                fill(&object.corners, 128, 128, |place| marked[place] = n as u16 + 1);
            }
            let (mut both, mut either) = (0.0, 0.0);
            for (pixel, mark) in sample.pixels.pixels().zip(&marked) {
                both += f64::from(u8::from(is_red(pixel) && *mark > 0));
                either += f64::from(u8::from(is_red(pixel) || *mark > 0));
            }
            if either > 400.0 {
                seen += 1;
                assert!(both / either > 0.9, "seed {seed}: {both} of {either}");
            }
        }
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn a_seed_gives_the_same_sample_and_settings_are_checked() {
        let one = picture(64, 48, [10, 10, 30, 30]);
        let sample = |seed| compose(&one, &[], &Recipe::default(), 64, &mut StdRng::seed_from_u64(seed));
        assert_eq!(sample(5).pixels, sample(5).pixels);
        assert_ne!(sample(5).pixels, sample(6).pixels);
        assert!(Recipe::default().check().is_ok());
        assert!(Recipe { degrees: 200.0, ..Recipe::default() }.check().unwrap_err().contains("degrees: 200"));
        assert!(Recipe { mosaic: f32::NAN, ..Recipe::default() }.check().is_err());
    }
}
