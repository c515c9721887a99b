//! The printed front of a pack, in flat colours, straight on.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::canvas::{Canvas, Colour, Letters, Texture};
use super::design::{Design, Pack, contrast, one_of, readable};
use super::words;

/// Where something goes: left, top, width, height as shares of the front; 0, 0.5 or 1 for left, middle, right.
#[derive(Clone, Copy)]
struct Slot([f32; 4], f32);

/// An arrangement of a front.
struct Layout {
    name: Slot,
    substance: Slot,
    strength: Slot,
    print: Slot,
    logo: Slot,
}

const LAYOUTS: [Layout; 8] = [
    // A bar on the left.
    Layout {
        name: Slot([0.17, 0.1, 0.6, 0.25], 0.0),
        substance: Slot([0.17, 0.4, 0.55, 0.08], 0.0),
        strength: Slot([0.5, 0.55, 0.45, 0.38], 1.0),
        print: Slot([0.17, 0.58, 0.28, 0.34], 0.0),
        logo: Slot([0.8, 0.08, 0.15, 0.24], 1.0),
    },
    // A band at the bottom, the strength on it.
    Layout {
        name: Slot([0.06, 0.1, 0.68, 0.26], 0.0),
        substance: Slot([0.06, 0.42, 0.6, 0.09], 0.0),
        strength: Slot([0.06, 0.61, 0.5, 0.33], 0.0),
        print: Slot([0.6, 0.66, 0.34, 0.26], 0.0),
        logo: Slot([0.78, 0.1, 0.16, 0.26], 1.0),
    },
    // A band on top, the name on it.
    Layout {
        name: Slot([0.06, 0.08, 0.7, 0.24], 0.0),
        substance: Slot([0.06, 0.44, 0.6, 0.09], 0.0),
        strength: Slot([0.06, 0.58, 0.46, 0.36], 0.0),
        print: Slot([0.57, 0.58, 0.37, 0.34], 0.0),
        logo: Slot([0.8, 0.07, 0.15, 0.24], 1.0),
    },
    // A block on the right, the strength on it.
    Layout {
        name: Slot([0.05, 0.12, 0.56, 0.25], 0.0),
        substance: Slot([0.05, 0.44, 0.5, 0.09], 0.0),
        strength: Slot([0.66, 0.34, 0.32, 0.44], 0.5),
        print: Slot([0.05, 0.62, 0.5, 0.3], 0.0),
        logo: Slot([0.74, 0.06, 0.18, 0.22], 0.5),
    },
    // A wave.
    Layout {
        name: Slot([0.06, 0.1, 0.72, 0.26], 0.0),
        substance: Slot([0.06, 0.37, 0.6, 0.07], 0.0),
        strength: Slot([0.06, 0.47, 0.52, 0.34], 0.0),
        print: Slot([0.64, 0.46, 0.3, 0.24], 0.0),
        logo: Slot([0.82, 0.08, 0.13, 0.22], 1.0),
    },
    // A corner cut off by a colour.
    Layout {
        name: Slot([0.06, 0.36, 0.7, 0.25], 0.0),
        substance: Slot([0.06, 0.66, 0.44, 0.09], 0.0),
        strength: Slot([0.52, 0.64, 0.43, 0.32], 1.0),
        print: Slot([0.06, 0.79, 0.4, 0.16], 0.0),
        logo: Slot([0.06, 0.07, 0.2, 0.24], 0.0),
    },
    // All in the middle, between bars.
    Layout {
        name: Slot([0.1, 0.14, 0.8, 0.25], 0.5),
        substance: Slot([0.2, 0.81, 0.6, 0.08], 0.5),
        strength: Slot([0.2, 0.44, 0.6, 0.34], 0.5),
        print: Slot([0.05, 0.46, 0.16, 0.3], 0.0),
        logo: Slot([0.83, 0.46, 0.12, 0.3], 1.0),
    },
    // A frame.
    Layout {
        name: Slot([0.07, 0.12, 0.86, 0.26], 0.5),
        substance: Slot([0.2, 0.42, 0.6, 0.08], 0.5),
        strength: Slot([0.08, 0.54, 0.44, 0.37], 0.0),
        print: Slot([0.68, 0.56, 0.25, 0.34], 0.0),
        logo: Slot([0.55, 0.56, 0.11, 0.3], 0.5),
    },
];

