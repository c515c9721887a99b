//! Tables beside a set: what they say of pictures, and how they go along with copies.

use std::fs;
use std::path::Path;

use sightline::learn::dataset::tables::{INSTANCES, Tables};
use sightline::learn::dataset::{self, Dataset, layout};

use super::{told, write};

/// Four pictures, of which the last has no label.
fn set(at: &Path) {
    for name in ["train/a", "train/b", "val/a", "val/c"] {
        write(at, &format!("images/{name}.png"), "");
        if name != "val/c" {
            write(at, &format!("labels/{name}.txt"), "0 0.5 0.5 0.2 0.2\n0 0.2 0.2 0.1 0.1\n");
        }
    }
    write(at, "data.yaml", "train: images/train\nval: images/val\nnames: [pack]\n");
}

fn values(at: &Path, key: &str) -> Result<Vec<Vec<String>>, String> {
    let set = dataset::read(at).unwrap();
    let tables = Tables::beside(at, &set).unwrap();
    tables.values(at, &set, key).map_err(|error| error.to_string())
}

fn copy(set: &Dataset, tables: &Tables, to: &Path, format: layout::Format) {
    let picture = |_: &Path| Ok(layout::Picture { bytes: layout::Bytes::AsItIs, size: (100, 80) });
    layout::write(set, to, format, tables, picture).unwrap();
}

#[test]
fn what_tables_say_is_found_and_what_they_lack_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    set(at);
    let lines = [
        r#"{"file": "images/train/a.png", "patient": "p1", "sites": ["n", "s"]}"#,
        r#"{"patient": 7, "file": "b.png"}"#,
        r#"{"file": "images\\val\\a.png", "patient": "p1"}"#,
        r#"{"file": "val/c.png", "patient": "p2"}"#,
    ];
    write(at, "metadata.jsonl", lines.join("\n"));
    assert_eq!(values(at, "patient").unwrap(), [["p1"], ["7"], ["p1"], ["p2"]]);
    let error = values(at, "sites").unwrap_err();
    assert!(
        error.contains("metadata.jsonl: 3 pictures have no `sites` in it, as ") && error.contains("b.png"),
        "{error}"
    );
    let error = values(at, "camera").unwrap_err();
    assert!(error.contains("nothing says `camera`") && error.contains("there are patient, sites"), "{error}");

    write(
        at,
        "metadata.csv",
        "patient,camera,file_name\nx,\"north, 1\",images/train/a.png\ny,s,b.png\nz,,c.png\n,s,a.png\n",
    );
    let error = values(at, "patient").unwrap_err();
    assert!(error.contains("metadata.jsonl and ") && error.contains("keep one of them"), "{error}");
    // `a.png` is of two pictures, and so of none.
    let error = values(at, "camera").unwrap_err();
    assert!(error.contains("2 pictures have no `camera` in it"), "{error}");
    write(at, "metadata.csv", "camera,file\n\"north, 1\",images/train/a.png\ns,b.png\ns,c.png\ne,val/a.png\n");
    assert_eq!(values(at, "camera").unwrap(), [["north, 1"], ["s"], ["e"], ["s"]]);

    for (text, reason) in [
        ("camera,file\ns\n", "line 2 has 1 fields, the first 2"),
        ("camera\ns\n", "it has no column `file`"),
        ("camera,file\n\"s,a.png\n", "line 2 has 1 fields, the first 2"),
        ("", "it is empty"),
    ] {
        write(at, "metadata.csv", text);
        let error = values(at, "camera").unwrap_err();
        assert!(error.contains(reason), "{error}");
        let found = dataset::read(at).unwrap();
        let behind = Tables::beside(at, &found).unwrap().left_behind();
        assert!(
            behind.len() == 1 && behind[0].to_string().contains(&format!("{reason}; it stays behind (left out)")),
            "{behind:?}"
        );
    }
}

