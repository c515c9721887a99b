//! Real photographs through the real program: the acceptance of the main job. Skipped where SIGHTLINE_SAMPLES is not set.
//!
//! Short by default; SIGHTLINE_FULL=1 runs it at full size.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use sightline::archive::image_id;

use crate::process::{Desk, Served};
use crate::support::{image_files, samples};

fn full() -> bool {
    std::env::var_os("SIGHTLINE_FULL").is_some_and(|value| value == "1")
}

/// Ten ways to be no picture.
fn broken(way: usize, bytes: &[u8]) -> Vec<u8> {
    let middle = bytes.len() / 2;
    match way {
        0 => Vec::new(),
        1 => bytes[..bytes.len() / 10].to_vec(),
        2 => bytes[..middle].to_vec(),
        // Without its last bytes: the end marker is gone.
        3 => bytes[..bytes.len() - 2].to_vec(),
        // Cut, and an end marker put back.
        4 => [&bytes[..middle], &[0xFF, 0xD9]].concat(),
        5 => [&bytes[..middle], &vec![0; bytes.len() - middle]].concat(),
        6 => b"this is a text in a file that says it is a picture".to_vec(),
        7 => vec![0; 5000],
        8 => {
            let mut gif = b"GIF89a\x01\x00\x01\x00\x80\x00\x00".to_vec();
            gif.extend([0; 30]);
            gif
        }
        // One even grey.
        _ => {
            let grey = image::RgbImage::from_pixel(200, 200, image::Rgb([128, 128, 128]));
            crate::support::encoded(&grey, ImageFormat::Jpeg)
        }
    }
}

/// Drops photographs in nested folders under names that begin with `prefix`, some broken; gives what was dropped.
fn drop_mixed(desk: &Desk, prefix: &str, photos: &[PathBuf], count: usize, bad: usize) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut dropped = BTreeMap::new();
    for n in 0..count {
        let bytes = fs::read(&photos[n * photos.len() / count]).unwrap();
        let every = count / bad;
        let bytes = if n % every == every - 1 { broken(n / every % 10, &bytes) } else { bytes };
        let folder = ["", "ward 3", "ward 3/bed 1", "night/2026/11"][n % 4];
        let below = if n % 10 == 0 {
            format!("watch/enroll/label {}/{folder}/{prefix}-{n}.jpg", n % 7)
        } else {
            format!("watch/inbox/{folder}/{prefix}-{n}.jpg")
        };
        dropped.insert(desk.write(below, &bytes), bytes);
    }
    dropped
}

/// Compares with the journal, the archive and the quarantine: every file once, no byte altered.
fn accounted(desk: &Desk, dropped: &BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<String, usize> {
    let mut outcomes: BTreeMap<PathBuf, Vec<Value>> = BTreeMap::new();
    for entry in desk.json("journal export", &[], 0) {
        if entry["action"].as_str().unwrap().starts_with("image.") {
            let path = PathBuf::from(entry["after"]["file"]["path"].as_str().unwrap());
            outcomes.entry(path).or_default().push(entry);
        }
    }
    let mut counts = BTreeMap::new();
    for (path, bytes) in dropped {
        let entries = outcomes.remove(path).unwrap_or_default();
        assert_eq!(entries.len(), 1, "{}: {entries:?}", path.display());
        let after = &entries[0]["after"];
        let (action, sha256) = (entries[0]["action"].as_str().unwrap(), after["image"].as_str().unwrap());
        assert_eq!(sha256, image_id(bytes).to_string(), "{}", path.display());
        let kept = match action {
            "image.quarantined" => {
                desk.path(format!("database/quarantine/{}.data", after["file"]["item"].as_str().unwrap()))
            }
            "image.done" | "image.duplicate" => {
                let of = after["of"].as_str().unwrap_or(sha256);
                desk.path(format!("database/archive/{}/{of}.jpg", &of[..2]))
            }
            other => panic!("{}: {other}", path.display()),
        };
        assert_eq!(&fs::read(&kept).unwrap(), bytes, "{} is not what was dropped", kept.display());
        *counts.entry(action.to_owned()).or_default() += 1;
    }
    assert!(outcomes.is_empty(), "outcomes of files that were never dropped: {outcomes:?}");
    counts
}

fn photos(samples: &Path) -> Vec<PathBuf> {
    let mut photos: Vec<PathBuf> = ["grocery-seg", "pills-detect", "face-mask", "pill-reference"]
        .into_iter()
        .flat_map(|folder| image_files(&samples.join("data").join(folder)))
        .filter(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(&[0xFF, 0xD8])))
        .collect();
    // Mixed, in an order that is the same each time.
    photos.sort_by_key(|path| image_id(path.to_string_lossy().as_bytes()));
    photos
}

