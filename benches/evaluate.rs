//! Judging: the detections of 5,000 pictures beside pycocotools.

use std::io::Write;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use sightline::domain::Rle;
use sightline::learn::metrics::{Found, Picture, Runs, Shape, Truth, coco};
use sightline::vision::masks::{Bitmap, encode};

use crate::harness::Bench;

const PICTURES: u32 = 5_000;
const CLASSES: u32 = 80;
/// As COCO's pictures: about seven objects each.
const OBJECTS: u32 = 7;
/// What a detector gives of each: the most that the protocol looks at.
const ANSWERS: u32 = 100;
/// Outlines take longer to make than to compare; fewer are enough.
const OUTLINES: u32 = 20;

pub fn run(bench: &Bench) {
    for (kind, answers) in [("boxes", ANSWERS), ("masks", OUTLINES)] {
        let what = format!("evaluating 5,000 pictures, {answers} {kind} each, protocol coco");
        if !bench.wants(&what) {
            continue;
        }
        let (truths, found) = (bench.scratch.path().join("truths.json"), bench.scratch.path().join("found.json"));
        let pictures = made(kind == "masks", answers, &truths, &found);
        let said = [truths.to_str().expect("text"), found.to_str().expect("text"), kind];
        let mut peers: Vec<_> = bench.peer("pycocotools", "evaluate.py", &said).into_iter().collect();
        bench.measure(&what, "s", &mut peers, || {
            let began = Instant::now();
            let scores = coco::Matched::of(&pictures).scores();
            assert!(scores.ap.is_some_and(|ap| ap > 0.1));
            began.elapsed().as_secs_f64()
        });
    }
}

/// Pictures with objects and what was found of them, some near and some not; the same as files for the peer.
fn made(masks: bool, answers: u32, truths: &std::path::Path, found: &std::path::Path) -> Vec<Picture> {
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut annotations, mut results, mut pictures) = (Vec::new(), Vec::new(), Vec::new());
    for image in 0..PICTURES {
        let mut picture = Picture::default();
        for _ in 0..OBJECTS {
            let (class, place) = (rng.random_range(0..CLASSES), anywhere(&mut rng));
            let (shape, outline) = shape_of(place, masks);
            let area = shape.area();
            annotations.push(json!({
                "id": annotations.len() + 1, "image_id": image, "category_id": class, "bbox": place, "area": area,
                "iscrowd": 0, "segmentation": outline,
            }));
            picture.truths.push(Truth { class, area, shape, crowd: false });
            for _ in 0..answers / OBJECTS {
                let near = rng.random_bool(0.4);
                let moved =
                    |value: f64, rng: &mut SmallRng| (value + rng.random_range(-8.0..8.0)).clamp(8.0, 400.0).round();
                let place = if near { place.map(|value| moved(value, &mut rng)) } else { anywhere(&mut rng) };
                let class = if near { class } else { rng.random_range(0..CLASSES) };
                let (shape, outline) = shape_of(place, masks);
                let score = (rng.random::<f64>() * 1e4).round() / 1e4;
                results.push(match outline {
                    Some(outline) => {
                        json!({ "image_id": image, "category_id": class, "segmentation": outline, "score": score })
                    }
                    None => json!({ "image_id": image, "category_id": class, "bbox": place, "score": score }),
                });
                picture.found.push(Found { class, shape, score });
            }
        }
        pictures.push(picture);
    }
    let images: Vec<_> = (0..PICTURES).map(|id| json!({ "id": id, "width": 640, "height": 480 })).collect();
    let categories: Vec<_> = (0..CLASSES).map(|id| json!({ "id": id, "name": id.to_string() })).collect();
    put(truths, &json!({ "images": images, "categories": categories, "annotations": annotations }));
    put(found, &json!(results));
    pictures
}

fn put(path: &std::path::Path, value: &serde_json::Value) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    serde_json::to_writer(&mut file, value).expect("written");
    file.flush().expect("written");
}

/// Left, top, width, height, whole pixels inside 640 by 480.
fn anywhere(rng: &mut SmallRng) -> [f64; 4] {
    [0, 0, 16, 16].map(|least| f64::from(rng.random_range(least..200_u32)))
}

/// A box, or the ellipse in it.
fn shape_of(place: [f64; 4], masks: bool) -> (Shape, Option<Rle>) {
    if !masks {
        return (Shape::Box(place), None);
    }
    let [left, top, width, height] = place;
    let mut bitmap = Bitmap::new(640, 480);
    for y in top as u32..((top + height) as u32).min(480) {
        for x in left as u32..((left + width) as u32).min(640) {
            let across = (f64::from(x) + 0.5 - left) / width * 2.0 - 1.0;
            let down = (f64::from(y) + 0.5 - top) / height * 2.0 - 1.0;
            if across * across + down * down <= 1.0 {
                bitmap.set(x, y, true);
            }
        }
    }
    let rle = encode(&bitmap);
    (Shape::Mask(Runs::of(&rle).expect("a mask")), Some(rle))
}
