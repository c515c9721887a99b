//! Drawing in millimetres: shapes and letters with soft edges, by tiny-skia; letters are outlines of the DejaVu family.

use std::sync::OnceLock;

use tiny_skia::{
    Color, FillRule, GradientStop, LinearGradient, Paint, Path, PathBuilder, PixmapMut, Point, Rect, Shader,
    SpreadMode, Stroke, Transform,
};
use ttf_parser::{Face, OutlineBuilder};

/// Letters lower than this many pixels are grey lines to any camera.
const LEGIBLE: f32 = 2.2;

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// A drawn surface: RGBA, multiplied by alpha, row by row.
#[derive(Clone, Debug)]
pub(super) struct Texture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) data: Vec<u8>,
}

impl Texture {
    /// The colour between pixels, premultiplied, 0 to 255; the edge goes on beyond the edge.
    #[inline]
    pub(super) fn sample(&self, x: f32, y: f32) -> [f32; 4] {
        let (most_x, most_y) = ((self.width - 1) as f32, (self.height - 1) as f32);
        let (x, y) = ((x - 0.5).clamp(0.0, most_x), (y - 0.5).clamp(0.0, most_y));
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f32, y - top as f32);
        let width = self.width as usize;
        let right = (left + 1).min(width - 1);
        let below = (top + 1).min(self.height as usize - 1);
        let at = |column: usize, row: usize| {
            let place = (row * width + column) * 4;
            [self.data[place], self.data[place + 1], self.data[place + 2], self.data[place + 3]].map(f32::from)
        };
        let (a, b, c, d) = (at(left, top), at(right, top), at(left, below), at(right, below));
        let (wa, wb, wc, wd) = ((1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy);
        [0, 1, 2, 3].map(|i| a[i] * wa + b[i] * wb + c[i] * wc + d[i] * wd)
    }
}

/// How letters look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Letters {
    /// Which of the faces, by number.
    pub(super) face: usize,
    /// Width against the face's own.
    pub(super) wide: f32,
    /// How far they lean.
    pub(super) slant: f32,
    /// Space between letters, in cap heights.
    pub(super) space: f32,
    /// What is added to the strokes, in cap heights.
    pub(super) bold: f32,
}

impl Letters {
    /// Small print.
    pub(super) const PLAIN: Self = Self { face: 0, wide: 0.9, slant: 0.0, space: 0.02, bold: 0.0 };

    /// How long a text is when its capitals are `height` high.
    pub(super) fn length(&self, text: &str, height: f32) -> f32 {
        let Some(face) = face(self.face) else { return 0.0 };
        let scale = height / capital(face);
        let advance = |letter| {
            let glyph = face.glyph_index(letter)?;
            face.glyph_hor_advance(glyph)
        };
        let widths: f32 = text.chars().filter_map(advance).map(f32::from).sum();
        widths * scale * self.wide + text.chars().count() as f32 * self.space * height
    }

    /// The height at which a text is at most `most` long, no more than `height`.
    pub(super) fn fitted(&self, text: &str, height: f32, most: f32) -> f32 {
        let length = self.length(text, height);
        if length > most { height * most / length } else { height }
    }
}

/// So many faces there are.
pub(super) const FACES: usize = 7;

/// A face by its number: sans, sans bold, condensed bold, serif, serif bold, monospaced bold, bold oblique.
fn face(number: usize) -> Option<&'static Face<'static>> {
    static ALL: OnceLock<Vec<Face<'static>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let files: [&'static [u8]; FACES] = [
            dejavu::sans::regular(),
            dejavu::sans::bold(),
            dejavu::sans_condensed::bold(),
            dejavu::serif::regular(),
            dejavu::serif::bold(),
            dejavu::sans_mono::bold(),
            dejavu::sans::bold_oblique(),
        ];
        files.iter().filter_map(|file| Face::parse(file, 0).ok()).collect()
    });
    all.get(number % all.len().max(1))
}

