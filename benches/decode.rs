//! A 12-megapixel JPEG, from bytes to upright, checked pixels.

use image::{RgbImage, imageops};
use sightline::config::Config;
use sightline::intake::clean::{Limits, clean};

use crate::harness::{Bench, Peer, milliseconds};
use crate::inputs;

const CALLS: usize = 5;

pub fn run(bench: &Bench) {
    let what = "decode a JPEG of 4000x3000";
    if !bench.wants(what) {
        return;
    }
    let small = inputs::photograph(0);
    let mut picture: RgbImage = imageops::resize(&small, 4000, 3000, imageops::FilterType::Triangle);
    // Sensors are noisy: a smooth picture would decode faster than any photograph.
    let mut state = 1u32;
    for value in picture.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = value.saturating_add((state >> 28) as u8);
    }
    let path = bench.scratch.path().join("decode/large.jpg");
    inputs::jpeg(&path, &picture);
    let bytes = std::fs::read(&path).expect("the JPEG");
    let config = Config::parse("", bench.scratch.path()).expect("the default config");
    let limits = Limits::from(&config.intake);
    let text = path.display().to_string();
    let peers = [("Pillow", "pillow"), ("OpenCV (libjpeg-turbo)", "opencv")];
    let mut peers: Vec<Peer> = peers
        .iter()
        .filter_map(|(name, way)| bench.peer(name, "decode.py", &["--way", way, "--picture", &text]))
        .collect();
    let decode = || drop(clean(&bytes, &limits).expect("a picture"));
    milliseconds(1, decode);
    bench.measure(what, "ms", &mut peers, || milliseconds(CALLS, decode));
}