/// The front of a pack of `size` millimetres at `scale` pixels each.
pub(super) fn front(pack: &Pack, size: [f32; 2], scale: f32) -> Texture {
    let design = &pack.design;
    let [w, h] = size;
    let mut canvas = Canvas::new(size, scale);
    let mut rng = SmallRng::seed_from_u64(design.print);
    canvas.rect([0.0, 0.0, w, h], design.ground, 1.0);
    pattern(&mut canvas, design, size, &mut rng);
    let upright = h > w * 1.05;
    // On an upright front only the arrangements that go from edge to edge have room for large figures.
    let number = if upright { [1, 4, 6, 2, 6, 4, 6, 1][design.layout as usize] } else { design.layout } as usize;
    blocks(&mut canvas, design, number, size);
    let mut layout = Layout { ..LAYOUTS[number] };
    if upright {
        layout.strength.0 = [0.07, layout.strength.0[1], 0.86, layout.strength.0[3]];
        layout.name.0[2] = 0.86;
        layout.name.0[0] = 0.07;
    }
    let on = |slot: &Slot| ground_at(design, number, slot);
    let place = |slot: &Slot| place(slot, size);
    let ground = on(&layout.name);
    let colour = readable(ground, if number == 4 { design.accent } else { design.ink }, contrast(ground));
    line(&mut canvas, &design.name, &design.heading, place(&layout.name), layout.name.1, design.weight, colour);
    let ground = on(&layout.substance);
    let letters = Letters { face: design.heading.face % 4, bold: 0.0, ..design.heading };
    let text = format!("{} {}", lower(&design.name), design.substance);
    line(&mut canvas, &text, &letters, place(&layout.substance), layout.substance.1, 1.0, contrast(ground));
    strength(&mut canvas, pack, place(&layout.strength), layout.strength.1, on(&layout.strength), scale);
    let barcode_instead = rng.random_bool(0.25);
    if !upright {
        let print = place(&layout.print);
        if barcode_instead {
            barcode(&mut canvas, print, &mut rng);
        } else {
            paragraph(&mut canvas, design, print, contrast(on(&layout.print)), &mut rng);
        }
        logo(&mut canvas, design, place(&layout.logo), on(&layout.logo), &mut rng);
    }
    // The folds' worn edges.
    canvas.edge([0.0, 0.0, w, h], 0.0, 0.5, contrast(contrast(design.ground)), 0.25);
    canvas.done()
}

fn place(slot: &Slot, [w, h]: [f32; 2]) -> [f32; 4] {
    let [x, y, width, height] = slot.0;
    [x * w, y * h, width * w, height * h]
}

fn lower(name: &str) -> String {
    name.to_lowercase()
}