fn capital(face: &Face) -> f32 {
    f32::from(face.capital_height().unwrap_or((face.units_per_em() as i16 / 4) * 3)).max(1.0)
}

/// Puts a glyph's outline where it belongs.
struct Pen {
    path: PathBuilder,
    at: [f32; 2],
    scale: f32,
    wide: f32,
    slant: f32,
}

impl Pen {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.at[0] + (x * self.wide + y * self.slant) * self.scale, self.at[1] - y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }
    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }
    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }
    fn close(&mut self) {
        self.path.close();
    }
}

/// A surface to draw on; places and lengths are millimetres from its upper left corner.
pub(super) struct Canvas {
    texture: Texture,
    scale: f32,
}

impl Canvas {
    /// A clear surface of `size` millimetres, `scale` pixels each.
    pub(super) fn new(size: [f32; 2], scale: f32) -> Self {
        let [width, height] = size.map(|length| ((length * scale).ceil() as u32).clamp(1, 4096));
        Self { texture: Texture { width, height, data: vec![0; (width * height * 4) as usize] }, scale }
    }

    /// What was drawn.
    pub(super) fn done(self) -> Texture {
        self.texture
    }

    fn paint(&mut self, path: Option<&Path>, shader: Shader, stroke: Option<f32>) {
        let transform = Transform::from_scale(self.scale, self.scale);
        let Texture { width, height, data } = &mut self.texture;
        let (Some(mut surface), Some(path)) = (PixmapMut::from_bytes(data, *width, *height), path) else { return };
        let paint = Paint { shader, anti_alias: true, ..Paint::default() };
        match stroke {
            None => surface.fill_path(path, &paint, FillRule::Winding, transform, None),
            Some(width) => {
                let stroke = Stroke { width, ..Stroke::default() };
                surface.stroke_path(path, &paint, &stroke, transform, None);
            }
        }
    }

    /// Fills `[left, top, width, height]`.
    pub(super) fn rect(&mut self, [x, y, w, h]: [f32; 4], colour: Colour, alpha: f32) {
        let path = Rect::from_xywh(x, y, w, h).map(PathBuilder::from_rect);
        self.paint(path.as_ref(), solid(colour, alpha), None);
    }

    /// Fills a rectangle from one colour to another, along a direction.
    pub(super) fn fade(&mut self, [x, y, w, h]: [f32; 4], from: (Colour, f32), to: (Colour, f32), down: bool) {
        let path = Rect::from_xywh(x, y, w, h).map(PathBuilder::from_rect);
        let end = if down { Point::from_xy(x, y + h) } else { Point::from_xy(x + w, y) };
        let stops = vec![GradientStop::new(0.0, rgba(from.0, from.1)), GradientStop::new(1.0, rgba(to.0, to.1))];
        let shader = LinearGradient::new(Point::from_xy(x, y), end, stops, SpreadMode::Pad, Transform::identity());
        if let Some(shader) = shader {
            self.paint(path.as_ref(), shader, None);
        }
    }

    /// Fills a rectangle with round corners.
    pub(super) fn rounded(&mut self, bounds: [f32; 4], radius: f32, colour: Colour, alpha: f32) {
        self.paint(round(bounds, radius).as_ref(), solid(colour, alpha), None);
    }

    /// Draws the edge of a rectangle with round corners.
    pub(super) fn edge(&mut self, bounds: [f32; 4], radius: f32, thick: f32, colour: Colour, alpha: f32) {
        self.paint(round(bounds, radius).as_ref(), solid(colour, alpha), Some(thick));
    }

    /// Fills a circle.
    pub(super) fn circle(&mut self, [x, y]: [f32; 2], radius: f32, colour: Colour, alpha: f32) {
        self.paint(PathBuilder::from_circle(x, y, radius).as_ref(), solid(colour, alpha), None);
    }

    /// Draws a circle's edge.
    pub(super) fn ring(&mut self, [x, y]: [f32; 2], radius: f32, thick: f32, colour: Colour, alpha: f32) {
        self.paint(PathBuilder::from_circle(x, y, radius).as_ref(), solid(colour, alpha), Some(thick));
    }