#[test]
fn real_photographs_are_accounted_for_dropped_while_it_runs_and_while_it_is_down() {
    let Some(samples) = samples("real_photographs_are_accounted_for") else { return };
    let (count, bad) = if full() { (300, 20) } else { (20, 10) };
    let photos = photos(&samples);
    let detector = samples.join("models/yolov8n-seg.pt");
    let detector = format!("{:?}", detector);
    let desk = Desk::new(&[
        ("models.detector", detector.as_str()),
        ("detect.objects", "found"),
        ("enroll.several", "largest"),
        ("crop.image_size", if full() { "112" } else { "56" }),
        ("engine.model_threads", "2"),
    ]);
    let (first, second) = photos.split_at(photos.len() / 2);
    let began = Instant::now();
    let engine = desk.serve();
    let mut dropped = drop_mixed(&desk, "running", first, count, bad);
    let stats = engine.wait(count as u64);
    println!("{count} dropped while it runs, {bad} of them broken: {:?}, {stats}", began.elapsed());
    let (code, took) = engine.stop();
    assert!(code == Some(0) && took < Duration::from_secs(5), "{code:?} {took:?}");

    dropped.extend(drop_mixed(&desk, "down", second, count, bad));
    let began = Instant::now();
    let engine = desk.serve();
    let stats = engine.wait(2 * count as u64);
    println!("{count} more dropped while it was down: {:?}, {stats}", began.elapsed());
    assert!(stats["quarantined"].as_u64().unwrap() >= 2 * bad as u64 && stats["failed"] == 0, "{stats}");
    engine.stop();
    desk.prove();
    println!("accounted for: {:?}", accounted(&desk, &dropped));
}

/// A class's pictures: the first half to enrol, the rest to ask about.
fn halves(samples: &Path) -> BTreeMap<String, (Vec<PathBuf>, Vec<PathBuf>)> {
    let mut classes = BTreeMap::new();
    for entry in fs::read_dir(samples.join("data/grocery-classes")).unwrap().flatten() {
        let mut files = image_files(&entry.path());
        let rest = files.split_off(files.len() / 2);
        classes.insert(entry.file_name().into_string().unwrap(), (files, rest));
    }
    let most = if full() { usize::MAX } else { 3 };
    classes.into_iter().filter(|(_, (enrol, _))| !enrol.is_empty()).take(most).collect()
}

/// A picture turned clockwise, without loss.
fn turned(path: &Path, degrees: u32) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    // As the engine sees it: upright, decoded by the same decoder.
    let limits = sightline::intake::clean::Limits {
        max_pixels: 100_000_000,
        max_decode_bytes: 1 << 30,
        min_side: 1,
        min_contrast: 0.0,
    };
    let upright = DynamicImage::ImageRgb8(sightline::intake::clean::clean(&bytes, &limits).unwrap().image);
    let picture = match degrees {
        90 => upright.rotate90(),
        180 => upright.rotate180(),
        _ => upright.rotate270(),
    };
    crate::support::encoded(&picture.into_rgb8(), ImageFormat::Png)
}

