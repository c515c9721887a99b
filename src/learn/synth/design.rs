//! What a pack looks like, from its number.

use std::fmt;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::canvas::{Colour, FACES, Letters};
use super::words;

/// How a medicine is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A folding box.
    Carton,
    /// A strip of foil with pills in pockets.
    Blister,
    /// A bottle or jar with a label around it.
    Bottle,
}

/// How much is in a tablet, in tenths of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strength(pub(super) u32);

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, tenth) => write!(f, "{whole}.{tenth}"),
        }
    }
}

/// What a pair of look-alikes shares: everything but the strength.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Design {
    pub(super) name: String,
    pub(super) substance: &'static str,
    pub(super) contents: &'static str,
    pub(super) maker: &'static str,
    pub(super) unit: &'static str,
    pub(super) form: Form,
    /// Width, height and depth in millimetres; of a bottle: length, diameter, and the share of its length that is label.
    pub(super) size: [f32; 3],
    pub(super) ground: Colour,
    pub(super) accent: Colour,
    pub(super) second: Colour,
    pub(super) ink: Colour,
    /// The body of a bottle, the foil of a blister.
    pub(super) body: Colour,
    /// The cap of a bottle, the pills of a blister.
    pub(super) part: Colour,
    pub(super) layout: u32,
    pub(super) pattern: u32,
    pub(super) panel: u32,
    pub(super) logo: u32,
    /// A bottle's print runs around it, a blister shows its printed back.
    pub(super) turned: bool,
    pub(super) heading: Letters,
    pub(super) figures: Letters,
    /// The heading's height against its place.
    pub(super) weight: f32,
    /// 0 for board, 1 for varnish and foil.
    pub(super) gloss: f32,
    /// What small print, bar codes and patterns are drawn from.
    pub(super) print: u64,
}

/// A pack: a design in a strength.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    pub(super) design: Design,
    pub(super) strength: Strength,
}

/// Pairs of strengths that are sold and mistaken for each other, in tenths.
const PAIRS: [[u32; 2]; 22] = [
    [50, 100],
    [100, 200],
    [200, 400],
    [250, 500],
    [500, 1000],
    [1000, 2000],
    [2500, 5000],
    [400, 800],
    [750, 1500],
    [300, 600],
    [20, 40],
    [150, 300],
    [3000, 6000],
    [4000, 8000],
    [1250, 2500],
    [25, 50],
    [5, 10],
    [10, 20],
    [100, 150],
    [200, 300],
    [1500, 3000],
    [8000, 10000],
];