#[test]
fn a_coco_files_own_fields_group_its_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    ["x/1.png", "y/1.png"].iter().for_each(|name| write(at, &format!("images/{name}"), ""));
    let text = r#"{"images": [{"id": 1, "file_name": "y/1.png", "width": 9, "height": 9, "patient": "p1"},
        {"id": 2, "file_name": "x/1.png", "width": 9, "height": 9, "patient": "p2", "ward": null}], "categories": [{"id": 1, "name": "a"}]}"#;
    write(at, "annotations/instances_train.json", text);
    let json = at.join("annotations/instances_train.json");
    assert_eq!(values(&json, "patient").unwrap(), [["p2"], ["p1"]]);
    assert!(values(&json, "ward").unwrap_err().contains("nothing says `ward`"));
    // A table of the set lies above its annotations.
    write(at, "metadata.csv", "file,ward\nimages/x/1.png,3\nimages/y/1.png,4\n");
    assert_eq!(values(&json, "ward").unwrap(), [["3"], ["4"]]);
}

#[test]
fn rows_go_along_with_the_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("set");
    set(&at);
    let row = |image: &str, row: u32, pack: u32| {
        format!(r#"{{"image":"images/{image}.png","row":{row},"pack":{pack},"visible":0.123}}"#)
    };
    let rows = [
        row("train/a", 0, 4),
        row("train/a", 1, 5),
        row("train/b", 0, 6),
        row("val/a", 1, 5),
        row("val/a", 0, 8),
        row("gone", 0, 1),
    ];
    write(&at, INSTANCES, rows.join("\n") + "\n");
    write(&at, "metadata.csv", "file,note\nimages/train/b.png,\"one, \"\"two\"\"\"\nimages/val/c.png,three\n");
    let found = dataset::read(&at).unwrap();
    let tables = Tables::beside(&at, &found).unwrap();
    // Pictures without a label have no row to have a design in.
    assert_eq!(tables.values(&at, &found, "pack").unwrap(), [vec!["4", "5"], vec!["6"], vec!["5", "8"], vec![]]);
    let mut said = found.clone();
    said.problems.extend(tables.left_behind());
    let said = told(&said);
    assert!(
        said.contains(
            "train/b.png: its 1 rows of instances.jsonl do not count its 2 labels one by one; they stay behind"
        ),
        "{said}"
    );
    assert!(
        said.contains("instances.jsonl:6: 1 of its rows are of no picture of the set, as `images/gone.png`"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2, "{said}");

    let to = dir.path().join("yolo");
    copy(&found, &tables, &to, layout::Format::Yolo);
    let expected = [rows[0].clone(), rows[1].clone(), rows[3].clone(), rows[4].clone()].join("\n") + "\n";
    assert_eq!(fs::read_to_string(to.join(INSTANCES)).unwrap(), expected);

    // In another order and under other names: what each row says stays.
    let mut moved = found.clone();
    moved.items.iter_mut().for_each(|item| item.split = dataset::Split::Test);
    let to = dir.path().join("coco");
    copy(&moved, &tables, &to, layout::Format::Coco);
    let text = fs::read_to_string(to.join(INSTANCES)).unwrap();
    assert_eq!(text, expected.replace("images/train/a", "images/test/a").replace("images/val/a", "images/test/a-2"));
    let csv = fs::read_to_string(to.join("metadata.csv")).unwrap();
    assert_eq!(csv, "file,note\nimages/test/b.png,\"one, \"\"two\"\"\"\nimages/test/c.png,three\n");
    let json = to.join("annotations/instances_test.json");
    let again = dataset::read(&json).unwrap();
    // What stayed behind is missed: `b` has labels and no row.
    let tables = Tables::beside(&json, &again).unwrap();
    let error = tables.values(&json, &again, "pack").unwrap_err().to_string();
    assert!(error.contains("1 pictures have no `pack` in it, as ") && error.contains("b.png"), "{error}");
}
