//! Packs and other things on a table, a camera above, and the photograph that it takes.

use image::RgbImage;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::camera::{Camera, Pose, Space, dot, minus};
use super::canvas::Texture;
use super::clutter;
use super::design::{Form, Pack, one_of, stirred};
use super::lens::{self, Harshness};
use super::paint::{Finish, Frame, Light, NOBODY, Sheen};
use super::plane::Homography;
use super::solid::{self, Bottle, Patch};
use super::{blister, face, table};
use crate::learn::dataset::trace;

/// Less of a pack than this share is not labelled.
pub const LEAST_VISIBLE: f32 = 0.15;
/// Nor are fewer pixels.
const LEAST_PIXELS: usize = 80;

/// A photograph with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Photograph {
    /// The picture, before any compression.
    pub picture: RgbImage,
    /// The packs that are seen well enough.
    pub instances: Vec<Instance>,
}

/// A pack in a photograph.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Which of the packs given.
    pub pack: usize,
    /// Corners of what is visible of it, shares of the picture's width and height. Parts and holes are joined by lines
    /// that are gone there and back.
    pub outline: Vec<[f32; 2]>,
    /// Share of the pack as it would be seen alone in a boundless picture, 0 to 1.
    pub visible: f32,
    /// How its print is turned, degrees clockwise, 0 to 360; 0 reads from left to right.
    pub rotation: f32,
}

/// A thing that is about to be painted.
pub(super) struct Placed {
    pub(super) patches: Vec<Patch>,
    drawings: Vec<Texture>,
    finish: Finish,
    /// Which pack it is.
    pack: Option<usize>,
    base: f32,
    pub(super) top: f32,
    pub(super) middle: Space,
    /// Half of its footprint, and its turn.
    pub(super) half: [f32; 2],
    yaw: f32,
    /// How its print is turned, degrees clockwise.
    pub(super) rotation: f32,
}

impl Placed {
    /// Whether a point of the table lies under it.
    fn covers(&self, x: f32, y: f32) -> bool {
        let (sin, cos) = self.yaw.sin_cos();
        let (dx, dy) = (x - self.middle[0], y - self.middle[1]);
        (dx * cos + dy * sin).abs() <= self.half[0] && (dy * cos - dx * sin).abs() <= self.half[1]
    }
}

/// Points spread over a footprint.
fn spread([x, y]: [f32; 2], half: [f32; 2], yaw: f32) -> impl Iterator<Item = (f32, f32)> {
    let (sin, cos) = yaw.sin_cos();
    (0..49).map(move |n| {
        let (a, b) = ((n % 7) as f32 / 3.0 - 1.0, (n / 7) as f32 / 3.0 - 1.0);
        let (a, b) = (a * half[0], b * half[1]);
        (x + a * cos - b * sin, y + a * sin + b * cos)
    })
}

/// How packs lie: the camera, the light, and the room on the table.
pub(super) struct Stage {
    pub(super) camera: Camera,
    pub(super) light: Light,
    /// From the picture to the table.
    plane: Option<Homography>,
    /// The picture, pixels.
    size: [f32; 2],
    pub(super) standing: bool,
    /// Pixels a millimetre where the camera looks.
    pub(super) ppm: f32,
}

impl Stage {
    /// `length` mm fill `share` of the picture's shorter side.
    pub(super) fn new(width: f32, height: f32, length: f32, share: f32, rng: &mut SmallRng) -> Self {
        let short = width.min(height);
        let standing = rng.random_bool(0.1);
        let tilt: f32 = match rng.random_range(0..10) {
            _ if standing => rng.random_range(0.55..0.8),
            0..6 => rng.random_range(0.0..0.35),
            _ => rng.random_range(0.35..0.75),
        };
        let roll = rng.random_range(0.0..std::f32::consts::TAU);
        // Long enough that the horizon stays outside of the picture.
        let focal = short * rng.random_range(1.4..2.6);
        let field = length / share;
        let distance = focal * field / short;
        let camera = Camera::new(distance, tilt, roll, focal, [width / 2.0, height / 2.0]);
        let around = rng.random_range(0.0..std::f32::consts::TAU);
        let lean = rng.random_range(0.15..0.95_f32);
        let towards = [around.cos() * lean.sin(), around.sin() * lean.sin(), lean.cos()];
        let light = Light { towards, ambient: rng.random_range(0.35..0.75) };
        let ppm = focal / distance;
        Self { camera, light, plane: camera.table(), size: [width, height], standing, ppm }
    }

