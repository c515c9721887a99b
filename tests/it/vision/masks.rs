//! Masks against pycocotools, scaling against OpenCV (`tests/golden/masks.py`).

use serde::Deserialize;
use sha2::{Digest, Sha256};
use sightline::domain::Rle;
use sightline::vision::letterbox::Letterbox;
use sightline::vision::masks::{Bitmap, area, decode, encode, iou};
use sightline::vision::random;

use super::golden;

#[derive(Deserialize)]
struct Masks {
    cases: Vec<Case>,
    iou_with_next: Vec<Option<f64>>,
}

#[derive(Deserialize)]
struct Case {
    size: [u32; 2],
    counts: String,
    area: u64,
    rows: Vec<String>,
}

#[test]
fn masks_are_pycocotools_masks() {
    let masks: Masks =
        serde_json::from_slice(&std::fs::read(golden("masks.json")).expect("masks.json")).expect("its form");
    assert_eq!(masks.cases.len(), 30);
    let rle = |case: &Case| Rle { size: case.size, counts: case.counts.clone() };
    for case in &masks.cases {
        let mut bitmap = Bitmap::new(case.size[1], case.size[0]);
        for (row, text) in bitmap.rows_mut().zip(&case.rows) {
            row.iter_mut().zip(text.bytes()).for_each(|(pixel, byte)| *pixel = byte == b'#');
        }
        assert_eq!(encode(&bitmap), rle(case), "{:?}", case.size);
        assert_eq!(decode(&rle(case)).expect("a good mask"), bitmap);
        assert_eq!(area(&rle(case)).expect("a good mask"), case.area);
    }
    for (pair, expected) in masks.cases.windows(2).zip(&masks.iou_with_next) {
        match expected {
            Some(expected) => {
                let found = iou(&rle(&pair[0]), &rle(&pair[1])).expect("masks of one size");
                assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
            }
            None => assert!(iou(&rle(&pair[0]), &rle(&pair[1])).is_err()),
        }
    }
}

#[derive(Deserialize)]
struct Resizes {
    cases: Vec<Resize>,
}

#[derive(Deserialize)]
struct Resize {
    from: [u32; 2],
    to: [u32; 2],
    sha256: String,
}

#[test]
fn pictures_are_scaled_to_the_bit_as_opencv_does() {
    let file = std::fs::read(golden("resize.json")).expect("resize.json");
    let resizes: Resizes = serde_json::from_slice(&file).expect("its form");
    for Resize { from: [width, height], to, sha256 } in resizes.cases {
        let noise = random::uniform(&format!("resize {width} {height}"), 0);
        let bytes = noise.take((width * height * 3) as usize).map(|v| ((v + 1.0) * 128.0) as u8).collect();
        let picture = image::RgbImage::from_raw(width, height, bytes).expect("the picture");
        // A letterbox without padding is a scaling alone.
        let fitted = Letterbox {
            source: (width, height),
            resized: (to[0], to[1]),
            left: 0,
            top: 0,
            width: to[0],
            height: to[1],
        };
        let found = hex::encode(Sha256::digest(fitted.apply(&picture).as_raw()));
        assert_eq!(found, sha256, "{width}x{height} to {to:?}");
    }
}
