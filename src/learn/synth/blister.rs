//! Blister strips: pills in pockets below a printed margin, or the printed foil of the back.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::canvas::{Canvas, Colour, Letters, Texture};
use super::design::{Design, Pack, contrast, readable};
use super::face;

/// The side that a strip shows, at `scale` pixels a millimetre.
pub(super) fn sheet(pack: &Pack, scale: f32) -> Texture {
    let design = &pack.design;
    let [w, h, _] = design.size;
    let mut canvas = Canvas::new([w, h], scale);
    let mut rng = SmallRng::seed_from_u64(design.print);
    let radius = rng.random_range(2.0..7.0);
    canvas.rounded([0.0, 0.0, w, h], radius, design.body, 1.0);
    foil(&mut canvas, [w, h], &mut rng);
    if design.turned {
        back(&mut canvas, pack, scale, &mut rng)
    } else {
        front(&mut canvas, pack, scale, &mut rng)
    }
    canvas.edge([0.4, 0.4, w - 0.8, h - 0.8], radius, 0.8, [255; 3], 0.35);
    canvas.done()
}

/// Creases and the embossed grid.
fn foil(canvas: &mut Canvas, [w, h]: [f32; 2], rng: &mut SmallRng) {
    for _ in 0..rng.random_range(4..9) {
        let (x, wide) = (rng.random_range(0.0..w), rng.random_range(3.0..25.0));
        let lean = rng.random_range(-0.4..0.4) * h;
        let (tone, alpha) = if rng.random_bool(0.5) { ([255; 3], 0.3) } else { ([90, 92, 98], 0.16) };
        let right = (x + wide).min(w - 1.0);
        let cut = |x: f32| x.clamp(1.0, w - 1.0);
        canvas.polygon(
            &[[cut(x), 1.0], [right, 1.0], [cut(right + lean), h - 1.0], [cut(x + lean), h - 1.0]],
            tone,
            alpha,
        );
    }
}

/// The back: name and strength again and again, once large.
fn back(canvas: &mut Canvas, pack: &Pack, scale: f32, rng: &mut SmallRng) {
    let design = &pack.design;
    let [w, h, _] = design.size;
    let colour = readable(design.body, design.accent, contrast(design.body));
    let pockets = grid(design, rng, [w * 0.04, h * 0.05, w * 0.92, h * 0.9]);
    for [x, y, pw, ph] in &pockets.places {
        canvas.edge([*x, *y, *pw, *ph], pw.min(*ph) / 2.0, 0.7, [120, 122, 128], 0.35);
    }
    let slot = [w * 0.06, h * 0.08, w * 0.52, h * 0.3];
    let height = design.heading.fitted(&design.name, slot[3] * 0.75, slot[2]);
    canvas.text(&design.name, &design.heading, [slot[0], slot[1] + height * 1.1], height, colour);
    face::strength(canvas, pack, [w * 0.5, h * 0.36, w * 0.44, h * 0.4], 1.0, design.body, scale);
    let text = format!("{} {} {}   {}", design.name, pack.strength, design.unit, design.maker);
    let small = Letters::PLAIN;
    for row in 0..3 {
        let size = Letters::fitted(&small, &text, 2.4, w * 0.42);
        canvas.text(&text, &small, [w * 0.06, h * (0.5 + row as f32 * 0.12)], size, colour);
    }
    let width = rng.random_range(0.3..0.9_f32);
    canvas.rect([w * 0.05, h * 0.84, w * 0.9 * width, h * 0.05], design.accent, 0.9);
    canvas.text(design.contents, &small, [w * 0.06, h * 0.96], 2.2, colour);
}

