//! Drawn photographs of medicine packs: invented designs, in any pose and light, from a seed.
//!
//! Each even design has a look-alike, the next odd one, that differs in its strength alone: the mistake that hurts.

use image::{Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::vision::draw;

/// The flat front of a pack, pixels.
const FACE: (u32, u32) = (320, 200);
/// A photograph, pixels.
const PHOTOGRAPH: (u32, u32) = (640, 480);

/// The design of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    name: String,
    strength: u32,
    ground: [u8; 3],
    accent: [u8; 3],
    layout: u32,
    print: u64,
}

impl Pack {
    /// The design of a number; every seed is another pharmacy.
    #[must_use]
    pub fn numbered(seed: u64, number: u32) -> Self {
        const FIRST: [&str; 12] = ["AMO", "CEF", "DOL", "FLU", "IBU", "LOR", "MET", "NAP", "OME", "PRE", "RAM", "SIM"];
        const LAST: [&str; 8] = ["XAN", "TOR", "VIL", "DIN", "PRIL", "ZOL", "MAX", "CARD"];
        // A look-alike is drawn from its partner's numbers.
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(number / 2));
        let name = format!("{}{}", FIRST[rng.random_range(0..FIRST.len())], LAST[rng.random_range(0..LAST.len())]);
        let strength = [5, 10, 20, 50, 100, 250][rng.random_range(0..6)] * if number % 2 == 1 { 2 } else { 1 };
        let pale = |rng: &mut StdRng| [0; 3].map(|_: u8| rng.random_range(205..=252));
        let strong = |rng: &mut StdRng| [0; 3].map(|_: u8| rng.random_range(10..=190));
        Self {
            name,
            strength,
            ground: pale(&mut rng),
            accent: strong(&mut rng),
            layout: rng.random_range(0..4),
            print: rng.random(),
        }
    }

    /// What it is called, strength included: the label to enrol it under.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {} mg", self.name, self.strength)
    }

    /// Its front, straight on and evenly lit.
    #[must_use]
    pub fn face(&self) -> RgbImage {
        let (width, height) = FACE;
        let mut face = RgbImage::from_pixel(width, height, Rgb(self.ground));
        let accent = Rgb(self.accent);
        let mut fill = |left: u32, top: u32, right: u32, bottom: u32, colour: Rgb<u8>| {
            for (x, y) in (left..right.min(width)).flat_map(|x| (top..bottom.min(height)).map(move |y| (x, y))) {
                face.put_pixel(x, y, colour);
            }
        };
        match self.layout {
            0 => fill(0, 0, 36, height, accent),
            1 => fill(0, height - 40, width, height, accent),
            2 => {
                fill(0, 0, width, 14, accent);
                fill(0, height - 14, width, height, accent);
            }
            _ => fill(width - 80, 0, width, 60, accent),
        }
        // Small print and a bar code, the same for both of a pair.
        let mut rng = StdRng::seed_from_u64(self.print);
        for line in 0..5 {
            let length = rng.random_range(60..170);
            fill(50, 112 + line * 9, 50 + length, 115 + line * 9, Rgb([110, 110, 115]));
        }
        let mut x = 210;
        while x < 300 {
            let bar = rng.random_range(1..5);
            fill(x, 110, x + bar, 150, Rgb([25, 25, 25]));
            x += bar + rng.random_range(1..5);
        }
        let ink = Rgb([30, 30, 40]);
        draw::text(&mut face, (48, 26), &self.name, 5, ink);
        draw::text(&mut face, (48, 72), &format!("{} MG", self.strength), 4, accent);
        face
    }

    /// A photograph of it: somewhere on a table, turned, tilted, lit from a side, with noise.
    #[must_use]
    pub fn photograph(&self, seed: u64) -> RgbImage {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut photograph = table(&mut rng);
        let face = self.face();
        let (width, height) = (PHOTOGRAPH.0 as f32, PHOTOGRAPH.1 as f32);
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        let scale = rng.random_range(0.75..1.25);
        let centre = (width / 2.0 + rng.random_range(-70.0..70.0), height / 2.0 + rng.random_range(-40.0..40.0));
        let half = (FACE.0 as f32 / 2.0 * scale, FACE.1 as f32 / 2.0 * scale);
        let mut corner = |across: f32, down: f32| {
            let (x, y) = (across * half.0 + rng.random_range(-9.0..9.0), down * half.1 + rng.random_range(-9.0..9.0));
            (centre.0 + x * angle.cos() - y * angle.sin(), centre.1 + x * angle.sin() + y * angle.cos())
        };
        let to = [corner(-1.0, -1.0), corner(1.0, -1.0), corner(1.0, 1.0), corner(-1.0, 1.0)];
        let from = [(0.0, 0.0), (FACE.0 as f32, 0.0), (FACE.0 as f32, FACE.1 as f32), (0.0, FACE.1 as f32)];
        if let Some(back) = Homography::between(to, from) {
            for (x, y, pixel) in photograph.enumerate_pixels_mut() {
                // A soft shadow to the lower right, then the pack over it.
                if sample(&face, back.map(x as f32 - 7.0, y as f32 - 9.0)).is_some() {
                    pixel.0 = pixel.0.map(|c| (f32::from(c) * 0.62) as u8);
                }
                if let Some(colour) = sample(&face, back.map(x as f32, y as f32)) {
                    *pixel = colour;
                }
            }
        }
        light(&mut photograph, &mut rng);
        photograph
    }
}

