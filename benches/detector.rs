//! YOLOv8n-seg at 640 pixels, one picture at a time: the network alone, and from a decoded picture to masks.

use image::RgbImage;
use sightline::config::Precision;
use sightline::vision::precision::candidate;
use sightline::vision::{DetectOptions, Detector, Runtime};

use crate::harness::{Bench, Peer, milliseconds};
use crate::inputs;

const CALLS: usize = 8;

pub fn run(bench: &Bench) {
    let weights = inputs::detector(bench);
    let picture = inputs::photograph(0);
    let file = bench.scratch.path().join("detect/photograph.png");
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("the folder");
    picture.save(&file).expect("the picture");
    let (weights_text, picture_text) = (weights.display().to_string(), file.display().to_string());
    let peer = |name: &str, runtime: &str, part: &str| {
        bench.peer(
            name,
            "yolo.py",
            &["--runtime", runtime, "--part", part, "--weights", &weights_text, "--picture", &picture_text],
        )
    };
    let half = candidate(Runtime::cpu().device).is_some();
    for precision in [Precision::Fp32, Precision::Bf16] {
        if precision == Precision::Bf16 && !half {
            continue;
        }
        let detector = Detector::load(&weights, Runtime::cpu().with(precision)).expect("the detector");
        let what = format!("yolov8n-seg 640x640 forward, {precision}");
        if bench.wants(&what) {
            let others: &[(&str, &str)] = match precision {
                Precision::Fp32 => &[
                    ("PyTorch fp32 eager (Ultralytics' default)", "torch"),
                    ("ONNX Runtime fp32", "onnxruntime"),
                    ("OpenVINO fp32", "openvino"),
                    ("ncnn fp32", "ncnn"),
                ],
                _ => &[
                    ("PyTorch fp32 eager (Ultralytics' default)", "torch"),
                    ("PyTorch bf16 eager, channels last", "torch-bf16"),
                    ("OpenVINO bf16", "openvino-bf16"),
                    ("ncnn bf16 storage", "ncnn-bf16"),
                ],
            };
            let mut peers: Vec<Peer> =
                others.iter().filter_map(|(name, runtime)| peer(name, runtime, "forward")).collect();
            let square = RgbImage::from_fn(640, 640, |x, y| *picture.get_pixel(x * 2, y * 3 / 2));
            let input = detector.input(&[square]).expect("the input");
            let forward = || drop(tch::no_grad(|| detector.network().forward(&input)).expect("heads"));
            milliseconds(3, forward);
            bench.measure(&what, "ms", &mut peers, || milliseconds(CALLS, forward));
        }
        let what = format!("yolov8n-seg 1280x960 predict, {precision}");
        if bench.wants(&what) {
            let mut peers: Vec<Peer> = peer("Ultralytics predict, fp32", "torch", "predict").into_iter().collect();
            let options = DetectOptions { confidence: 0.05, ..DetectOptions::default() };
            let predict = || drop(detector.detect(&[&picture], &options).expect("detections"));
            milliseconds(3, predict);
            bench.measure(&what, "ms", &mut peers, || milliseconds(CALLS, predict));
        }
    }
}