/// The front: a printed margin, pockets below or beside it.
fn front(canvas: &mut Canvas, pack: &Pack, scale: f32, rng: &mut SmallRng) {
    let design = &pack.design;
    let [w, h, _] = design.size;
    let beside = design.layout.is_multiple_of(2);
    let (margin, room) = if beside {
        let share = rng.random_range(0.36..0.46);
        ([w * 0.03, h * 0.06, w * share, h * 0.88], [w * (share + 0.06), h * 0.06, w * (0.92 - share), h * 0.88])
    } else {
        let share = rng.random_range(0.36..0.44);
        ([w * 0.03, h * 0.05, w * 0.94, h * share], [w * 0.04, h * (share + 0.09), w * 0.92, h * (0.87 - share)])
    };
    canvas.rounded(margin, 2.0, design.ground, 1.0);
    let [x, y, mw, mh] = margin;
    let ink = readable(design.ground, design.ink, contrast(design.ground));
    let (name, figures) = if beside {
        canvas.rounded([x, y + mh * 0.9, mw, mh * 0.1], 1.0, design.accent, 1.0);
        ([x + mw * 0.06, y + mh * 0.06, mw * 0.88, mh * 0.26], [x + mw * 0.06, y + mh * 0.36, mw * 0.88, mh * 0.5])
    } else {
        canvas.rounded([x, y, mw * 0.02, mh], 1.0, design.accent, 1.0);
        ([x + mw * 0.05, y + mh * 0.1, mw * 0.5, mh * 0.5], [x + mw * 0.58, y + mh * 0.06, mw * 0.4, mh * 0.88])
    };
    let height = design.heading.fitted(&design.name, name[3] * 0.8, name[2]);
    canvas.text(&design.name, &design.heading, [name[0], name[1] + (name[3] + height) / 2.0], height, ink);
    face::strength(canvas, pack, figures, if beside { 0.0 } else { 1.0 }, design.ground, scale);
    if !beside {
        canvas.text(design.contents, &Letters::PLAIN, [name[0], y + mh * 0.88], 2.2, ink);
    }
    let pockets = grid(design, rng, room);
    let missing = rng.random_range(0..pockets.places.len().max(1) * 6);
    for (number, place) in pockets.places.iter().enumerate() {
        pocket(canvas, design, *place, pockets.pill, number == missing);
    }
}

/// Pockets in rows: where each is, and a pill's size against its pocket.
struct Grid {
    places: Vec<[f32; 4]>,
    pill: f32,
}

fn grid(design: &Design, rng: &mut SmallRng, [x, y, w, h]: [f32; 4]) -> Grid {
    let long = rng.random_range(0..3) == 0;
    let pitch = rng.random_range(11.0..17.0_f32);
    let (pitch_x, pitch_y) = if long { (pitch * 1.5, pitch * 0.9) } else { (pitch, pitch) };
    let (columns, rows) = (((w / pitch_x) as u32).clamp(1, 10), ((h / pitch_y) as u32).clamp(1, 6));
    let (step_x, step_y) = (w / columns as f32, h / rows as f32);
    let (pw, ph) = ((pitch_x * 0.84).min(step_x * 0.92), (pitch_y * 0.84).min(step_y * 0.92));
    let (pw, ph) = if long || design.print.is_multiple_of(2) { (pw, ph) } else { (pw.min(ph), pw.min(ph)) };
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))).map(|(row, column)| {
        [x + (column as f32 + 0.5) * step_x - pw / 2.0, y + (row as f32 + 0.5) * step_y - ph / 2.0, pw, ph]
    });
    Grid { places: places.collect(), pill: rng.random_range(0.66..0.84) }
}

/// A bulge of clear plastic with a pill in it, lit from the upper left.
fn pocket(canvas: &mut Canvas, design: &Design, [x, y, w, h]: [f32; 4], share: f32, missing: bool) {
    let round = w.min(h) / 2.0;
    canvas.rounded([x + 0.5, y + 0.7, w, h], round, [60, 62, 70], 0.3);
    canvas.rounded([x, y, w, h], round, [235, 238, 242], 0.55);
    canvas.edge([x, y, w, h], round, 0.5, [110, 114, 122], 0.5);
    if missing {
        canvas.rounded([x + w * 0.2, y + h * 0.2, w * 0.6, h * 0.6], round, [70, 70, 74], 0.7);
        return;
    }
    let (pw, ph) = (w * share, h * share);
    let pill = [x + (w - pw) / 2.0, y + (h - ph) / 2.0, pw, ph];
    let shade = |colour: Colour, by: f32| colour.map(|c| (f32::from(c) * by) as u8);
    canvas.rounded([pill[0] + 0.4, pill[1] + 0.6, pw, ph], round, [30, 30, 36], 0.35);
    canvas.rounded(pill, round * share, shade(design.part, 0.82), 1.0);
    canvas.rounded([pill[0], pill[1], pw * 0.93, ph * 0.92], round * share, design.part, 1.0);
    if w > h * 1.4 && design.pattern < 4 {
        canvas.rounded([pill[0], pill[1], pw * 0.5, ph * 0.95], round * share, design.second, 1.0);
    } else if design.pattern < 6 {
        canvas.line(
            &[[pill[0] + pw * 0.2, pill[1] + ph * 0.5], [pill[0] + pw * 0.8, pill[1] + ph * 0.5]],
            0.4,
            shade(design.part, 0.7),
            1.0,
        );
    }
    canvas.rounded([x + w * 0.2, y + h * 0.14, w * 0.34, h * 0.16], round * 0.3, [255; 3], 0.6);
    canvas.rounded([x + w * 0.6, y + h * 0.78, w * 0.2, h * 0.08], round * 0.2, [255; 3], 0.35);
}