/// A plane's perspective: `(x, y)` to `((a x + b y + c) / w, (d x + e y + f) / w)` with `w = g x + h y + 1`.
struct Homography([f64; 8]);

impl Homography {
    /// The one that takes four corners to four others (Hartley and Zisserman, 4.1), if there is one.
    fn between(from: [(f32, f32); 4], to: [(f32, f32); 4]) -> Option<Self> {
        let mut rows = [[0.0_f64; 9]; 8];
        for (corner, ((x, y), (u, v))) in from.into_iter().zip(to).enumerate() {
            let [x, y, u, v] = [x, y, u, v].map(f64::from);
            rows[2 * corner] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
            rows[2 * corner + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
        }
        // Gauss and Jordan, with the largest pivot.
        for column in 0..8 {
            let pivot = (column..8).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
            rows.swap(column, pivot);
            let lead = rows[column];
            if lead[column].abs() < 1e-9 {
                return None;
            }
            for (index, row) in rows.iter_mut().enumerate() {
                let factor = if index == column { 1.0 - 1.0 / lead[column] } else { row[column] / lead[column] };
                for (value, from) in row.iter_mut().zip(lead) {
                    *value -= factor * from;
                }
            }
        }
        Some(Self(rows.map(|row| row[8])))
    }

    fn map(&self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = (f64::from(x), f64::from(y));
        let [a, b, c, d, e, f, g, h] = self.0;
        let w = g * x + h * y + 1.0;
        (((a * x + b * y + c) / w) as f32, ((d * x + e * y + f) / w) as f32)
    }
}

/// A table top: a colour with grain and slow waves.
fn table(rng: &mut StdRng) -> RgbImage {
    let base = [rng.random_range(60..190_u8), rng.random_range(60..180), rng.random_range(50..170)];
    let (fx, fy, phase) =
        (rng.random_range(0.005..0.03_f32), rng.random_range(0.005..0.03_f32), rng.random_range(0.0..6.0_f32));
    let mut table = RgbImage::new(PHOTOGRAPH.0, PHOTOGRAPH.1);
    for (x, y, pixel) in table.enumerate_pixels_mut() {
        let wave = ((x as f32 * fx + phase).sin() + (y as f32 * fy).cos()) * 9.0 + rng.random_range(-6.0..6.0);
        pixel.0 = base.map(|c| (f32::from(c) + wave).clamp(0.0, 255.0) as u8);
    }
    table
}

/// The face's colour at a point between pixels, `None` outside it.
fn sample(face: &RgbImage, (x, y): (f32, f32)) -> Option<Rgb<u8>> {
    if x < 0.0 || y < 0.0 || x >= face.width() as f32 - 1.0 || y >= face.height() as f32 - 1.0 {
        return None;
    }
    let (left, top) = (x as u32, y as u32);
    let (fx, fy) = (x.fract(), y.fract());
    let at = |dx, dy| face.get_pixel(left + dx, top + dy).0.map(f32::from);
    let (a, b, c, d) = (at(0, 0), at(1, 0), at(0, 1), at(1, 1));
    let mixed = [0, 1, 2].map(|i| (a[i] * (1.0 - fx) + b[i] * fx) * (1.0 - fy) + (c[i] * (1.0 - fx) + d[i] * fx) * fy);
    Some(Rgb(mixed.map(|v| v as u8)))
}

/// Light from a side, and the camera's noise.
fn light(photograph: &mut RgbImage, rng: &mut StdRng) {
    let direction = rng.random_range(0.0..std::f32::consts::TAU);
    let (dx, dy, strength) = (direction.cos(), direction.sin(), rng.random_range(0.08..0.3_f32));
    let (width, height) = (PHOTOGRAPH.0 as f32, PHOTOGRAPH.1 as f32);
    for (x, y, pixel) in photograph.enumerate_pixels_mut() {
        let along = (x as f32 / width - 0.5) * dx + (y as f32 / height - 0.5) * dy;
        let noise = rng.random_range(-4.0..4.0_f32);
        pixel.0 = pixel.0.map(|c| (f32::from(c) * (1.0 + along * strength) + noise).clamp(0.0, 255.0) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_homography_takes_each_corner_to_its_own() {
        let from = [(10.0, 12.0), (200.0, 30.0), (180.0, 160.0), (5.0, 140.0)];
        let to = [(0.0, 0.0), (320.0, 0.0), (320.0, 200.0), (0.0, 200.0)];
        let between = Homography::between(from, to).map(|h| from.map(|(x, y)| h.map(x, y)));
        for ((x, y), (u, v)) in between.into_iter().flatten().zip(to) {
            assert!((x - u).abs() < 1e-3 && (y - v).abs() < 1e-3, "({x}, {y}) is not ({u}, {v})");
        }
        assert!(between.is_some());
        assert!(Homography::between([(0.0, 0.0); 4], to).is_none());
    }

    #[test]
    fn a_seed_draws_the_same_picture_and_look_alikes_differ_in_strength_only() {
        let (pack, twin) = (Pack::numbered(7, 4), Pack::numbered(7, 5));
        assert_eq!(pack.photograph(3), Pack::numbered(7, 4).photograph(3));
        assert_ne!(pack.photograph(3), pack.photograph(4));
        assert_eq!((&pack.name, pack.ground, pack.layout), (&twin.name, twin.ground, twin.layout));
        assert_eq!(pack.strength * 2, twin.strength);
        assert_ne!(pack.label(), twin.label());
    }
}
