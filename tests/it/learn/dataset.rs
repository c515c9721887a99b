//! Sets of pictures with labels, read from each format with its mistakes.

mod check;
mod coco;
mod kept;
mod tables;
mod voc;

use std::fs;
use std::path::Path;

use sightline::learn::dataset::tables::Tables;
use sightline::learn::dataset::{self, Kind, Object, Outline, Split, layout, yolo};

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
    let (objects, problems) = labels("0 -0.005 0.1 0.2 0.1 0.2 0.5\n");
    assert_eq!(objects[0].outline, Some(Outline::Polygon(vec![[0.0, 0.1], [0.2, 0.1], [0.2, 0.5]])));
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
    let reason = "1 pictures are in both train and val; they are taken for train only (leak)";
    assert!(set.problems.iter().any(|problem| problem.to_string().ends_with(reason)), "{:?}", set.problems);
    assert!(told(&set).contains("deep: 1 of its pictures are in none of the set's parts: b.JPG (kept)"));

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
        "1 regions are crowds (`iscrowd`)",
        "1 masks of runs became outlines along their pixels (mended)",
        "annotation 4, picture a.jpg: there is no category 99",
        "annotation 5, picture a.jpg: its box [0, 0, 0, 10] has no area",
        "annotation 6, picture a.jpg: its 2 parts were joined by lines of no width (mended)",
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
    assert_eq!(again.problems.len(), 1, "the crowd: {}", told(&again));
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
fn a_coco_file_whose_ids_are_not_unique_is_refused_and_far_corners_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "images/a.jpg", "");
    write(at, "images/b.jpg", "");
    let read = |images: [u8; 2], categories: [u8; 2], x: f64| {
        let [a, b] = images.map(|id| id.to_string());
        let [first, second] = categories.map(|id| id.to_string());
        let text = format!(
            r#"{{"images": [{{"id": {a}, "file_name": "a.jpg", "width": 100, "height": 100}},
            {{"id": {b}, "file_name": "b.jpg", "width": 100, "height": 100}}],
            "categories": [{{"id": {first}, "name": "strip"}}, {{"id": {second}, "name": "carton"}}],
            "annotations": [{{"id": 1, "image_id": {a}, "category_id": {first}, "bbox": [10, 10, {x}, 40]}},
            {{"id": 1, "image_id": {b}, "category_id": {second}, "segmentation": [[0, 0, {x}, 0, 50, 50]]}}]}}"#
        );
        write(at, "instances_train.json", text);
        dataset::read(&at.join("instances_train.json"))
    };
    for (images, categories, named) in [
        ([1, 1], [1, 2], r#"two pictures have the id 1, "a.jpg" and "b.jpg""#),
        ([1, 2], [5, 5], r#"two categories have the id 5, "strip" and "carton""#),
    ] {
        let error = read(images, categories, 50.0).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let reasons = |x: f64| {
        let set = read([1, 2], [1, 2], x).unwrap();
        assert_eq!(set.items.iter().map(|item| item.objects.len()).sum::<usize>(), 2);
        set.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let near = reasons(50.0);
    assert!(near.contains("1 annotations have an id that another has") && !near.contains("cut off"), "{near}");
    assert_eq!(reasons(1e30).matches("it reached out of the picture and was cut off there").count(), 2);
}

#[test]
fn no_picture_and_no_class_is_passed_over_in_silence() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for name in ["a/1.png", "b/2.png", "b/phone.heic", "b/old.GIF", "b/notes.txt", "b/Makefile"] {
        write(at, name, "");
    }
    write(at, "b/scan", [0xff, 0xd8, 0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F']);
    let odd = at.join(std::ffi::OsStr::from_bytes(b"lat\xe9in"));
    fs::create_dir_all(&odd).unwrap();
    fs::write(odd.join("3.png"), "").unwrap();
    let said = problems(at);
    for (file, reason) in [
        ("phone.heic", "pictures of this kind are not read"),
        ("old.GIF", "pictures of this kind are not read"),
        ("b/scan", "it is a picture without an extension"),
        ("lat", "its name is no text in UTF-8"),
    ] {
        assert!(said.lines().any(|line| line.contains(file) && line.contains(reason)), "{file}: {said}");
    }
    assert_eq!(said.lines().count(), 4, "{said}");
}

#[test]
fn classes_that_would_share_a_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for name in ["set/x\ny/1.png", "set/x_y/2.png"] {
        write(at, name, "");
    }
    let set = dataset::read(&at.join("set")).unwrap();
    let copy = |_: &Path| Ok(layout::Picture { bytes: layout::Bytes::AsItIs, size: (1, 1) });
    let error =
        layout::write(&set, &at.join("copy"), layout::Format::Yolo, &Tables::default(), copy).unwrap_err().to_string();
    assert!(error.contains(r#""x\ny" and "x_y" would be the same folder"#), "{error}");
    assert!(!at.join("copy").exists());
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

/// The problems of a set, a line each.
fn problems(at: &Path) -> String {
    told(&dataset::read(at).unwrap())
}

/// What is told of a set, a line each.
fn told(set: &dataset::Dataset) -> String {
    set.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_no_ordinary_file_is_named_and_stops_nothing() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for name in ["folder", "dangling", "pipe", "huge", "sound"] {
        write(at, &format!("images/{name}.jpg"), "");
    }
    write(at, "elsewhere/real.jpg", "");
    symlink(at.join("elsewhere/real.jpg"), at.join("images/linked.jpg")).unwrap();
    symlink(at.join("elsewhere"), at.join("images/more")).unwrap();
    fs::create_dir_all(at.join("labels/folder.txt")).unwrap();
    symlink("nowhere", at.join("labels/dangling.txt")).unwrap();
    let pipe = std::ffi::CString::new(at.join("labels/pipe.txt").to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string that lives until the call returns.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    fs::File::create(at.join("labels/huge.txt")).unwrap().set_len(9 << 20).unwrap();
    write(at, "labels/sound.txt", "0 0.5 0.5 0.2 0.2\n");
    write(at, "labels/lost.txt", "0 0.5 0.5 0.2 0.2\n");
    write(at, "data.yaml", "train: images\nnames: [a]\n");
    let said = problems(at);
    for (file, reason) in [
        ("images/linked.jpg", "it is a link, which is not followed"),
        ("images/more", "it is a link, which is not followed"),
        ("labels/folder.txt", "it is a folder"),
        ("labels/dangling.txt", "it is a link to nothing"),
        ("labels/pipe.txt", "it is no ordinary file"),
        ("labels/huge.txt", "more than the 8388608 that are read"),
        ("labels/lost.txt", "there is no picture of this name"),
    ] {
        let line = said.lines().find(|line| line.contains(file)).unwrap_or_else(|| panic!("{file}:\n{said}"));
        assert!(line.contains(reason), "{line}");
    }
    // Pictures of which no label can be read are no pictures of nothing.
    assert_eq!(said.matches("none of its labels can be used").count(), 4, "{said}");
    assert_eq!(said.lines().count(), 11, "{said}");
    assert_eq!(dataset::read(at).unwrap().items.len(), 1);
}

#[test]
fn numbers_and_paths_that_went_wrong_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "images/a.jpg", "");
    for (yaml, wrong) in [
        ("train: images\nnc: 4000000000\n", "there can be 100000 classes at most"),
        ("train: /\nnames: [a]\n", "it is the root of the file system"),
        ("train: ../../../../../../../../../../..\nnames: [a]\n", "it is the root of the file system"),
    ] {
        write(at, "data.yaml", yaml);
        let error = dataset::read(at).unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
    }
    fs::remove_file(at.join("data.yaml")).unwrap();
    write(at, "labels/a.txt", "4000000000 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n");
    let set = dataset::read(at).unwrap();
    assert_eq!(set.names.len(), 1);
    assert!(set.problems[0].reason.contains("is out of range"), "{:?}", set.problems);
}

#[test]
fn the_same_pictures_to_learn_from_and_to_choose_by_are_a_leak() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "images/a.jpg", "");
    write(at, "data.yaml", "train: images\nval: images\nnames: [a]\n");
    let set = dataset::read(at).unwrap();
    let look = dataset::check::Look { bytes: sightline::domain::ImageId([1; 32]), perceptual: 1, size: (10, 10) };
    let report = dataset::check::check(&set, &[Ok(look)]);
    assert!(!report.is_sound(), "{:?}", report.labels);
}

/// A JPEG of 40 x 30 pixels that says it lies on its side (EXIF 6).
fn on_its_side() -> Vec<u8> {
    let jpeg = crate::support::encoded(&crate::support::picture(3, 40, 30), image::ImageFormat::Jpeg);
    let tiff = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (tiff.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], b"\xFF\xE1", &length, tiff, &jpeg[2..]].concat()
}

#[test]
fn labels_of_the_stored_picture_are_turned_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "images/a.jpg", on_its_side());
    // The stored picture is 40 wide and 30 high; its left upper quarter is the right upper one when it stands.
    let coco = |width: u32, height: u32, bbox: &str| {
        let text = format!(
            r#"{{"images": [{{"id": 1, "file_name": "a.jpg", "width": {width}, "height": {height}}}],
            "categories": [{{"id": 1, "name": "a"}}],
            "annotations": [{{"id": 1, "image_id": 1, "category_id": 1, "bbox": {bbox}}}]}}"#
        );
        write(at, "instances.json", text);
        let set = dataset::read(&at.join("instances.json")).unwrap();
        (set.items[0].objects[0].outline.as_ref().unwrap().corners(), set.problems.len())
    };
    assert_eq!(coco(40, 30, "[0, 0, 20, 15]"), ([0.5, 0.0, 1.0, 0.5], 0));
    assert_eq!(coco(30, 40, "[15, 0, 15, 20]"), ([0.5, 0.0, 1.0, 0.5], 0));
    assert_eq!(coco(80, 60, "[0, 0, 40, 30]"), ([0.0, 0.0, 0.5, 0.5], 1), "another size is named");

    let voc = |width: u32, height: u32, [x1, y1, x2, y2]: [u32; 4]| {
        let text = format!(
            "<annotation><filename>a.jpg</filename><size><width>{width}</width><height>{height}</height></size>\
             <object><name>a</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>\
             </object></annotation>"
        );
        write(at, "voc/a.xml", text);
        write(at, "voc/a.jpg", on_its_side());
        dataset::read(&at.join("voc")).unwrap().items[0].objects[0].outline.as_ref().unwrap().corners()
    };
    assert_eq!(voc(40, 30, [1, 1, 20, 15]), [0.5, 0.0, 1.0, 0.5]);
    assert_eq!(voc(30, 40, [16, 1, 30, 20]), [0.5, 0.0, 1.0, 0.5]);
}
