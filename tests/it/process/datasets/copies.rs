//! Copies of sets: what groups them, what goes along, what stays behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use image::ImageFormat;
use serde_json::{Value, json};
use sightline::learn::dataset::{self, Split};

use super::super::{Desk, text};
use crate::support::{encoded, picture};

/// Twelve pictures of four patients, three each, in a table beside them.
fn set(desk: &Desk) {
    let mut table = "file,patient\n".to_owned();
    for n in 0..12 {
        desk.write(format!("set/images/{n}.png"), &encoded(&picture(n, 120, 80), ImageFormat::Png));
        desk.write(format!("set/labels/{n}.txt"), b"0 0.5 0.5 0.5 0.5\n");
        table += &format!("images/{n}.png,p{}\n", n % 4);
    }
    desk.write("set/metadata.csv", table.as_bytes());
    desk.write("set/classes.txt", b"pack\n");
}

/// The rows of a table of JSON lines.
fn rows(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn pictures_with_a_key_in_common_stay_together() {
    let desk = Desk::new(&[]);
    set(&desk);
    let split = |name: &str| {
        format!("dataset split --train 2 --val 1 --test 1 --group-by key:patient --out {}", desk.path(name).display())
    };
    let made = &desk.json(&split("divided"), &[&desk.path("set")], 0)[0];
    assert_eq!(made["problems"], json!([]));
    assert_eq!(made["pictures"], json!({"train": 6, "val": 3, "test": 3}), "{made}");
    let divided = dataset::read(&desk.path("divided")).unwrap();
    let mut parts: BTreeMap<u32, BTreeSet<Split>> = BTreeMap::new();
    for item in &divided.items {
        let n: u32 = item.image.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        parts.entry(n % 4).or_default().insert(item.split);
    }
    assert!(parts.len() == 4 && parts.values().all(|parts| parts.len() == 1), "{parts:?}");
    // The table went along, under the new names, and so the copy can be divided by it again.
    let table = fs::read_to_string(desk.path("divided/metadata.csv")).unwrap();
    assert_eq!(table.lines().count(), 13, "{table}");
    desk.json(&split("again"), &[&desk.path("divided")], 0);

    desk.write("set/images/12.png", &encoded(&picture(12, 120, 80), ImageFormat::Png));
    let refused = desk.run(&split("refused"), &[&desk.path("set")]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("1 pictures have no `patient` in it, as ") && said.contains("12.png"), "{said}");
    let refused = desk.run(&split("refused").replace("patient", "ward"), &[&desk.path("set")]);
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("there are patient"), "{said}");
    assert!(!desk.path("refused").exists());

    // Parts that are far from what was asked for are told.
    let table: String = (0..13).map(|n: u32| format!("images/{n}.png,p{}\n", n.saturating_sub(10))).collect();
    desk.write("set/metadata.csv", format!("file,patient\n{table}").as_bytes());
    let uneven = desk.run(&split("uneven"), &[&desk.path("set")]);
    let said = text(&uneven.stderr);
    assert!(uneven.status.success(), "{said}");
    for part in ["val", "test"] {
        let told = format!("`{part}` has 1 of 13 pictures, where a share of 0.25 was asked for");
        assert!(said.contains(&told) && said.contains("11 in one group"), "{said}");
    }
}

#[test]
fn designs_of_drawn_packs_stay_together_and_are_known_in_the_copy() {
    let desk = Desk::new(&[]);
    let drawn = desk.path("drawn");
    desk.json(&format!("dataset synth --images 10 --packs 60 --seed 4 --out {}", drawn.display()), &[], 0);
    let (divided, coco) = (desk.path("divided"), desk.path("coco"));
    let words = format!("dataset split --train 2 --val 1 --test 1 --group-by key:pack --out {}", divided.display());
    let made = &desk.json(&words, &[&drawn], 0)[0];
    assert_eq!(made["problems"], json!([]));
    let parts = |rows: &[Value]| -> BTreeMap<u64, BTreeSet<String>> {
        let mut parts: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for row in rows {
            let part = row["image"].as_str().unwrap().split('/').nth(1).unwrap().to_owned();
            parts.entry(row["pack"].as_u64().unwrap()).or_default().insert(part);
        }
        parts
    };
    let (before, after) = (rows(&drawn.join("instances.jsonl")), rows(&divided.join("instances.jsonl")));
    assert_eq!(before.len(), after.len());
    assert!(parts(&after).values().all(|parts| parts.len() == 1), "{:?}", parts(&after));
    assert!(parts(&after).values().flatten().collect::<BTreeSet<_>>().len() > 1, "they are divided at all");
    // Each row is of a label that is there, and is the row that it was.
    let without = |row: &Value| {
        let mut row = row.clone();
        let image = row.as_object_mut().unwrap().remove("image").unwrap();
        (image.as_str().unwrap().rsplit('/').next().unwrap().to_owned(), row.to_string())
    };
    assert_eq!(before.iter().map(without).collect::<BTreeSet<_>>(), after.iter().map(without).collect());
    desk.json(&format!("dataset export --format coco --out {}", coco.display()), &[&divided], 0);
    assert_eq!(rows(&coco.join("instances.jsonl")), after);
    // A label fewer, and it is not known which row is whose.
    let image = before.iter().find(|row| row["row"] == 1).unwrap()["image"].as_str().unwrap();
    let labels = drawn.join(image.replacen("images", "labels", 1)).with_extension("txt");
    let fewer: String = fs::read_to_string(&labels).unwrap().lines().skip(1).map(|line| format!("{line}\n")).collect();
    fs::write(&labels, fewer).unwrap();
    let made = &desk.json(&format!("dataset import --out {}", desk.path("fewer").display()), &[&drawn], 0)[0];
    let problem = &made["problems"][0];
    assert!(problem["file"].as_str().unwrap().ends_with(image), "{made}");
    assert!(problem["reason"].as_str().unwrap().contains("rows of instances.jsonl do not count its"), "{made}");
    let of_it = |row: &&Value| row["image"].as_str().unwrap().ends_with(image);
    assert_eq!(rows(&desk.path("fewer/instances.jsonl")).iter().filter(of_it).count(), 0);
}

