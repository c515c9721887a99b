//! Sets of pictures with labels, read from each format with its mistakes.

use std::fs;
use std::path::Path;

use sightline::learn::dataset::{self, Kind, Object, Outline, Split, yolo};

use crate::support::samples;

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn labels(text: &str) -> (Vec<Object>, Vec<String>) {
    let (objects, problems) = yolo::labels_of(Path::new("a.txt"), text.as_bytes(), 3);
    (objects, problems.iter().map(ToString::to_string).collect())
}

#[test]
fn labels_are_read_and_each_doubt_is_named() {
    let (objects, problems) = labels("\u{feff}0 0.5 0.5 0.2 0.4\n\n2 0.1 0.1 0.1 0.1\r\n");
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(objects[0], Object { class: 0, outline: Some(Outline::Box([0.5, 0.5, 0.2, 0.4])) });
    assert_eq!(objects[1].class, 2);

    for (line, reason) in [
        ("3 0.5 0.5 0.2 0.2", "class 3 is out of range; there are 3 classes, 0 to 2"),
        ("-1 0.5 0.5 0.2 0.2", "the class `-1` is not a whole number from 0 on"),
        ("0.5 0.5 0.5 0.2 0.2", "the class `0.5` is not a whole number from 0 on"),
        ("0 1.2 0.5 0.2 0.2", "1.2 is outside of the picture; coordinates are shares of its size, 0 to 1"),
        ("0 0.5 0.5 0 0.2", "the box is 0 wide and 0.2 high"),
        ("0 0.5 0.5 0.2", "it has 4 numbers; a box has 5, an outline 7 or more, an odd count"),
        ("0 0.5 0.5 0.2 x", "`x` is no number"),
        ("0 0.5 0.5 0.2 NaN", "`NaN` is not finite"),
        ("0 0.1 0.1 0.5 0.1 0.9 0.1", "the outline has no area"),
    ] {
        let (objects, problems) = labels(&format!("1 0.5 0.5 0.2 0.2\n{line}\n"));
        assert_eq!(problems, [format!("a.txt:2: {reason} (left out)")]);
        assert_eq!(objects.len(), 1, "{line}");
    }

    let (objects, problems) = labels("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n");
    assert_eq!(
        (objects.len(), problems.as_slice()),
        (1, &["a.txt:2: the same label stands further up (left out)".into()][..])
    );
    let (objects, problems) = labels("0 -0.005 0.5 0.2 0.2\n");
    assert_eq!(objects[0].outline, Some(Outline::Box([0.0, 0.5, 0.2, 0.2])));
    assert!(problems[0].ends_with("moved to its edge (mended)"), "{problems:?}");
    let (objects, problems) = labels("0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.5 0.1 0.5 0.5\n");
    assert!(objects.is_empty() && problems[0].contains("it mixes 1 boxes"), "{problems:?}");
    let (objects, problems) = yolo::labels_of(Path::new("a.txt"), b"\xFF\xFE0", 3);
    assert!(objects.is_empty() && problems[0].to_string().contains("it is not text"));
}

