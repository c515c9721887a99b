//! A faster precision is compared with fp32, the outcome recorded in the card, and taken by `auto` only then.

use sightline::config::Precision;
use sightline::domain::ImageId;
use sightline::vision::compare::{Figures, Trial};
use sightline::vision::precision::{candidate, settle};
use sightline::vision::{CropPolicy, DetectOptions, Runtime, Task, Weights, checkpoint, random};

use super::samples;
use crate::support::{image_files, picture};

const POLICY: CropPolicy =
    CropPolicy { padding: 0.0, square: true, mask_background: false, align: false, input_size: 56 };

/// Whether this machine has a faster precision; says so where it has not.
fn fast(test: &str) -> bool {
    let there = candidate(Runtime::cpu().device).is_some();
    if !there {
        println!("{test}: skipped, this CPU has neither avx512_bf16 nor amx_bf16");
    }
    there
}

fn saved(weights: &Weights, folder: &std::path::Path, name: &str) -> (std::path::PathBuf, ImageId) {
    let card = checkpoint::save(weights, folder, name).expect("saved");
    (folder.join(format!("{name}.safetensors")), card.sha256)
}

#[test]
fn auto_follows_what_was_recorded() {
    if !fast("auto_follows_what_was_recorded") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let weights = random::dinov2("dinov2_vits14", 4).expect("a size");
    let (path, sha256) = saved(&weights, folder.path(), "embed");
    let auto = |size| settle(Precision::Auto, Runtime::cpu(), &path, sha256, size).runtime.precision();
    assert_eq!(auto(56), Precision::Fp32, "nothing was compared");

    let mut trial = Trial::open(&path, Runtime::cpu(), DetectOptions::default(), POLICY).expect("a trial");
    (0..20).for_each(|seed| trial.add(&picture(seed, 120, 90)).expect("added"));
    let found = trial.finish("2026-11-21T00:00:00Z".into());
    assert!(matches!(&found.figures, Figures::Embedder(figures) if figures.pictures == 20 && figures.vectors == 80));
    assert_eq!((found.agreed, found.weights, found.input_size), (found.objections.is_empty(), sha256, 56));
    assert!(checkpoint::record(&path, &found).expect("recorded"));
    assert_eq!(auto(56) == Precision::Bf16, found.agreed, "{:?}", found.objections);

    // An agreement is taken, a later disagreement takes it back; neither holds at another size.
    for agreed in [true, false, true] {
        let found = checkpoint::record(&path, &sightline::vision::precision::Comparison { agreed, ..found.clone() });
        assert!(found.expect("recorded"));
        assert_eq!(auto(56) == Precision::Bf16, agreed);
        assert_eq!(auto(224), Precision::Fp32);
    }
    let listed = checkpoint::list(folder.path()).expect("the list");
    assert_eq!(listed[0].card.as_ref().map(|card| card.precision.len()), Some(1), "one comparison of a kind");
    // Saving the same weights again keeps what was found about them.
    saved(&weights, folder.path(), "embed");
    assert_eq!(auto(56), Precision::Bf16);

    // Other weights under the old card: nothing is known about them.
    let (other, other_id) = saved(&random::dinov2("dinov2_vits14", 5).expect("a size"), folder.path(), "other");
    std::fs::copy(checkpoint::beside(&path), checkpoint::beside(&other)).expect("a wrong card");
    let settled = settle(Precision::Auto, Runtime::cpu(), &other, other_id, 56);
    assert_eq!(settled.runtime.precision(), Precision::Fp32);
    assert!(settled.why.contains("other weights"), "{}", settled.why);
    let about_other = sightline::vision::precision::Comparison { weights: other_id, ..found.clone() };
    assert!(checkpoint::record(&other, &about_other).is_err(), "the card is about other weights");
    std::fs::remove_file(checkpoint::beside(&other)).expect("removed");
    assert!(!checkpoint::record(&other, &about_other).expect("no card"), "nowhere to record it");
}

#[test]
fn a_detector_is_compared_detection_by_detection() {
    if !fast("a_detector_is_compared_detection_by_detection") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = saved(&random::yolov8("yolov8n-seg", 3, 1).expect("a size"), folder.path(), "seg");
    let options = DetectOptions { confidence: 0.02, input_size: 128, ..DetectOptions::default() };
    let mut trial = Trial::open(&path, Runtime::cpu(), options, POLICY).expect("a trial");
    (0..3).for_each(|seed| trial.add(&picture(seed, 160, 120)).expect("added"));
    let found = trial.finish("2026-11-21T00:00:00Z".into());
    let Figures::Detector(figures) = &found.figures else { panic!("{found:?}") };
    assert!(figures.pictures == 3 && figures.matched > 0 && figures.least_mask_iou.is_some(), "{figures:?}");
    assert!(!found.agreed && found.objections[0].contains("too few"), "{:?}", found.objections);
}

#[test]
fn real_weights_agree_on_real_photographs() {
    let test = "real_weights_agree_on_real_photographs";
    let Some(samples) = samples(test) else { return };
    if !fast(test) {
        return;
    }
    let photos = image_files(&samples.join("data/grocery-seg/images"));
    let path = samples.join("models/yolov8n-seg.pt");
    assert_eq!(checkpoint::inspect(&path).expect("the checkpoint").task, Task::Segment);
    let mut trial = Trial::open(&path, Runtime::cpu(), DetectOptions::default(), POLICY).expect("a trial");
    for photo in photos.iter().step_by((photos.len() / 24).max(1)).take(24) {
        trial.add(&image::open(photo).expect("a photograph").to_rgb8()).expect("added");
    }
    let found = trial.finish("2026-11-21T00:00:00Z".into());
    println!("{}", serde_json::to_string(&found).expect("its form"));
    let Figures::Detector(figures) = &found.figures else { panic!("{found:?}") };
    assert!(figures.matched >= 20 && figures.most_confidence > 0.0, "both sides are the same: nothing was compared");
    assert!(figures.matched > 20 * figures.unmatched, "{figures:?}");
}
