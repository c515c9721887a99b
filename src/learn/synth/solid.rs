//! Things made of flat patches: boxes, bent sheets, bottles.

use std::f32::consts::{PI, TAU};

use super::camera::{Pose, Space, cross, minus, unit};
use super::canvas::Colour;

/// What a patch shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Skin {
    /// A part of one of the thing's drawings: left, top, right, bottom as shares of it.
    Drawn(usize, [f32; 4]),
    /// A drawing turned clockwise by a quarter: its rows from one share to another, counted from its top.
    Turned(usize, [f32; 2]),
    /// One colour.
    Plain(Colour),
}

/// A flat piece of a thing's surface.
#[derive(Clone, Debug)]
pub(super) struct Patch {
    /// Upper left, upper right, lower right, lower left of what it shows, seen from outside.
    pub(super) corners: [Space; 4],
    /// Outward, at each corner: those of neighbours agree where the surface is round.
    pub(super) normals: [Space; 4],
    pub(super) skin: Skin,
}

impl Patch {
    fn flat(corners: [Space; 4], skin: Skin) -> Self {
        let normal = unit(cross(minus(corners[3], corners[0]), minus(corners[1], corners[0])));
        Self { corners, normals: [normal; 4], skin }
    }

    /// The patch where the pose puts it.
    pub(super) fn placed(&self, pose: &Pose) -> Self {
        Self {
            corners: self.corners.map(|c| pose.place(c)),
            normals: self.normals.map(|n| pose.turn(n)),
            skin: self.skin,
        }
    }
}

const WHOLE: [f32; 4] = [0.0, 0.0, 1.0, 1.0];

/// A box around the origin: drawings 0 front, 1 upper long side, 2 lower long side, 3 short sides; the back is plain.
pub(super) fn carton([w, h, d]: Space, back: Colour) -> Vec<Patch> {
    let (x, y, z) = (w / 2.0, h / 2.0, d / 2.0);
    let skin = |number| Skin::Drawn(number, WHOLE);
    vec![
        Patch::flat([[-x, y, z], [x, y, z], [x, -y, z], [-x, -y, z]], skin(0)),
        Patch::flat([[-x, y, -z], [x, y, -z], [x, y, z], [-x, y, z]], skin(1)),
        Patch::flat([[-x, -y, z], [x, -y, z], [x, -y, -z], [-x, -y, -z]], skin(2)),
        Patch::flat([[x, y, z], [x, y, -z], [x, -y, -z], [x, -y, z]], skin(3)),
        Patch::flat([[-x, y, -z], [-x, y, z], [-x, -y, z], [-x, -y, -z]], skin(3)),
        Patch::flat([[x, y, -z], [-x, y, -z], [-x, -y, -z], [x, -y, -z]], Skin::Plain(back)),
    ]
}

/// A sheet with drawing 0, its middle `bend` mm above (or below) its ends.
pub(super) fn sheet([w, h]: [f32; 2], bend: f32) -> Vec<Patch> {
    const PIECES: usize = 6;
    let rise = |share: f32| bend.abs() * 0.5 + bend * (0.5 - 4.0 * (share - 0.5).powi(2));
    let slope = |share: f32| unit([8.0 * bend * (share - 0.5) / w, 0.0, 1.0]);
    let pieces = if bend.abs() < 0.3 { 1 } else { PIECES };
    let share = |piece: usize| piece as f32 / pieces as f32;
    let piece = |number: usize| {
        let (from, to) = (share(number), share(number + 1));
        let at = |share: f32, y: f32| [(share - 0.5) * w, y, rise(share)];
        Patch {
            corners: [at(from, h / 2.0), at(to, h / 2.0), at(to, -h / 2.0), at(from, -h / 2.0)],
            normals: [slope(from), slope(to), slope(to), slope(from)],
            skin: Skin::Drawn(0, [from, 0.0, to, 1.0]),
        }
    };
    (0..pieces).map(piece).collect()
}

/// What a bottle is made of, along its axis from the bottom up.
pub(super) struct Bottle {
    pub(super) length: f32,
    pub(super) radius: f32,
    /// Share of the length that the label covers.
    pub(super) label: f32,
    pub(super) body: Colour,
    pub(super) cap: Colour,
    /// Where the label's middle is: an angle around the axis, 0 towards +z.
    pub(super) facing: f32,
    /// Whether the label is read with the bottle upright (or else along its axis).
    pub(super) upright: bool,
    /// How far around the label's drawing goes, radians.
    pub(super) around: f32,
    /// A jar's cap is as wide as the jar.
    pub(super) wide: bool,
}