/// Stirs numbers into a seed, so that neighbours share nothing (splitmix64's finaliser, a step a number).
pub(super) fn stirred(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9E37_79B9_7F4A_7C15, |state, number| {
        let mut z = (state ^ number).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// One of several.
pub(super) fn one_of<T: Copy>(rng: &mut SmallRng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

/// A colour from hue (turns), saturation and value.
pub(super) fn hsv(hue: f32, saturation: f32, value: f32) -> Colour {
    [5.0, 3.0, 1.0].map(|n: f32| {
        let k = (n + hue * 6.0).rem_euclid(6.0);
        let share = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (share.clamp(0.0, 1.0) * 255.0) as u8
    })
}

/// How bright a colour is, 0 to 255 (Rec. 601).
pub(super) fn luma([r, g, b]: Colour) -> f32 {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)
}

/// Of two colours the one that is easier to read on a ground.
pub(super) fn readable(ground: Colour, wanted: Colour, otherwise: Colour) -> Colour {
    if (luma(ground) - luma(wanted)).abs() > 75.0 { wanted } else { otherwise }
}

/// Black or white, whichever is easier to read on a ground.
pub(super) fn contrast(ground: Colour) -> Colour {
    if luma(ground) > 140.0 { [22, 22, 30] } else { [250, 250, 248] }
}

impl Pack {
    /// The design of a number; every seed is another pharmacy. Each odd number is the look-alike of the even one before:
    /// the same but for its strength. Names repeat after 30,720 numbers.
    #[must_use]
    pub fn numbered(seed: u64, number: u32) -> Self {
        let pair = u64::from(number / 2);
        let mut rng = SmallRng::seed_from_u64(stirred(&[seed, pair]));
        let pharmacy = stirred(&[seed]);
        // A step that shares no factor with the number of names goes through all of them before one comes again.
        let step = (pharmacy >> 20) / 30 * 30 + 7;
        let name = words::name(pharmacy % words::NAMES + pair % words::NAMES * (step % words::NAMES));
        let form = match rng.random_range(0..100) {
            0..50 => Form::Carton,
            50..78 => Form::Blister,
            _ => Form::Bottle,
        };
        let hue: f32 = rng.random();
        let accent = hsv(hue, rng.random_range(0.45..1.0), rng.random_range(0.3..0.95));
        let other = hue + one_of(&mut rng, &[0.08, -0.08, 0.33, 0.5, 0.17]) + rng.random_range(-0.03..0.03);
        let second = hsv(other, rng.random_range(0.3..0.95), rng.random_range(0.35..0.95));
        let tint: f32 = rng.random();
        let ground = match rng.random_range(0..100) {
            0..48 => [one_of(&mut rng, &[238, 244, 250]); 3],
            48..70 => hsv(hue, rng.random_range(0.03..0.2), rng.random_range(0.88..1.0)),
            70..80 => hsv(tint, rng.random_range(0.1..0.35), rng.random_range(0.8..1.0)),
            80..94 => hsv(tint, rng.random_range(0.5..0.95), rng.random_range(0.3..0.85)),
            _ => [rng.random_range(20..60); 3],
        };
        let foil = one_of(&mut rng, &[[206, 208, 212], [190, 193, 198], [222, 222, 220], [214, 196, 150]]);
        let (body, part) = match form {
            Form::Blister => {
                let pill = match rng.random_range(0..10) {
                    0..5 => [rng.random_range(225..255); 3],
                    _ => hsv(rng.random(), rng.random_range(0.2..0.85), rng.random_range(0.65..1.0)),
                };
                (foil, pill)
            }
            _ => {
                let body = match rng.random_range(0..10) {
                    0..5 => [rng.random_range(222..250); 3],
                    5..8 => hsv(rng.random_range(0.05..0.1), 0.85, rng.random_range(0.3..0.6)),
                    _ => hsv(rng.random(), rng.random_range(0.2..0.7), rng.random_range(0.3..0.8)),
                };
                let cap = match rng.random_range(0..10) {
                    0..5 => [rng.random_range(215..252); 3],
                    5..8 => accent,
                    _ => [rng.random_range(20..60); 3],
                };
                (body, cap)
            }
        };
        let size = match form {
            Form::Carton => carton(&mut rng),
            Form::Blister => [rng.random_range(75.0..145.0), rng.random_range(42.0..80.0), 4.0],
            Form::Bottle => {
                let length = rng.random_range(62.0..130.0);
                [length, length * rng.random_range(0.4..0.72), rng.random_range(0.5..0.66)]
            }
        };
        let mut letters = |bold: &[usize]| Letters {
            face: if rng.random_bool(0.85) { one_of(&mut rng, bold) } else { rng.random_range(0..FACES) },
            wide: rng.random_range(0.78..1.08),
            slant: if rng.random_bool(0.15) { rng.random_range(0.1..0.25) } else { 0.0 },
            space: rng.random_range(0.0..0.1),
            bold: if rng.random_bool(0.3) { rng.random_range(0.02..0.09) } else { 0.0 },
        };
        let heading = letters(&[0, 1, 1, 2, 2, 3, 4, 6]);
        let figures = Letters { slant: 0.0, ..letters(&[1, 1, 2, 4, 5]) };
        let unit = one_of(&mut rng, &["mg", "mg", "mg", "mg", "mg", "mg", "mcg", "IU", "mg/ml"]);
        // What is drawn last is the only thing that a pair does not share.
        let strengths = one_of(&mut rng, &PAIRS).map(Strength);
        let case = rng.random_range(0..3);
        let design = Design {
            name: match case {
                0 => name.to_uppercase(),
                _ => name,
            },
            substance: one_of(&mut rng, &words::SUBSTANCES),
            contents: one_of(&mut rng, &words::CONTENTS),
            maker: one_of(&mut rng, &words::MAKERS),
            unit,
            form,
            size,
            ground,
            accent,
            second,
            ink: readable(ground, if rng.random_bool(0.3) { accent } else { [24, 26, 34] }, contrast(ground)),
            body,
            part,
            layout: rng.random_range(0..8),
            pattern: rng.random_range(0..9),
            panel: rng.random_range(0..5),
            logo: rng.random_range(0..7),
            turned: rng.random_bool(0.5),
            heading,
            figures,
            weight: rng.random_range(0.75..1.0),
            gloss: rng.random_range(0.0..1.0),
            print: rng.random(),
        };
        Self { design, strength: strengths[(number % 2) as usize] }
    }

    /// What it is called, strength included: the label to enrol it under.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.design.name, self.strength_label())
    }

    /// Its strength with the unit, as in a folder's name.
    #[must_use]
    pub fn strength_label(&self) -> String {
        format!("{} {}", self.strength, self.design.unit.replace('/', " per "))
    }

    /// How it is packed.
    #[must_use]
    pub fn form(&self) -> Form {
        self.design.form
    }
}

/// A box's front and depth: lying or upright, flat or deep.
fn carton(rng: &mut SmallRng) -> [f32; 3] {
    let long = rng.random_range(80.0..150.0);
    let short = long * rng.random_range(0.36..0.8);
    let depth = one_of(rng, &[12.0, 16.0, 20.0, 25.0, 32.0, 45.0]) * rng.random_range(0.85..1.15);
    if rng.random_bool(0.2) { [short, long, depth] } else { [long, short, depth] }
}
