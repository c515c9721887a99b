//! What else lies about: things over and between packs, and rectangles that are no packs.

use rand::Rng;
use rand::rngs::SmallRng;

use super::canvas::{Canvas, Colour, Letters, Texture};
use super::design::{hsv, one_of};
use super::words;

/// A flat thing: its drawing, its size in mm, and how high its top is above what it lies on.
pub(super) struct Thing {
    pub(super) drawing: Texture,
    pub(super) size: [f32; 2],
    pub(super) thick: f32,
}

/// A thing that may lie anywhere, `scale` pixels a millimetre.
pub(super) fn anything(rng: &mut SmallRng, scale: f32) -> Thing {
    match rng.random_range(0..13) {
        0..2 => pen(rng, scale),
        2..4 => coin(rng, scale),
        4 => sheet(rng, scale),
        5 => leaflet(rng, scale),
        6 => note(rng, scale),
        7 => phone(rng, scale),
        8 => ruler(rng, scale),
        9 => block(rng, scale),
        10..12 => pill(rng, scale),
        _ => cable(rng, scale),
    }
}

/// A thing that lies over packs.
pub(super) fn covering(rng: &mut SmallRng, scale: f32) -> Thing {
    match rng.random_range(0..9) {
        0..3 => pen(rng, scale),
        3 => coin(rng, scale),
        4 => note(rng, scale),
        5 => cable(rng, scale),
        6 => pill(rng, scale),
        _ => hand(rng, scale),
    }
}

fn shade(colour: Colour, by: f32) -> Colour {
    colour.map(|c| (f32::from(c) * by).clamp(0.0, 255.0) as u8)
}

fn any(rng: &mut SmallRng) -> Colour {
    hsv(rng.random(), rng.random_range(0.1..0.95), rng.random_range(0.1..0.95))
}

fn pen(rng: &mut SmallRng, scale: f32) -> Thing {
    let (w, h) = (rng.random_range(120.0..150.0), rng.random_range(7.0..11.0));
    let mut canvas = Canvas::new([w, h], scale);
    let (body, tip) = (any(rng), one_of(rng, &[[40, 40, 44], [190, 192, 198], [225, 225, 220]]));
    canvas.polygon(&[[0.0, h * 0.5], [12.0, h * 0.12], [12.0, h * 0.88]], tip, 1.0);
    canvas.rounded([11.0, 0.05 * h, w - 11.0, h * 0.9], h * 0.35, shade(body, 0.75), 1.0);
    canvas.rect([13.0, h * 0.16, w - 18.0, h * 0.34], body, 1.0);
    canvas.rect([13.0, h * 0.22, w - 18.0, h * 0.1], [255; 3], 0.45);
    canvas.rect([w * 0.62, h * 0.05, 3.0, h * 0.9], tip, 1.0);
    canvas.rounded([w * 0.66, h * 0.36, w * 0.3, h * 0.26], 1.0, tip, 1.0);
    Thing { drawing: canvas.done(), size: [w, h], thick: h }
}

fn coin(rng: &mut SmallRng, scale: f32) -> Thing {
    let side = rng.random_range(17.0..27.0_f32);
    let mut canvas = Canvas::new([side, side], scale);
    let metal = one_of(rng, &[[176, 120, 72], [196, 168, 96], [178, 180, 184]]);
    let (middle, r) = ([side / 2.0, side / 2.0], side / 2.0);
    canvas.circle(middle, r * 0.99, shade(metal, 0.7), 1.0);
    canvas.circle(middle, r * 0.92, metal, 1.0);
    canvas.ring(middle, r * 0.78, 0.4, shade(metal, 0.6), 0.8);
    canvas.circle([middle[0] - r * 0.2, middle[1] - r * 0.25], r * 0.42, shade(metal, 1.25), 0.5);
    let number = one_of(rng, &["1", "2", "5", "10", "20", "50"]);
    let letters = Letters { face: 4, ..Letters::PLAIN };
    let left = middle[0] - letters.length(number, r * 0.7) / 2.0;
    canvas.text(number, &letters, [left, middle[1] + r * 0.35], r * 0.7, shade(metal, 0.55));
    Thing { drawing: canvas.done(), size: [side, side], thick: 2.0 }
}

