//! Painting patches into a picture, nearer ones over farther ones, with soft edges.

use super::camera::{Camera, Seen, Space, dot, minus, unit};
use super::canvas::Texture;
use super::plane::Homography;
use super::solid::{Patch, Skin};
use crate::vision::rectangle::hull;

/// Nothing labelled is seen here.
pub(super) const NOBODY: u8 = u8::MAX;

/// A picture while it is painted: colours 0 to 1, row by row.
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) colour: Vec<[f32; 3]>,
    near: Vec<f32>,
    /// Which instance is seen.
    pub(super) owner: Vec<u8>,
}

/// Where light comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Light {
    /// Towards it, of length 1.
    pub(super) towards: Space,
    /// Share of light that comes from everywhere.
    pub(super) ambient: f32,
}

impl Light {
    /// How bright a surface is; 1 for a table's.
    fn on(&self, normal: Space) -> f32 {
        let direct = |cosine: f32| self.ambient + (1.0 - self.ambient) * cosine.max(0.0);
        direct(dot(normal, self.towards)) / direct(self.towards[2]).max(0.2)
    }
}

/// A shine across a flat surface: direction and place as shares of the patch, width, strength.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sheen {
    pub(super) along: [f32; 2],
    pub(super) at: f32,
    pub(super) narrow: f32,
    pub(super) strength: f32,
}

impl Sheen {
    fn at(&self, s: f32, t: f32) -> f32 {
        let off = (s * self.along[0] + t * self.along[1] - self.at) * self.narrow;
        self.strength / (1.0 + off * off).powi(2)
    }
}

/// How a thing's surface answers light.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finish {
    /// 0 dull, 1 mirror-like: how strong a round surface's highlight is.
    pub(super) gloss: f32,
    pub(super) sheen: Sheen,
}