#[test]
fn a_yolo_set_is_read_by_its_description() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for name in ["images/train/a.jpg", "images/train/deep/b.JPG", "images/val/c.png", "images/val/.hidden.png"] {
        write(at, name, "");
    }
    write(at, "labels/train/a.txt", "1 0.5 0.5 0.2 0.2\n");
    write(at, "labels/train/deep/b.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n");
    write(at, "data.yaml", "path: .\ntrain: [images/train]\nval: ./images/val\ntest:\nnames: {0: carton, 1: strip}\n");
    let set = dataset::read(at).unwrap();
    assert_eq!(set.names, ["carton", "strip"]);
    let found: Vec<_> = set
        .items
        .iter()
        .map(|i| (i.image.strip_prefix(at).unwrap().to_str().unwrap(), i.split, i.objects.len()))
        .collect();
    let expected = [
        ("images/train/a.jpg", Split::Train, 1),
        ("images/train/deep/b.JPG", Split::Train, 1),
        ("images/val/c.png", Split::Val, 0),
    ];
    assert_eq!(found, expected);

    write(at, "list.txt", "./images/val/c.png\nimages/train/a.jpg\n");
    write(at, "data.yaml", "train: list.txt\nval: images/val\nnc: 2\n");
    let set = dataset::read(at).unwrap();
    assert_eq!(set.of(Split::Train).count(), 2);
    let reason = "1 pictures are in both train and val; they are taken for train only (mended)";
    assert!(set.problems[0].to_string().ends_with(reason), "{:?}", set.problems);

    for (yaml, wrong) in [
        ("train: images/train\n", "it has neither `names` nor `nc`"),
        ("names: [a]\n", "it names no `train`, `val` or `test`"),
        ("train: images/none\nnames: [a]\n", "images/none is not there; mend the path in it"),
        ("train: images\nnames: [a, b]\nnc: 3\n", "`nc` is 3, but `names` has 2"),
        ("train: images\nnames: {1: a}\n", "`names` has 1 where 0 should be"),
        ("train: 7\nnames: [a]\n", "`train` is neither a path nor a list of paths"),
        ("train: [\n", "data.yaml"),
        ("train: empty\nnames: [a]\n", "has no pictures"),
    ] {
        fs::create_dir_all(at.join("empty")).unwrap();
        write(at, "data.yaml", yaml);
        let error = dataset::read(at).unwrap_err().to_string();
        assert!(error.contains(wrong), "{yaml}: {error}");
    }
    let error = dataset::read(&at.join("nothing")).unwrap_err().to_string();
    assert!(error.contains("there is no") && error.contains("name a data.yaml"), "{error}");
    assert!(dataset::read(&at.join("empty")).unwrap_err().to_string().contains("is no data set that is known"));
}

#[test]
fn a_coco_file_is_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "images/a.jpg", "");
    let coco = r#"{"images": [{"id": 7, "file_name": "a.jpg", "width": 200, "height": 100},
        {"id": 8, "file_name": "gone.jpg", "width": 10, "height": 10}],
        "categories": [{"id": 18, "name": "strip"}, {"id": 3, "name": "carton"}],
        "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [20, 10, 40, 20], "segmentation": [[20, 10, 60, 10, 60, 30, 20, 30]], "area": 800, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 100, 50], "area": 5000, "iscrowd": 0},
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10], "segmentation": {"size": [100, 200], "counts": [0, 20000]}, "iscrowd": 1},
        {"id": 4, "image_id": 7, "category_id": 99, "bbox": [0, 0, 10, 10]},
        {"id": 5, "image_id": 7, "category_id": 3, "bbox": [0, 0, 0, 10]},
        {"id": 6, "image_id": 7, "category_id": 3, "segmentation": [[0, 0, 10, 0, 10, 10], [100, 50, 110, 50, 110, 60]]},
        {"id": 7, "image_id": 9, "category_id": 3, "bbox": [0, 0, 10, 10]}]}"#;
    write(at, "annotations/instances_val.json", coco);
    let set = dataset::read(&at.join("annotations/instances_val.json")).unwrap();
    assert_eq!((set.kind, set.names.clone()), (Kind::Segment, vec!["carton".to_owned(), "strip".to_owned()]));
    assert_eq!(set.items.len(), 1);
    assert_eq!(set.items[0].split, Split::Val);
    let objects = &set.items[0].objects;
    assert_eq!(objects.iter().map(|o| o.class).collect::<Vec<_>>(), [1, 0, 0]);
    let expected = vec![[0.1, 0.1], [0.3, 0.1], [0.3, 0.3], [0.1, 0.3]];
    assert_eq!(objects[0].outline, Some(Outline::Polygon(expected)));
    let joined = objects[2].outline.as_ref().unwrap();
    assert_eq!(joined.corners(), [0.0, 0.0, 0.55, 0.6], "both parts are in the outline");
    let reasons = set.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for reason in [
        "annotation 3, picture a.jpg: it is a crowd",
        "annotation 4, picture a.jpg: there is no category 99",
        "annotation 5, picture a.jpg: its box [0, 0, 0, 10] has no area",
        "annotation 6, picture a.jpg: its 2 parts were joined by lines (mended)",
        "the picture gone.jpg is not there (left out)",
        "1 annotations are of picture 9, which is not listed",
        "1 boxes became outlines of four corners (mended)",
    ] {
        assert!(reasons.contains(reason), "{reason} is missing in\n{reasons}");
    }

    let again = dataset::coco::write(&set, Split::Val, |_| Ok((200, 100))).unwrap();
    write(at, "again/instances_val.json", &again);
    let again = dataset::read(&at.join("again/instances_val.json")).unwrap();
    assert_eq!((&again.items, &again.names), (&set.items, &set.names));
    assert_eq!(again.problems, []);
}

