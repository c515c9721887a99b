//! What light and a camera do to a picture: gradients, glare, blur, white balance, noise.

use image::RgbImage;
use rand::Rng;
use rand::rngs::SmallRng;

use super::design::one_of;
use super::paint::Frame;

/// How bad a picture may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Harshness {
    /// Pixels of blur at most (standard deviation).
    pub(super) blur: f32,
    /// Pixels of motion at most.
    pub(super) motion: f32,
    /// Noise at most (standard deviation, of 1).
    pub(super) noise: f32,
}

/// Makes the picture that a camera gives.
pub(super) fn expose(mut frame: Frame, harsh: Harshness, rng: &mut SmallRng) -> RgbImage {
    light(&mut frame, rng);
    // Most pictures are sharp enough, some are not.
    let blur = 0.35 + harsh.blur * rng.random::<f32>().powi(3);
    gaussian(&mut frame, blur);
    if rng.random_bool(0.12) {
        let angle = rng.random_range(0.0..std::f32::consts::PI);
        smear(&mut frame, angle, rng.random_range(1.0..harsh.motion.max(1.1)));
    }
    develop(&frame, harsh.noise * rng.random::<f32>().powi(2), rng)
}

/// Light from a side, darker corners, now and then a lamp's glare.
fn light(frame: &mut Frame, rng: &mut SmallRng) {
    let direction = rng.random_range(0.0..std::f32::consts::TAU);
    let strength = rng.random_range(0.0..0.55_f32);
    let (dx, dy) = (direction.cos() * strength, direction.sin() * strength);
    let vignette = rng.random_range(0.0..0.35_f32);
    let (w, h) = (frame.width as f32, frame.height as f32);
    let glare = rng.random_bool(0.18).then(|| {
        let size = rng.random_range(0.05..0.3) * w.min(h);
        (rng.random_range(0.0..w), rng.random_range(0.0..h), 1.0 / (size * size), rng.random_range(0.1..0.55_f32))
    });
    let warm = rng.random_range(-0.06..0.06_f32);
    for (row, y) in frame.colour.chunks_exact_mut(frame.width).zip(0..) {
        let v = y as f32 / h - 0.5;
        for (pixel, x) in row.iter_mut().zip(0..) {
            let u = x as f32 / w - 0.5;
            let along = u * dx + v * dy;
            let bright = 1.0 + along - vignette * (u * u + v * v) * 1.6;
            pixel[0] *= bright * (1.0 + along * warm);
            pixel[1] *= bright;
            pixel[2] *= bright * (1.0 - along * warm);
            if let Some((gx, gy, narrow, strength)) = glare {
                let off = ((x as f32 - gx).powi(2) + (y as f32 - gy).powi(2)) * narrow;
                if off < 9.0 {
                    let shine = strength / (1.0 + off).powi(3);
                    pixel.iter_mut().for_each(|c| *c += shine);
                }
            }
        }
    }
}

