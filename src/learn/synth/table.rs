//! What packs lie on: wood, stone, cloth, tiles, paper, and things that are none of these.

use rand::Rng;
use rand::rngs::SmallRng;

use super::camera::Camera;
use super::design::{hsv, one_of};
use super::paint::Frame;

const SIDE: usize = 64;

/// Smooth random values over the plane, 0 to 1, one change a unit, the same again after 64.
pub(super) struct Noise(Box<[f32; SIDE * SIDE]>);

impl Noise {
    /// Another plane for another generator.
    pub(super) fn new(rng: &mut SmallRng) -> Self {
        let mut values = Box::new([0.0; SIDE * SIDE]);
        values.iter_mut().for_each(|value| *value = rng.random());
        Self(values)
    }

    /// The value at a place.
    #[inline]
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        // `floor` would be a call for each pixel on machines without an instruction for it.
        let whole = |v: f32| v as i32 - i32::from(v < (v as i32) as f32);
        let (left, top) = (whole(x), whole(y));
        let (fx, fy) = (x - left as f32, y - top as f32);
        let (fx, fy) = (fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy));
        // Wrapping keeps a place far away, or behind the horizon, a place.
        let (column, row) = (left as usize % SIDE, top as usize % SIDE);
        let (right, below) = ((column + 1) % SIDE, (row + 1) % SIDE);
        let at = |column: usize, row: usize| self.0[row * SIDE + column];
        let upper = at(column, row) * (1.0 - fx) + at(right, row) * fx;
        let lower = at(column, below) * (1.0 - fx) + at(right, below) * fx;
        upper * (1.0 - fy) + lower * fy
    }
}

type Tone = [f32; 3];

fn mix(a: Tone, b: Tone, share: f32) -> Tone {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * share)
}

/// A table top, told by the place on it in millimetres.
struct Table {
    kind: u32,
    base: Tone,
    other: Tone,
    third: Tone,
    scale: f32,
    grain: f32,
    turn: (f32, f32),
    noise: Noise,
}

impl Table {
    fn new(rng: &mut SmallRng) -> Self {
        let tone = |colour: [u8; 3]| colour.map(|c| f32::from(c) / 255.0);
        let kind = rng.random_range(0..12);
        let hue: f32 = rng.random();
        let any =
            |rng: &mut SmallRng| tone(hsv(rng.random(), rng.random_range(0.0..0.6), rng.random_range(0.15..0.95)));
        let (base, other) = match kind {
            // Wood is brown.
            1 | 2 => {
                let (hue, value) = (rng.random_range(0.05..0.11), rng.random_range(0.3..0.85));
                let base = hsv(hue, rng.random_range(0.3..0.7), value);
                (tone(base), tone(hsv(hue - 0.01, rng.random_range(0.4..0.8), value * rng.random_range(0.5..0.85))))
            }
            // Stone is grey, beige or nearly black.
            3 => {
                let value = one_of(rng, &[0.12, 0.35, 0.8, 0.92]);
                (
                    tone(hsv(hue, 0.06, value)),
                    tone(hsv(hue, 0.1, (value + one_of(rng, &[-0.25, 0.25])).clamp(0.1, 1.0))),
                )
            }
            _ => {
                let base = match rng.random_range(0..10) {
                    0..3 => [rng.random_range(0.75..0.97_f32); 3],
                    3..4 => [rng.random_range(0.05..0.25_f32); 3],
                    _ => tone(hsv(hue, rng.random_range(0.05..0.75), rng.random_range(0.2..0.9))),
                };
                (base, any(rng))
            }
        };
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        Self {
            kind,
            base,
            other,
            third: any(rng),
            scale: rng.random_range(0.6..1.6),
            grain: rng.random_range(0.0..0.06),
            turn: angle.sin_cos(),
            noise: Noise::new(rng),
        }
    }

