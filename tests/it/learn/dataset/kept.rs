//! What a set has and its reader does not take is listed, whatever the format.

use std::fs;
use std::path::Path;

use sightline::learn::dataset::tables::Tables;
use sightline::learn::dataset::{self, Dataset, Fate, Outline, Split, coco, layout};

use super::{told, write};

const BOX: &str = "0 0.5 0.5 0.2 0.2\n";

fn splits(set: &Dataset) -> Vec<(String, &'static str)> {
    let item =
        |item: &dataset::Item| (item.image.file_name().unwrap().to_string_lossy().into_owned(), item.split.name());
    set.items.iter().map(item).collect()
}

#[test]
fn pictures_in_no_part_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("folders");
    for name in ["train/a", "Val/b", "holdout/c", "holdout/d", "e"] {
        write(&at, &format!("images/{name}.png"), "");
        write(&at, &format!("labels/{name}.txt"), BOX);
    }
    let set = dataset::read(&at).unwrap();
    assert_eq!(splits(&set), [("a.png".into(), "train"), ("b.png".into(), "val")]);
    let problems: Vec<String> = set.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            format!(
                "{}: 1 of its pictures are in none of the set's parts: e.png (left out)",
                at.join("images").display()
            ),
            format!(
                "{}: 2 of its pictures are in none of the set's parts: c.png, d.png (left out)",
                at.join("images/holdout").display()
            ),
        ]
    );
    // A description may leave some out on purpose.
    write(&at, "data.yaml", "train: images/train\nval: images/Val\nnames: [pack]\n");
    let set = dataset::read(&at).unwrap();
    assert_eq!(set.problems.iter().map(|problem| problem.fate).collect::<Vec<_>>(), [Fate::Kept; 2]);

    let at = dir.path().join("classes");
    for name in ["train/x/a", "Test/x/b", "holdout/x/c"] {
        write(&at, &format!("{name}.png"), "");
    }
    let set = dataset::read(&at).unwrap();
    assert_eq!(splits(&set), [("b.png".into(), "test"), ("a.png".into(), "train")]);
    assert!(told(&set).contains("holdout/x: 1 of its pictures are in none of the set's parts: c.png (left out)"));
}

#[test]
fn labels_in_capitals_are_read_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "images/train/a.png", "");
    write(at, "labels/train/a.TXT", BOX);
    write(at, "labels/train/b.TXT", BOX);
    let set = dataset::read(at).unwrap();
    assert_eq!(set.items[0].objects.len(), 1);
    let told = told(&set);
    assert!(told.contains("a.TXT: other programs do not read labels with an extension in capitals"), "{told}");
    assert!(told.contains("b.TXT: there is no picture of this name (left out)"), "{told}");
}

#[test]
fn boxes_are_cut_at_the_edge_and_names_and_key_points_are_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "images/train/a.png", "");
    write(at, "labels/train/a.txt", "0 0.95 0.5 0.9 0.2\n1 0.9 0.5 0.205 0.2\n");
    let described = "train: images/train\nnames: [yes, no]\n";
    write(at, "data.yaml", described);
    let set = dataset::read(at).unwrap();
    assert_eq!(set.names, ["yes", "no"]);
    let bounds = |object: usize| match &set.items[0].objects[object].outline {
        Some(outline @ Outline::Box(_)) => outline.corners(),
        other => panic!("{other:?}"),
    };
    assert!((bounds(0)[0] - 0.5).abs() < 1e-6 && (bounds(0)[2] - 1.0).abs() < 1e-6, "{:?}", bounds(0));
    assert!(bounds(1)[2] > 1.0, "rounding is left as it is: {:?}", bounds(1));
    let told = told(&set);
    assert_eq!(set.problems.len(), 1, "{told}");
    assert!(told.contains("a.txt:1: the box reached out of the picture and was cut off there (mended)"), "{told}");

    write(at, "data.yaml", format!("{described}kpt_shape: [4, 2]\n"));
    let error = dataset::read(at).unwrap_err().to_string();
    assert!(error.contains("data.yaml: it describes key points (`kpt_shape`)"), "{error}");
}

#[test]
fn voc_outlines_and_difficult_objects_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "JPEGImages/a.jpg", "");
    let object = |more: &str| {
        format!(
            "<object><name>carton</name>{more}<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>50</xmax><ymax>25</ymax></bndbox></object>"
        )
    };
    let objects = object("<difficult>1</difficult>") + &object("<difficult>0</difficult><polygon><x1>1</x1></polygon>");
    let size = "<size><width>100</width><height>50</height></size>";
    write(at, "Annotations/a.xml", format!("<annotation><filename>a.jpg</filename>{size}{objects}</annotation>"));
    let set = dataset::read(at).unwrap();
    assert_eq!(set.items[0].objects.len(), 2);
    let told = told(&set);
    assert!(told.contains("1 objects have an outline (`polygon`), of which the box alone is read (mended)"), "{told}");
    assert!(told.contains("1 objects are marked `difficult`; they are taken as all others are (kept)"), "{told}");
}

