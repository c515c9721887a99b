//! Pascal VOC files: which pictures they are of.

use std::path::Path;

use sightline::learn::dataset::{self, Dataset, Fate};

use super::{told, write};

/// A file that names its picture and a class.
fn file(folder: &str, filename: &str, class: &str) -> String {
    format!(
        "<annotation><folder>{folder}</folder><filename>{filename}</filename><size><width>100</width><height>50</height></size>\
         <object><name>{class}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>50</xmax><ymax>25</ymax></bndbox></object></annotation>"
    )
}

/// Each picture's path below a folder, and the classes in it.
fn found(at: &Path, set: &Dataset) -> Vec<(String, Vec<String>)> {
    let name = |object: &dataset::Object| set.names[object.class as usize].clone();
    let item = |item: &dataset::Item| {
        let path = item.image.strip_prefix(at).unwrap().to_str().unwrap().to_owned();
        (path, item.objects.iter().map(name).collect())
    };
    set.items.iter().map(item).collect()
}

fn expected(items: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
    items.iter().map(|(path, class)| ((*path).to_owned(), vec![(*class).to_owned()])).collect()
}

#[test]
fn pictures_of_one_name_keep_their_own_labels() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("nested");
    for name in ["JPEGImages/x/1.jpg", "JPEGImages/y/1.jpg", "SegmentationClass/1.png", "SegmentationObject/1.png"] {
        write(&at, name, "");
    }
    // By where the file lies, and by its `folder`.
    write(&at, "Annotations/x/1.xml", file("", "1.jpg", "carton"));
    write(&at, "Annotations/2.xml", file("y", "1.jpg", "strip"));
    let set = dataset::read(&at).unwrap();
    assert_eq!(found(&at, &set), expected(&[("JPEGImages/x/1.jpg", "carton"), ("JPEGImages/y/1.jpg", "strip")]));
    assert_eq!(told(&set), "");

    // What neither says is told; masks that are called like the picture are none.
    let at = dir.path().join("flat");
    for name in [
        "JPEGImages/x/1.jpg",
        "JPEGImages/y/1.jpg",
        "JPEGImages/3.jpg",
        "SegmentationClass/3.png",
        "SegmentationClass/4.png",
    ] {
        write(&at, name, "");
    }
    write(&at, "Annotations/1.xml", file("VOC2012", "1.jpg", "carton"));
    write(&at, "Annotations/3.xml", file("VOC2012", "3", "strip"));
    write(&at, "Annotations/4.xml", file("VOC2012", "4.jpg", "strip"));
    let set = dataset::read(&at).unwrap();
    assert_eq!(found(&at, &set), expected(&[("JPEGImages/3.jpg", "strip")]));
    let said = told(&set);
    assert!(
        said.contains("1.xml: 2 pictures may be its: ") && said.contains("write into `folder` and `filename`"),
        "{said}"
    );
    assert!(said.contains("4.xml: its picture `4.jpg` is not there (left out)"), "{said}");
    assert_eq!(set.problems.len(), 2, "{said}");

    // Beside the pictures.
    let at = dir.path().join("beside");
    for name in ["1.jpg", "x/1.jpg"] {
        write(&at, name, "");
        write(&at, &name.replace("jpg", "xml"), file("", "1.jpg", if name.contains('x') { "strip" } else { "carton" }));
    }
    let set = dataset::read(&at).unwrap();
    assert_eq!(found(&at, &set), expected(&[("1.jpg", "carton"), ("x/1.jpg", "strip")]));
    assert_eq!(told(&set), "");
}

#[test]
fn what_is_of_no_picture_or_of_two_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for name in ["a", "b", "c", "d", "broken", "renamed", "odd"] {
        write(at, &format!("JPEGImages/{name}.jpg"), "");
    }
    write(at, "Annotations/a.xml", file("", "a.jpg", "carton"));
    // A copy that still names what it was copied from.
    write(at, "Annotations/copy.xml", file("", "a.jpg", "strip"));
    write(at, "Annotations/b.xml", file("", "c.jpg", "strip"));
    write(at, "Annotations/d-1.xml", file("", "d.jpg", "strip"));
    write(at, "Annotations/d-2.xml", file("", "d.jpg", "carton"));
    write(at, "Annotations/broken.xml", "<annotation>");
    write(at, "Annotations/renamed.xml", file("", "IMG_1.jpg", "strip"));
    write(at, "Annotations/odd.xml", file("", "odd.jpg", "").replace("<name></name>", ""));
    let set = dataset::read(at).unwrap();
    let wanted = [("JPEGImages/a.jpg", "carton"), ("JPEGImages/c.jpg", "strip"), ("JPEGImages/renamed.jpg", "strip")];
    assert_eq!(found(at, &set), expected(&wanted));
    let said = told(&set);
    for (file, fate, reason) in [
        ("copy.xml", Fate::LeftOut, "a.jpg, is of "),
        ("b.xml", Fate::Kept, "b.jpg has its own name; the former is taken"),
        ("JPEGImages/b.jpg", Fate::LeftOut, "no XML file is of it"),
        ("JPEGImages/d.jpg", Fate::LeftOut, "2 files are of it, and it is not known which"),
        ("broken.xml", Fate::LeftOut, "it is no XML"),
        ("renamed.xml", Fate::Kept, "its picture `IMG_1.jpg` is not there; "),
        ("odd.xml", Fate::LeftOut, "its `name` is missing"),
        ("JPEGImages/odd.jpg", Fate::LeftOut, "none of its labels can be used"),
    ] {
        let matching = |problem: &&dataset::Problem| problem.file.ends_with(file) && problem.reason.contains(reason);
        let problem = set.problems.iter().find(matching).unwrap_or_else(|| panic!("{file}, {reason}:\n{said}"));
        assert_eq!(problem.fate, fate, "{reason}");
    }
    assert_eq!(set.problems.len(), 8, "{said}");
}

#[test]
fn lists_name_pictures_by_path_and_by_whole_names() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for name in ["x/1", "y/1", "my pack", "my", "plain", "late"] {
        write(at, &format!("JPEGImages/{name}.jpg"), "");
        let path = Path::new(name);
        let folder = path.parent().unwrap().to_str().unwrap();
        let called = format!("{}.jpg", path.file_name().unwrap().to_str().unwrap());
        write(at, &format!("Annotations/{name}.xml"), file(folder, &called, "carton"));
    }
    write(at, "ImageSets/Main/train.txt", "x/1\r\nmy pack\r\n");
    write(at, "ImageSets/Main/val.txt", "\u{feff}y/1\nplain  1\n\n1\nmy.jpg\ngone\nmy pack\nlost\n");
    let set = dataset::read(at).unwrap();
    let split = |name: &str| {
        let item = set.items.iter().find(|item| item.image == at.join("JPEGImages").join(name));
        item.unwrap_or_else(|| panic!("{name} is missing")).split.name()
    };
    assert_eq!(
        ["x/1.jpg", "y/1.jpg", "my pack.jpg", "my.jpg", "plain.jpg", "late.jpg"].map(split),
        ["train", "val", "train", "val", "val", "train"]
    );
    let told = told(&set);
    for reason in [
        "val.txt:4: `1` may be any of",
        "val.txt:6: no labelled picture is called so, here and in 1 more lines (left out)",
        "my pack.jpg is in both train and val; it is taken for train (leak)",
        "1 labelled pictures are in none of its lists and taken for train",
    ] {
        assert!(told.contains(reason), "{reason} is missing in\n{told}");
    }
    assert_eq!(set.problems.len(), 4, "{told}");
}
