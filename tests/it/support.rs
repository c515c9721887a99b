//! What several tests need.

use std::path::PathBuf;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// The folder of real samples, or `None` with a printed reason.
pub fn samples(test: &str) -> Option<PathBuf> {
    match std::env::var_os("SIGHTLINE_SAMPLES") {
        Some(dir) => Some(PathBuf::from(dir)),
        None => {
            println!("{test}: skipped, SIGHTLINE_SAMPLES is not set");
            None
        }
    }
}

/// Every image file below a folder, in order.
pub fn image_files(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            match path.extension().and_then(|e| e.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("jpg" | "jpeg" | "png" | "JPG" | "webp") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// A drawn picture; every seed is another one.
pub fn picture(seed: u32, width: u32, height: u32) -> RgbImage {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut image = RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, (seed.wrapping_mul(53) % 256) as u8])
    });
    for _ in 0..12 {
        let colour = Rgb([next() as u8, next() as u8, next() as u8]);
        let (left, top) = (next() % width, next() % height);
        let (right, bottom) =
            ((left + next() % (width / 2) + 4).min(width), (top + next() % (height / 2) + 4).min(height));
        for y in top..bottom {
            for x in left..right {
                image.put_pixel(x, y, colour);
            }
        }
    }
    image
}

/// A picture's bytes in a format.
pub fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image.clone()).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}
