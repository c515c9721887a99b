//! Pictures in character cells: two pixels a cell as half-blocks, or a ramp of characters where there is no colour.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

/// A decoded picture: `width * height` pixels, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<[u8; 3]>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

/// How pixels become cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shades {
    /// Half-blocks in 24-bit colour.
    True,
    /// Half-blocks in the 6x6x6 cube and the greys of 256 colours.
    Indexed,
    /// Characters from light to dark, no colour; `inverted` on a light background.
    Ramp {
        /// Whether dense characters are dark.
        inverted: bool,
    },
}

/// From nothing to dense.
const RAMP: &[u8; 10] = b" .:-=+*#%@";
/// The levels of the colour cube.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

impl Picture {
    /// A picture of `width * height` pixels; `None` where the number does not fit or there are none.
    pub(super) fn new(width: u32, height: u32, pixels: Vec<[u8; 3]>) -> Option<Self> {
        let fits = pixels.len() as u64 == u64::from(width) * u64::from(height) && !pixels.is_empty();
        fits.then_some(Self { width, height, pixels })
    }

    /// Width and height, pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Draws the outline of a box, in pixels of this picture.
    pub(super) fn outline(&mut self, [x1, y1, x2, y2]: [f32; 4], colour: [u8; 3]) {
        let column = |x: f32| x.clamp(0.0, (self.width - 1) as f32) as usize;
        let row = |y: f32| y.clamp(0.0, (self.height - 1) as f32) as usize;
        let (left, right, top, bottom) = (column(x1), column(x2 - 1.0), row(y1), row(y2 - 1.0));
        let width = self.width as usize;
        for x in left..=right.max(left) {
            for y in [top, bottom] {
                self.pixels[y * width + x] = colour;
            }
        }
        for y in top..=bottom.max(top) {
            for x in [left, right] {
                self.pixels[y * width + x] = colour;
            }
        }
    }

    /// The picture reduced to fit, every pixel the mean of those it stands for; never enlarged.
    pub(super) fn within(&self, width: u32, height: u32) -> Option<Self> {
        if width == 0 || height == 0 {
            return None;
        }
        let scale = (f64::from(width) / f64::from(self.width)).min(f64::from(height) / f64::from(self.height)).min(1.0);
        let side = |of: u32, most: u32| ((f64::from(of) * scale).round() as u32).clamp(1, most);
        let (width, height) = (side(self.width, width), side(self.height, height));
        if (width, height) == (self.width, self.height) {
            return Some(self.clone());
        }
        let span = |at: u32, out: u32, of: u32| {
            let start = u64::from(at) * u64::from(of) / u64::from(out);
            let end = (u64::from(at + 1) * u64::from(of)).div_ceil(u64::from(out));
            start as usize..end as usize
        };
        let mut pixels = Vec::with_capacity((width * height) as usize);
        for y in 0..height {
            for x in 0..width {
                let (mut sum, mut count) = ([0u32; 3], 0);
                for row in span(y, height, self.height) {
                    for pixel in &self.pixels[row * self.width as usize..][span(x, width, self.width)] {
                        sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u32::from(*value));
                        count += 1;
                    }
                }
                pixels.push(sum.map(|sum| (sum / count.max(1)) as u8));
            }
        }
        Self::new(width, height, pixels)
    }

    fn at(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        (x < self.width && y < self.height).then(|| self.pixels[(y * self.width + x) as usize])
    }

    /// Draws the picture into the upper left of an area, reduced to fit.
    pub(super) fn draw(&self, buffer: &mut Buffer, area: Rect, shades: Shades) {
        let area = area.intersection(buffer.area);
        let Some(small) = self.within(area.width.into(), u32::from(area.height) * 2) else { return };
        for row in 0..small.height.div_ceil(2) {
            for column in 0..small.width {
                let (upper, lower) = (small.at(column, row * 2), small.at(column, row * 2 + 1));
                let Some(upper) = upper else { continue };
                let cell = &mut buffer[(area.x + column as u16, area.y + row as u16)];
                match shades {
                    Shades::Ramp { inverted } => {
                        let light = (luminance(upper) + lower.map_or(luminance(upper), luminance)) / 2;
                        let light = if inverted { 255 - light } else { light };
                        cell.set_char(RAMP[(light * (RAMP.len() as u32 - 1) / 255) as usize].into());
                    }
                    Shades::True | Shades::Indexed => {
                        let style = Style::new().fg(colour(upper, shades));
                        cell.set_char('▀').set_style(match lower {
                            Some(lower) => style.bg(colour(lower, shades)),
                            None => style,
                        });
                    }
                }
            }
        }
    }
}

/// Rec. 601 luma, 0 to 255.
fn luminance([r, g, b]: [u8; 3]) -> u32 {
    (299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)) / 1000
}