    /// Somewhere on the table that is seen, mm.
    fn somewhere(&self, rng: &mut SmallRng) -> [f32; 2] {
        let [x, y] = self.size.map(|side| rng.random_range(0.07..0.93) * side);
        self.plane.map_or([0.0; 2], |plane| plane.map(x, y).into())
    }
}

/// Draws a pack and puts it into the world; `ppm` are pixels a millimetre of the drawings.
pub(super) fn stand(
    pack: &Pack,
    number: usize,
    stage: &Stage,
    at: [f32; 2],
    base: f32,
    yaw: f32,
    rng: &mut SmallRng,
) -> Placed {
    let design = &pack.design;
    let scale = (stage.ppm * 1.15).clamp(0.2, 12.0);
    let standing = stage.standing && base == 0.0 && design.form != Form::Blister;
    let [a, b, c] = design.size;
    let mut reading = [1.0, 0.0, 0.0];
    let tall = if design.form == Form::Bottle { a } else { b };
    let bare =
        if standing { Pose::standing(yaw, [at[0], at[1], tall / 2.0]) } else { Pose::lying(yaw, [at[0], at[1], base]) };
    let (patches, drawings, [w, h, d]) = match design.form {
        Form::Carton => {
            let short = face::side(pack, [c, b], scale, false);
            let (coded, plain) = (face::side(pack, [a, c], scale, true), face::side(pack, [a, c], scale, false));
            let drawings = vec![face::front(pack, [a, b], scale), plain, coded, short];
            (solid::carton([a, b, c], design.ground), drawings, [a, b, c])
        }
        Form::Blister => {
            let bend = rng.random_range(-3.0..3.0_f32);
            (solid::sheet([a, b], bend), vec![blister::sheet(pack, scale)], [a, b, bend.abs() + 1.0])
        }
        Form::Bottle => {
            let upright = design.turned;
            if !upright {
                reading = [0.0, -1.0, 0.0];
            }
            let (length, radius) = (a, b / 2.0);
            // As far around as can be seen at once.
            let around = if upright { 2.3 } else { 2.0 };
            let label = [length * c, radius * around];
            let size = if upright { [label[1], label[0]] } else { label };
            let bottle = Bottle {
                length,
                radius,
                label: c,
                body: design.body,
                cap: design.part,
                facing: towards_camera(&bare, &stage.camera) + rng.random_range(-0.22..0.22),
                upright,
                around,
                wide: design.logo < 4,
            };
            (solid::bottle(&bottle), vec![face::front(pack, size, scale)], [b, length, b])
        }
    };
    let (pose, half, tall) = if standing {
        (Pose::standing(yaw, [at[0], at[1], h / 2.0]), [w / 2.0, d / 2.0], h)
    } else {
        let lift = if design.form == Form::Blister { 0.6 } else { d / 2.0 };
        (Pose::lying(yaw, [at[0], at[1], base + lift]), [w / 2.0, h / 2.0], d)
    };
    let (from, to) = (stage.camera.see(pose.place([0.0; 3])), stage.camera.see(pose.place(reading.map(|v| v * 8.0))));
    let gloss = design.gloss * rng.random_range(0.3..1.0_f32);
    let angle = rng.random_range(0.0..std::f32::consts::TAU);
    let shines = design.form != Form::Bottle && rng.random_bool(if design.form == Form::Blister { 0.8 } else { 0.45 });
    let sheen = Sheen {
        along: [angle.cos(), angle.sin()],
        at: rng.random_range(-0.8..0.8),
        narrow: rng.random_range(1.5..6.0),
        strength: if shines { gloss * rng.random_range(0.05..0.4) } else { 0.0 },
    };
    Placed {
        patches: patches.iter().map(|patch| patch.placed(&pose)).collect(),
        drawings,
        finish: Finish { gloss: 0.25 + gloss * 0.6, sheen },
        pack: Some(number),
        base,
        top: base + tall,
        middle: pose.at,
        half,
        yaw,
        rotation: (to.y - from.y).atan2(to.x - from.x).to_degrees().rem_euclid(360.0),
    }
}

