//! Model files: inspected, imported, listed, loaded, and what they say about themselves.

use std::collections::BTreeMap;

use image::{Rgb, RgbImage};
use sightline::domain::{Detection, Embedding};
use sightline::vision::checkpoint::{self, CheckpointError, Dtype, Fault, UNKNOWN_LICENCE};
use sightline::vision::{
    CropPolicy, DetectOptions, Detector, DeviceChoice, Embedder, Precision, Runtime, Task, VisionError, random,
    rotations,
};

use super::files::{Pickle, Record, zip};
use super::{golden, samples};

fn scene(seed: u64) -> RgbImage {
    let mut values = random::uniform("scene", seed).map(|v| ((v + 1.0) * 127.0) as u8);
    let mut next = || values.next().unwrap_or(0);
    let mut picture = RgbImage::from_pixel(224, 224, Rgb([next(), next(), next()]));
    for _ in 0..12 {
        let (left, top, colour) = (u32::from(next()) * 3 / 4, u32::from(next()) * 3 / 4, Rgb([next(), next(), next()]));
        for y in top..(top + 50).min(224) {
            for x in left..(left + 30).min(224) {
                picture.put_pixel(x, y, colour);
            }
        }
    }
    picture
}

#[test]
fn the_real_checkpoints_are_recognised() {
    let Some(samples) = samples("the_real_checkpoints_are_recognised") else { return };
    for (file, task, architecture, parameters) in [
        ("yolov8n.pt", Task::Detect, "yolov8n", 3_157_200),
        ("yolov8n-seg.pt", Task::Segment, "yolov8n-seg", 3_409_968),
    ] {
        let path = samples.join("models").join(file);
        let info = checkpoint::inspect(&path).expect("a real checkpoint");
        assert_eq!((info.task, info.architecture.as_str(), info.size.as_str()), (task, architecture, "n"));
        assert_eq!((info.classes, info.parameters, info.dtype.as_str()), (Some(80), parameters, "fp16"));
        assert_eq!(info.input_size, Some(640), "as its training's settings say");
        assert_eq!(info.names.as_ref().and_then(|names| names.get(39)).map(String::as_str), Some("bottle"));
        let folder = tempfile::tempdir().expect("a folder");
        let card = checkpoint::import(&path, folder.path(), "pack-seg", Some("AGPL-3.0"), false).expect("imported");
        assert_eq!((card.licence.as_str(), card.classes.len()), ("AGPL-3.0", 80));
        let again = checkpoint::inspect(&folder.path().join("pack-seg.safetensors")).expect("what was imported");
        assert_eq!((again.fingerprint, again.names, again.sha256), (info.fingerprint, info.names, card.sha256));
        assert_eq!(again.input_size, info.input_size);
    }
}

#[test]
fn a_model_is_imported_listed_and_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let models = folder.path().join("models");
    assert_eq!(checkpoint::list(&models).expect("nothing yet"), []);
    let mut weights = random::yolov8("yolov8n-seg", 2, 7).expect("a size");
    weights.meta.remove("licence");
    let card = checkpoint::save(&weights, &models, "try").expect("saved");
    assert_eq!((card.task, card.architecture.as_str()), (Task::Segment, "yolov8n-seg"));
    assert_eq!((card.origin.as_str(), card.licence.as_str()), ("random, untrained (seed 7)", UNKNOWN_LICENCE));
    let listed = checkpoint::list(&models).expect("the list");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].card.as_ref(), Some(&card));
    let file = models.join("try.safetensors");
    let bytes = std::fs::read(&file).expect("the file");
    // The file stands alone, and importing it again changes no byte of it.
    let copied = checkpoint::import(&file, &models, "copy", None, false).expect("imported");
    assert_eq!((copied.sha256, copied.classes), (card.sha256, card.classes.clone()));
    assert_eq!(checkpoint::save(&weights, &models, "try").expect("the same again"), card);
    let other = random::yolov8("yolov8n-seg", 2, 8).expect("a size");
    assert!(matches!(checkpoint::save(&other, &models, "try"), Err(CheckpointError::Taken { .. })));
    assert_eq!(std::fs::read(&file).expect("the file"), bytes);
    for name in ["", "..", "a/b", ".hidden", "a b", "ü"] {
        assert!(matches!(checkpoint::save(&weights, &models, name), Err(CheckpointError::Name(_))), "{name}");
    }
    std::fs::write(models.join("copy.card.json"), "{").expect("written");
    let listed = checkpoint::list(&models).expect("the list");
    assert!(listed[0].card.is_none() && listed[0].problem.is_some());
    assert!(std::fs::read_dir(&models).expect("the folder").count() == 4, "no temporary files are left");
}

