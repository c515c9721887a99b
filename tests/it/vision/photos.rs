//! Real photographs through the real checkpoint, against `yolo predict` (`tests/golden/photos.py`).

use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};
use serde::Deserialize;
use sightline::domain::Detection;
use sightline::vision::{DetectOptions, Detector, Runtime, masks};

use super::{golden, samples};

#[derive(Deserialize)]
struct Golden {
    images: Vec<Photo>,
}

#[derive(Deserialize)]
struct Photo {
    image: String,
    detections: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    class: u32,
    confidence: f32,
    #[serde(rename = "box")]
    corners: [f32; 4],
    mask: sightline::domain::Rle,
}

/// Decodes as OpenCV does: libjpeg-turbo for JPEG, upright by EXIF.
fn decode(path: &Path) -> RgbImage {
    let bytes = std::fs::read(path).expect("the photo");
    let reader = ImageReader::new(std::io::Cursor::new(&bytes)).with_guessed_format().expect("its format");
    let mut decoder = reader.into_decoder().expect("a picture");
    let orientation = decoder.orientation().expect("its orientation");
    let mut picture = if bytes.starts_with(&[0xff, 0xd8]) {
        let mut jpeg = mozjpeg::Decompress::new_mem(&bytes).expect("a JPEG").rgb().expect("as RGB");
        let (width, height) = (jpeg.width() as u32, jpeg.height() as u32);
        let pixels: Vec<[u8; 3]> = jpeg.read_scanlines().expect("its lines");
        DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, pixels.concat()).expect("its size"))
    } else {
        DynamicImage::from_decoder(decoder).expect("a picture")
    };
    picture.apply_orientation(orientation);
    picture.to_rgb8()
}

#[derive(Default)]
struct Worst {
    pixels: f32,
    confidence: f32,
    iou: f64,
}

/// Pairs each expected detection with ours of the same class that overlaps it most, and measures.
fn compare(name: &str, ours: &[Detection], expected: &[Expected], worst: &mut Worst) -> Result<(), String> {
    if ours.len() != expected.len() {
        return Err(format!("{name}: {} detections, the reference has {}", ours.len(), expected.len()));
    }
    let mut free: Vec<&Detection> = ours.iter().collect();
    for theirs in expected {
        let apart = |found: &Detection| {
            found.bounding_box.0.iter().zip(theirs.corners).fold(0f32, |most, (a, b)| most.max((a - b).abs()))
        };
        let same = |found: &&Detection| found.class == theirs.class;
        let near = free.iter().enumerate().filter(|(_, f)| same(f)).min_by(|a, b| apart(a.1).total_cmp(&apart(b.1)));
        let Some((at, found)) = near.map(|(at, found)| (at, *found)) else {
            return Err(format!("{name}: class {} is not found", theirs.class));
        };
        let mask = found.mask.as_ref().ok_or_else(|| format!("{name}: a detection without a mask"))?;
        let iou = masks::iou(mask, &theirs.mask).map_err(|error| format!("{name}: {error}"))?;
        let confidence = (found.confidence - theirs.confidence).abs();
        worst.pixels = worst.pixels.max(apart(found));
        worst.confidence = worst.confidence.max(confidence);
        worst.iou = worst.iou.min(iou);
        if apart(found) > 0.5 || confidence > 0.002 || iou < 0.98 {
            let (class, apart) = (theirs.class, apart(found));
            return Err(format!("{name}: class {class} is {apart} px and {confidence} off, its mask {iou}"));
        }
        free.remove(at);
    }
    Ok(())
}

#[test]
fn photographs_give_the_reference_detections() {
    let Some(samples) = samples("photographs_give_the_reference_detections") else { return };
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(golden("photos.json")).expect("photos.json")).expect("its form");
    assert!(golden.images.len() >= 30);
    let detector = Detector::load(&samples.join("models/yolov8n-seg.pt"), Runtime::cpu()).expect("the checkpoint");
    let (mut worst, mut count, mut faults) = (Worst { iou: 1.0, ..Worst::default() }, 0, Vec::new());
    let options = DetectOptions::default();
    let mut pictures = Vec::new();
    for photo in &golden.images {
        let picture = decode(&samples.join(&photo.image));
        let found = detector.detect(&[&picture], &options).expect("detections");
        count += photo.detections.len();
        faults.extend(compare(&photo.image, &found[0], &photo.detections, &mut worst).err());
        pictures.push(picture);
    }
    println!(
        "{} photographs, {count} detections: worst box {:.4} px, confidence {:.6}, mask IoU {:.5}",
        golden.images.len(),
        worst.pixels,
        worst.confidence,
        worst.iou
    );
    assert!(count > 50, "only {count} detections: nothing is proved");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // In one call, pictures of mixed shapes give the same.
    let some: Vec<&RgbImage> = pictures.iter().take(6).collect();
    let together = detector.detect(&some, &options).expect("detections");
    for ((photo, found), _) in golden.images.iter().zip(&together).zip(0..6) {
        compare(&photo.image, found, &photo.detections, &mut worst).expect("the same in a batch");
    }
}
