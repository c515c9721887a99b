//! Where things are and how a camera sees them: millimetres on and above a table (z up, y away from the camera).

use super::plane::Homography;

/// A point or direction in space.
pub(super) type Space = [f32; 3];

pub(super) fn dot(a: Space, b: Space) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn minus(a: Space, b: Space) -> Space {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn cross(a: Space, b: Space) -> Space {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(super) fn unit(a: Space) -> Space {
    let length = dot(a, a).sqrt().max(1e-9);
    a.map(|v| v / length)
}

/// A thing's own axes in space, and where its origin is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    pub(super) axes: [Space; 3],
    pub(super) at: Space,
}

impl Pose {
    /// Flat on the table, its front up, turned counter-clockwise by `yaw`.
    pub(super) fn lying(yaw: f32, at: Space) -> Self {
        let (sin, cos) = yaw.sin_cos();
        Self { axes: [[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]], at }
    }

    /// On its lower edge, its front towards the camera, turned away by `yaw`.
    pub(super) fn standing(yaw: f32, at: Space) -> Self {
        let (sin, cos) = yaw.sin_cos();
        Self { axes: [[cos, sin, 0.0], [0.0, 0.0, 1.0], [sin, -cos, 0.0]], at }
    }

    /// Where a point of the thing is.
    pub(super) fn place(&self, p: Space) -> Space {
        let turned = self.turn(p);
        [turned[0] + self.at[0], turned[1] + self.at[1], turned[2] + self.at[2]]
    }

    /// Where a direction of the thing points.
    pub(super) fn turn(&self, p: Space) -> Space {
        let axis = |i: usize| p[0] * self.axes[0][i] + p[1] * self.axes[1][i] + p[2] * self.axes[2][i];
        [axis(0), axis(1), axis(2)]
    }
}

/// A point in the picture, and one over its distance along the camera's axis.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) near: f32,
}

/// A pinhole camera over the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Camera {
    /// Where it is, mm.
    pub(super) at: Space,
    right: Space,
    up: Space,
    forward: Space,
    /// Pixels.
    pub(super) focal: f32,
    /// Where its axis meets the picture, pixels.
    pub(super) centre: [f32; 2],
}

impl Camera {
    /// One that looks at the table's origin from `distance` mm, leaning by `tilt` from straight down, turned by `roll`.
    pub(super) fn new(distance: f32, tilt: f32, roll: f32, focal: f32, centre: [f32; 2]) -> Self {
        let (sin, cos) = tilt.sin_cos();
        let (right, up) = ([1.0, 0.0, 0.0], [0.0, cos, sin]);
        let (rs, rc) = roll.sin_cos();
        let mix = |a: Space, b: Space, s: f32, c: f32| [0, 1, 2].map(|i| a[i] * c + b[i] * s);
        Self {
            at: [0.0, -sin * distance, cos * distance],
            right: mix(right, up, rs, rc),
            up: mix(up, right, -rs, rc),
            forward: [0.0, sin, -cos],
            focal,
            centre,
        }
    }

    /// Where a point is in the picture.
    pub(super) fn see(&self, point: Space) -> Seen {
        let d = minus(point, self.at);
        let depth = dot(d, self.forward).max(1.0);
        Seen {
            x: self.centre[0] + self.focal * dot(d, self.right) / depth,
            y: self.centre[1] - self.focal * dot(d, self.up) / depth,
            near: 1.0 / depth,
        }
    }

    /// From the picture to the table, mm.
    pub(super) fn table(&self) -> Option<Homography> {
        let corners = [(-150.0, -150.0), (150.0, -150.0), (150.0, 150.0), (-150.0, 150.0)];
        let seen = corners.map(|(x, y)| {
            let seen = self.see([x, y, 0.0]);
            (seen.x, seen.y)
        });
        Homography::between(seen, corners)
    }

    /// Only a part of the picture, enlarged: what was at `(left, top)` comes to the corner, lengths grow by `scale`.
    pub(super) fn cut(&mut self, [left, top]: [f32; 2], scale: f32) {
        self.centre = [(self.centre[0] - left) * scale, (self.centre[1] - top) * scale];
        self.focal *= scale;
    }
}