/// Lines of writing, too small or too grey to be a label.
fn writing(canvas: &mut Canvas, [x, y, w, h]: [f32; 4], size: f32, ink: Colour, rng: &mut SmallRng) {
    let mut top = y + size;
    while top < y + h {
        let share = if rng.random_bool(0.2) { rng.random_range(0.2..0.8) } else { 1.0 };
        let mut line = String::new();
        while Letters::PLAIN.length(&line, size) < w * share * 0.85 {
            line.push_str(one_of(rng, &words::PRINT));
            line.push(' ');
        }
        let height = Letters::PLAIN.fitted(&line, size, w);
        canvas.text(&line, &Letters::PLAIN, [x, top], height, ink);
        top += size * rng.random_range(1.9..2.2);
    }
}

fn sheet(rng: &mut SmallRng, scale: f32) -> Thing {
    let (w, h) = one_of(rng, &[(210.0, 297.0), (148.0, 210.0), (105.0, 148.0), (220.0, 110.0)]);
    let mut canvas = Canvas::new([w, h], scale);
    let paper = hsv(rng.random(), rng.random_range(0.0..0.06), rng.random_range(0.88..1.0));
    canvas.rect([0.0, 0.0, w, h], paper, 1.0);
    match rng.random_range(0..4) {
        0 => writing(&mut canvas, [w * 0.1, h * 0.1, w * 0.8, h * 0.8], 2.4, [60, 60, 66], rng),
        1 => {
            let step = rng.random_range(6.0..9.0);
            (1..(h / step) as u32).for_each(|k| canvas.rect([0.0, k as f32 * step, w, 0.35], [120, 150, 200], 0.7));
            canvas.rect([w * 0.12, 0.0, 0.4, h], [210, 110, 110], 0.7);
        }
        2 => {
            let step = 5.0;
            (1..(h / step) as u32).for_each(|k| canvas.rect([0.0, k as f32 * step, w, 0.25], [150, 170, 200], 0.6));
            (1..(w / step) as u32).for_each(|k| canvas.rect([k as f32 * step, 0.0, 0.25, h], [150, 170, 200], 0.6));
        }
        _ => {}
    }
    Thing { drawing: canvas.done(), size: [w, h], thick: 0.4 }
}

fn leaflet(rng: &mut SmallRng, scale: f32) -> Thing {
    let (w, h) = (rng.random_range(120.0..200.0), rng.random_range(150.0..280.0));
    let mut canvas = Canvas::new([w, h], scale);
    canvas.rect([0.0, 0.0, w, h], [246, 246, 242], 1.0);
    let columns = rng.random_range(1..4);
    for column in 0..columns {
        let wide = w * 0.9 / columns as f32;
        writing(
            &mut canvas,
            [w * 0.05 + column as f32 * wide, h * 0.04, wide * 0.93, h * 0.92],
            1.7,
            [70, 70, 74],
            rng,
        );
    }
    for fold in 1..4 {
        let y = h * fold as f32 / 4.0;
        canvas.fade([0.0, y - 8.0, w, 8.0], ([120; 3], 0.0), ([120; 3], 0.22), true);
        canvas.rect([0.0, y, w, 0.5], [255; 3], 0.8);
    }
    Thing { drawing: canvas.done(), size: [w, h], thick: 1.5 }
}