/// A COCO file of pictures with one box each, and what else is said of each picture.
fn file(pictures: &[(i64, &str, &str)], categories: &str) -> String {
    let image = |(id, name, more): &(i64, &str, &str)| {
        format!(r#"{{"id": {id}, "file_name": "{name}", "width": 100, "height": 80{more}}}"#)
    };
    let label = |(id, ..): &(i64, &str, &str)| {
        format!(r#"{{"id": {id}, "image_id": {id}, "category_id": 7, "bbox": [10, 10, 40, 40]}}"#)
    };
    let list = |of: &dyn Fn(&(i64, &str, &str)) -> String| pictures.iter().map(of).collect::<Vec<_>>().join(",");
    format!(r#"{{"images": [{}], "annotations": [{}], "categories": [{categories}]}}"#, list(&image), list(&label))
}

#[test]
fn coco_files_of_parts_are_one_set() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for name in ["train2017/a", "train2017/b", "val2017/c"] {
        write(at, &format!("{name}.jpg"), "");
    }
    let pack = r#"{"id": 7, "name": "pack"}"#;
    let train = "annotations/instances_train2017.json";
    let patient = r#", "patient": "p1", "license": 3"#;
    write(at, train, file(&[(11, "a.jpg", patient), (12, "b.jpg", "")], pack));
    write(at, "annotations/instances_val2017.json", "\u{feff}".to_owned() + &file(&[(21, "c.jpg", "")], pack));
    let set = dataset::read(at).unwrap();
    let parts = [("a.jpg".to_owned(), "train"), ("b.jpg".to_owned(), "train"), ("c.jpg".to_owned(), "val")];
    assert_eq!(splits(&set), parts);
    assert_eq!(told(&set), "");
    // Answers carry the file's own numbers; those of a set without one are as its export would have them.
    let numbers = coco::numbers(at, &set, Split::Val).unwrap();
    assert_eq!((numbers.pictures[&at.join("val2017/c.jpg")], numbers.categories), (21, vec![7]));

    // What the file says of its pictures goes along with a copy, and groups there, too.
    let tables = Tables::beside(at, &set).unwrap();
    let copy = dir.path().join("copy");
    let picture = |_: &Path| Ok(layout::Picture { bytes: layout::Bytes::AsItIs, size: (100, 80) });
    layout::write(&set, &copy, layout::Format::Yolo, &tables, picture).unwrap();
    let table = fs::read_to_string(copy.join("metadata.jsonl")).unwrap();
    let row: serde_json::Value = serde_json::from_str(table.trim()).unwrap();
    assert_eq!(row, serde_json::json!({"file": "images/train/a.jpg", "patient": "p1", "license": 3}));
    let copied = dataset::read(&copy).unwrap();
    let numbers = coco::numbers(&copy, &copied, Split::Train).unwrap();
    assert_eq!((numbers.pictures[&copy.join("images/train/b.jpg")], numbers.categories), (2, vec![1]));

    // A picture in both parts, other categories, two files for one part.
    let val = "annotations/instances_val2017.json";
    write(at, val, file(&[(21, "c.jpg", ""), (22, "../train2017/a.jpg", "")], pack));
    let told = told(&dataset::read(at).unwrap());
    assert!(told.contains("1 pictures are in both train and val; they are taken for train only (leak)"), "{told}");
    write(at, val, file(&[(21, "c.jpg", "")], r#"{"id": 7, "name": "strip"}"#));
    let error = dataset::read(at).unwrap_err().to_string();
    assert!(error.contains("the categories of ") && error.contains("name one of them"), "{error}");
    write(at, "annotations/instances_train.json", file(&[], pack));
    let error = dataset::read(at).unwrap_err().to_string();
    assert!(error.contains("two COCO files for `train`"), "{error}");
}

#[test]
fn an_odd_entry_costs_itself_and_not_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "images/a.jpg", "");
    write(at, "images/b.jpg", "");
    let whole = file(&[(1, "a.jpg", ""), (2, "b.jpg", "")], r#"{"id": 7, "name": "pack"}"#);
    let json = at.join("instances_train.json");
    let read = |text: &str| {
        fs::write(&json, text).unwrap();
        dataset::read(&json)
    };
    let first = r#""bbox": [10, 10, 40, 40]"#;
    for (odd, reason) in [
        (r#""bbox": [10, "x", 40, 40]"#, "annotation 1: invalid type: string"),
        (r#""bbox": null"#, "annotation 1: invalid type: null"),
    ] {
        let set = read(&whole.replacen(first, odd, 1)).unwrap();
        // With its only label lost the picture would pass for one of nothing.
        assert_eq!(splits(&set), [("b.jpg".to_owned(), "train")]);
        let told = told(&set);
        assert!(told.contains(reason) && told.contains("a.jpg: none of its labels can be used (left out)"), "{told}");
    }
    let error = read(&whole.replacen("10", "NaN", 1)).unwrap_err().to_string();
    assert!(error.contains("it is no COCO file") && error.contains("NaN and Infinity, are not JSON"), "{error}");
    let error = read(&whole.replacen(r#""name": "pack""#, r#""name": 1"#, 1)).unwrap_err().to_string();
    assert!(error.contains("category 7: invalid type: integer"), "{error}");
    let error = read(r#"{"annotations": []}"#).unwrap_err().to_string();
    assert!(error.contains("`images` is missing"), "{error}");
}
