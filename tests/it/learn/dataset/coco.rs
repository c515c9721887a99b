//! COCO files: which pictures their entries mean, masks as runs, parts, crowds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use sightline::domain::Rle;
use sightline::learn::augment::fill;
use sightline::learn::dataset::tables::Tables;
use sightline::learn::dataset::{self, Dataset, Fate, Kind, Outline, Split, layout};
use sightline::vision::masks;

use super::{told, write};

/// An entry of a picture of 100 x 80 pixels.
fn image(id: u32, name: &str) -> Value {
    json!({"id": id, "file_name": name, "width": 100, "height": 80})
}

/// A file of these pictures, each with a box that is as wide as its id, ten times.
fn boxes(images: &[Value]) -> Vec<u8> {
    let annotations = images.iter().map(|image| {
        let id = image["id"].as_u64().unwrap();
        json!({"id": id, "image_id": id, "category_id": 1, "bbox": [0, 0, id * 10, 10]})
    });
    let annotations: Vec<Value> = annotations.collect();
    json!({"images": images, "categories": [{"id": 1, "name": "pack"}], "annotations": annotations}).to_string().into()
}

/// Each picture's path below a folder, and how wide its boxes are, in tenths of it.
fn found(at: &Path, set: &Dataset) -> BTreeMap<String, Vec<u32>> {
    let wide = |object: &dataset::Object| {
        let [left, _, right, _] = object.outline.as_ref().unwrap().corners();
        ((right - left) * 10.0).round() as u32
    };
    let item = |item: &dataset::Item| {
        let path = item.image.strip_prefix(at).unwrap().to_str().unwrap().to_owned();
        (path, item.objects.iter().map(wide).collect())
    };
    set.items.iter().map(item).collect()
}

#[test]
fn pictures_of_one_name_keep_their_own_labels() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for name in [
        "x/0001.png",
        "y/0001.png",
        "x/0002.png",
        "y/0003.png",
        "x/0004.png",
        "x/0005.png",
        "x/0006.png",
        "other/7.png",
    ] {
        write(at, &format!("set/images/{name}"), "");
    }
    let entries = [
        image(1, "x/0001.png"),
        image(2, "y\\0001.png"),
        image(3, "z/0001.png"),
        image(4, "moved/0002.png"),
        image(5, "a/0003.png"),
        image(6, "b/0003.png"),
        image(7, "x/0004.png"),
        image(8, "./x/0004.png"),
        image(9, "elsewhere/0004.png"),
    ];
    write(at, "set/train.json", boxes(&entries));
    write(at, "set/more.json", boxes(&[image(1, "x/0006.png")]));
    write(at, "set/notes.json", "{}");
    let set = dataset::read(&at.join("set/train.json")).unwrap();
    let expected =
        [("x/0001.png", vec![1]), ("x/0002.png", vec![4]), ("x/0004.png", vec![7, 8]), ("y/0001.png", vec![2])];
    let expected = expected.map(|(name, wide)| (format!("set/images/{name}"), wide));
    assert_eq!(found(at, &set), expected.into());
    let said = told(&set);
    for (file, fate, reason) in [
        ("set/train.json", Fate::LeftOut, "the picture z/0001.png is not there, and 2 others are called so"),
        ("images/y/0003.png", Fate::LeftOut, "2 entries lead to it by its file name alone: a/0003.png, b/0003.png"),
        (
            "images/x/0004.png",
            Fate::Mended,
            "2 entries are of it: x/0004.png, ./x/0004.png; their labels were put together",
        ),
        ("set/train.json", Fate::LeftOut, "the picture elsewhere/0004.png is not there"),
        ("images/x/0005.png", Fate::LeftOut, "train.json does not list it"),
    ] {
        let matching = |problem: &&dataset::Problem| problem.file.ends_with(file) && problem.reason.contains(reason);
        let problem = set.problems.iter().find(matching).unwrap_or_else(|| panic!("{file}, {reason}:\n{said}"));
        assert_eq!(problem.fate, fate, "{reason}");
    }
    assert_eq!(set.problems.len(), 5, "neither what another file lists nor what lies elsewhere:\n{said}");
}