fn note(rng: &mut SmallRng, scale: f32) -> Thing {
    let side = rng.random_range(50.0..78.0);
    let mut canvas = Canvas::new([side, side], scale);
    let paper = one_of(rng, &[[250, 236, 120], [250, 170, 190], [170, 225, 240], [190, 235, 160], [255, 200, 120]]);
    canvas.rect([0.0, 0.0, side, side], paper, 1.0);
    canvas.fade([0.0, 0.0, side, side * 0.2], ([0; 3], 0.1), ([0; 3], 0.0), true);
    let mut y = side * 0.3;
    while y < side * 0.8 && rng.random_bool(0.8) {
        let ink = one_of(rng, &[[30, 40, 120], [40, 40, 44]]);
        let mut at = [side * 0.12, y];
        let mut stroke = vec![at];
        while at[0] < side * rng.random_range(0.5..0.95) {
            at = [at[0] + rng.random_range(0.6..2.2), y + rng.random_range(-2.4..1.6)];
            stroke.push(at);
        }
        canvas.line(&stroke, 0.6, ink, 0.9);
        y += side * 0.17;
    }
    Thing { drawing: canvas.done(), size: [side, side], thick: 0.6 }
}

fn phone(rng: &mut SmallRng, scale: f32) -> Thing {
    let (w, h) = (rng.random_range(66.0..78.0), rng.random_range(138.0..162.0));
    let mut canvas = Canvas::new([w, h], scale);
    canvas.rounded([0.0, 0.0, w, h], 9.0, one_of(rng, &[[28, 28, 30], [70, 72, 78], [200, 200, 204]]), 1.0);
    let glass = [rng.random_range(8..30_u8); 3];
    canvas.rounded([2.0, 2.0, w - 4.0, h - 4.0], 8.0, glass, 1.0);
    canvas.polygon(&[[w * 0.5, 3.0], [w * 0.9, 3.0], [w * 0.4, h - 3.0], [w * 0.1, h - 3.0]], [255; 3], 0.08);
    canvas.circle([w / 2.0, 5.5], 1.4, [50, 52, 60], 1.0);
    Thing { drawing: canvas.done(), size: [w, h], thick: 8.0 }
}

fn ruler(rng: &mut SmallRng, scale: f32) -> Thing {
    let (w, h) = (rng.random_range(160.0..310.0), rng.random_range(22.0..34.0));
    let mut canvas = Canvas::new([w, h], scale);
    let ground = one_of(rng, &[[222, 186, 120], [190, 194, 198], [236, 240, 240]]);
    canvas.rect([0.0, 0.0, w, h], ground, 1.0);
    for mark in 0..(w - 8.0) as u32 {
        let long = if mark % 10 == 0 { 0.34 } else { 0.18 };
        canvas.rect([4.0 + mark as f32, 0.0, 0.3, h * long], [40; 3], 0.9);
    }
    for centimetre in (0..(w as u32 - 8) / 10).step_by(5) {
        let text = centimetre.to_string();
        canvas.text(&text, &Letters::PLAIN, [4.0 + centimetre as f32 * 10.0, h * 0.65], 3.5, [40; 3]);
    }
    Thing { drawing: canvas.done(), size: [w, h], thick: 3.0 }
}

/// A book, a wallet, a plain board: a rectangle with nothing on it.
fn block(rng: &mut SmallRng, scale: f32) -> Thing {
    let (w, h) = (rng.random_range(70.0..210.0), rng.random_range(50.0..150.0));
    let mut canvas = Canvas::new([w, h], scale);
    let cover = any(rng);
    canvas.rounded([0.0, 0.0, w, h], rng.random_range(0.5..6.0), cover, 1.0);
    match rng.random_range(0..4) {
        0 => canvas.rect([w * 0.04, 0.0, w * 0.015, h], shade(cover, 0.6), 0.8),
        1 => canvas.edge([3.0, 3.0, w - 6.0, h - 6.0], 2.0, 0.5, shade(cover, 0.7), 0.9),
        2 => canvas.fade([0.0, 0.0, w, h], ([255; 3], 0.25), ([0; 3], 0.2), rng.random_bool(0.5)),
        _ => {}
    }
    Thing { drawing: canvas.done(), size: [w, h], thick: rng.random_range(2.0..14.0) }
}