/// Coloured areas of an arrangement.
fn blocks(canvas: &mut Canvas, design: &Design, layout: usize, [w, h]: [f32; 2]) {
    let (accent, second) = (design.accent, design.second);
    match layout {
        0 => {
            canvas.rect([0.0, 0.0, w * 0.12, h], accent, 1.0);
            canvas.rect([w * 0.12, 0.0, w * 0.018, h], second, 1.0);
        }
        1 => {
            canvas.rect([0.0, h * 0.58, w, h * 0.42], accent, 1.0);
            canvas.rect([0.0, h * 0.555, w, h * 0.025], second, 1.0);
        }
        2 => {
            canvas.rect([0.0, 0.0, w, h * 0.38], accent, 1.0);
            canvas.rect([0.0, h * 0.38, w, h * 0.03], second, 1.0);
        }
        3 => {
            canvas.rect([w * 0.64, 0.0, w * 0.36, h], accent, 1.0);
            canvas.rect([w * 0.62, 0.0, w * 0.02, h], second, 1.0);
        }
        4 => {
            canvas.swoosh([w, h], [h * 0.96, h * 0.7], h * 0.12, second, 1.0);
            canvas.swoosh([w, h], [h, h * 0.78], h * 0.12, accent, 1.0);
        }
        5 => {
            canvas.polygon(&[[w * 0.38, 0.0], [w, 0.0], [w, h * 0.62]], second, 1.0);
            canvas.polygon(&[[w * 0.5, 0.0], [w, 0.0], [w, h * 0.5]], accent, 1.0);
        }
        6 => {
            canvas.rect([0.0, 0.0, w, h * 0.08], accent, 1.0);
            canvas.rect([0.0, h * 0.92, w, h * 0.08], accent, 1.0);
            canvas.rect([0.0, h * 0.9, w, h * 0.02], second, 1.0);
        }
        _ => {
            let thick = w.min(h) * 0.06;
            canvas.edge([thick / 2.0, thick / 2.0, w - thick, h - thick], 0.0, thick, accent, 1.0);
            canvas.rect([w * 0.1, h * 0.395, w * 0.8, h * 0.015], second, 1.0);
        }
    }
}

/// The colour that a slot lies on.
fn ground_at(design: &Design, layout: usize, slot: &Slot) -> Colour {
    let [x, y, w, h] = slot.0;
    let (x, y) = (x + w / 2.0, y + h / 2.0);
    let on_accent = match layout {
        1 => y > 0.58,
        2 => y < 0.38,
        3 => x > 0.64,
        _ => false,
    };
    if on_accent { design.accent } else { design.ground }
}

/// What lies under everything: nothing on most, or pale shapes.
fn pattern(canvas: &mut Canvas, design: &Design, [w, h]: [f32; 2], rng: &mut SmallRng) {
    let pale = |alpha: f32| (design.accent, alpha);
    let (start, size) = (rng.random_range(0.0..1.0_f32), rng.random_range(0.0..1.0_f32));
    match design.pattern {
        0 => canvas.fade([0.0, 0.0, w, h], pale(0.0), pale(0.3), true),
        1 => canvas.fade([0.0, 0.0, w, h], (design.second, 0.25), pale(0.02), false),
        2 => {
            let step = 6.0 + size * 8.0;
            for k in 0..((w + h) / step) as u32 {
                let x = k as f32 * step - h;
                canvas.line(&[[x, h], [x + h, 0.0]], step * 0.3, design.accent, 0.12);
            }
        }
        3 => {
            let step = 5.0 + size * 6.0;
            for (i, j) in (0..(w / step) as u32).flat_map(|i| (0..(h / step) as u32).map(move |j| (i, j))) {
                canvas.circle([(i as f32 + 0.5) * step, (j as f32 + 0.5) * step], step * 0.2, design.second, 0.2);
            }
        }
        4 => {
            canvas.circle([w * (0.5 + start * 0.5), h * 0.5], h * (0.4 + size * 0.4), design.second, 0.22);
            canvas.circle([w * (0.6 + start * 0.4), h * 0.7], h * 0.3, design.accent, 0.2);
        }
        5 => canvas.swoosh([w, h], [h * (0.3 + start * 0.4), h * 0.5], h * (size - 0.5), design.second, 0.25),
        _ => {}
    }
}

/// A text in a slot, as high as it goes.
fn line(canvas: &mut Canvas, text: &str, letters: &Letters, slot: [f32; 4], align: f32, weight: f32, colour: Colour) {
    let [x, y, w, h] = slot;
    let height = letters.fitted(text, h * 0.8 * weight, w);
    let left = x + (w - letters.length(text, height)) * align;
    canvas.text(text, letters, [left, y + (h + height) / 2.0], height, colour);
}