#[test]
fn turned_packs_are_found_with_their_rotation_and_the_rest_is_answered() {
    let Some(samples) = samples("turned_packs_are_found_with_their_rotation") else { return };
    let classes = halves(&samples);
    let size = if full() { "224" } else { "112" };
    // One picture enrolled for two labels cannot be told apart: accept whatever is nearest, and look at the nearest.
    let desk = Desk::new(&[("crop.image_size", size), ("engine.model_threads", "2")]);
    let engine = desk.serve();
    let mut enrolled = 0;
    for (label, (enrol, _)) in &classes {
        for path in enrol {
            desk.write(
                format!("watch/enroll/{label}/{}", path.file_name().unwrap().to_str().unwrap()),
                &fs::read(path).unwrap(),
            );
            enrolled += 1;
        }
    }
    let stats = engine.wait(enrolled);
    println!("{} labels, {enrolled} pictures enrolled: {stats}", classes.len());
    let (mut copies, mut found, mut others, mut accepted, mut right) = (0, 0, 0, 0, 0);
    for (label, (enrol, rest)) in &classes {
        for (n, path) in enrol.iter().enumerate() {
            let sha256 = image_id(&fs::read(path).unwrap()).to_string();
            // All three turns at full size, one each otherwise.
            for degrees in [90, 180, 270].into_iter().filter(|d| full() || n % 3 == d / 90 - 1) {
                let answer = identify(&engine, &desk, &turned(path, degrees as u32));
                let nearest = &answer["neighbours"][0];
                let itself = nearest["sighting"].as_str().unwrap().starts_with(&sha256);
                copies += 1;
                let hit = itself && nearest["label"] == label.as_str() && nearest["rotation"] == degrees;
                found += usize::from(hit);
                if !hit {
                    println!("MISSED {label} {} at {degrees}: {nearest}", path.display());
                }
            }
        }
        for (n, path) in rest.iter().enumerate() {
            let degrees = [90, 180, 270][n % 3];
            let answer = identify(&engine, &desk, &turned(path, degrees));
            let decision = answer["decision"].as_str().unwrap();
            others += 1;
            accepted += usize::from(decision == "accept");
            right += usize::from(decision == "accept" && answer["label"] == label.as_str());
            println!(
                "{label:<40} turned {degrees:>3}: {decision:<7} {:<40} similarity {:.3} margin {:.3} rotation {} {}",
                answer["label"].as_str().unwrap_or("-"),
                answer["similarity"].as_f64().unwrap_or(f64::NAN),
                answer["margin"].as_f64().unwrap_or(f64::NAN),
                answer["rotation"],
                answer["reason"].as_str().unwrap_or(""),
            );
        }
    }
    println!("{found} of {copies} turned copies found with their rotation");
    println!("{others} other pictures: {accepted} accepted, {right} of them rightly (the weights are untrained)");
    engine.stop();
    desk.prove();
    assert_eq!(found, copies);
}

fn identify(engine: &Served, desk: &Desk, picture: &[u8]) -> Value {
    let (status, body) = crate::process::ask(&desk.socket(), "POST", "/v1/identify", picture).unwrap();
    assert_eq!(status, 200, "{} {:?}", String::from_utf8_lossy(&body), engine.child.id());
    let mut answer: Value = serde_json::from_slice(&body).unwrap();
    answer["answers"][0].take()
}

#[test]
fn kills_at_random_moments_of_real_work_lose_nothing() {
    let Some(samples) = samples("kills_at_random_moments_of_real_work") else { return };
    let (kills, count) = if full() { (20, 160) } else { (2, 12) };
    let photos = photos(&samples);
    let seed = std::env::var("SIGHTLINE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let mut random = SmallRng::seed_from_u64(seed);
    let detector = format!("{:?}", samples.join("models/yolov8n-seg.pt"));
    let desk = Desk::new(&[
        ("models.detector", detector.as_str()),
        ("detect.objects", "found_or_whole"),
        ("enroll.several", "largest"),
        ("crop.image_size", "56"),
        ("engine.checkpoint_every", "5"),
    ]);
    let mut dropped = BTreeMap::new();
    for kill in 0..kills {
        let mut engine = desk.serve();
        let part: Vec<PathBuf> = photos.iter().skip(kill).step_by(kills).cloned().collect();
        dropped.extend(drop_mixed(&desk, &format!("kill-{kill}"), &part, (count / kills).max(4), 1));
        let moment = Duration::from_millis(random.random_range(0..4000));
        std::thread::sleep(moment);
        let stats = engine.get("/v1/queue/stats");
        engine.kill();
        desk.prove();
        println!("kill {kill} after {moment:?}: {stats}");
    }
    let engine = desk.serve();
    let stats = engine.wait(dropped.len() as u64);
    println!("{stats}");
    assert_eq!(stats["failed"], 0);
    engine.stop();
    desk.prove();
    println!("accounted for: {:?}", accounted(&desk, &dropped));
}