fn colour([r, g, b]: [u8; 3], shades: Shades) -> Color {
    if shades == Shades::True { Color::Rgb(r, g, b) } else { Color::Indexed(indexed([r, g, b])) }
}

/// The nearest of xterm's colours 16 to 255: the cube, or the 24 greys (8, 18, … 238).
fn indexed(pixel: [u8; 3]) -> u8 {
    let nearest = |value: u8| (0..6).min_by_key(|i| CUBE[*i].abs_diff(value)).unwrap_or(0);
    let cube = pixel.map(nearest);
    let grey = ((luminance(pixel).saturating_sub(3)) / 10).min(23) as u8;
    let distance = |of: [u8; 3]| -> u32 { of.iter().zip(pixel).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum() };
    if distance([8 + 10 * grey; 3]) < distance(cube.map(|level| CUBE[level])) {
        232 + grey
    } else {
        (16 + 36 * cube[0] + 6 * cube[1] + cube[2]) as u8
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const RED: [u8; 3] = [255, 0, 0];
    const BLUE: [u8; 3] = [0, 0, 255];

    #[test]
    fn two_pixels_stand_in_one_cell() {
        let picture = Picture::new(2, 3, vec![RED, BLUE, BLUE, RED, RED, RED]).unwrap();
        let mut buffer = Buffer::empty(Rect::new(0, 0, 4, 4));
        picture.draw(&mut buffer, Rect::new(1, 1, 3, 3), Shades::True);
        assert_eq!(buffer[(1, 1)].symbol(), "▀");
        assert_eq!((buffer[(1, 1)].fg, buffer[(1, 1)].bg), (Color::Rgb(255, 0, 0), Color::Rgb(0, 0, 255)));
        assert_eq!((buffer[(2, 1)].fg, buffer[(2, 1)].bg), (Color::Rgb(0, 0, 255), Color::Rgb(255, 0, 0)));
        assert_eq!((buffer[(1, 2)].fg, buffer[(1, 2)].bg), (Color::Rgb(255, 0, 0), Color::Reset));
        assert_eq!(buffer[(3, 1)].symbol(), " ");
        assert_eq!(buffer[(0, 0)].symbol(), " ");
    }

    #[test]
    fn reducing_takes_the_mean_and_keeps_the_proportions() {
        let picture = Picture::new(4, 2, vec![RED, BLUE, RED, BLUE, BLUE, RED, BLUE, RED]).unwrap();
        let small = picture.within(2, 2).unwrap();
        assert_eq!((small.width, small.height), (2, 1));
        assert_eq!(small.pixels, vec![[127, 0, 127]; 2]);
        assert_eq!(picture.within(100, 100), Some(picture.clone()), "never enlarged");
        assert_eq!(picture.within(0, 5), None);
    }

    #[test]
    fn an_area_outside_the_buffer_is_no_trouble() {
        let picture = Picture::new(1, 1, vec![RED]).unwrap();
        for area in [Rect::new(0, 0, 9, 9), Rect::new(5, 5, 1, 1), Rect::new(0, 0, 0, 3)] {
            picture.draw(&mut Buffer::empty(Rect::new(0, 0, 1, 1)), area, Shades::Indexed);
        }
    }

    #[test]
    fn without_colour_light_pixels_are_dense() {
        let picture = Picture::new(2, 2, vec![[255; 3], [0; 3], [255; 3], [0; 3]]).unwrap();
        let mut buffer = Buffer::empty(Rect::new(0, 0, 2, 1));
        picture.draw(&mut buffer, Rect::new(0, 0, 2, 1), Shades::Ramp { inverted: false });
        assert_eq!((buffer[(0, 0)].symbol(), buffer[(1, 0)].symbol()), ("@", " "));
        assert_eq!(buffer[(0, 0)].fg, Color::Reset);
    }

    #[test]
    fn the_palette_of_256_has_its_greys_and_its_cube() {
        assert_eq!(indexed([255, 0, 0]), 196);
        assert_eq!(indexed([0; 3]), 16);
        assert_eq!(indexed([128; 3]), 244);
        assert_eq!(indexed([255; 3]), 231);
    }

    #[test]
    fn boxes_are_drawn_inside_the_picture() {
        let mut picture = Picture::new(4, 4, vec![[0; 3]; 16]).unwrap();
        picture.outline([-5.0, 1.0, 99.0, 4.0], RED);
        let row = |y: usize| picture.pixels[y * 4..y * 4 + 4].to_vec();
        assert_eq!(row(0), vec![[0; 3]; 4]);
        assert_eq!(row(1), vec![RED; 4]);
        assert_eq!(row(2), vec![RED, [0; 3], [0; 3], RED]);
        assert_eq!(row(3), vec![RED; 4]);
    }
}
