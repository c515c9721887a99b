//! Crops made other than they were taken: turned any way, nearer and farther, tilted, in other light, out of focus.
//!
//! A crop's label is of the whole crop, so nothing has to follow.

use image::{Rgb, RgbImage, imageops};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::{Recipe, Warp, between, colour};
use crate::vision::dino::FILL;

/// How much crops are changed; what the detector's settings know as well is called as there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changes {
    /// Turned by 0, 90, 180 or 270 degrees with this probability.
    pub turn: f32,
    /// Turned by up to so many degrees more, 0 to 180.
    pub degrees: f32,
    /// Moved by up to this share of the side, 0 to 1.
    pub translate: f32,
    /// Scaled by 1 less to 1 and this share, 0 to 1.
    pub scale: f32,
    /// Tilted, 0 to 0.001 (per pixel of a side of 640).
    pub perspective: f32,
    /// Mirrored with this probability. Print is never seen so: 0 unless labels have no print.
    pub fliplr: f32,
    /// Hue, as a share of the circle, 0 to 1.
    pub hsv_h: f32,
    /// Saturation, as a share, 0 to 1.
    pub hsv_s: f32,
    /// Brightness, as a share, 0 to 1.
    pub hsv_v: f32,
    /// Out of focus with this probability.
    pub blur: f32,
}

/// How far out of focus at most: the blur's deviation, as a share of the side.
const SOFTEST: f32 = 0.01;
/// The side, pixels, that tilts are said for.
const SIDE: f32 = 640.0;

impl Default for Changes {
    fn default() -> Self {
        Self {
            turn: 1.0,
            degrees: 15.0,
            translate: 0.05,
            scale: 0.2,
            perspective: 0.0003,
            fliplr: 0.0,
            hsv_h: 0.015,
            hsv_s: 0.4,
            hsv_v: 0.4,
            blur: 0.3,
        }
    }
}

impl Changes {
    /// Crops as they are.
    #[must_use]
    pub fn none() -> Self {
        Self {
            turn: 0.0,
            degrees: 0.0,
            translate: 0.0,
            scale: 0.0,
            perspective: 0.0,
            fliplr: 0.0,
            hsv_h: 0.0,
            hsv_s: 0.0,
            hsv_v: 0.0,
            blur: 0.0,
        }
    }

    /// Whether every value lies in its range.
    ///
    /// # Errors
    /// A sentence naming the value that does not.
    pub fn check(&self) -> Result<(), String> {
        self.recipe().check()?;
        match [("turn", self.turn), ("blur", self.blur)].into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            Some((name, value)) => Err(format!("`{name}: {value}` must lie between 0 and 1")),
            None => Ok(()),
        }
    }

    /// The same as far as the detector's recipe goes.
    fn recipe(&self) -> Recipe {
        Recipe {
            hsv_h: self.hsv_h,
            hsv_s: self.hsv_s,
            hsv_v: self.hsv_v,
            degrees: self.degrees,
            translate: self.translate,
            scale: self.scale,
            perspective: self.perspective,
            fliplr: self.fliplr,
            ..Recipe::none()
        }
    }
}

fn chance(of: f32, rng: &mut StdRng) -> bool {
    of > 0.0 && rng.random_bool(f64::from(of))
}

/// By how many right angles a crop is to be turned, 0 to 3.
#[must_use]
pub fn quarters(changes: &Changes, rng: &mut StdRng) -> u8 {
    if chance(changes.turn, rng) { rng.random_range(0..4) } else { 0 }
}

/// A changed copy of a square crop, of the same side, turned by so many right angles first. What it does not cover is the
/// colour that crops are filled up with.
#[must_use]
pub fn change(crop: &RgbImage, quarters: u8, changes: &Changes, rng: &mut StdRng) -> RgbImage {
    let turned = match quarters {
        1 => imageops::rotate90(crop),
        2 => imageops::rotate180(crop),
        3 => imageops::rotate270(crop),
        _ => crop.clone(),
    };
    let side = crop.width();
    let mut recipe = changes.recipe();
    // The same tilt on a smaller picture is more a pixel.
    recipe.perspective *= SIDE / side.max(1) as f32;
    let moves = recipe.degrees > 0.0 || recipe.translate > 0.0 || recipe.scale > 0.0 || recipe.perspective > 0.0;
    let warp = Warp::random(&recipe, side as f32, side as f32, rng);
    let tint = colour::Tint::random(&recipe, rng);
    let aside = chance(changes.fliplr, rng);
    let soft = if chance(changes.blur, rng) { rng.random_range(0.0..SOFTEST) * side as f32 } else { 0.0 };
    let mut changed = RgbImage::from_pixel(side, side, FILL);
    for (x, y, pixel) in changed.enumerate_pixels_mut() {
        let x = if aside { side - 1 - x } else { x };
        let seen = if moves {
            let [u, v] = warp.back([x as f32 + 0.5, y as f32 + 0.5]);
            between(&turned, u, v).map(Rgb)
        } else {
            Some(*turned.get_pixel(x, y))
        };
        if let Some(seen) = seen {
            *pixel = tint.of(seen);
        }
    }
    // A blur below this changes nothing that bytes could show.
    if soft > 0.2 { imageops::fast_blur(&changed, soft) } else { changed }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use rand::SeedableRng as _;

    use super::*;

    fn corner() -> RgbImage {
        RgbImage::from_fn(56, 56, |x, y| if x < 20 && y < 20 { Rgb([250, 20, 20]) } else { Rgb([20, 20, 200]) })
    }

    #[test]
    fn nothing_is_changed_where_nothing_should_be_and_quarters_are_exact() {
        let crop = corner();
        let change = |changes: &Changes, seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let quarters = quarters(changes, &mut rng);
            super::change(&crop, quarters, changes, &mut rng)
        };
        assert_eq!(change(&Changes::none(), 1), crop);
        let turn = Changes { turn: 1.0, ..Changes::none() };
        let all = crate::vision::rotations(&crop);
        let mut seen = [0; 4];
        for seed in 0..64 {
            let turned = change(&turn, seed);
            let which = all.iter().position(|one| *one == turned).unwrap();
            seen[which] += 1;
        }
        assert!(seen.iter().all(|count| *count > 4), "{seen:?}");
    }

    #[test]
    fn a_seed_gives_the_same_crop_and_every_change_shows() {
        let crop = corner();
        let change = |changes: &Changes, seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let quarters = quarters(changes, &mut rng);
            super::change(&crop, quarters, changes, &mut rng)
        };
        let none = Changes::none();
        for changes in [
            Changes { degrees: 90.0, ..none },
            Changes { translate: 0.3, ..none },
            Changes { scale: 0.5, ..none },
            Changes { perspective: 0.001, ..none },
            Changes { fliplr: 1.0, ..none },
            Changes { hsv_h: 0.5, ..none },
            Changes { hsv_v: 0.5, ..none },
            Changes { blur: 1.0, ..none },
        ] {
            let changed = change(&changes, 3);
            assert_eq!(changed, change(&changes, 3));
            assert_ne!(changed, crop, "{changes:?}");
            assert_eq!(changed.dimensions(), (56, 56));
        }
        assert!(Changes::default().check().is_ok());
        assert!(Changes { turn: 1.5, ..none }.check().unwrap_err().contains("turn"));
        assert!(Changes { degrees: f32::NAN, ..none }.check().is_err());
    }
}
