//! Bilinear resizing of 8-bit pictures, to the bit as OpenCV's `INTER_LINEAR` does it.
//!
//! OpenCV counts in fixed point: weights of 11 bits, the rows first, and in the columns two truncating
//! shifts (`(b0*(s0>>4)>>16) + (b1*(s1>>4)>>16) + 2 >> 2`). Detections near a threshold depend on the last
//! bit, so it is kept.

use image::RgbImage;

const ONE: f32 = 2048.0;

/// Where an output pixel samples the input along one axis.
struct Tap {
    first: usize,
    second: usize,
    weights: [i32; 2],
}

/// Resizes to `width` x `height`, both at least 1.
#[must_use]
pub fn bilinear(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (from_width, from_height) = (picture.width() as usize, picture.height() as usize);
    if (picture.width(), picture.height()) == (width, height) || from_width == 0 || from_height == 0 {
        return picture.clone();
    }
    // OpenCV drops the weight of columns outside the picture but clamps only the index of rows.
    let across = taps(from_width, width as usize, true);
    let down = taps(from_height, height as usize, false);
    let row_len = width as usize * 3;
    let mut rows = [(usize::MAX, vec![0i32; row_len]), (usize::MAX, vec![0i32; row_len])];
    let source = picture.as_raw();
    let mut out = vec![0u8; row_len * height as usize];
    for (tap, line) in down.iter().zip(out.chunks_exact_mut(row_len)) {
        if rows[1].0 == tap.first {
            rows.swap(0, 1);
        }
        for (wanted, slot) in [(tap.first, 0), (tap.second, 1)] {
            let (held, values) = &mut rows[slot];
            if *held != wanted {
                spread(&source[wanted * from_width * 3..(wanted + 1) * from_width * 3], &across, values);
                *held = wanted;
            }
        }
        let [b0, b1] = tap.weights;
        for ((pixel, s0), s1) in line.iter_mut().zip(&rows[0].1).zip(&rows[1].1) {
            let sum = ((b0 * (s0 >> 4)) >> 16) + ((b1 * (s1 >> 4)) >> 16);
            *pixel = ((sum + 2) >> 2).clamp(0, 255) as u8;
        }
    }
    RgbImage::from_raw(width, height, out).unwrap_or_default()
}

fn spread(row: &[u8], taps: &[Tap], out: &mut [i32]) {
    for (tap, pixel) in taps.iter().zip(out.chunks_exact_mut(3)) {
        for (channel, value) in pixel.iter_mut().enumerate() {
            let (a, b) = (row[tap.first * 3 + channel], row[tap.second * 3 + channel]);
            *value = i32::from(a) * tap.weights[0] + i32::from(b) * tap.weights[1];
        }
    }
}

fn taps(from: usize, to: usize, clamp_weights: bool) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let last = from as i64 - 1;
    let tap = |index: usize| {
        let at = ((index as f64 + 0.5) * scale - 0.5) as f32;
        let mut first = at.floor() as i64;
        let mut share = at - first as f32;
        if clamp_weights && first < 0 {
            (first, share) = (0, 0.0);
        }
        if clamp_weights && first >= last {
            (first, share) = (last, 0.0);
        }
        let weight = |share: f32| (share * ONE).round_ties_even() as i32;
        Tap {
            first: first.clamp(0, last) as usize,
            second: (first + 1).clamp(0, last) as usize,
            weights: [weight(1.0 - share), weight(share)],
        }
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat() {
        for level in [0u8, 1, 114, 254, 255] {
            let picture = RgbImage::from_pixel(37, 23, image::Rgb([level; 3]));
            for (width, height) in [(64, 64), (17, 40), (1, 1), (74, 46)] {
                assert!(bilinear(&picture, width, height).pixels().all(|p| p.0 == [level; 3]), "{level} {width}");
            }
        }
    }

    #[test]
    fn halving_averages_four_pixels() {
        let picture = RgbImage::from_fn(4, 2, |x, y| image::Rgb([(x * 10 + y) as u8; 3]));
        let half = bilinear(&picture, 2, 1);
        assert_eq!(half.get_pixel(0, 0).0, [6; 3], "(0 + 10 + 1 + 11 + 2) / 4");
        assert_eq!(half.get_pixel(1, 0).0, [26; 3]);
    }
}
