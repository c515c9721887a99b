//! The `dataset` group, from its arguments to the files it writes.

mod alike;
mod copies;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use image::ImageFormat;
use serde_json::{Value, json};
use sightline::learn::dataset::versions::Versions;
use sightline::learn::dataset::{self, Kind, Split};

use super::{Desk, text};
use crate::support::{encoded, picture};

/// A set of twelve pictures, two of them the same, one broken, one lying on its side, and a label out of range.
fn set(desk: &Desk) {
    for n in 0..12 {
        let drawn = encoded(&picture(if n == 11 { 10 } else { n }, 120, 80), ImageFormat::Png);
        desk.write(format!("set/images/train/{n}.png"), &drawn);
        let class = if n == 11 { 0 } else { n % 2 };
        desk.write(format!("set/labels/train/{n}.txt"), format!("{class} 0.5 0.5 0.5 0.5\n").as_bytes());
    }
    desk.write("set/data.yaml", b"train: images/train\nnames: [carton, strip]\n");
}

/// A JPEG whose EXIF block says that it was taken with the camera on its side (orientation 6).
fn on_its_side() -> Vec<u8> {
    let jpeg = encoded(&picture(40, 120, 80), ImageFormat::Jpeg);
    let tiff = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (tiff.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], b"\xFF\xE1", &length, tiff, &jpeg[2..]].concat()
}

#[test]
fn a_sound_set_is_divided_and_what_looks_alike_stays_together() {
    let desk = Desk::new(&[]);
    set(&desk);
    let report = &desk.json("dataset check", &[&desk.path("set")], 0)[0];
    assert_eq!((&report["ok"], &report["splits"]["train"]["pictures"]), (&true.into(), &12.into()));
    assert_eq!(report["doubles"].as_array().unwrap().len(), 1, "10 and 11 are the same picture");
    let out = desk.path("divided");
    let words = format!("dataset split --train 2 --val 1 --test 1 --out {}", out.display());
    let made = &desk.json(&words, &[&desk.path("set")], 0)[0];
    assert_eq!(made["pictures"]["train"], 6, "{made}");
    let divided = dataset::read(&out).unwrap();
    assert_eq!((divided.kind, divided.items.len(), divided.problems.len()), (Kind::Detect, 12, 0));
    let split_of = |stem: &str| divided.items.iter().find(|i| i.image.file_stem().unwrap() == stem).unwrap().split;
    assert_eq!(split_of("10"), split_of("11"));
    for split in Split::ALL {
        let classes: Vec<u32> = divided.of(split).flat_map(|item| &item.objects).map(|object| object.class).collect();
        assert!(classes.contains(&0) && classes.contains(&1), "{split:?} has {classes:?}");
    }
    // Bytes are copied, not encoded again.
    let original = fs::read(desk.path("set/images/train/3.png")).unwrap();
    let copy = divided.items.iter().find(|item| item.image.file_stem().unwrap() == "3").unwrap();
    assert_eq!(fs::read(&copy.image).unwrap(), original);
    // A folder that is there is not written over.
    let refused = desk.run(&words, &[&desk.path("set")]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("it is there already"), "{}", text(&refused.stderr));
    // The same picture twice is one thing, under two labels another.
    desk.write("set/labels/train/11.txt", b"1 0.5 0.5 0.5 0.5\n");
    let report = &desk.json("dataset check", &[&desk.path("set")], 1)[0];
    assert_eq!((&report["ok"], &report["doubles"][0]["contradiction"]), (&false.into(), &true.into()), "{report}");
    let said = desk.run("dataset check", &[&desk.path("set")]);
    assert!(text(&said.stdout).contains("same bytes: LABELLED OTHERWISE: "), "{}", text(&said.stdout));
}