#[test]
fn coco_sets_go_there_and_back() {
    let desk = Desk::new(&[]);
    // Pictures of the same name in two parts, and a crowd.
    for (part, n) in [("train", 1), ("val", 2)] {
        desk.write(format!("set/images/{part}/0001.png"), &encoded(&picture(n, 120, 80), ImageFormat::Png));
        desk.write(format!("set/labels/{part}/0001.txt"), format!("0 0.5 0.5 0.{n} 0.5\n").as_bytes());
    }
    desk.write("set/classes.txt", b"pack\n");
    desk.json(&format!("dataset export --format coco --out {}", desk.path("coco").display()), &[&desk.path("set")], 0);
    for (part, width) in [("train", 0.1), ("val", 0.2)] {
        let set = dataset::read(&desk.path(format!("coco/annotations/instances_{part}.json"))).unwrap();
        assert!(set.problems.is_empty() && set.items.len() == 1, "{:?}", set.problems);
        let [left, _, right, _] = set.items[0].objects[0].outline.as_ref().unwrap().corners();
        assert!((right - left - width).abs() < 1e-6 && set.items[0].image.ends_with(format!("images/{part}/0001.png")));
    }

    // Named from its own folder, and with a crowd that YOLO files cannot hold.
    let path = desk.path("coco/annotations/instances_train.json");
    let mut text: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let crowd = json!({"id": 9, "image_id": 1, "category_id": 1, "iscrowd": 1,
        "segmentation": {"size": [80, 120], "counts": [0, 800, 8800]}});
    text["annotations"].as_array_mut().unwrap().push(crowd);
    fs::write(&path, text.to_string()).unwrap();
    let run = |words: &str| {
        let output =
            desk.command(&format!("--json {words}"), &[]).current_dir(path.parent().unwrap()).output().unwrap();
        assert!(output.status.success(), "{words}: {}", text_of(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let checked = run("dataset check instances_train.json");
    assert_eq!(checked["ok"], true, "{checked}");
    let again =
        run(&format!("dataset export instances_train.json --format coco --out {}", desk.path("again").display()));
    assert_eq!((&again["crowds"], &again["objects"]), (&json!(1), &json!(1)), "{again}");
    let set = dataset::read(&desk.path("again/annotations/instances_train.json")).unwrap();
    assert_eq!(set.items[0].crowds[0].outline.as_ref().unwrap().corners(), [0.0, 0.0, 10.0 / 120.0, 1.0]);
    // What has nothing but crowds is not shown to a network as a picture of nothing.
    text["annotations"].as_array_mut().unwrap().retain(|annotation| annotation["iscrowd"] == 1);
    desk.write("coco/annotations/crowds_train.json", text.to_string().as_bytes());
    let words = format!("train {} epochs=1", desk.path("coco/annotations/crowds_train.json").display());
    let refused = desk.run(&words, &[]);
    let said = text_of(&refused);
    assert!(refused.status.code() == Some(2) && said.contains("nothing but crowds is in it"), "{said}");
    let yolo = run(&format!("dataset export instances_train.json --format yolo --out {}", desk.path("yolo").display()));
    let left_out: Vec<&Value> =
        yolo["problems"].as_array().unwrap().iter().filter(|problem| problem["fate"] == "left_out").collect();
    assert!(
        left_out.len() == 1 && left_out[0]["reason"].as_str().unwrap().contains("1 of its regions are crowds"),
        "{yolo}"
    );
    assert_eq!((&yolo["crowds"], &yolo["objects"]), (&json!(0), &json!(1)), "{yolo}");
}

fn text_of(output: &std::process::Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}