    /// Fills what lies between corners.
    pub(super) fn polygon(&mut self, corners: &[[f32; 2]], colour: Colour, alpha: f32) {
        let mut path = PathBuilder::new();
        for (number, [x, y]) in corners.iter().enumerate() {
            if number == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
        }
        path.close();
        self.paint(path.finish().as_ref(), solid(colour, alpha), None);
    }

    /// Draws a line of `thick` through points.
    pub(super) fn line(&mut self, points: &[[f32; 2]], thick: f32, colour: Colour, alpha: f32) {
        let mut path = PathBuilder::new();
        for (number, [x, y]) in points.iter().enumerate() {
            if number == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
        }
        self.paint(path.finish().as_ref(), solid(colour, alpha), Some(thick));
    }

    /// Fills what lies under a curve: from the left edge at `y0` to the right edge at `y1`, bent, down to the bottom.
    pub(super) fn swoosh(
        &mut self,
        [width, bottom]: [f32; 2],
        [y0, y1]: [f32; 2],
        bend: f32,
        colour: Colour,
        alpha: f32,
    ) {
        let mut path = PathBuilder::new();
        path.move_to(0.0, y0);
        path.cubic_to(width * 0.35, y0 - bend, width * 0.65, y1 + bend, width, y1);
        path.line_to(width, bottom);
        path.line_to(0.0, bottom);
        path.close();
        self.paint(path.finish().as_ref(), solid(colour, alpha), None);
    }

    /// Writes a text: its left end and base line at `at`, its capitals `height` high.
    pub(super) fn text(&mut self, text: &str, letters: &Letters, at: [f32; 2], height: f32, colour: Colour) {
        if height * self.scale < LEGIBLE {
            let length = letters.length(text, height);
            self.rect([at[0], at[1] - height * 0.8, length, height * 0.75], colour, 0.45);
            return;
        }
        let Some(face) = face(letters.face) else { return };
        let scale = height / capital(face);
        let mut pen = Pen { path: PathBuilder::new(), at, scale, wide: letters.wide, slant: letters.slant };
        for letter in text.chars() {
            let Some(glyph) = face.glyph_index(letter) else { continue };
            face.outline_glyph(glyph, &mut pen);
            let advance = f32::from(face.glyph_hor_advance(glyph).unwrap_or(0));
            pen.at[0] += advance * scale * letters.wide + letters.space * height;
        }
        let path = pen.path.finish();
        self.paint(path.as_ref(), solid(colour, 1.0), None);
        if letters.bold > 0.0 {
            self.paint(path.as_ref(), solid(colour, 1.0), Some(letters.bold * height));
        }
    }
}

fn rgba([r, g, b]: Colour, alpha: f32) -> Color {
    Color::from_rgba8(r, g, b, (alpha.clamp(0.0, 1.0) * 255.0) as u8)
}

fn solid(colour: Colour, alpha: f32) -> Shader<'static> {
    Shader::SolidColor(rgba(colour, alpha))
}

fn round([x, y, w, h]: [f32; 4], radius: f32) -> Option<Path> {
    // The share of a radius at which a cubic curve is nearest to a quarter of a circle.
    const BEND: f32 = 0.552_285;
    let r = radius.min(w / 2.0).min(h / 2.0);
    let b = r * (1.0 - BEND);
    let mut path = PathBuilder::new();
    path.move_to(x + r, y);
    path.line_to(x + w - r, y);
    path.cubic_to(x + w - b, y, x + w, y + b, x + w, y + r);
    path.line_to(x + w, y + h - r);
    path.cubic_to(x + w, y + h - b, x + w - b, y + h, x + w - r, y + h);
    path.line_to(x + r, y + h);
    path.cubic_to(x + b, y + h, x, y + h - b, x, y + h - r);
    path.line_to(x, y + r);
    path.cubic_to(x, y + b, x + b, y, x + r, y);
    path.close();
    path.finish()
}