/// The angle around a thing's y axis at which it shows the camera most: a round label is turned that way.
fn towards_camera(pose: &Pose, camera: &Camera) -> f32 {
    let view = minus(camera.at, pose.at);
    dot(view, pose.axes[0]).atan2(dot(view, pose.axes[2]))
}

/// Puts a flat thing into the world.
pub(super) fn lay(thing: clutter::Thing, at: [f32; 2], base: f32, yaw: f32, rng: &mut SmallRng) -> Placed {
    let pose = Pose::lying(yaw, [at[0], at[1], base + thing.thick * 0.6]);
    let sheen = Sheen { along: [0.7, 0.7], at: rng.random_range(-0.5..1.0), narrow: 3.0, strength: 0.06 };
    Placed {
        patches: solid::sheet(thing.size, 0.0).iter().map(|patch| patch.placed(&pose)).collect(),
        drawings: vec![thing.drawing],
        finish: Finish { gloss: 0.0, sheen },
        pack: None,
        base,
        top: base + thing.thick,
        middle: pose.at,
        half: thing.size.map(|s| s / 2.0),
        yaw,
        rotation: 0.0,
    }
}

/// A place for a footprint, and on what height: where least lies already, of some tries. None where everything is full.
fn room(
    placed: &[Placed],
    half: [f32; 2],
    stage: &Stage,
    most: f32,
    turn: bool,
    rng: &mut SmallRng,
) -> Option<([f32; 2], f32, f32)> {
    for _ in 0..24 {
        let at = stage.somewhere(rng);
        let yaw = if turn { rng.random_range(0.0..std::f32::consts::TAU) } else { rng.random_range(-0.6..0.6) };
        let under = |(x, y): (f32, f32)| {
            placed
                .iter()
                .filter(|thing| thing.covers(x, y))
                .map(|thing| thing.top)
                .fold(None, |a: Option<f32>, b| Some(a.map_or(b, |a| a.max(b))))
        };
        let tops: Vec<f32> = spread(at, half, yaw).filter_map(under).collect();
        if tops.len() as f32 <= most * 49.0 {
            let base = tops.into_iter().fold(0.0, f32::max);
            return Some((at, yaw, base));
        }
    }
    None
}

/// Takes a photograph of `packs` on a table, `width` by `height` pixels. The same seed gives the same photograph. Packs
/// for which there is no room are left out.
#[must_use]
pub fn photograph(packs: &[Pack], width: u32, height: u32, seed: u64) -> Photograph {
    let mut rng = SmallRng::seed_from_u64(stirred(&[seed, 1]));
    let (frame, seen) = painted(packs, width, height, &mut rng);
    let instances = instances(&frame, &seen);
    let large = width.max(height) as f32 / 640.0;
    let harsh = Harshness { blur: 1.9 * large, motion: 9.0 * large, noise: 0.075 };
    Photograph { picture: lens::expose(frame, harsh, &mut rng), instances }
}