    #[inline]
    fn at(&self, x: f32, y: f32) -> Tone {
        let (sin, cos) = self.turn;
        let (x, y) = ((x * cos - y * sin) * self.scale, (x * sin + y * cos) * self.scale);
        let noise = |step: f32| self.noise.at(x / step, y / step);
        let shade = |tone: Tone, by: f32| tone.map(|c| c * by);
        let tone = match self.kind {
            // Wood, whole or in boards.
            1 | 2 => {
                let board = if self.kind == 2 { (y / 90.0).floor() } else { 0.0 };
                let wave = self.noise.at(x / 160.0 + board * 7.3, y / 30.0) * 14.0;
                let streak = self.noise.at(x / 120.0 + board * 3.1, (y + wave) / 2.2);
                let fine = self.noise.at(x / 25.0, y / 0.8 + board * 5.0);
                let wood = mix(self.base, self.other, (streak * 0.75 + fine * 0.35).min(1.0));
                let seam = (y / 90.0 - board) * 90.0;
                if self.kind == 2 && seam < 1.4 { shade(wood, 0.45) } else { shade(wood, 0.94 + 0.12 * noise(70.0)) }
            }
            // Marble: veins where slow noise crosses its middle.
            3 => {
                let bent = noise(55.0) + 0.45 * noise(17.0) + 0.2 * noise(6.0);
                let vein = 1.0 - ((bent - 0.82).abs() * 9.0).min(1.0);
                mix(mix(self.base, self.other, noise(90.0) * 0.35), self.other, vein * vein * 0.8)
            }
            // Woven cloth with folds.
            4 => {
                let weave = (x * 2.1).sin() * (y * 2.1).sin() * 0.06;
                shade(self.base, 0.86 + weave + 0.26 * noise(60.0) + 0.08 * noise(9.0))
            }
            // Checks and stripes.
            5 => {
                let (across, down) = ((x / 26.0).rem_euclid(1.0) < 0.45, (y / 26.0).rem_euclid(1.0) < 0.45);
                let share = 0.45 * f32::from(across) + if self.scale > 1.1 { 0.0 } else { 0.45 * f32::from(down) };
                shade(mix(self.base, self.other, share), 0.92 + 0.14 * noise(45.0))
            }
            // Tiles.
            6 => {
                let side = 75.0;
                let (tx, ty) = (x / side, y / side);
                let edge = tx.rem_euclid(1.0).min(ty.rem_euclid(1.0)) * side;
                let tile = self.noise.at(tx.floor() * 3.7, ty.floor() * 5.3);
                if edge < 2.0 { self.third } else { shade(self.base, 0.9 + 0.12 * tile + 0.05 * noise(20.0)) }
            }
            // Terrazzo.
            7 => {
                let chip = noise(3.2);
                if chip > 0.74 {
                    self.other
                } else if chip < 0.22 {
                    self.third
                } else {
                    self.base
                }
            }
            // Cork, board, felt.
            8 => shade(self.base, 0.72 + 0.3 * noise(2.4) + 0.2 * noise(11.0)),
            // A carpet of large shapes.
            9 => {
                let share = ((noise(32.0) - 0.5) * 8.0 + 0.5).clamp(0.0, 1.0);
                let more = ((noise(21.0) - 0.68) * 12.0).clamp(0.0, 1.0);
                shade(mix(mix(self.base, self.other, share), self.third, more), 0.9 + 0.15 * noise(1.7))
            }
            // Two surfaces that meet at an edge.
            10 => {
                let line = y + 30.0 * (noise(900.0) - 0.5) + 60.0;
                if line > 0.0 { shade(self.base, 0.95 + 0.08 * noise(30.0)) } else { shade(self.other, 0.9) }
            }
            // Plain.
            _ => shade(self.base, 0.93 + 0.12 * noise(140.0)),
        };
        let grain = (self.noise.at(x * 1.9, y * 1.9) - 0.5) * self.grain * 2.0;
        tone.map(|c| c + grain)
    }
}

/// Fills a picture with a table seen by a camera.
pub(super) fn lay(frame: &mut Frame, camera: &Camera, rng: &mut SmallRng) {
    let table = Table::new(rng);
    let Some(plane) = camera.table() else { return };
    let width = frame.width;
    for (number, row) in frame.colour.chunks_exact_mut(width).enumerate() {
        for (pixel, (x, y)) in row.iter_mut().zip(plane.row(number as f32 + 0.5)) {
            *pixel = table.at(x, y);
        }
    }
}