#[test]
fn what_is_wrong_is_named_and_nothing_half_made_stays() {
    let desk = Desk::new(&[]);
    set(&desk);
    desk.write("set/images/train/5.png", b"\x89PNG\r\n\x1a\nbroken");
    desk.write("set/labels/train/6.txt", b"7 0.5 0.5 0.5 0.5\n");
    let found = desk.run("dataset check", &[&desk.path("set")]);
    let said = text(&found.stdout);
    assert_eq!(found.status.code(), Some(1), "{said}");
    for words in ["broken: ", "5.png", "6.txt:1: class 7 is out of range", "not sound"] {
        assert!(said.contains(words), "{words} is missing in\n{said}");
    }
    desk.write("twice.yaml", b"train: set/images/train\nnames: [carton, carton]\n");
    let gone = json!({"images": [{"id": 1, "file_name": "gone.jpg", "width": 9, "height": 9}], "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}]});
    desk.write("gone.json", gone.to_string().as_bytes());
    desk.write("nameless.yaml", b"train: set/images/train\nnames: [carton, ' ']\n");
    let out = desk.path("imported");
    let refused = desk.run(&format!("dataset import --out {}", out.display()), &[&desk.path("set")]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("mend the file or take it out of the set"), "{}", text(&refused.stderr));
    assert!(!out.exists());
    let left: Vec<_> = fs::read_dir(desk.dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".dataset-")), "{left:?}");
    for (words, file, code, wanted) in [
        ("dataset check", "nothing", 4, "there is no"),
        ("dataset check", "config.yaml", 2, "neither `names` nor `nc`"),
        ("dataset check", "twice.yaml", 2, "classes 0 and 1 are both called \"carton\""),
        ("dataset check", "gone.json", 2, "the picture gone.jpg is not there"),
        ("dataset check", "nameless.yaml", 2, "class 1 has no name"),
        ("dataset split --group-by name --out x", "set", 2, "no way to group"),
        ("dataset split --train 0 --val 0 --test 0 --out x", "set", 2, "shares"),
    ] {
        let output = desk.run(words, &[&desk.path(file)]);
        assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(wanted), "{words}: {}", text(&output.stderr));
    }
}

