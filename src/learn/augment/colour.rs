//! Other light: hue, saturation and brightness.

use image::{Pixel as _, Rgb};
use rand::Rng;
use rand::rngs::StdRng;

use super::Recipe;

/// A change of colours.
#[derive(Clone, Copy, Debug)]
pub struct Tint {
    /// Sixths of the circle.
    hue: f32,
    saturation: f32,
    brightness: f32,
    changes: bool,
}

impl Tint {
    /// A random one, as much as the recipe allows.
    #[must_use]
    pub fn random(recipe: &Recipe, rng: &mut StdRng) -> Self {
        let mut upto = |most: f32| if most > 0.0 { rng.random_range(-most..=most) } else { 0.0 };
        let (hue, saturation, brightness) = (upto(recipe.hsv_h), upto(recipe.hsv_s), upto(recipe.hsv_v));
        let changes = hue != 0.0 || saturation != 0.0 || brightness != 0.0;
        Self { hue: hue * 6.0, saturation: 1.0 + saturation, brightness: 1.0 + brightness, changes }
    }

    /// A colour in that light.
    #[must_use]
    pub fn of(&self, colour: Rgb<u8>) -> Rgb<u8> {
        if !self.changes {
            return colour;
        }
        let [r, g, b] = colour.channels() else { return colour };
        let [r, g, b] = [*r, *g, *b].map(f32::from);
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let spread = most - least;
        // Hue in sixths of the circle, as in any textbook.
        let hue = if spread == 0.0 {
            0.0
        } else if most == r {
            (g - b) / spread
        } else if most == g {
            2.0 + (b - r) / spread
        } else {
            4.0 + (r - g) / spread
        };
        let hue = (hue + self.hue).rem_euclid(6.0);
        let saturation = if most == 0.0 { 0.0 } else { (spread / most * self.saturation).min(1.0) };
        let value = (most * self.brightness).min(255.0);
        let channel = |n: f32| {
            let k = (n + hue) % 6.0;
            (value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0)) + 0.5) as u8
        };
        Rgb([channel(5.0), channel(3.0), channel(1.0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_light_that_changes_nothing_gives_every_colour_back() {
        let still = Tint { hue: 0.0, saturation: 1.0, brightness: 1.0, changes: true };
        for r in (0..=255).step_by(15) {
            for g in (0..=255).step_by(15) {
                for b in (0..=255).step_by(15) {
                    let colour = Rgb([r as u8, g as u8, b as u8]);
                    let near = still.of(colour).0.iter().zip(colour.0).all(|(a, b)| a.abs_diff(b) <= 1);
                    assert!(near, "{colour:?} became {:?}", still.of(colour));
                }
            }
        }
        let turned = Tint { hue: 2.0, ..still };
        assert_eq!(turned.of(Rgb([200, 0, 0])).0, [0, 200, 0], "a third of the circle: red to green");
        assert_eq!(Tint { brightness: 0.5, ..still }.of(Rgb([200, 100, 0])).0, [100, 50, 0]);
    }
}