#[test]
fn what_was_measured_goes_along_with_the_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let (runs, models) = (folder.path().join("runs"), folder.path().join("models"));
    let weights = random::yolov8("yolov8n", 2, 7).expect("a size");
    let card = checkpoint::keep(&weights, &runs, "best", serde_json::json!({ "accuracy": 0.5 })).expect("kept");
    let best = runs.join("best.safetensors");
    for name in ["held out", "accuracy"] {
        let figures = serde_json::json!({ "figures": { "f1": 0.4 } });
        assert!(checkpoint::record_figures(&best, card.sha256, name, figures).expect("recorded"));
    }
    let copied = checkpoint::import(&best, &models, "packs", Some("MIT"), false).expect("imported");
    assert_eq!(copied.metrics["accuracy"], 0.5, "what training measured stays: {}", copied.metrics);
    for name in ["held out", "accuracy (evaluate)"] {
        assert_eq!(copied.metrics[name]["figures"]["f1"], 0.4, "{name}: {}", copied.metrics);
    }
    // Other weights have not been measured.
    let other = random::yolov8("yolov8n", 2, 8).expect("a size");
    checkpoint::save(&other, &runs, "other").expect("saved");
    std::fs::copy(runs.join("best.card.json"), runs.join("other.card.json")).expect("copied");
    let copied = checkpoint::import(&runs.join("other.safetensors"), &models, "others", None, false).expect("imported");
    assert_eq!(copied.metrics, serde_json::json!({}));
    let found = checkpoint::record_figures(&runs.join("other.safetensors"), copied.sha256, "x", 1.into());
    assert!(found.unwrap_err().to_string().contains("about other weights"));
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut weights = random::yolov8("yolov8n", 2, 7).expect("a size");
    assert_eq!(weights.first_not_finite(), None);
    for (values, halved) in [([1.0, f32::INFINITY], false), ([f32::NAN, 0.0], false), ([1.0, 70_000.0], true)] {
        weights.tensors.insert("model.0.conv.weight".into(), checkpoint::TensorData::from_f32(&[2], &values));
        // The last one is finite, and too large for fp16 only.
        let weights = if halved { weights.halved() } else { weights.clone() };
        assert_eq!(weights.first_not_finite(), Some("model.0.conv.weight"), "{values:?}");
        let error = checkpoint::save(&weights, folder.path(), "try").unwrap_err().to_string();
        assert!(error.contains("model.0.conv.weight") && error.contains("not finite"), "{error}");
    }
}

#[test]
fn incomplete_and_foreign_weights_are_refused() {
    let runtime = Runtime::cpu();
    let good = random::yolov8("yolov8n", 2, 0).expect("a size");
    let mut missing = good.clone();
    missing.tensors.remove("model.12.cv1.bn.running_var");
    assert!(matches!(Detector::new(&missing, runtime), Err(VisionError::Weights(Fault::Damaged(_)))));
    let mut foreign = good.clone();
    foreign.tensors.insert("model.23.extra".into(), random::tensor("x", &[1], 0));
    assert!(matches!(Detector::new(&foreign, runtime), Err(VisionError::Weights(Fault::Unsupported(_)))));
    let mut reshaped = good;
    reshaped.tensors.insert("model.9.cv1.conv.weight".into(), random::tensor("x", &[128, 256, 3, 3], 0));
    assert!(matches!(Detector::new(&reshaped, runtime), Err(VisionError::Weights(Fault::Unsupported(_)))));
    let dino = random::dinov2("dinov2_vits14", 0).expect("a size");
    assert!(Detector::new(&dino, runtime).is_err());
    assert!(random::dinov2("dinov2_vitz14", 0).is_none() && random::yolov8("yolov9n", 1, 0).is_none());
}