/// A scene before the lens, and what was painted of each pack.
pub(super) fn painted(packs: &[Pack], width: u32, height: u32, rng: &mut SmallRng) -> (Frame, Vec<Seen>) {
    let (w, h) = (width as f32, height as f32);
    let share = match packs.len() {
        0 | 1 => rng.random_range(0.34..0.85),
        2 => rng.random_range(0.28..0.6),
        3 | 4 => rng.random_range(0.24..0.46),
        _ => rng.random_range(0.19..0.36),
    };
    let stage = Stage::new(w, h, 110.0, share, rng);
    let heap = rng.random_bool(0.35);
    let mut placed: Vec<Placed> = Vec::new();
    let things = one_of(rng, &[0, 0, 1, 2, 3, 5]);
    for _ in 0..things {
        let thing = clutter::anything(rng, stage.ppm.clamp(0.2, 12.0));
        let half = thing.size.map(|s| s / 2.0);
        if let Some((at, yaw, base)) = room(&placed, half, &stage, 0.5, true, rng) {
            placed.push(lay(thing, at, base, yaw, rng));
        }
    }
    for (number, pack) in packs.iter().enumerate() {
        let [a, b, c] = pack.design.size;
        let half = match pack.design.form {
            Form::Bottle => [b / 2.0, a / 2.0],
            _ if stage.standing && pack.design.form == Form::Carton => [a / 2.0, c / 2.0],
            _ => [a / 2.0, b / 2.0],
        };
        let most = if heap { rng.random_range(0.0..0.4) } else { 0.0 };
        // Flat clutter below does not count as being in the way.
        let (packs_so_far, below): (Vec<Placed>, Vec<Placed>) = placed.into_iter().partition(|p| p.pack.is_some());
        let place = room(&packs_so_far, half, &stage, most, !stage.standing, rng);
        placed = below.into_iter().chain(packs_so_far).collect();
        let Some((at, yaw, base)) = place else { continue };
        let on = placed.iter().filter(|p| spread(at, half, yaw).any(|(x, y)| p.covers(x, y))).map(|p| p.top);
        let base = on.fold(base, f32::max);
        placed.push(stand(pack, number, &stage, at, if stage.standing { 0.0 } else { base }, yaw, rng));
    }
    cover(&mut placed, &stage, rng);
    let mut frame = Frame::new(width, height);
    table::lay(&mut frame, &stage.camera, rng);
    let seen = paint(&mut frame, placed, &stage.camera, &stage.light, rng);
    (frame, seen)
}

/// Lays a thing over some packs' edges.
fn cover(placed: &mut Vec<Placed>, stage: &Stage, rng: &mut SmallRng) {
    let packs: Vec<(Space, [f32; 2], f32, f32)> =
        placed.iter().filter(|p| p.pack.is_some()).map(|p| (p.middle, p.half, p.yaw, p.top)).collect();
    for (middle, half, yaw, top) in packs {
        if stage.standing || !rng.random_bool(0.16) {
            continue;
        }
        let thing = clutter::covering(rng, stage.ppm.clamp(0.2, 12.0));
        let (side, along) = (one_of(rng, &[-1.0, 1.0]), rng.random_range(-0.9..0.9));
        let (sin, cos) = yaw.sin_cos();
        let off =
            if rng.random_bool(0.5) { [side * half[0], along * half[1]] } else { [along * half[0], side * half[1]] };
        let edge = [middle[0] + off[0] * cos - off[1] * sin, middle[1] + off[0] * sin + off[1] * cos];
        // Its own end lies a little inside of the pack's edge; the rest reaches outwards.
        let outward = (edge[1] - middle[1]).atan2(edge[0] - middle[0]) + rng.random_range(-0.5..0.5);
        let reach = thing.size[0] / 2.0 - rng.random_range(0.1..0.75) * thing.size[0].min(half[0].min(half[1]) * 1.6);
        let at = [edge[0] + outward.cos() * reach, edge[1] + outward.sin() * reach];
        placed.push(lay(thing, at, top + 1.0, outward, rng));
    }
}

/// What was painted of a pack: which, its area alone, its turn.
pub(super) struct Seen {
    pack: usize,
    area: f32,
    rotation: f32,
}