#[test]
fn voc_files_count_pixels_from_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "JPEGImages/a.jpg", "");
    write(at, "JPEGImages/b.jpg", "");
    let file = |objects: &str| {
        format!(
            "<annotation><filename>a.jpg</filename><size><width>100</width><height>50</height><depth>3</depth></size>{objects}</annotation>"
        )
    };
    let object = |name: &str, corners: [i32; 4]| {
        let [a, b, c, d] = corners;
        format!(
            "<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>\n"
        )
    };
    let objects =
        object("strip", [1, 1, 50, 25]) + &object("carton", [90, 1, 130, 50]) + &object("strip", [9, 9, 5, 5]);
    write(at, "Annotations/a.xml", file(&objects));
    write(at, "Annotations/b.xml", "<annotation>");
    write(at, "Annotations/c.xml", file("").replace("a.jpg", "c.jpg"));
    write(at, "ImageSets/Main/val.txt", "a\n");
    let set = dataset::read(at).unwrap();
    assert_eq!(set.names, ["carton", "strip"]);
    assert_eq!((set.items.len(), set.items[0].split), (1, Split::Val));
    assert_eq!(set.items[0].objects[0].outline, Some(Outline::Box([0.25, 0.25, 0.5, 0.5])));
    let reasons = set.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for reason in [
        "was cut off at the picture's edge",
        "has no area in the picture",
        "it is no XML",
        "its picture `c.jpg` is not there",
    ] {
        assert!(reasons.contains(reason), "{reason} is missing in\n{reasons}");
    }
}

#[test]
fn class_folders_are_numbered_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for name in ["train/strip/1.png", "train/carton/2.png", "val/strip/3.png", "train/loose.png"] {
        write(at, name, "");
    }
    fs::create_dir_all(at.join("train/empty")).unwrap();
    let set = dataset::read(at).unwrap();
    assert_eq!((set.kind, set.names.clone()), (Kind::Classify, vec!["carton".to_owned(), "strip".to_owned()]));
    assert_eq!((set.of(Split::Train).count(), set.of(Split::Val).count()), (2, 1));
    assert_eq!(set.balance()[&1].values().sum::<usize>(), 2);
    assert_eq!(set.problems.len(), 2, "{:?}", set.problems);
}

#[test]
fn real_sets_are_read() {
    let Some(samples) = samples("learn::dataset") else { return };
    for (name, kind, pictures, classes) in [
        ("face-mask", Kind::Detect, 200, 3),
        ("grocery-seg", Kind::Segment, 100, 24),
        ("pills-detect", Kind::Detect, 44, 5),
        ("pill-reference", Kind::Classify, 199, 10),
        ("malaria-cells", Kind::Classify, 60, 2),
        ("grocery-classes", Kind::Classify, 168, 21),
    ] {
        let set = dataset::read(&samples.join("data").join(name)).unwrap();
        println!(
            "{name}: {:?}, {} pictures, {} classes, {} doubts",
            set.kind,
            set.items.len(),
            set.names.len(),
            set.problems.len()
        );
        set.problems.iter().take(3).for_each(|problem| println!("  {problem}"));
        assert_eq!((set.kind, set.items.len(), set.names.len()), (kind, pictures, classes), "{name}");
        assert!(set.items.iter().any(|item| !item.objects.is_empty()));
    }
}
