//! DINOv2 ViT-S/14 at 224 pixels.

use sightline::config::Precision;
use sightline::vision::precision::candidate;
use sightline::vision::{CropPolicy, Embedder, Runtime, dino};

use crate::harness::{Bench, Peer, milliseconds};
use crate::inputs;

pub fn run(bench: &Bench) {
    let weights = inputs::embedder(bench);
    let text = weights.display().to_string();
    let policy = CropPolicy::default();
    let pictures: Vec<_> = (0..32).map(|number| dino::fit(&inputs::photograph(number), &policy)).collect();
    for precision in [Precision::Fp32, Precision::Bf16] {
        if precision == Precision::Bf16 && candidate(Runtime::cpu().device).is_none() {
            continue;
        }
        let embedder = Embedder::load(&weights, policy, Runtime::cpu().with(precision)).expect("the embedder");
        for (batch, calls) in [(4usize, 5), (32, 1)] {
            let what = format!("dinov2_vits14 224 batch {batch}, {precision}");
            if !bench.wants(&what) {
                continue;
            }
            let size = batch.to_string();
            let others: &[(&str, &str)] = match precision {
                Precision::Fp32 => &[("PyTorch fp32 eager", "torch"), ("OpenVINO fp32", "openvino")],
                _ => &[
                    ("PyTorch fp32 eager", "torch"),
                    ("PyTorch bf16 eager", "torch-bf16"),
                    ("OpenVINO bf16", "openvino-bf16"),
                ],
            };
            let mut peers: Vec<Peer> = others
                .iter()
                .filter_map(|(name, runtime)| {
                    bench.peer(
                        name,
                        "dino.py",
                        &["--runtime", runtime, "--batch", &size, "--calls", &calls.to_string(), "--weights", &text],
                    )
                })
                .collect();
            let batch = &pictures[..batch];
            // From pixels to unit vectors; the peers get tensors and stop at the class token.
            let embed = || drop(embedder.embed(batch).expect("vectors"));
            milliseconds(2, embed);
            bench.measure(&what, "ms", &mut peers, || milliseconds(calls, embed));
        }
    }
}
