//! The networks against the reference implementations, with the same untrained weights on both sides
//! (`tests/golden/yolo_heads.py`, `tests/golden/dino.py`).
//!
//! `cargo test --test it vision::parity -- --nocapture` prints the tables.

use safetensors::SafeTensors;
use sightline::vision::{Runtime, dino, random, yolo};
use tch::{Kind, Tensor};

use super::golden;

fn values(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap_or_else(|_| panic!("{name} is not in the golden file")).data();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.contiguous().view([-1])).expect("floats")
}

/// The largest deviation, as a share of the largest value.
fn deviation(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0f32, |most, v| most.max(v.abs()));
    let worst = ours.iter().zip(theirs).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(worst.is_finite() && largest > 0.0);
    f64::from(worst / largest)
}

#[test]
fn yolo_heads_are_within_a_thousandth() {
    let bytes = std::fs::read(golden("yolo_heads.safetensors")).expect("the golden file");
    let file = SafeTensors::deserialize(&bytes).expect("its form");
    let (height, width) = (64, 96);
    let picture: Vec<f32> =
        random::uniform("picture", 0).take(3 * height * width).map(|v| ((v + 1.0) / 2.0) as f32).collect();
    let picture = Tensor::from_slice(&picture).view([1, 3, height as i64, width as i64]) * 255.0;
    println!("{:<14}{:<14}{:>10}{:>14}", "network", "head", "values", "worst (rel.)");
    for (name, classes, published) in
        [("yolov8n", 3, true), ("yolov8s", 3, false), ("yolov8n-seg", 80, true), ("yolov8s-seg", 80, true)]
    {
        let mut weights = random::yolov8(name, classes, 0).expect("a published size");
        if !published {
            weights.meta.insert("linear".into(), "model.9.cv1".into());
        }
        let network = yolo::Network::new(&weights, Runtime::cpu()).expect("the network");
        let heads = network.forward(&picture).expect("its heads");
        let mut parts = vec![("boxes", Some(heads.boxes)), ("scores", Some(heads.scores))];
        parts.extend([("coefficients", heads.coefficients), ("prototypes", heads.prototypes)]);
        assert_eq!(parts.iter().filter(|(_, part)| part.is_some()).count(), if name.ends_with("seg") { 4 } else { 2 });
        for (part, tensor) in parts {
            let Some(tensor) = tensor else { continue };
            let theirs = values(&file, &format!("{name}.{part}"));
            let worst = deviation(&flat(&tensor), &theirs);
            println!("{name:<14}{part:<14}{:>10}{worst:>14.2e}", theirs.len());
            assert!(worst <= 1e-3, "{name} {part}: {worst}");
        }
    }
}

#[test]
fn dino_tokens_point_the_same_way() {
    let bytes = std::fs::read(golden("dino.safetensors")).expect("the golden file");
    let file = SafeTensors::deserialize(&bytes).expect("its form");
    println!("{:<20}{:>10}{:>16}{:>14}", "network", "input", "1 - cosine", "worst (rel.)");
    for name in ["dinov2_vits14", "dinov2_vits14_reg", "dinov2_vitb14", "dinov2_vitb14_reg"] {
        let weights = random::dinov2(name, 0).expect("a published size");
        let network = dino::Network::new(&weights, Runtime::cpu()).expect("the network");
        for (height, width) in [(224usize, 224usize), (518, 518), (266, 350)] {
            let noise = random::uniform(&format!("picture {height} {width}"), 0);
            let picture: Vec<f32> = noise.take(3 * height * width).map(|v| (v * 2.0) as f32).collect();
            let picture = Tensor::from_slice(&picture).view([1, 3, height as i64, width as i64]);
            let ours = flat(&network.forward(&picture).expect("the token").to_kind(Kind::Float));
            let theirs = values(&file, &format!("{name}.{height}x{width}"));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let cosine = dot(&ours, &theirs) / (dot(&ours, &ours) * dot(&theirs, &theirs)).sqrt();
            let worst = deviation(&ours, &theirs);
            println!("{name:<20}{:>10}{:>16.2e}{worst:>14.2e}", format!("{height}x{width}"), 1.0 - cosine);
            assert!(cosine >= 0.99999, "{name} {height}x{width}: {cosine}");
        }
    }
}