/// Blurs by a standard deviation in pixels, across and then down.
fn gaussian(frame: &mut Frame, deviation: f32) {
    let reach = (deviation * 2.5).ceil().max(1.0) as usize;
    let weight = |off: f32| (-off * off / (2.0 * deviation * deviation)).exp();
    let side: Vec<f32> = (0..=reach).map(|off| weight(off as f32)).collect();
    let sum = side[0] + 2.0 * side[1..].iter().sum::<f32>();
    let side: Vec<f32> = side.iter().map(|w| w / sum).collect();
    let (width, height) = (frame.width, frame.height);
    let mut other = vec![[0.0_f32; 3]; frame.colour.len()];
    let mut line: Vec<[f32; 3]> = Vec::with_capacity(width + 2 * reach);
    for (from, to) in frame.colour.chunks_exact(width).zip(other.chunks_exact_mut(width)) {
        line.clear();
        line.extend(std::iter::repeat_n(from[0], reach).chain(from.iter().copied()));
        line.extend(std::iter::repeat_n(from[width - 1], reach));
        for (x, pixel) in to.iter_mut().enumerate() {
            let mut sum = line[x + reach].map(|c| c * side[0]);
            for (off, weight) in side.iter().enumerate().skip(1) {
                let (a, b) = (line[x + reach - off], line[x + reach + off]);
                (0..3).for_each(|i| sum[i] += (a[i] + b[i]) * weight);
            }
            *pixel = sum;
        }
    }
    for y in 0..height {
        let row = |y: usize| &other[y * width..(y + 1) * width];
        let to = &mut frame.colour[y * width..(y + 1) * width];
        to.copy_from_slice(row(y));
        to.iter_mut().for_each(|pixel| *pixel = pixel.map(|c| c * side[0]));
        for (off, weight) in side.iter().enumerate().skip(1) {
            let (above, below) = (row(y.saturating_sub(off)), row((y + off).min(height - 1)));
            for ((pixel, a), b) in to.iter_mut().zip(above).zip(below) {
                (0..3).for_each(|i| pixel[i] += (a[i] + b[i]) * weight);
            }
        }
    }
}

/// Blurs along a direction by a length in pixels.
fn smear(frame: &mut Frame, angle: f32, length: f32) {
    let taps = (length.ceil() as usize).max(2);
    let (width, height) = (frame.width as i32, frame.height as i32);
    let offsets: Vec<(i32, i32)> = (0..taps)
        .map(|tap| {
            let along = (tap as f32 / (taps - 1) as f32 - 0.5) * length;
            ((angle.cos() * along).round() as i32, (angle.sin() * along).round() as i32)
        })
        .collect();
    let source = frame.colour.clone();
    let share = 1.0 / taps as f32;
    for y in 0..height {
        for x in 0..width {
            let mut sum = [0.0_f32; 3];
            for (dx, dy) in &offsets {
                let (column, row) = ((x + dx).clamp(0, width - 1), (y + dy).clamp(0, height - 1));
                let from = source[(row * width + column) as usize];
                (0..3).for_each(|i| sum[i] += from[i]);
            }
            frame.colour[(y * width + x) as usize] = sum.map(|c| c * share);
        }
    }
}

/// Exposure, contrast, white balance and noise; to bytes.
fn develop(frame: &Frame, noise: f32, rng: &mut SmallRng) -> RgbImage {
    let exposure = rng.random_range(0.72..1.2_f32);
    let gamma = rng.random_range(0.82..1.18_f32);
    let balance = [rng.random_range(0.88..1.12_f32), 1.0, rng.random_range(0.86..1.14)];
    let colourful = one_of(rng, &[0.6, 0.85, 1.0, 1.0, 1.15, 1.3]);
    // 1024 steps of the curve, so that no power is taken for a pixel.
    let curve: Vec<f32> = (0..=1024).map(|step| (step as f32 / 1024.0).powf(gamma) * 255.0).collect();
    let mut state: u64 = rng.random::<u64>() | 1;
    let mut bytes = Vec::with_capacity(frame.colour.len() * 3);
    // The sum of four even bytes is near enough to a bell: mean 510, deviation 147.8.
    let deviation = noise * 255.0 / 147.8;
    for pixel in &frame.colour {
        let grey = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bell = |from: u32| {
            let bits = (state >> from) as u32;
            ((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 5 & 255)) as f32 - 510.0
        };
        let grain = [bell(0), bell(19), bell(38)];
        for channel in 0..3 {
            let value = (grey + (pixel[channel] - grey) * colourful) * balance[channel] * exposure;
            let value = curve[(value.clamp(0.0, 1.0) * 1024.0) as usize] + grain[channel] * deviation;
            bytes.push((value + 0.5).clamp(0.0, 255.0) as u8);
        }
    }
    RgbImage::from_raw(frame.width as u32, frame.height as u32, bytes).unwrap_or_default()
}
