//! Pictures that look alike and are not the same bytes: found by `dataset check`, kept together by `dataset split`.

use std::collections::BTreeSet;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{ImageFormat, RgbImage, imageops};
use serde_json::Value;
use sightline::learn::dataset;

use super::super::Desk;
use crate::support::{encoded, picture};

fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(picture).unwrap();
    bytes
}

/// Twelve pictures; of each third one the same, compressed again and made smaller, in these folders.
fn set(desk: &Desk, folders: [&str; 3]) {
    let put = |folder: &str, name: String, bytes: Vec<u8>, class: u32| {
        desk.write(format!("set/images/{folder}/{name}"), &bytes);
        let labels = format!("set/labels/{folder}/{}.txt", name.split('.').next().unwrap());
        desk.write(labels, format!("{class} 0.5 0.5 0.5 0.5\n").as_bytes());
    };
    for n in 0..12 {
        let drawn = picture(n, 240, 160);
        put(folders[0], format!("{n}.png"), encoded(&drawn, ImageFormat::Png), n % 2);
        if n % 3 == 0 {
            put(folders[1], format!("{n}-again.jpg"), jpeg(&drawn, 55), n % 2);
            let small = imageops::resize(&drawn, 150, 100, FilterType::Triangle);
            put(folders[2], format!("{n}-small.jpg"), jpeg(&small, 80), n % 2);
        }
    }
    desk.write("set/data.yaml", b"train: images/train\nval: images/val\ntest: images/test\nnames: [carton, strip]\n");
}

/// The names of pictures that were found to look alike.
fn names(alike: &Value) -> BTreeSet<String> {
    let path = |picture: &Value| picture[0].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    alike["pictures"].as_array().unwrap().iter().map(path).collect()
}

fn trio(n: u32) -> BTreeSet<String> {
    [format!("{n}.png"), format!("{n}-again.jpg"), format!("{n}-small.jpg")].into()
}

#[test]
fn what_was_encoded_again_or_made_smaller_is_found_and_is_a_leak_across_parts() {
    let desk = Desk::new(&[]);
    set(&desk, ["train", "val", "test"]);
    let report = &desk.json("dataset check", &[&desk.path("set")], 1)[0];
    assert_eq!((&report["ok"], report["doubles"].as_array().unwrap().len()), (&false.into(), 0));
    let near = report["near_doubles"].as_array().unwrap();
    assert_eq!(near.iter().map(names).collect::<Vec<_>>(), [0, 3, 6, 9].map(trio));
    assert!(near.iter().all(|alike| alike["leak"] == true && alike["contradiction"] == false), "{near:?}");
}

#[test]
fn what_looks_alike_is_told_within_a_part_and_stays_in_one() {
    let desk = Desk::new(&[]);
    set(&desk, ["train"; 3]);
    desk.write("set/data.yaml", b"train: images/train\nnames: [carton, strip]\n");
    let report = &desk.json("dataset check", &[&desk.path("set")], 0)[0];
    let near = report["near_doubles"].as_array().unwrap();
    assert_eq!((near.len(), near.iter().filter(|alike| alike["leak"] == true).count()), (4, 0));
    for seed in 1..4 {
        let out = desk.path(format!("divided-{seed}"));
        let words = format!("dataset split --train 2 --val 1 --test 1 --seed {seed} --out {}", out.display());
        desk.json(&words, &[&desk.path("set")], 0);
        let divided = dataset::read(&out).unwrap();
        assert_eq!(divided.items.len(), 20);
        let part = |name: &String| divided.items.iter().find(|item| item.image.ends_with(name)).unwrap().split;
        for n in [0, 3, 6, 9] {
            assert_eq!(trio(n).iter().map(part).collect::<BTreeSet<_>>().len(), 1, "{n}, seed {seed}");
        }
        desk.json("dataset check", &[&out], 0);
    }
}