#[test]
fn what_a_killed_one_was_making_goes_with_the_next() {
    let desk = Desk::new(&[]);
    let making = || -> Vec<PathBuf> {
        let entries = fs::read_dir(desk.dir.path()).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".dataset-")).collect()
    };
    let draw = |name: &str, images: u32| {
        let out = desk.path(name);
        let mut command =
            desk.command(&format!("dataset synth --images {images} --packs 4 --out {}", out.display()), &[]);
        command.stdout(Stdio::null());
        command
    };
    // Somebody's own folder of such a name is none of ours.
    desk.write(".dataset-mine/held", b"");
    desk.write(".dataset-mine/notes.txt", b"mine");
    let mut first = draw("first", 100_000).spawn().unwrap();
    while making().iter().filter(|path| path.join("set").is_dir()).count() < 1 {
        assert!(first.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(draw("second", 2).status().unwrap().success());
    assert_eq!(making().len(), 2, "one that is at work is left alone");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(draw("third", 2).status().unwrap().success());
    assert_eq!(making(), [desk.path(".dataset-mine")]);
    assert!(desk.path("second/data.yaml").is_file() && desk.path("third/data.yaml").is_file());
    assert!(!desk.path("first").exists());
}

#[test]
fn what_cannot_be_read_is_neither_background_nor_another_kind_of_set() {
    let desk = Desk::new(&[]);
    set(&desk);
    // Of one picture no label can be used, of another one can.
    desk.write("set/labels/train/3.txt", b"\xff");
    desk.write("set/labels/train/4.txt", b"9 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n");
    let (out, coco) = (desk.path("out"), desk.path("coco"));
    let summary = &desk.json(&format!("dataset import --out {}", out.display()), &[&desk.path("set")], 0)[0];
    assert_eq!((&summary["pictures"]["train"], &summary["objects"]), (&json!(11), &json!(11)), "{summary}");
    let left_out = summary["problems"].as_array().unwrap().iter().filter(|problem| problem["fate"] == "left_out");
    let left_out: Vec<&str> = left_out.map(|problem| problem["file"].as_str().unwrap()).collect();
    assert!(left_out.iter().any(|file| file.ends_with("images/train/3.png")), "{left_out:?}");
    assert_eq!(left_out.len(), 3, "{left_out:?}");

    // A folder of COCO files is no folder of class folders: it is read by them.
    desk.json(&format!("dataset export --format coco --out {}", coco.display()), &[&out], 0);
    let again = desk.path("again");
    let read = &desk.json(&format!("dataset import --out {}", again.display()), &[&coco], 0)[0];
    assert_eq!((&read["pictures"]["train"], &read["objects"]), (&json!(11), &json!(11)), "{read}");

    // A name that is no text goes through `--json` as its bytes.
    let odd = desk.path("odd");
    for (folder, end, bytes) in [
        ("images", "png", encoded(&picture(1, 60, 40), ImageFormat::Png)),
        ("labels", "txt", b"9 .5 .5 .1 .1\n".into()),
    ] {
        let mut name = b"\xff.".to_vec();
        name.extend(end.as_bytes());
        fs::create_dir_all(odd.join(folder)).unwrap();
        fs::write(odd.join(folder).join(OsStr::from_bytes(&name)), bytes).unwrap();
    }
    fs::write(odd.join("images/good.png"), encoded(&picture(2, 60, 40), ImageFormat::Png)).unwrap();
    fs::write(odd.join("classes.txt"), "carton\n").unwrap();
    for words in ["dataset check".to_owned(), format!("dataset import --out {}", desk.path("even").display())] {
        let output = desk.run(&format!("--json {words}"), &[&odd]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let problems = if words == "dataset check" { &said["labels"] } else { &said["problems"] };
        assert!(problems[0]["file"]["base64"].is_string(), "{words}: {said} {}", text(&output.stderr));
    }

    // A description that leads nowhere is not taken for none.
    fs::remove_file(desk.path("set/data.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere.yaml", desk.path("set/data.yaml")).unwrap();
    let refused = desk.run("dataset check", &[&desk.path("set")]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("data.yaml"), "{}", text(&refused.stderr));
}

#[test]
fn pictures_on_their_side_are_written_upright() {
    let desk = Desk::new(&[]);
    desk.write("set/images/a.jpg", &on_its_side());
    desk.write("set/labels/a.txt", b"0 0.1 0.1 0.5 0.1 0.5 0.5\n");
    desk.write("set/classes.txt", b"strip\n");
    let out = desk.path("coco");
    desk.json(&format!("dataset export --format coco --out {}", out.display()), &[&desk.path("set")], 0);
    let upright = image::open(out.join("images/train/a.jpg")).unwrap();
    assert_eq!((upright.width(), upright.height()), (80, 120));
    let written = dataset::read(&out.join("annotations/instances_train.json")).unwrap();
    assert_eq!((written.kind, written.names.as_slice()), (Kind::Segment, &["strip".to_owned()][..]));
    let original = dataset::read(&desk.path("set")).unwrap();
    assert_eq!(written.items[0].objects, original.items[0].objects);
    let sheet = desk.path("sheet.png");
    desk.json(&format!("dataset check --sheet {}", sheet.display()), &[&desk.path("set")], 0);
    assert_eq!(image::open(sheet).unwrap().width(), 5 * 320);
}

#[test]
fn nothing_is_written_among_what_is_read() {
    let desk = Desk::new(&[]);
    set(&desk);
    let pictures = desk.path("set/images/train");
    for (read, to) in [("set", "set/out"), ("set", "set/images/out"), ("set/data.yaml", "set/images/train/out")] {
        let to = desk.path(to);
        let refused = desk.run(&format!("dataset import --out {}", to.display()), &[&desk.path(read)]);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains("name a"), "{}", text(&refused.stderr));
        assert!(!to.exists());
    }
    assert_eq!(fs::read_dir(pictures).unwrap().count(), 12);
}

#[test]
fn written_names_are_plain() {
    let desk = Desk::new(&[]);
    let drawn = encoded(&picture(1, 120, 80), ImageFormat::Png);
    desk.write("set/images/a\u{1b}[31m\n.png", &drawn);
    desk.write("set/labels/a\u{1b}[31m\n.txt", b"0 0.5 0.5 0.5 0.5\n");
    let out = desk.path("out");
    desk.json(&format!("dataset import --out {}", out.display()), &[&desk.path("set")], 0);
    assert!(out.join("images/train/a_[31m_.png").is_file());
    assert!(out.join("labels/train/a_[31m_.txt").is_file());
}

fn vec_of(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn drawn_sets_and_their_versions() {
    let desk = Desk::new(&[]);
    let out = desk.path("drawn");
    let words = format!("dataset synth --images 3 --packs 4 --seed 2 --val 0.34 --out {}", out.display());
    let made = &desk.json(&words, &[], 0)[0];
    assert_eq!((&made["pictures"]["train"], &made["pictures"]["val"]), (&2.into(), &1.into()));
    let refused = desk.run(&words, &[]);
    assert_eq!(refused.status.code(), Some(2));
    for (wrong, named) in [("--images 0 --packs 1", "0 images"), ("--images 1 --packs 0", "0 packs")] {
        let refused = desk.run(&format!("dataset synth {wrong} --out {}", desk.path("x").display()), &[]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(named), "{}", text(&refused.stderr));
    }

    // Crops: a folder a pack, packs to choose by that are not learnt from, look-alikes beside each other.
    let crops = desk.path("crops");
    let words =
        format!("dataset synth --crops 2 --side 42 --packs 6 --first-design 11 --val 0.5 --out {}", crops.display());
    let made = &desk.json(&words, &[], 0)[0];
    assert_eq!((&made["packs"]["train"], &made["packs"]["val"]), (&3.into(), &3.into()), "{made}");
    let names = |part: &str| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(crops.join(part))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.split(' ').next().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        (names("train"), names("val")),
        (vec_of(&["000011", "000012", "000013"]), vec_of(&["000014", "000015", "000016"]))
    );
    let checked = &desk.json("dataset check", &[&crops], 0)[0];
    assert_eq!(checked["splits"]["val"]["pictures"], 6, "{checked}");
    for (wrong, named) in
        [("--crops 2 --packs 1", "1 packs"), ("--crops 2 --packs 4 --side 50", "50"), ("--packs 4", "--images")]
    {
        let refused = desk.run(&format!("dataset synth {wrong} --out {}", desk.path("x").display()), &[]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(named), "{}", text(&refused.stderr));
    }

    let kept = &desk.json("dataset snapshot", &[&out], 0)[0];
    assert_eq!((&kept["new"], &kept["version"]["number"]), (&true.into(), &1.into()));
    fs::write(out.join("data.yaml"), "mine").unwrap();
    let differs = &desk.json(&format!("dataset diff {} 1", out.display()), &[], 0)[0];
    assert_eq!((&differs["changed"], &differs["added"]), (&1.into(), &0.into()));
    let restore = format!("dataset restore {} 1", out.display());
    let refused = desk.run(&restore, &[]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("would be lost: data.yaml"), "{}", text(&refused.stderr));
    assert_eq!(fs::read_to_string(out.join("data.yaml")).unwrap(), "mine");
    desk.json(&format!("{restore} --force"), &[], 0);
    assert!(fs::read_to_string(out.join("data.yaml")).unwrap().contains("pack"));
    assert_eq!(desk.json("dataset list", &[&out], 0)[0]["current"], true);
    let none = desk.run("dataset list", &[&crops]);
    assert_eq!(none.status.code(), Some(4));
    assert!(text(&none.stderr).contains("`sightline dataset snapshot` keeps one"), "{}", text(&none.stderr));
}

#[test]
fn a_killed_snapshot_or_restore_leaves_whole_states_only() {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("set");
    fs::create_dir(&set).unwrap();
    for n in 0..60_u32 {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(n + 1) >> 7) as u8).collect();
        fs::write(set.join(format!("{n}.bin")), bytes).unwrap();
    }
    let killed = |words: &[&str], after: u64| {
        let mut child = super::program().arg("dataset").args(words).arg("--workspace").arg(dir.path()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(after));
        child.kill().unwrap();
        child.wait().unwrap();
    };
    let path = set.to_str().unwrap();
    // What is kept under a message holds that message, and a file that is only of that version.
    let change = |number: u64| {
        for entry in fs::read_dir(&set).unwrap().flatten().filter(|e| e.path().extension().is_some_and(|e| e == "txt"))
        {
            fs::remove_file(entry.path()).unwrap();
        }
        fs::write(set.join("number"), number.to_string()).unwrap();
        fs::write(set.join(format!("{number}.txt")), vec![number as u8; 300_000]).unwrap();
    };
    let whole = |message: &str| {
        let names = fs::read_dir(&set).unwrap().count();
        fs::read_to_string(set.join("number")).unwrap() == message
            && names == 62
            && fs::read(set.join(format!("{message}.txt"))).unwrap().len() == 300_000
    };
    for number in 0..10 {
        change(number);
        killed(&["snapshot", path, "--message", &number.to_string()], number * 12);
    }
    change(10);
    let versions = Versions::open(&set, true).unwrap();
    versions.keep("10").unwrap();
    let all = versions.list().unwrap();
    for version in &all {
        versions.restore(version).unwrap();
        assert!(whole(&version.message), "{version:?}");
    }
    change(11);
    versions.keep("11").unwrap();
    drop(versions);
    for number in 0..8 {
        let to = if number % 2 == 0 { all.last().unwrap().number } else { all.last().unwrap().number + 1 };
        killed(&["restore", path, &to.to_string()], number * 10);
        // Opening puts right what was interrupted.
        drop(Versions::open(&set, false).unwrap());
        assert!(whole("10") || whole("11"), "after {number}");
    }
    let left: Vec<String> =
        fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.contains("sightline-restore")), "{left:?}");
}