const STEPS: usize = 28;

/// A bottle along y around the origin, its cap towards +y; drawing 0 is the label.
pub(super) fn bottle(b: &Bottle) -> Vec<Patch> {
    let (half, r) = (b.length / 2.0, b.radius);
    let neck = if b.wide { r * 0.97 } else { r * 0.66 };
    // From the bottom: y, radius, colour of the ring above.
    let cap_from = half - b.length * 0.2;
    let label = [-half + b.length * 0.07, -half + b.length * (0.07 + b.label)];
    let dark = b.cap.map(|c| (f32::from(c) * 0.86) as u8);
    let cap = if b.wide { r * 1.02 } else { neck };
    let rings: [(f32, f32, Colour); 8] = [
        (-half, r * 0.93, b.body),
        (-half + b.length * 0.03, r, b.body),
        (label[0], r, b.body),
        (label[1], r, b.body),
        (cap_from - b.length * 0.05, r * 0.97, b.body),
        (cap_from, cap, dark),
        (cap_from + b.length * 0.02, cap, b.cap),
        (half, cap * 0.97, b.cap),
    ];
    let mut patches = Vec::new();
    for (number, pair) in rings.windows(2).enumerate() {
        let ((y0, r0, colour), (y1, r1, _)) = (pair[0], pair[1]);
        for step in 0..STEPS {
            let angle = |step: usize| TAU * step as f32 / STEPS as f32;
            let skin = if number == 2 { on_label(b, angle(step), angle(step + 1)) } else { Skin::Plain(colour) };
            patches.push(strip([angle(step), angle(step + 1)], [y0, y1], [r0, r1], skin));
        }
    }
    for (y, r, colour, up) in [(half, cap * 0.97, b.cap, 1.0), (-half, r * 0.93, b.body, -1.0)] {
        patches.extend(disc(y, r, colour, up));
    }
    patches
}

/// What a strip of the label's ring shows: print where there is, the label's edge colour repeated behind.
fn on_label(b: &Bottle, from: f32, to: f32) -> Skin {
    // How far from the label's middle, -pi to pi.
    let step = to - from;
    let from = (from - b.facing + PI).rem_euclid(TAU) - PI;
    let to = from + step;
    let share = |angle: f32| (angle / b.around + 0.5).clamp(0.0, 1.0);
    let (a, z) = (share(from), share(to));
    if b.upright { Skin::Drawn(0, [a, 0.0, z, 1.0]) } else { Skin::Turned(0, [1.0 - a, 1.0 - z]) }
}

/// A strip of a ring between two angles, from `y[0]` up to `y[1]`.
fn strip(angles: [f32; 2], [y0, y1]: [f32; 2], [r0, r1]: [f32; 2], skin: Skin) -> Patch {
    let at = |angle: f32, y: f32, r: f32| [r * angle.sin(), y, r * angle.cos()];
    let lean = (r0 - r1) / (y1 - y0).abs().max(1e-3);
    let normal = |angle: f32| unit([angle.sin(), lean, angle.cos()]);
    let [a, b] = angles;
    let corners = [at(a, y1, r1), at(b, y1, r1), at(b, y0, r0), at(a, y0, r0)];
    let normals = [normal(a), normal(b), normal(b), normal(a)];
    Patch { corners, normals, skin }
}

/// An end of the bottle, in slices.
fn disc(y: f32, r: f32, colour: Colour, up: f32) -> Vec<Patch> {
    let half = STEPS / 2;
    let slice = |number: usize| {
        let (a, b) = (PI * number as f32 / half as f32, PI * (number + 1) as f32 / half as f32);
        let at = |angle: f32, side: f32| [side * r * angle.sin(), y, r * angle.cos()];
        let corners = [at(a, -up), at(a, up), at(b, up), at(b, -up)];
        Patch { corners, normals: [[0.0, up, 0.0]; 4], skin: Skin::Plain(colour) }
    };
    (0..half).map(slice).collect()
}