#[test]
fn pictures_lie_where_the_format_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let named = [image(1, "0001.png")];
    for (json, picture, others) in [
        ("annotations/instances_val2017.json", "val2017/0001.png", &["train2017/0001.png"][..]),
        ("annotations/instances_val2017.json", "images/val2017/0001.png", &["images/train2017/0001.png"]),
        ("annotations/instances_train.json", "images/train/0001.png", &["images/val/0001.png", "images/test/0001.png"]),
        ("annotations/instances_default.json", "images/0001.png", &["images/old/0001.png"]),
        ("test/_annotations.coco.json", "test/0001.png", &["train/0001.png"]),
        ("instances.json", "images/0001.png", &["0001/0001.png"]),
    ] {
        let at = at.join(json.replace('/', "-") + &picture.replace('/', "-"));
        write(&at, json, boxes(&named));
        others.iter().chain([&picture]).for_each(|name| write(&at, name, ""));
        let set = dataset::read(&at.join(json)).unwrap();
        assert_eq!(found(&at, &set), [(picture.to_owned(), vec![1])].into(), "{json}");
        assert_eq!(told(&set), "", "{json}");
    }
    // A path from the set's folder, which is above the file's; and one that is nearer than another.
    let at = at.join("paths");
    ["images/0001.png", "annotations/0001.png"].iter().for_each(|name| write(&at, name, ""));
    write(&at, "annotations/a.json", boxes(&[image(1, "images/0001.png"), image(2, "0001.png")]));
    let set = dataset::read(&at.join("annotations/a.json")).unwrap();
    let expected = [("annotations/0001.png", vec![2]), ("images/0001.png", vec![1])];
    assert_eq!(found(&at, &set), expected.map(|(name, wide)| (name.to_owned(), wide)).into());
    assert!(
        told(&set).contains("0001.png may mean ") && told(&set).contains("this one is nearer (kept)"),
        "{}",
        told(&set)
    );
}

#[test]
fn what_loses_all_its_labels_is_no_background() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    ["lost", "kept", "empty"].iter().for_each(|name| write(at, &format!("{name}.png"), ""));
    let annotation = |id: u32, image: u32, segmentation: Value| json!({"id": id, "image_id": image, "category_id": 1, "bbox": [0, 0, 10, 10], "segmentation": segmentation});
    let text = json!({
        "images": [image(1, "lost.png"), image(2, "kept.png"), image(3, "empty.png")],
        "categories": [{"id": 1, "name": "pack"}],
        "annotations": [
            annotation(1, 1, json!({"size": [80, 100], "counts": [1, 2]})),
            annotation(2, 1, json!({"size": [80, 100], "counts": "~"})),
            annotation(3, 2, json!("a circle")),
            annotation(4, 2, json!({"size": [4, 4], "counts": [0, 16]})),
            annotation(5, 2, json!([])),
        ],
    });
    write(at, "train.json", text.to_string());
    let set = dataset::read(&at.join("train.json")).unwrap();
    assert_eq!(found(at, &set), [("empty.png".to_owned(), vec![]), ("kept.png".to_owned(), vec![1])].into());
    let said = told(&set);
    for reason in [
        "annotation 1, picture lost.png: the mask's runs cover 3 pixels, the picture has 8000 (left out)",
        "annotation 2, picture lost.png: the mask's counts are damaged at character 0 (left out)",
        "lost.png: none of its labels can be used (left out)",
        "annotation 3, picture kept.png: its `segmentation` is neither outlines nor runs of a mask (left out)",
        "annotation 4, picture kept.png: its mask is 4 wide and 4 high, its picture 100 x 80 (left out)",
    ] {
        assert!(said.contains(reason), "{reason}:\n{said}");
    }
}

#[derive(Deserialize)]
struct Golden {
    masks: Vec<Mask>,
    parts: Vec<Parts>,
}

#[derive(Deserialize)]
struct Mask {
    name: String,
    size: [u32; 2],
    counts: String,
    list: Option<Vec<u64>>,
    area: u64,
    bbox: [f64; 4],
}

#[derive(Deserialize)]
struct Parts {
    name: String,
    polygons: Vec<Vec<f64>>,
    size: [u32; 2],
    counts: String,
}

/// Reads one annotation of a picture of a size; gives its outline as a mask of that picture, and what was said.
fn masked(at: &Path, [height, width]: [u32; 2], segmentation: &Value) -> (masks::Bitmap, Vec<[f32; 2]>, String) {
    write(at, "a.png", "");
    let text = json!({
        "images": [{"id": 1, "file_name": "a.png", "width": width, "height": height}],
        "categories": [{"id": 1, "name": "pack"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}],
    });
    write(at, "train.json", text.to_string());
    let set = dataset::read(&at.join("train.json")).unwrap();
    let Some(Outline::Polygon(points)) = set.items[0].objects[0].outline.clone() else {
        panic!("no outline: {}", told(&set))
    };
    let corners: Vec<[f32; 2]> = points.iter().map(|[x, y]| [x * width as f32, y * height as f32]).collect();
    let mut bitmap = masks::Bitmap::new(width, height);
    fill(&corners, width as usize, height as usize, |place| {
        bitmap.set(place as u32 % width, place as u32 / width, true)
    });
    (bitmap, corners, told(&set))
}

