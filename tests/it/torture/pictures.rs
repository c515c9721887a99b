//! No broken picture is predicted on: files of each format are cut and corrupted, and none may be let in.

use image::codecs::tiff::TiffEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
use rand::Rng;
use rand::rngs::SmallRng;
use sightline::intake::clean::{Limits, clean};

use super::Campaign;
use crate::support::{encoded, picture};

const LIMITS: Limits = Limits { max_pixels: 100_000_000, max_decode_bytes: 512 << 20, min_side: 32, min_contrast: 2.0 };

/// The kinds of file that are tried.
const KINDS: [&str; 6] = ["jpeg", "progressive jpeg", "png", "webp", "bmp", "tiff"];

fn file(kind: &str, image: &RgbImage) -> Vec<u8> {
    match kind {
        "jpeg" => jpeg(image, false),
        "progressive jpeg" => jpeg(image, true),
        "png" => encoded(image, ImageFormat::Png),
        "webp" => encoded(image, ImageFormat::WebP),
        "bmp" => encoded(image, ImageFormat::Bmp),
        _ => {
            let mut bytes = std::io::Cursor::new(Vec::new());
            let (width, height) = image.dimensions();
            TiffEncoder::new(&mut bytes).write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8).unwrap();
            bytes.into_inner()
        }
    }
}

fn jpeg(image: &RgbImage, progressive: bool) -> Vec<u8> {
    let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    encoder.set_size(image.width() as usize, image.height() as usize);
    if progressive {
        encoder.set_progressive_mode();
    }
    let mut started = encoder.start_compress(Vec::new()).unwrap();
    started.write_scanlines(image.as_raw()).unwrap();
    started.finish().unwrap()
}

/// Breaks a file; says how. Each way leaves bytes that no camera and no disk in order would give.
///
/// A format without checksums (BMP, TIFF, and JPEG within its data) cannot tell one pixel value from another: what
/// replaces pixels by other pixels, byte for byte, is not tried, for nothing could find it.
fn break_file(kind: &str, bytes: &mut Vec<u8>, random: &mut SmallRng) -> &'static str {
    let length = bytes.len();
    let checked = matches!(kind, "png" | "jpeg" | "progressive jpeg");
    match random.random_range(0..if checked { 4 } else { 2 }) {
        0 => {
            bytes.truncate(random.random_range(0..length - 1));
            "cut off"
        }
        1 => {
            // A disk block that was never written, at the end: the length is right, the bytes are not there.
            let from = random.random_range(length / 10..length - 64);
            if checked {
                bytes[from..].fill(0);
                "zeroes to the end"
            } else {
                bytes.truncate(from);
                "cut off"
            }
        }
        2 => {
            let from = random.random_range(0..length - 128);
            let to = (from + random.random_range(64..=4096)).min(length - 2);
            bytes.drain(from..to);
            "a stretch lost"
        }
        _ => {
            let from = random.random_range(0..length - 128);
            let to = (from + random.random_range(64..=4096)).min(length - 2);
            bytes[from..to].fill(0);
            "a stretch zeroed"
        }
    }
}

#[test]
fn no_broken_picture_is_let_in() {
    let mut campaign =
        Campaign::new("pictures", "no truncated or corrupted picture is predicted on", 120, KINDS.len() as u64 * 1000);
    let mut undetected = Vec::new();
    for run in 0..campaign.runs {
        let mut random = campaign.random(run);
        let kind = KINDS[run as usize % KINDS.len()];
        let side = random.random_range(60..400);
        let image = picture(run as u32, side, side * 3 / 4 + 20);
        let whole = file(kind, &image);
        let mut bytes = whole.clone();
        let how = break_file(kind, &mut bytes, &mut random);
        if bytes == whole {
            campaign.count("as it was");
            continue;
        }
        match clean(&bytes, &LIMITS) {
            Err(_) => campaign.count(format!("{kind}: refused")),
            Ok(let_in) => {
                // Harmless only if not one pixel is another.
                let right = clean(&whole, &LIMITS).unwrap().image;
                if let_in.image == right {
                    campaign.count(format!("{kind}: whole"));
                } else {
                    let what = format!("{kind}, {how}, {} of {} bytes", bytes.len(), whole.len());
                    undetected.push((run, kind.contains("jpeg") && how.starts_with("a stretch"), what));
                }
            }
        }
    }
    // A JPEG's coded data has no checksum, and now and then what is left of it is a sound picture of something else.
    // That cannot be found by anyone; it must stay rare. Everything else must be found.
    let tolerated = campaign.runs / 1000;
    for (run, cannot_be_told, what) in undetected {
        if cannot_be_told && campaign.tally("jpeg data that cannot be told from sound") < tolerated {
            println!("run {run}: {what}");
            campaign.count("jpeg data that cannot be told from sound");
        } else {
            campaign.fail(run, what);
        }
    }
    campaign.end();
}