fn pill(rng: &mut SmallRng, scale: f32) -> Thing {
    let (w, h) = if rng.random_bool(0.5) { (9.0, 9.0) } else { (18.0, 7.0) };
    let mut canvas = Canvas::new([w, h], scale);
    let colour = if rng.random_bool(0.5) { [245, 244, 238] } else { any(rng) };
    canvas.rounded([0.0, 0.0, w, h], h / 2.0, shade(colour, 0.72), 1.0);
    canvas.rounded([0.2, 0.2, w * 0.92, h * 0.86], h / 2.0, colour, 1.0);
    canvas.rounded([w * 0.2, h * 0.16, w * 0.4, h * 0.2], h * 0.1, [255; 3], 0.6);
    Thing { drawing: canvas.done(), size: [w, h], thick: 4.0 }
}

fn cable(rng: &mut SmallRng, scale: f32) -> Thing {
    let (w, h) = (rng.random_range(120.0..260.0), rng.random_range(30.0..90.0_f32));
    let mut canvas = Canvas::new([w, h], scale);
    let colour = one_of(rng, &[[24, 24, 26], [235, 235, 232], [120, 30, 34], [40, 60, 110]]);
    let (phase, waves) = (rng.random_range(0.0..6.0), rng.random_range(0.6..2.0_f32));
    let points: Vec<[f32; 2]> = (0..40)
        .map(|k| {
            let share = k as f32 / 39.0;
            [3.0 + share * (w - 6.0), h / 2.0 + (share * waves * 6.3 + phase).sin() * (h / 2.0 - 4.0)]
        })
        .collect();
    canvas.line(&points, 4.0, shade(colour, 0.7), 1.0);
    canvas.line(&points, 2.4, colour, 1.0);
    Thing { drawing: canvas.done(), size: [w, h], thick: 4.0 }
}

/// Fingers that point to the left, the hand and its arm behind them.
fn hand(rng: &mut SmallRng, scale: f32) -> Thing {
    let (w, h, arm) = (190.0, 92.0, 260.0);
    let mut canvas = Canvas::new([w + arm, h], scale);
    let tones = [[250, 220, 194], [238, 196, 164], [222, 170, 136], [196, 136, 100], [148, 94, 64], [98, 62, 44]];
    let skin = shade(one_of(rng, &tones), rng.random_range(0.85..1.05));
    let fingers = rng.random_range(2..5);
    let sleeve = if rng.random_bool(0.6) { any(rng) } else { skin };
    canvas.rounded([w * 0.9, h * 0.22, arm, h * 0.6], 8.0, shade(skin, 0.8), 1.0);
    canvas.rounded([w * 0.9, h * 0.25, arm, h * 0.5], 8.0, skin, 1.0);
    canvas.rounded([w * 1.2, h * 0.12, arm, h * 0.8], 5.0, shade(sleeve, 0.8), 1.0);
    canvas.rounded([w * 1.2, h * 0.16, arm, h * 0.6], 5.0, sleeve, 1.0);
    canvas.rounded([w * 0.5, h * 0.1, w * 0.52, h * 0.8], 30.0, shade(skin, 0.8), 1.0);
    canvas.rounded([w * 0.52, h * 0.12, w * 0.5, h * 0.72], 26.0, skin, 1.0);
    for finger in 0..fingers {
        let y = h * (0.14 + 0.19 * finger as f32);
        let x = w * ([0.12, 0.03, 0.06, 0.2][finger % 4] + rng.random_range(0.0..0.08));
        let thick = 16.0;
        canvas.rounded([x, y, w * 0.62 - x, thick], thick / 2.0, shade(skin, 0.76), 1.0);
        canvas.rounded([x + 0.6, y + 0.5, w * 0.62 - x, thick * 0.8], thick * 0.4, skin, 1.0);
        canvas.rounded([x + 2.0, y + 3.0, 9.0, thick - 7.0], 3.5, shade([250, 214, 200], 0.95), 0.55);
        for knuckle in [0.36, 0.5] {
            canvas.rect([w * knuckle, y + 2.0, 0.7, thick - 5.0], shade(skin, 0.7), 0.5);
        }
    }
    Thing { drawing: canvas.done(), size: [w + arm, h], thick: 12.0 }
}