/// Paints everything, lower and farther things first, each with its shadow. The owner of pixels is the place in the list.
pub(super) fn paint(
    frame: &mut Frame,
    mut placed: Vec<Placed>,
    camera: &Camera,
    light: &Light,
    rng: &mut SmallRng,
) -> Vec<Seen> {
    placed.sort_by(|a, b| a.base.total_cmp(&b.base).then(b.middle[1].total_cmp(&a.middle[1])));
    let mut seen = Vec::new();
    let dark = rng.random_range(0.25..0.7) * (1.0 - light.ambient * 0.5);
    let soft = rng.random_range(0.02..0.5_f32);
    for thing in &placed {
        let fall = |p: &Space| {
            let up = (p[2] - thing.base).max(0.0);
            let slope = 1.0 / light.towards[2].max(0.3);
            let at = [p[0] - light.towards[0] * up * slope, p[1] - light.towards[1] * up * slope, thing.base];
            let seen = camera.see(at);
            [seen.x, seen.y]
        };
        let under = |p: &Space| {
            let seen = camera.see([p[0], p[1], thing.base]);
            [seen.x, seen.y]
        };
        let corners = || thing.patches.iter().flat_map(|patch| &patch.corners);
        let tall = (thing.top - thing.base) * camera.focal * camera.see(thing.middle).near;
        if thing.pack.is_some() {
            frame.shadow(&corners().map(fall).collect::<Vec<_>>(), (tall * soft).max(1.0), dark);
            frame.shadow(&corners().map(under).collect::<Vec<_>>(), (tall * 0.25).clamp(1.5, 14.0), 0.3);
        } else {
            // Of any shape: its own drawing, moved, is its shadow.
            let up = (thing.top - thing.base) * 0.6 / light.towards[2].max(0.3);
            let off = [-light.towards[0] * up, -light.towards[1] * up, 0.0];
            frame.dim(&thing.patches, off, &thing.drawings, camera, dark);
        }
        let owner = thing.pack.and_then(|_| u8::try_from(seen.len()).ok()).filter(|owner| *owner != NOBODY);
        let area = frame.thing(&thing.patches, &thing.drawings, camera, light, &thing.finish, owner);
        if let (Some(pack), Some(_)) = (thing.pack, owner) {
            seen.push(Seen { pack, area, rotation: thing.rotation });
        }
    }
    seen
}

/// What is visible of each pack.
pub(super) fn instances(frame: &Frame, seen: &[Seen]) -> Vec<Instance> {
    // Of each: pixels, then left, top, right, bottom.
    let mut counts = vec![(0_usize, [usize::MAX, usize::MAX, 0, 0]); seen.len()];
    for (place, owner) in frame.owner.iter().enumerate() {
        if let Some((count, [left, top, right, bottom])) = counts.get_mut(usize::from(*owner)) {
            let (x, y) = (place % frame.width, place / frame.width);
            *count += 1;
            (*left, *top) = ((*left).min(x), (*top).min(y));
            (*right, *bottom) = ((*right).max(x), (*bottom).max(y));
        }
    }
    let mut instances = Vec::new();
    for (owner, (thing, (count, [left, top, right, bottom]))) in seen.iter().zip(counts).enumerate() {
        let visible = (count as f32 / thing.area.max(1.0)).min(1.0);
        if visible < LEAST_VISIBLE || count < LEAST_PIXELS {
            continue;
        }
        let owns = |x: usize, y: usize| usize::from(frame.owner[(y + top) * frame.width + x + left]) == owner;
        let least = (count as f32 * 0.01).max(4.0);
        let outline = trace::outline(right - left + 1, bottom - top + 1, owns, least);
        let share = |[x, y]: [f32; 2]| [(x + left as f32) / frame.width as f32, (y + top as f32) / frame.height as f32];
        if outline.len() >= 3 {
            let outline = outline.into_iter().map(share).collect();
            instances.push(Instance { pack: thing.pack, outline, visible, rotation: thing.rotation });
        }
    }
    instances
}
