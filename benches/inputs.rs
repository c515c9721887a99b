//! Weights and pictures: real ones of `SIGHTLINE_SAMPLES`, or drawn and random ones with a fixed seed.

use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{RgbImage, imageops};
use sightline::learn::synth::Pack;
use sightline::vision::{checkpoint, random};

use crate::harness::Bench;

fn samples() -> Option<PathBuf> {
    std::env::var_os("SIGHTLINE_SAMPLES").map(PathBuf::from)
}

fn models(bench: &Bench) -> PathBuf {
    bench.scratch.path().join("models")
}

/// YOLOv8n-seg: the published checkpoint, or random numbers; and what it is called in the results.
pub fn detector(bench: &Bench) -> PathBuf {
    if let Some(real) = samples().map(|dir| dir.join("models/yolov8n-seg.pt")).filter(|path| path.is_file()) {
        return real;
    }
    let weights = random::yolov8("yolov8n-seg", 80, 1).expect("a size");
    checkpoint::save(&weights, &models(bench), "detector").expect("weights");
    models(bench).join("detector.safetensors")
}

/// DINOv2 ViT-S/14 of random numbers: what it computes takes the same time as what was trained.
pub fn embedder(bench: &Bench) -> PathBuf {
    let weights = random::dinov2("dinov2_vits14", 1).expect("a size");
    checkpoint::save(&weights, &models(bench), "embedder").expect("weights");
    models(bench).join("embedder.safetensors")
}

/// A photograph of 1280x960 with three packs.
pub fn photograph(number: u32) -> RgbImage {
    let mut picture = RgbImage::from_pixel(1280, 960, image::Rgb([96, 104, 112]));
    for (n, (left, top)) in [(20, 20), (620, 30), (300, 470)].into_iter().enumerate() {
        let pack = Pack::numbered(7, number * 3 + n as u32).photograph(u64::from(number));
        imageops::replace(&mut picture, &pack, left, top);
    }
    picture
}

/// Writes a JPEG of quality 90.
pub fn jpeg(path: &Path, picture: &RgbImage) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    JpegEncoder::new_with_quality(&mut file, 90).encode_image(picture).expect("a JPEG");
}