/// The strength: a large number with its unit, on a panel of its own or without.
pub(super) fn strength(canvas: &mut Canvas, pack: &Pack, slot: [f32; 4], align: f32, ground: Colour, scale: f32) {
    let design = &pack.design;
    let [x, y, w, h] = slot;
    let (number, letters) = (pack.strength.to_string(), &design.figures);
    let unit = Letters { bold: 0.0, ..*letters };
    let panelled = design.panel > 1 && ground == design.ground;
    let (room, most) = if panelled { (h * 0.62, w * 0.86) } else { (h * 0.84, w) };
    // Beside each other where the number stays large, else the unit below it.
    let both = |height: f32| letters.length(&number, height) + unit.length(design.unit, height * 0.5) + height * 0.2;
    let beside = room * (most / both(room)).min(1.0);
    let above = letters.fitted(&number, room * 0.62, most);
    let stacked = above > beside * 1.15;
    let height = if stacked { above } else { beside };
    let length = if stacked {
        letters.length(&number, height).max(unit.length(design.unit, height * 0.4))
    } else {
        both(height)
    };
    let tall = if stacked { height * 1.6 } else { height };
    let (left, top) = (x + (w - length) * align * 0.96, y + (h - tall) / 2.0);
    let mut colour = readable(ground, design.accent, contrast(ground));
    if panelled {
        let (pad_x, pad_y) = (height * 0.3, height * 0.28);
        let bounds = [left - pad_x, top - pad_y, length + 2.0 * pad_x, tall + 2.0 * pad_y];
        let radius = [0.0, 0.0, height * 0.25, height, height][design.panel as usize];
        let fill = if design.panel == 4 { design.second } else { design.accent };
        if design.panel == 3 {
            canvas.edge(bounds, radius, (height * 0.1).max(0.8 / scale), fill, 1.0);
        } else {
            canvas.rounded(bounds, radius, fill, 1.0);
            colour = contrast(fill);
        }
    }
    canvas.text(&number, letters, [left, top + height], height, colour);
    if stacked {
        canvas.text(design.unit, &unit, [left, top + height * 1.6], height * 0.4, colour);
    } else {
        let at = [left + letters.length(&number, height) + height * 0.2, top + height];
        canvas.text(design.unit, &unit, at, height * 0.5, colour);
    }
}

/// Small print.
pub(super) fn paragraph(canvas: &mut Canvas, design: &Design, slot: [f32; 4], colour: Colour, rng: &mut SmallRng) {
    let [x, y, w, h] = slot;
    let size = rng.random_range(1.6..2.6_f32);
    let lines = ((h / (size * 1.8)) as usize).clamp(1, 7);
    for number in 0..lines {
        let text = match number {
            0 => design.contents,
            1 if lines > 3 => design.maker,
            _ => one_of(rng, &words::PRINT),
        };
        let height = if number == 0 { size * 1.3 } else { size };
        let height = Letters::PLAIN.fitted(text, height, w);
        canvas.text(text, &Letters::PLAIN, [x, y + (number as f32 + 0.9) * size * 1.8], height, colour);
    }
}

/// Bars on white.
pub(super) fn barcode(canvas: &mut Canvas, [x, y, w, h]: [f32; 4], rng: &mut SmallRng) {
    canvas.rect([x, y, w, h], [252, 252, 250], 1.0);
    let module = (w / 60.0).max(0.25);
    let mut at = x + w * 0.08;
    while at < x + w * 0.92 {
        let bar = module * rng.random_range(1..4) as f32;
        canvas.rect([at, y + h * 0.08, bar, h * 0.66], [20, 20, 22], 1.0);
        at += bar + module * rng.random_range(1..4) as f32;
    }
    let digits: String = (0..13).map(|_| char::from(b'0' + rng.random_range(0..10_u8))).collect();
    let height = Letters::PLAIN.fitted(&digits, h * 0.14, w * 0.84);
    canvas.text(&digits, &Letters::PLAIN, [x + w * 0.08, y + h * 0.95], height, [20, 20, 22]);
}