#[test]
fn masks_and_parts_are_what_pycocotools_makes_of_them() {
    let golden: Golden = serde_json::from_str(include_str!("../../../golden/coco_masks.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    println!("{:<32} {:>8} {:>8} {:>8}", "mask", "pixels", "corners", "IoU");
    for mask in &golden.masks {
        let theirs = Rle { size: mask.size, counts: mask.counts.clone() };
        let counts = [Some(json!(mask.counts)), mask.list.as_ref().map(|list| json!(list))];
        for counts in counts.into_iter().flatten() {
            let (ours, corners, said) = masked(dir.path(), mask.size, &json!({"size": mask.size, "counts": counts}));
            let iou = masks::iou(&masks::encode(&ours), &theirs).unwrap();
            println!("{:<32} {:>8} {:>8} {iou:>8.4}", mask.name, mask.area, corners.len());
            assert!(
                said.contains("1 masks of runs became outlines along their pixels (mended)"),
                "{}: {said}",
                mask.name
            );
            if corners.len() <= 400 && !said.contains("left out") {
                assert_eq!(
                    (iou, ours.area()),
                    (1.0, mask.area),
                    "{}: an outline along the pixels has the same pixels",
                    mask.name
                );
                let bounds = corners.iter().fold([f32::MAX, f32::MAX, 0.0, 0.0], |b, [x, y]| {
                    [b[0].min(*x), b[1].min(*y), b[2].max(*x), b[3].max(*y)]
                });
                let bbox = [bounds[0], bounds[1], bounds[2] - bounds[0], bounds[3] - bounds[1]]
                    .map(|side| f64::from(side).round());
                assert_eq!(bbox, mask.bbox, "{}", mask.name);
            }
            assert!(iou > 0.97, "{}: {iou}", mask.name);
        }
    }
    for parts in &golden.parts {
        let (ours, corners, said) = masked(dir.path(), parts.size, &json!(parts.polygons));
        let theirs = Rle { size: parts.size, counts: parts.counts.clone() };
        let iou = masks::iou(&masks::encode(&ours), &theirs).unwrap();
        println!("{:<32} {:>8} {:>8} {iou:>8.4}", parts.name, ours.area(), corners.len());
        // It counts pixels that an edge goes through as others do.
        assert!(iou > 0.95, "{}: {iou}", parts.name);
        let overlap = parts.name.contains("overlap") || parts.name.contains("within");
        let reason =
            if overlap { "parts overlap and were traced as one" } else { "parts were joined by lines of no width" };
        assert!(said.contains(reason) && said.contains("(mended)"), "{}: {said}", parts.name);
    }
}

#[test]
fn crowds_are_kept_apart_from_the_objects() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    ["both", "crowd"].iter().for_each(|name| write(at, &format!("images/{name}.png"), ""));
    let runs = json!({"size": [80, 100], "counts": [0, 1600, 6400]});
    let text = json!({
        "images": [image(1, "both.png"), image(2, "crowd.png")],
        "categories": [{"id": 1, "name": "strip"}, {"id": 2, "name": "pack"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[10, 10, 30, 10, 30, 30]], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 2, "segmentation": runs, "iscrowd": 1},
            {"id": 3, "image_id": 2, "category_id": 2, "bbox": [0, 0, 50, 40], "iscrowd": 1},
        ],
    });
    write(at, "instances_val.json", text.to_string());
    let set = dataset::read(&at.join("instances_val.json")).unwrap();
    let counts =
        |set: &Dataset| set.items.iter().map(|item| (item.objects.len(), item.crowds.len())).collect::<Vec<_>>();
    assert_eq!((set.kind, counts(&set)), (Kind::Segment, vec![(1, 1), (0, 1)]));
    assert_eq!(set.items[0].crowds[0].class, 1);
    assert_eq!(set.items[0].crowds[0].outline.as_ref().unwrap().corners(), [0.0, 0.0, 0.2, 1.0]);
    assert_eq!(set.balance().len(), 1, "a crowd is no object of its class");
    assert!(!set.items[1].is_background());
    assert!(told(&set).contains("2 regions are crowds (`iscrowd`)"), "{}", told(&set));

    let again = dataset::coco::write(&set, Split::Val, |_| Ok((100, 80))).unwrap();
    write(at, "again/instances_val.json", again);
    let again = dataset::read(&at.join("again/instances_val.json")).unwrap();
    assert_eq!(again.items, set.items);

    // Other formats hold none, and a picture without its crowds is not one of nothing.
    let copy = |_: &Path| Ok(layout::Picture { bytes: layout::Bytes::AsItIs, size: (100, 80) });
    let to =
        |name: &str, set: &Dataset| layout::write(set, &at.join(name), layout::Format::Yolo, &Tables::default(), copy);
    let error = to("yolo", &set).unwrap_err().to_string();
    assert!(error.contains("crowds, which only COCO files hold"), "{error}");
    let mut plain = set.clone();
    plain.leave_out_crowds();
    assert_eq!(counts(&plain), [(1, 0)]);
    let left_out = |problem: &&dataset::Problem| problem.fate == Fate::LeftOut;
    assert_eq!(plain.problems.iter().filter(left_out).count(), 2, "{}", told(&plain));
    to("yolo", &plain).unwrap();
    assert_eq!(fs::read_dir(at.join("yolo/images/val")).unwrap().count(), 1);
}
