//! A plane seen from anywhere.

/// A plane's perspective: `(x, y)` to `((a x + b y + c) / w, (d x + e y + f) / w)` with `w = g x + h y + 1`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Homography([f64; 8]);

impl Homography {
    /// The one that takes four corners to four others (Hartley and Zisserman, 4.1), if there is one.
    pub(super) fn between(from: [(f32, f32); 4], to: [(f32, f32); 4]) -> Option<Self> {
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

    /// Where a point goes.
    pub(super) fn map(&self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = (f64::from(x), f64::from(y));
        let [a, b, c, d, e, f, g, h] = self.0;
        let w = 1.0 / (g * x + h * y + 1.0);
        (((a * x + b * y + c) * w) as f32, ((d * x + e * y + f) * w) as f32)
    }

    /// Where the middles of a row's pixels go, from the left on.
    pub(super) fn row(&self, y: f32) -> impl Iterator<Item = (f32, f32)> {
        let [a, b, c, d, e, f, g, h] = self.0;
        let y = f64::from(y);
        let (across, down, depth) = (b * y + c, e * y + f, h * y + 1.0);
        (0_u32..).map(move |column| {
            let x = f64::from(column) + 0.5;
            let w = 1.0 / (g * x + depth);
            (((a * x + across) * w) as f32, ((d * x + down) * w) as f32)
        })
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
}
