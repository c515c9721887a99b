//! One movement of the plane: moved, scaled, turned, sheared and tilted at once.

use rand::Rng;
use rand::rngs::StdRng;

use super::Recipe;

type Matrix = [[f64; 3]; 3];

/// A movement from the canvas to the sample, and back.
#[derive(Clone, Debug)]
pub struct Warp {
    forward: Matrix,
    back: Matrix,
}

impl Warp {
    /// A random one, as much as the recipe allows: the middle of a canvas of `from` pixels a side goes about the middle of a sample of
    /// `to` pixels.
    #[must_use]
    pub fn random(recipe: &Recipe, from: f32, to: f32, rng: &mut StdRng) -> Self {
        let mut upto = |most: f32| if most > 0.0 { f64::from(rng.random_range(-most..=most)) } else { 0.0 };
        let (tilt_x, tilt_y) = (upto(recipe.perspective), upto(recipe.perspective));
        let (angle, scale) = (upto(recipe.degrees).to_radians(), 1.0 + upto(recipe.scale));
        let (shear_x, shear_y) = (upto(recipe.shear).to_radians().tan(), upto(recipe.shear).to_radians().tan());
        let (move_x, move_y) = (0.5 + upto(recipe.translate), 0.5 + upto(recipe.translate));
        let (half, to) = (f64::from(from) / 2.0, f64::from(to));
        let (sin, cos) = (angle.sin() * scale, angle.cos() * scale);
        let to_middle = [[1.0, 0.0, -half], [0.0, 1.0, -half], [0.0, 0.0, 1.0]];
        let tilted = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [tilt_x, tilt_y, 1.0]];
        let turned = [[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]];
        let sheared = [[1.0, shear_x, 0.0], [shear_y, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let moved = [[1.0, 0.0, move_x * to], [0.0, 1.0, move_y * to], [0.0, 0.0, 1.0]];
        let forward = product(&moved, &product(&sheared, &product(&turned, &product(&tilted, &to_middle))));
        // A movement that squeezes everything onto a line shows nothing: then it stays in its place.
        match inverse(&forward) {
            Some(back) => Self { forward, back },
            None => {
                let still = product(&[[1.0, 0.0, to / 2.0], [0.0, 1.0, to / 2.0], [0.0, 0.0, 1.0]], &to_middle);
                let back = [[1.0, 0.0, half - to / 2.0], [0.0, 1.0, half - to / 2.0], [0.0, 0.0, 1.0]];
                Self { forward: still, back }
            }
        }
    }

    /// A point of the canvas in the sample.
    #[must_use]
    pub fn forward(&self, point: [f32; 2]) -> [f32; 2] {
        apply(&self.forward, point)
    }

    /// A point of the sample on the canvas.
    #[must_use]
    pub fn back(&self, point: [f32; 2]) -> [f32; 2] {
        apply(&self.back, point)
    }
}

fn apply(by: &Matrix, [x, y]: [f32; 2]) -> [f32; 2] {
    let (x, y) = (f64::from(x), f64::from(y));
    let row = |[a, b, c]: &[f64; 3]| a * x + b * y + c;
    let below = row(&by[2]);
    [(row(&by[0]) / below) as f32, (row(&by[1]) / below) as f32]
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

fn inverse(m: &Matrix) -> Option<Matrix> {
    let minor = |i: usize, j: usize| {
        let (r, c) = ([(i + 1) % 3, (i + 2) % 3], [(j + 1) % 3, (j + 2) % 3]);
        m[r[0]][c[0]] * m[r[1]][c[1]] - m[r[0]][c[1]] * m[r[1]][c[0]]
    };
    let determinant: f64 = (0..3).map(|j| m[0][j] * minor(0, j)).sum();
    let found: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| minor(j, i) / determinant));
    found.iter().flatten().all(|value| value.is_finite()).then_some(found)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn there_and_back_is_where_one_was() {
        let recipe = Recipe {
            degrees: 180.0,
            scale: 0.9,
            shear: 30.0,
            perspective: 0.0008,
            translate: 0.5,
            ..Recipe::default()
        };
        for seed in 0..200 {
            let warp = Warp::random(&recipe, 640.0, 320.0, &mut StdRng::seed_from_u64(seed));
            for point in [[0.5, 0.5], [100.0, 300.0], [640.0, 20.0]] {
                let [x, y] = warp.back(warp.forward(point));
                assert!((x - point[0]).abs() < 0.05 && (y - point[1]).abs() < 0.05, "{seed}: {point:?} is {x}, {y}");
            }
        }
    }
}