impl Frame {
    /// An empty picture.
    pub(super) fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        let pixels = width * height;
        Self { width, height, colour: vec![[0.0; 3]; pixels], near: vec![0.0; pixels], owner: vec![NOBODY; pixels] }
    }

    /// Paints a thing's patches that face the camera; gives their area in pixels, also outside of the picture.
    pub(super) fn thing(
        &mut self,
        patches: &[Patch],
        drawings: &[Texture],
        camera: &Camera,
        light: &Light,
        finish: &Finish,
        owner: Option<u8>,
    ) -> f32 {
        let visible: Vec<&Patch> = patches.iter().filter(|patch| faces(patch, camera)).collect();
        let mut area = 0.0;
        for (number, patch) in visible.iter().enumerate() {
            let seen = patch.corners.map(|corner| camera.see(corner));
            area += shoelace(&seen.map(|s| [s.x, s.y]));
            let outer = [0, 1, 2, 3].map(|edge| {
                let (a, b) = (patch.corners[edge], patch.corners[(edge + 1) % 4]);
                let shares = |other: &&&Patch| {
                    (0..4).any(|e| {
                        let (c, d) = (other.corners[e], other.corners[(e + 1) % 4]);
                        (close(a, d) && close(b, c)) || (close(a, c) && close(b, d))
                    })
                };
                !visible.iter().enumerate().filter(|(n, _)| *n != number).any(|(_, other)| shares(&other))
            });
            self.patch(patch, &seen, outer, drawings, camera, light, finish, owner);
        }
        area
    }

    /// Darkens what lies below patches that are moved by `off`, where their drawings are.
    pub(super) fn dim(&mut self, patches: &[Patch], off: Space, drawings: &[Texture], camera: &Camera, dark: f32) {
        for patch in patches {
            let corners = patch.corners.map(|c| [0, 1, 2].map(|i| c[i] + off[i]));
            let seen = corners.map(|corner| camera.see(corner));
            let Some((left, top, right, bottom)) = bounds(&seen, self.width, self.height) else { continue };
            let to_unit =
                Homography::between(seen.map(|s| (s.x, s.y)), [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]);
            let Some(to_unit) = to_unit else { continue };
            for (y, x) in (top..bottom).flat_map(|y| (left..right).map(move |x| (y, x))) {
                let (s, t) = to_unit.map(x as f32 + 0.5, y as f32 + 0.5);
                if (0.0..=1.0).contains(&s)
                    && (0.0..=1.0).contains(&t)
                    && let Some((_, alpha)) = skin(patch.skin, drawings, s, t)
                {
                    self.colour[y * self.width + x].iter_mut().for_each(|c| *c *= 1.0 - dark * alpha);
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the innermost step of one function")]
    fn patch(
        &mut self,
        patch: &Patch,
        seen: &[Seen; 4],
        outer: [bool; 4],
        drawings: &[Texture],
        camera: &Camera,
        light: &Light,
        finish: &Finish,
        owner: Option<u8>,
    ) {
        let Some((left, top, right, bottom)) = bounds(seen, self.width, self.height) else { return };
        let corners = seen.map(|s| (s.x, s.y));
        let to_unit = Homography::between(corners, [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]);
        let Some(edges) = edges(seen) else { return };
        let Some(depth) = depth_plane(seen) else { return };
        let bright = patch.normals.map(|normal| light.on(normal));
        let round = patch.normals[0] != patch.normals[1];
        let shine = [0, 1, 2, 3].map(|corner| {
            if !round {
                return 0.0;
            }
            let view = unit(minus(camera.at, patch.corners[corner]));
            let half = unit([0, 1, 2].map(|i| view[i] + light.towards[i]));
            finish.gloss * dot(half, patch.normals[corner]).max(0.0).powi(40)
        });
        for y in top..bottom {
            for x in left..right {
                let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                let mut cover = 1.0_f32;
                for (edge, outer) in edges.iter().zip(outer) {
                    let Some([a, b, c]) = edge else { continue };
                    let inside = a * px + b * py + c;
                    // Shared edges overlap a little, so that nothing shines through.
                    cover = cover.min(if outer { inside + 0.5 } else { f32::from(inside > -0.6) });
                }
                if cover <= 0.0 {
                    continue;
                }
                let place = y * self.width + x;
                let near = depth[0] * px + depth[1] * py + depth[2];
                if near < self.near[place] * 0.9995 {
                    continue;
                }
                let (s, t) = to_unit.as_ref().map_or((0.5, 0.5), |h| h.map(px, py));
                let (s, t) = (s.clamp(0.0, 1.0), t.clamp(0.0, 1.0));
                let mix =
                    |of: &[f32; 4]| (of[0] * (1.0 - s) + of[1] * s) * (1.0 - t) + (of[3] * (1.0 - s) + of[2] * s) * t;
                let Some((colour, alpha)) = skin(patch.skin, drawings, s, t) else { continue };
                let sheen = if finish.sheen.strength > 0.0 { finish.sheen.at(s, t) } else { 0.0 };
                let (bright, shine) = (mix(&bright), mix(&shine) + sheen);
                let cover = cover.min(1.0) * alpha;
                let pixel = &mut self.colour[place];
                for (channel, colour) in pixel.iter_mut().zip(colour) {
                    *channel += ((colour * bright + shine) - *channel) * cover;
                }
                if cover >= 0.5 {
                    self.near[place] = near;
                    self.owner[place] = owner.unwrap_or(NOBODY);
                }
            }
        }
    }

    /// Darkens what lies within a convex outline, softly over `soft` pixels at its edge.
    pub(super) fn shadow(&mut self, outline: &[[f32; 2]], soft: f32, dark: f32) {
        let hull = hull(outline);
        if hull.len() < 3 {
            return;
        }
        let around = |pick: fn(f32, f32) -> f32, axis: usize, from: f32| hull.iter().map(|p| p[axis]).fold(from, pick);
        let low = |axis: usize| (around(f32::min, axis, f32::MAX) - soft).max(0.0) as usize;
        let high = |axis: usize, most: usize| ((around(f32::max, axis, f32::MIN) + soft).max(0.0) as usize).min(most);
        let sides: Vec<[f32; 3]> =
            hull.iter().zip(hull.iter().cycle().skip(1)).filter_map(|(a, b)| side(*a, *b)).collect();
        for y in low(1)..high(1, self.height) {
            for x in low(0)..high(0, self.width) {
                let inside = sides
                    .iter()
                    .map(|[a, b, c]| a * (x as f32 + 0.5) + b * (y as f32 + 0.5) + c)
                    .fold(f32::MAX, f32::min);
                let share = ((inside + soft) / (2.0 * soft)).clamp(0.0, 1.0);
                if share > 0.0 {
                    let keep = 1.0 - dark * share * share * (3.0 - 2.0 * share);
                    self.colour[y * self.width + x].iter_mut().for_each(|c| *c *= keep);
                }
            }
        }
    }
}

/// A skin's colour, 0 to 1, and how much of it covers what lies below; none where nothing is.
#[inline]
fn skin(skin: Skin, drawings: &[Texture], s: f32, t: f32) -> Option<([f32; 3], f32)> {
    let (number, u, v) = match skin {
        Skin::Plain(colour) => return Some((colour.map(|c| f32::from(c) / 255.0), 1.0)),
        Skin::Drawn(number, [l, u, r, d]) => (number, l + (r - l) * s, u + (d - u) * t),
        Skin::Turned(number, [from, to]) => (number, t, from + (to - from) * s),
    };
    let drawing = drawings.get(number)?;
    let [r, g, b, a] = drawing.sample(u * drawing.width as f32, v * drawing.height as f32);
    let a = a / 255.0;
    (a > 0.004).then(|| ([r, g, b].map(|c| c / 255.0 / a), a))
}

fn close(a: Space, b: Space) -> bool {
    (0..3).all(|i| (a[i] - b[i]).abs() < 1e-3)
}

fn faces(patch: &Patch, camera: &Camera) -> bool {
    let middle = [0, 1, 2].map(|i| patch.corners.iter().map(|c| c[i]).sum::<f32>() / 4.0);
    let normal = [0, 1, 2].map(|i| patch.normals.iter().map(|n| n[i]).sum::<f32>());
    dot(normal, minus(camera.at, middle)) > 0.0
}

/// The area within corners, pixels.
fn shoelace(corners: &[[f32; 2]]) -> f32 {
    let next = corners.iter().cycle().skip(1);
    (corners.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f32>() / 2.0).abs()
}

fn bounds(seen: &[Seen; 4], width: usize, height: usize) -> Option<(usize, usize, usize, usize)> {
    let fold = |pick: fn(f32, f32) -> f32, of: fn(&Seen) -> f32, from: f32| seen.iter().map(of).fold(from, pick);
    let left = (fold(f32::min, |s| s.x, f32::MAX) - 1.0).max(0.0) as usize;
    let top = (fold(f32::min, |s| s.y, f32::MAX) - 1.0).max(0.0) as usize;
    let right = ((fold(f32::max, |s| s.x, f32::MIN) + 2.0).max(0.0) as usize).min(width);
    let bottom = ((fold(f32::max, |s| s.y, f32::MIN) + 2.0).max(0.0) as usize).min(height);
    (left < right && top < bottom).then_some((left, top, right, bottom))
}

/// A line as `a x + b y + c`: the distance to it, positive to the right of the way from one point to the other.
fn side(from: [f32; 2], to: [f32; 2]) -> Option<[f32; 3]> {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let length = dx.hypot(dy);
    if length < 1e-3 {
        return None;
    }
    let (a, b) = (-dy / length, dx / length);
    Some([a, b, -(a * from[0] + b * from[1])])
}

/// The distances to a patch's four edges, positive inside; none for an edge without length, nothing for no area.
fn edges(seen: &[Seen; 4]) -> Option<[Option<[f32; 3]>; 4]> {
    let corners = seen.map(|s| [s.x, s.y]);
    let next = |i: usize| corners[(i + 1) % 4];
    let signed: f32 = (0..4).map(|i| corners[i][0] * next(i)[1] - next(i)[0] * corners[i][1]).sum();
    if signed.abs() < 0.02 {
        return None;
    }
    let way = signed.signum();
    Some([0, 1, 2, 3].map(|i| side(corners[i], next(i)).map(|line| line.map(|v| v * way))))
}

/// Nearness as a plane over the picture, which it is for a flat patch: from the three corners that span most.
fn depth_plane(seen: &[Seen; 4]) -> Option<[f32; 3]> {
    let plane = |[a, b, c]: [Seen; 3]| {
        let (ux, uy, uz) = (b.x - a.x, b.y - a.y, b.near - a.near);
        let (vx, vy, vz) = (c.x - a.x, c.y - a.y, c.near - a.near);
        let det = ux * vy - uy * vx;
        let (gx, gy) = ((uz * vy - uy * vz) / det, (ux * vz - uz * vx) / det);
        (det.abs(), [gx, gy, a.near - gx * a.x - gy * a.y])
    };
    let (first, second) = (plane([seen[0], seen[1], seen[2]]), plane([seen[0], seen[2], seen[3]]));
    let (det, best) = if first.0 > second.0 { first } else { second };
    (det > 1e-3).then_some(best)
}
