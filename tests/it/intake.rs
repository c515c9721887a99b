//! What is let in, and what is not.

use image::ImageFormat;
use proptest::prelude::*;
use sightline::domain::QuarantineCode;
use sightline::intake::clean::{Clean, Limits, Reject, clean, whole};

use crate::support::{encoded, image_files, picture, samples};

const LIMITS: Limits = Limits { max_pixels: 100_000_000, max_decode_bytes: 512 << 20, min_side: 32, min_contrast: 2.0 };
const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff];

/// What is let in is whole by its frame, too.
fn let_in(bytes: &[u8]) -> Result<Clean, Reject> {
    let clean = clean(bytes, &LIMITS)?;
    whole(bytes, &LIMITS).expect("a sound picture is whole");
    Ok(clean)
}

fn code(bytes: &[u8]) -> Option<QuarantineCode> {
    let_in(bytes).err().map(|reject| reject.code)
}

#[test]
fn each_format_is_read() {
    for format in FORMATS {
        let Clean { image, orientation, .. } = clean(&encoded(&picture(1, 160, 120), format), &LIMITS).unwrap();
        assert_eq!((image.dimensions(), orientation), ((160, 120), 1), "{format:?}");
    }
}

#[test]
fn what_is_cut_off_is_never_let_in() {
    for format in FORMATS {
        let bytes = encoded(&picture(2, 160, 120), format);
        // A TIFF's directory may lie before its pixels or after; what is cut is noticed either way.
        for percent in [0, 1, 5, 10, 30, 50, 70, 90, 99] {
            let cut = &bytes[..bytes.len() * percent / 100];
            assert!(code(cut).is_some(), "{format:?} cut at {percent}% was let in");
            assert!(whole(cut, &LIMITS).is_err(), "{format:?} cut at {percent}% is called whole");
        }
        assert!(code(&bytes[..bytes.len() - 2]).is_some(), "{format:?} without its last two bytes was let in");
    }
}

#[test]
fn a_progressive_jpeg_cut_in_the_middle_with_an_end_marker_put_back_is_damaged() {
    let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    encoder.set_size(160, 120);
    encoder.set_progressive_mode();
    let mut started = encoder.start_compress(Vec::new()).unwrap();
    started.write_scanlines(picture(3, 160, 120).as_raw()).unwrap();
    let bytes = started.finish().unwrap();
    assert_eq!(code(&bytes), None);
    for percent in [40, 60, 80] {
        let mut cut = bytes[..bytes.len() * percent / 100].to_vec();
        cut.extend([0xFF, 0xD9]);
        assert_eq!(code(&cut), Some(QuarantineCode::Corrupt), "{percent}%");
    }
}

#[test]
fn zeroes_in_the_middle_are_noticed() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let mut bytes = encoded(&picture(4, 320, 240), format);
        let middle = bytes.len() / 2;
        bytes[middle..middle + 200].fill(0);
        assert_eq!(code(&bytes), Some(QuarantineCode::Corrupt), "{format:?}");
    }
}

#[test]
fn bombs_and_lies_are_refused_before_memory_is_taken() {
    let mut png = encoded(&picture(5, 64, 64), ImageFormat::Png);
    png[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    let sum = crc32fast::hash(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(code(&png), Some(QuarantineCode::TooManyPixels));
}

#[test]
fn each_doubt_has_its_code() {
    assert_eq!(code(b""), Some(QuarantineCode::Empty));
    assert_eq!(code(b"hello, this is a text"), Some(QuarantineCode::NotAnImage));
    assert_eq!(code(b"GIF89a\x01\x00\x01\x00"), Some(QuarantineCode::NotAnImage));
    assert_eq!(code(&encoded(&picture(6, 20, 200), ImageFormat::Png)), Some(QuarantineCode::TooSmall));
    let grey = image::RgbImage::from_pixel(100, 100, image::Rgb([127, 127, 127]));
    assert_eq!(code(&encoded(&grey, ImageFormat::Jpeg)), Some(QuarantineCode::Blank));
}

#[test]
fn real_photographs_are_let_in() {
    let Some(samples) = samples("real_photographs_are_let_in") else { return };
    let mut refused = Vec::new();
    let mut seen = 0;
    for folder in ["grocery-seg", "pills-detect", "face-mask", "grocery-classes", "pill-reference"] {
        for path in image_files(&samples.join("data").join(folder)) {
            seen += 1;
            if let Err(Reject { code, sentence }) = let_in(&std::fs::read(&path).unwrap()) {
                refused.push(format!("{}: {code:?} {sentence}", path.display()));
            }
        }
    }
    println!("{seen} photographs, {} refused", refused.len());
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the bytes, there is an answer: a picture within the limits or a reason. Nothing panics.
    #[test]
    fn any_damage_has_an_answer(format in 0..5_usize, at in any::<prop::sample::Index>(), with in any::<[u8; 4]>()) {
        let mut bytes = encoded(&picture(7, 48, 40), FORMATS[format]);
        let at = at.index(bytes.len() - 4);
        bytes[at..at + 4].copy_from_slice(&with);
        if let Ok(clean) = clean(&bytes, &LIMITS) {
            prop_assert!(u64::from(clean.image.width()) * u64::from(clean.image.height()) <= LIMITS.max_pixels);
        }
    }
}
