//! The smallest rectangle around a thing, however it is turned: what says how a pack lies.

use super::masks::Bitmap;

/// A rectangle in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rectangle {
    /// Its middle, pixels.
    pub middle: [f32; 2],
    /// Its length along its own two axes, pixels.
    pub size: [f32; 2],
    /// How its first axis is turned, radians clockwise in the picture: from -45 to 45 degrees.
    pub angle: f32,
}

impl Rectangle {
    /// The smallest by area around points: one of its sides lies on a side of their convex outline (Freeman and Shapira,
    /// 1975). None for fewer than three points, or points on one line.
    #[must_use]
    pub fn around(points: &[[f32; 2]]) -> Option<Self> {
        let outline = hull(points);
        if outline.len() < 3 {
            return None;
        }
        let sides = outline.iter().zip(outline.iter().cycle().skip(1));
        let each = sides.map(|(a, b)| Self::at(&outline, (b[1] - a[1]).atan2(b[0] - a[0])));
        each.min_by(|a, b| (a.size[0] * a.size[1]).total_cmp(&(b.size[0] * b.size[1])))
    }

    /// The smallest around the pixels of a mask; none for an empty one.
    #[must_use]
    pub fn of(mask: &Bitmap) -> Option<Self> {
        let mut corners = Vec::new();
        for (row, y) in mask.rows().zip(0_u32..) {
            let ends = row.iter().position(|inside| *inside).zip(row.iter().rposition(|inside| *inside));
            if let Some((first, last)) = ends {
                let (first, last, y) = (first as f32, (last + 1) as f32, y as f32);
                corners.extend([[first, y], [last, y], [first, y + 1.0], [last, y + 1.0]]);
            }
        }
        Self::around(&corners)
    }

    /// The smallest around points whose sides are turned by an angle, or by that and some right angles.
    fn at(points: &[[f32; 2]], angle: f32) -> Self {
        let quarter = std::f32::consts::FRAC_PI_2;
        let angle = angle - (angle / quarter).round() * quarter;
        let (sin, cos) = angle.sin_cos();
        let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
        for [x, y] in points {
            for (axis, along) in [x * cos + y * sin, y * cos - x * sin].into_iter().enumerate() {
                low[axis] = low[axis].min(along);
                high[axis] = high[axis].max(along);
            }
        }
        let [u, v] = [0, 1].map(|axis| (low[axis] + high[axis]) / 2.0);
        let size = [0, 1].map(|axis| high[axis] - low[axis]);
        Self { middle: [u * cos - v * sin, u * sin + v * cos], size, angle }
    }

    /// The same with so many pixels more on each side.
    #[must_use]
    pub fn grown(&self, by: f32) -> Self {
        Self { size: self.size.map(|length| length + 2.0 * by), ..*self }
    }

    /// Where a point of the rectangle, counted along its axes from its first corner, lies in the picture.
    #[must_use]
    pub fn place(&self, [u, v]: [f32; 2]) -> [f32; 2] {
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = (u - self.size[0] / 2.0, v - self.size[1] / 2.0);
        [self.middle[0] + u * cos - v * sin, self.middle[1] + u * sin + v * cos]
    }

    /// The left, upper, right and lower end of what it covers.
    #[must_use]
    pub fn bounds(&self) -> [f32; 4] {
        let (sin, cos) = self.angle.sin_cos();
        let [w, h] = self.size;
        let reach = [w * cos.abs() + h * sin.abs(), w * sin.abs() + h * cos.abs()].map(|length| length / 2.0);
        let [x, y] = self.middle;
        [x - reach[0], y - reach[1], x + reach[0], y + reach[1]]
    }
}

/// The convex outline around points (Andrew's monotone chain), its inside to the right in a picture.
#[must_use]
pub fn hull(points: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let turn = |o: [f32; 2], a: [f32; 2], b: [f32; 2]| (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
    let chain = |points: &mut dyn Iterator<Item = [f32; 2]>| {
        let mut chain: Vec<[f32; 2]> = Vec::new();
        for point in points {
            while chain.len() >= 2 && turn(chain[chain.len() - 2], chain[chain.len() - 1], point) <= 0.0 {
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut hull = chain(&mut sorted.iter().copied());
    hull.extend(chain(&mut sorted.iter().rev().copied()));
    hull
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_turned_rectangle_is_found_again(
            degrees in -44.0..44.0_f32, w in 40.0..200.0_f32, h in 40.0..200.0_f32, x in 150.0..160.0_f32, y in 150.0..160.0_f32,
        ) {
            let truth = Rectangle { middle: [x, y], size: [w, h], angle: degrees.to_radians() };
            let (sin, cos) = truth.angle.sin_cos();
            let mut mask = Bitmap::new(320, 320);
            for v in 0..320 {
                for u in 0..320 {
                    let (dx, dy) = (u as f32 + 0.5 - x, v as f32 + 0.5 - y);
                    let inside = (dx * cos + dy * sin).abs() < w / 2.0 && (dy * cos - dx * sin).abs() < h / 2.0;
                    mask.set(u, v, inside);
                }
            }
            let found = Rectangle::of(&mask).unwrap();
            prop_assert!((found.angle - truth.angle).abs() < 0.06, "{found:?}");
            prop_assert!(found.middle.iter().zip(truth.middle).all(|(a, b)| (a - b).abs() < 2.0), "{found:?}");
            prop_assert!(found.size.iter().zip(truth.size).all(|(a, b)| (a - b).abs() < 5.0), "{found:?}");
            let [left, top, right, bottom] = found.bounds();
            let all = mask.rows().zip(0..).flat_map(|(row, y)| row.iter().zip(0..).filter(|(i, _)| **i).map(move |(_, x)| (x, y)));
            for (x, y) in all {
                let (x, y) = (x as f32, y as f32);
                prop_assert!(left < x + 0.1 && x + 0.9 < right && top < y + 0.1 && y + 0.9 < bottom);
            }
        }
    }

    #[test]
    fn the_smallest_is_never_larger_than_the_upright_one_and_nothing_has_none() {
        let points = [[0.0, 0.0], [10.0, 10.0], [12.0, 8.0], [2.0, -2.0]];
        let found = Rectangle::around(&points).unwrap();
        assert!((found.size[0] * found.size[1] - 40.0).abs() < 1e-3, "{found:?}");
        assert!((found.angle.abs() - std::f32::consts::FRAC_PI_4).abs() < 1e-4);
        let corner = found.place([0.0, 0.0]);
        assert!(
            points.iter().any(|p| (p[0] - corner[0]).abs() < 1e-3 && (p[1] - corner[1]).abs() < 1e-3),
            "{corner:?}"
        );
        assert_eq!(Rectangle::around(&[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), None);
        assert_eq!(Rectangle::of(&Bitmap::new(4, 4)), None);
        let mut one = Bitmap::new(4, 4);
        one.set(2, 1, true);
        let pixel = Rectangle::of(&one).unwrap();
        assert_eq!((pixel.middle, pixel.size), ([2.5, 1.5], [1.0, 1.0]));
    }
}