/// A maker's sign, and its name below.
fn logo(canvas: &mut Canvas, design: &Design, slot: [f32; 4], ground: Colour, rng: &mut SmallRng) {
    let [x, y, w, h] = slot;
    let side = w.min(h * 0.8);
    let (cx, cy, r) = (x + w / 2.0, y + side * 0.45, side * 0.4);
    let first = readable(ground, design.second, contrast(ground));
    let other = readable(ground, design.accent, first);
    match design.logo {
        0 => {
            canvas.circle([cx, cy], r, first, 1.0);
            canvas.circle([cx + r * 0.35, cy - r * 0.2], r * 0.6, ground, 1.0);
        }
        1 => {
            canvas.rounded([cx - r, cy - r * 0.34, r * 2.0, r * 0.68], r * 0.1, first, 1.0);
            canvas.rounded([cx - r * 0.34, cy - r, r * 0.68, r * 2.0], r * 0.1, first, 1.0);
        }
        2 => {
            canvas.polygon(&[[cx - r, cy + r], [cx, cy - r], [cx + r, cy + r]], first, 1.0);
            canvas.polygon(&[[cx - r * 0.4, cy + r], [cx, cy + r * 0.1], [cx + r * 0.4, cy + r]], ground, 1.0);
        }
        3 => (0..3).for_each(|ring| canvas.ring([cx, cy], r * (1.0 - ring as f32 * 0.3), r * 0.14, first, 1.0)),
        4 => {
            let petals = rng.random_range(4..8);
            for petal in 0..petals {
                let angle = std::f32::consts::TAU * petal as f32 / petals as f32;
                let at = [cx + angle.cos() * r * 0.6, cy + angle.sin() * r * 0.6];
                canvas.circle(at, r * 0.38, if petal % 2 == 0 { first } else { other }, 1.0);
            }
        }
        5 => {
            canvas.rounded([cx - r, cy - r, r * 2.0, r * 2.0], r * 0.3, first, 1.0);
            let letter = &design.maker[..1];
            let letters = Letters { face: 1, ..Letters::PLAIN };
            let left = cx - letters.length(letter, r) / 2.0;
            canvas.text(letter, &letters, [left, cy + r * 0.5], r, contrast(first));
        }
        _ => {
            canvas.polygon(&[[cx, cy - r], [cx + r, cy], [cx, cy + r], [cx - r, cy]], first, 1.0);
            canvas.polygon(&[[cx, cy - r], [cx + r, cy], [cx, cy]], other, 1.0);
        }
    }
    let letters = Letters { face: 1, ..Letters::PLAIN };
    let height = letters.fitted(design.maker, h * 0.12, w);
    let left = x + (w - letters.length(design.maker, height)) / 2.0;
    canvas.text(design.maker, &letters, [left, y + h], height, contrast(ground));
}

/// A long side of a box: name and strength on a band, or a bar code.
pub(super) fn side(pack: &Pack, size: [f32; 2], scale: f32, coded: bool) -> Texture {
    let design = &pack.design;
    let [w, h] = size;
    let mut canvas = Canvas::new(size, scale);
    let mut rng = SmallRng::seed_from_u64(design.print ^ u64::from(coded));
    let accent = design.layout.is_multiple_of(3);
    let ground = if accent { design.accent } else { design.ground };
    canvas.rect([0.0, 0.0, w, h], ground, 1.0);
    if !accent {
        canvas.rect([0.0, 0.0, w * 0.04, h], design.accent, 1.0);
    }
    if coded {
        let across = (w * 0.7).min(h * 1.8);
        barcode(&mut canvas, [w * 0.08, h * 0.12, across.min(40.0), h * 0.76], &mut rng);
        let left = w * 0.12 + across.min(40.0);
        if left < w * 0.7 {
            paragraph(&mut canvas, design, [left, h * 0.1, w * 0.94 - left, h * 0.8], contrast(ground), &mut rng);
        }
    } else {
        let text = format!("{} {} {}", design.name, pack.strength, design.unit);
        let colour = contrast(ground);
        line(&mut canvas, &text, &design.heading, [w * 0.07, h * 0.15, w * 0.86, h * 0.7], 0.0, 0.7, colour);
    }
    canvas.edge([0.0, 0.0, w, h], 0.0, 0.5, contrast(contrast(design.ground)), 0.3);
    canvas.done()
}