#[test]
fn published_sizes_have_their_published_parameters() {
    // The counts Ultralytics prints for yolov8{n,s,m,l,x}.yaml, and those of DINOv2 in millions.
    for (name, parameters) in [
        ("yolov8n", 3_157_200u64),
        ("yolov8s", 11_166_560),
        ("yolov8m", 25_902_640),
        ("yolov8l", 43_691_520),
        ("yolov8x", 68_229_648),
    ] {
        let plan = sightline::vision::yolo::Plan::published(&name[6..], 80, false).expect("a size");
        let counted: usize = plan
            .manifest()
            .iter()
            .filter(|(name, _)| !name.contains("running"))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        // Ultralytics also counts the 16 fixed weights of its distribution layer.
        assert_eq!(counted as u64 + 16, parameters, "{name}");
    }
    for (size, registers, millions) in [("s", false, 22), ("b", true, 87), ("l", false, 304), ("g", true, 1136)] {
        let plan = sightline::vision::dino::Plan::published(size, registers).expect("a size");
        let counted: usize = plan.manifest().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!((counted as f64 / 1e6).round() as u64, millions, "{size}");
    }
}

#[test]
fn batch_norms_folded_or_not_detect_the_same() {
    let weights = random::yolov8("yolov8n", 3, 1).expect("a size");
    let mut folded = weights.clone();
    for (name, tensor) in &weights.tensors {
        let Some(unit) = name.strip_suffix(".conv.weight") else { continue };
        let floats = |name: &str| -> Vec<f32> {
            weights.tensors[name].bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let part = |part: &str| floats(&format!("{unit}.bn.{part}"));
        let (gamma, beta, mean, var) = (part("weight"), part("bias"), part("running_mean"), part("running_var"));
        let scale: Vec<f32> = gamma.iter().zip(&var).map(|(g, v)| g / (v + 1e-3).sqrt()).collect();
        let per = tensor.len() / scale.len();
        let weight: Vec<f32> = floats(name).iter().enumerate().map(|(i, w)| w * scale[i / per]).collect();
        let bias: Vec<f32> = (0..scale.len()).map(|i| beta[i] - mean[i] * scale[i]).collect();
        for part in ["weight", "bias", "running_mean", "running_var"] {
            folded.tensors.remove(&format!("{unit}.bn.{part}"));
        }
        folded.tensors.insert(name.clone(), checkpoint::TensorData::from_f32(&tensor.shape, &weight));
        folded.tensors.insert(format!("{unit}.conv.bias"), checkpoint::TensorData::from_f32(&[scale.len()], &bias));
    }
    let options = DetectOptions { confidence: 0.005, input_size: 128, limit: 20, ..DetectOptions::default() };
    let picture = scene(3);
    let run = |weights| {
        Detector::new(weights, Runtime::cpu()).expect("a detector").detect(&[&picture], &options).expect("detections")
    };
    let (one, other) = (run(&weights), run(&folded));
    assert!(!one[0].is_empty());
    assert_eq!(one[0].len(), other[0].len());
    for (a, b) in one[0].iter().zip(&other[0]) {
        assert!((a.confidence - b.confidence).abs() < 1e-4 && a.bounding_box.iou(&b.bounding_box) > 0.99);
    }
}

#[test]
fn judged_is_each_class_that_a_place_may_be() {
    let weights = random::yolov8("yolov8n", 3, 7).expect("a size");
    let detector = Detector::new(&weights, Runtime::cpu()).expect("a detector");
    // Nothing gives way to anything, so that each place is there.
    let likely = DetectOptions { confidence: 0.004, iou: 1.0, limit: 10_000, input_size: 64, multi_label: false };
    let found = |options| detector.detect(&[&scene(3)], &options).expect("detections").remove(0);
    let (one, each) = (found(likely), found(DetectOptions { multi_label: true, ..likely }));
    assert!(!one.is_empty() && each.len() > one.len(), "{} and {}", one.len(), each.len());
    let same = |a: &Detection, b: &Detection| {
        a.class == b.class && (a.confidence - b.confidence).abs() < 1e-6 && a.bounding_box == b.bounding_box
    };
    assert!(one.iter().all(|likeliest| each.iter().any(|other| same(likeliest, other))));
    assert!(each.iter().all(|one| one.confidence > 0.004));
    assert!(each.windows(2).all(|pair| pair[0].confidence >= pair[1].confidence), "the surest first");
}

#[test]
fn pictures_and_their_rotations_have_vectors_of_their_own() {
    let weights = random::dinov2("dinov2_vits14", 0).expect("a size");
    let policy = CropPolicy { input_size: 112, ..CropPolicy::default() };
    let embedder = Embedder::new(&weights, policy, Runtime::cpu()).expect("an embedder");
    let mut pictures: Vec<RgbImage> = (1..4).map(scene).collect();
    pictures.extend(rotations(&scene(0)));
    let vectors = embedder.embed(&pictures).expect("vectors");
    for (i, a) in vectors.iter().enumerate() {
        assert!((a.similarity(a.as_slice()) - 1.0).abs() < 1e-5);
        for b in &vectors[..i] {
            assert!(a.similarity(b.as_slice()) < 0.99, "two pictures are as one: {}", a.similarity(b.as_slice()));
        }
    }
    // A picture's vector does not depend on its company in the batch.
    let alone: &Embedding = &embedder.embed(&pictures[..1]).expect("vectors")[0];
    assert!(alone.similarity(vectors[0].as_slice()) > 0.99999);
    assert!(embedder.embed(&[RgbImage::new(0, 5)]).is_err());
    let odd = CropPolicy { input_size: 100, ..policy };
    assert!(matches!(Embedder::new(&weights, odd, Runtime::cpu()), Err(VisionError::Setting(_))));
}

#[test]
fn options_out_of_range_are_errors() {
    let detector =
        Detector::new(&random::yolov8("yolov8n", 1, 0).expect("a size"), Runtime::cpu()).expect("a detector");
    let picture = scene(0);
    for options in [
        DetectOptions { confidence: 1.5, ..DetectOptions::default() },
        DetectOptions { iou: f64::NAN, ..DetectOptions::default() },
        DetectOptions { input_size: 0, ..DetectOptions::default() },
        DetectOptions { input_size: 100_000, ..DetectOptions::default() },
    ] {
        assert!(matches!(detector.detect(&[&picture], &options), Err(VisionError::Setting(_))), "{options:?}");
    }
    let empty = RgbImage::new(0, 0);
    assert!(matches!(detector.detect(&[&empty], &DetectOptions::default()), Err(VisionError::EmptyPicture { .. })));
    assert_eq!(detector.detect(&[], &DetectOptions::default()).expect("nothing"), Vec::<Vec<_>>::new());
}

#[derive(serde::Deserialize)]
struct Described {
    dtype: String,
    shape: Vec<usize>,
    values: Vec<f64>,
}

fn value(dtype: Dtype, b: &[u8]) -> f64 {
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let long = |b: &[u8]| u64::from(word(b)) | u64::from(word(&b[4..])) << 32;
    match dtype {
        Dtype::F32 => f32::from_bits(word(b)).into(),
        Dtype::F16 => half::f16::from_le_bytes([b[0], b[1]]).into(),
        Dtype::BF16 => half::bf16::from_le_bytes([b[0], b[1]]).into(),
        Dtype::F64 => f64::from_bits(long(b)),
        Dtype::I64 => long(b) as i64 as f64,
        Dtype::I32 => f64::from(word(b) as i32),
        _ => f64::from(b[0]),
    }
}

#[test]
fn what_torch_saves_is_read_number_by_number() {
    let expected = std::fs::read(golden("torch_files.json")).expect("the golden file");
    let expected: serde_json::Value = serde_json::from_slice(&expected).expect("its form");
    for (file, part) in [("torch_state.pt", "state"), ("torch_module.pt", "module"), ("torch_run.pt", "module")] {
        let weights = checkpoint::parse(&std::fs::read(golden(file)).expect("the file")).expect(file);
        let expected: BTreeMap<String, Described> = serde_json::from_value(expected[part].clone()).expect("its form");
        assert_eq!(weights.tensors.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{file}");
        for (name, expected) in expected {
            let tensor = &weights.tensors[&name];
            let dtype = match tensor.dtype.name() {
                "fp16" => "float16",
                "bf16" => "bfloat16",
                "fp32" => "float32",
                "fp64" => "float64",
                other => other,
            };
            assert_eq!((&tensor.shape, format!("torch.{dtype}")), (&expected.shape, expected.dtype), "{name}");
            let values: Vec<f64> =
                tensor.bytes.chunks_exact(tensor.dtype.size()).map(|b| value(tensor.dtype, b)).collect();
            assert_eq!(values, expected.values, "{name} of {file}");
        }
        if part == "module" {
            assert_eq!(weights.names, Some(vec!["bottle".to_owned(), "strip".to_owned()]));
            let meta = |key: &str| weights.meta.get(key).map(String::as_str);
            assert_eq!((meta("task"), meta("bn_eps")), (Some("detect"), Some("0.001")));
            let licence = (file == "torch_run.pt").then_some("AGPL-3.0 (https://example.org)");
            assert_eq!(meta("licence"), licence);
        }
    }
}

#[test]
fn a_state_dict_is_the_same_model_in_any_container() {
    let weights = random::yolov8("yolov8n-seg", 2, 5).expect("a size");
    let mut pickle = Pickle::new().raw(b"}").text("state_dict").raw(b"}(");
    let mut records = Vec::new();
    for (number, (name, tensor)) in weights.tensors.iter().enumerate() {
        let shape: Vec<i32> = tensor.shape.iter().map(|size| *size as i32).collect();
        let stride: Vec<i32> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        let key = number.to_string();
        // As a data-parallel training run names them.
        let start = pickle.text(&format!("module.{name}"));
        pickle = start.tensor("FloatStorage", &key, tensor.len() as i32, 0, &shape, &stride);
        records.push(Record::new(&format!("archive/data/{key}"), &tensor.bytes));
    }
    records.push(Record::new("archive/data.pkl", &pickle.raw(b"us").stop()));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.pth");
    std::fs::write(&path, zip(&records)).expect("written");
    let info = checkpoint::inspect(&path).expect("a state dict");
    assert_eq!(
        (info.architecture.as_str(), info.classes, info.fingerprint),
        ("yolov8n-seg", Some(2), weights.fingerprint())
    );
    let card = checkpoint::import(&path, folder.path(), "run", None, false).expect("imported");
    assert_eq!(card.fingerprint, info.fingerprint);
    assert!(card.origin.contains("run.pth"), "{}", card.origin);
}

#[test]
fn half_precision_says_nearly_the_same() {
    let weights = random::dinov2("dinov2_vits14", 0).expect("a size");
    let policy = CropPolicy { input_size: 112, ..CropPolicy::default() };
    let pictures = [scene(1), scene(2)];
    let vectors = |precision| {
        let runtime = Runtime::open(DeviceChoice::Cpu, precision, None).expect("the CPU");
        Embedder::new(&weights, policy, runtime).expect("an embedder").embed(&pictures).expect("vectors")
    };
    let full = vectors(Precision::Auto);
    assert_eq!(full, vectors(Precision::Fp32), "auto is fp32");
    for (a, b) in full.iter().zip(vectors(Precision::Bf16)) {
        let similarity = a.similarity(b.as_slice());
        assert!((0.99..0.999_999).contains(&similarity), "{similarity}");
    }
    let missing = Runtime::open(DeviceChoice::Cuda(99), Precision::Auto, None);
    assert!(matches!(missing, Err(VisionError::Device { .. })));
}
