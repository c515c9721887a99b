//! A look through a set of 100,000 pictures, beside reading and decoding them alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use image::imageops;
use sightline::intake::clean::{Limits, clean};

use crate::harness::Bench;
use crate::inputs;

const FILES: usize = 100_000;
const FOLDERS: usize = 100;
const LIMITS: Limits = Limits { max_pixels: 1 << 24, max_decode_bytes: 1 << 28, min_side: 1, min_contrast: 0.0 };

pub fn run(bench: &Bench) {
    let what = "dataset check of 100,000 pictures of 320x240";
    if !bench.wants(what) {
        return;
    }
    let dir = bench.scratch.path().join("set");
    let files: Vec<PathBuf> =
        (0..FILES).map(|n| dir.join(format!("{:03}", n % FOLDERS)).join(format!("{n}.jpg"))).collect();
    (0..FOLDERS).for_each(|n| std::fs::create_dir_all(dir.join(format!("{n:03}"))).expect("a folder"));
    // Parts of photographs, each another: turned, moved and toned, so that few look the same.
    let photographs: Vec<_> = (0..20).map(|n| inputs::photograph(n + 1)).collect();
    together(&files, &|n, path| {
        let photograph = &photographs[n % photographs.len()];
        let (across, down) = (photograph.width() - 640, photograph.height() - 480);
        let (left, top) = (n as u32 * 7919 % across, n as u32 * 104_729 % down);
        let part = imageops::crop_imm(photograph, left, top, 640, 480).to_image();
        let part = imageops::brighten(&imageops::thumbnail(&part, 320, 240), (n % 61) as i32 - 30);
        let part = if n % 2 == 0 { part } else { imageops::rotate180(&part) };
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&part).expect("a JPEG");
        std::fs::write(path, bytes).expect("a file");
    });
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sightline"));
    command.args(["dataset", "check", "--json"]).arg(&dir).stdout(Stdio::null());
    command.status().expect("the check");
    let ours = began.elapsed().as_secs_f64();
    let began = Instant::now();
    together(&files, &|_, path| {
        clean(&std::fs::read(path).expect("a file"), &LIMITS).expect("a picture");
    });
    let decoding = began.elapsed().as_secs_f64();
    bench.compare(what, "s", ours, &[("reading and decoding them alone, with as many threads", decoding)]);
}

/// Does something with each file on all cores.
fn together(files: &[PathBuf], each: &(dyn Fn(usize, &Path) + Sync)) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = files.get(n) else { return };
                    each(n, path);
                }
            });
        }
    });
}
