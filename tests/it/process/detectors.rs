//! Detectors and segmenters, from the arguments of `train`, `evaluate` and `runs` to the files they write.

use std::fs;
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use sightline::vision::draw::class_colour;

use super::{Desk, text};
use crate::support::encoded;

/// Ultralytics' columns: of a detector, and of a segmenter.
const DETECTOR: &str = "epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,\
    metrics/precision(B),metrics/recall(B),metrics/mAP50(B),metrics/mAP50-95(B),\
    val/box_loss,val/cls_loss,val/dfl_loss,lr/pg0,lr/pg1,lr/pg2";
const SEGMENTER: &str = "epoch,time,train/box_loss,train/seg_loss,train/cls_loss,train/dfl_loss,\
    metrics/precision(B),metrics/recall(B),metrics/mAP50(B),metrics/mAP50-95(B),\
    metrics/precision(M),metrics/recall(M),metrics/mAP50(M),metrics/mAP50-95(M),\
    val/box_loss,val/seg_loss,val/cls_loss,val/dfl_loss,lr/pg0,lr/pg1,lr/pg2";
/// What curves are drawn in, and what share of a class was found where that is all.
const CURVE: Rgb<u8> = Rgb([0, 114, 178]);

/// Pictures of 64 pixels with a coloured rectangle each, every third to choose by; outlined, or in boxes.
pub fn rectangles(desk: &Desk, set: &str, names: &[&str], outlined: bool, pictures: u32) -> PathBuf {
    for n in 0..pictures {
        let (class, left, top) = (n as usize % names.len(), 4 + n % 5 * 6, 6 + n % 3 * 8);
        let colour = [Rgb([230, 40, 30]), Rgb([30, 60, 220])][class];
        let inside = |x, y| (left..left + 26).contains(&x) && (top..top + 22).contains(&y);
        // A pixel of its own, so that no two are the same.
        let ground = |x, y| if (x, y) == (n, 0) { Rgb([255; 3]) } else { Rgb([90; 3]) };
        let drawn = RgbImage::from_fn(64, 64, |x, y| if inside(x, y) { colour } else { ground(x, y) });
        let share = |pixels: u32| f64::from(pixels) / 64.0;
        let (l, t, r, b) = (share(left), share(top), share(left + 26), share(top + 22));
        let label = if outlined {
            format!("{class} {l} {t} {r} {t} {r} {b} {l} {b}\n")
        } else {
            format!("{class} {} {} {} {}\n", (l + r) / 2.0, (t + b) / 2.0, r - l, b - t)
        };
        let part = if n % 3 == 2 { "val" } else { "train" };
        desk.write(format!("{set}/images/{part}/{n}.png"), &encoded(&drawn, ImageFormat::Png));
        desk.write(format!("{set}/labels/{part}/{n}.txt"), label.as_bytes());
    }
    let described = format!("train: images/train\nval: images/val\nnames: [{}]\n", names.join(", "));
    desk.write(format!("{set}/data.yaml"), described.as_bytes());
    desk.path(set)
}

/// Weights that find something.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pack-seg.safetensors")
}

/// A drawn plot of this size; how many of its pixels have a colour.
fn coloured(path: &Path, size: (u32, u32), colour: Rgb<u8>) -> usize {
    let drawn = image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).to_rgb8();
    assert_eq!(drawn.dimensions(), size, "{}", path.display());
    drawn.pixels().filter(|pixel| **pixel == colour).count()
}

/// What counts in 8 bits of each number's 24 goes the same way.
#[test]
fn half_precision_learns_as_full_precision_does() {
    let desk = Desk::new(&[]);
    let set = rectangles(&desk, "packs", &["pack"], true, 12);
    // From random weights steps lead apart soon.
    let model = shipped();
    let losses = |amp: &str| {
        let settings = "imgsz=64 batch=4 epochs=2 optimizer=adamw lr0=0.0001 mosaic=0 seed=1";
        let words = format!("train {} --model {} --name {amp} {settings} amp={amp}", set.display(), model.display());
        let run = desk.json(&words, &[], 0);
        assert_eq!(run.len(), 3, "{run:?}");
        let results = fs::read_to_string(desk.path(format!("runs/{amp}/results.csv"))).unwrap();
        let read = |line: &str| line.split(',').skip(2).take(4).map(|value| value.parse().unwrap()).collect();
        results.lines().skip(1).map(read).collect::<Vec<Vec<f64>>>()
    };
    let (full, half) = (losses("fp32"), losses("bf16"));
    assert_ne!(full, half, "both counted in the same numbers");
    for (epoch, (full, half)) in full.iter().zip(&half).enumerate() {
        for (full, half) in full.iter().zip(half) {
            assert!((half / full - 1.0).abs() < 0.02, "epoch {epoch}: {half} where full precision has {full}");
        }
    }
}

fn card(run: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(run.join("weights/best.card.json")).unwrap()).unwrap()
}

/// The plots of figures, of boxes and perhaps of masks.
fn figures_are_drawn(dir: &Path, kinds: &[&str]) {
    for kind in kinds {
        for curve in ["PR", "F1", "P", "R"] {
            let path = dir.join(format!("{kind}{curve}_curve.png"));
            let line = coloured(&path, (900, 640), CURVE);
            assert!(line > 400, "{}: {line} pixels of a curve", path.display());
        }
    }
    let matrix = image::open(dir.join("confusion_matrix.png")).unwrap().to_rgb8();
    let found = matrix.get_pixel(152, 42);
    assert!(found.0[0] < 230 && found.0[2] > found.0[0], "of a class some are found: {found:?}");
}

#[test]
fn a_segmenter_and_a_detector_are_trained_judged_and_compared() {
    let desk = Desk::new(&[]);
    let set = desk.path("packs");
    let drawn = format!("dataset synth --images 12 --packs 4 --seed 1 --val 0.34 --out {}", set.display());
    desk.json(&drawn, &[], 0);
    let (set, model) = (set.display(), shipped());
    let tuned = format!(
        "train {set} --model {} --name packs imgsz=160 batch=4 epochs=2 optimizer=adamw lr0=0.0001 mosaic=0 \
         fitness=worst_recall",
        model.display()
    );
    let told = desk.json(&tuned, &[], 0);
    assert_eq!(told.len(), 3, "an epoch a line, and the end: {told:?}");
    // One class: the worst recall of all is that of its masks.
    for epoch in &told[..2] {
        let recall = epoch["metrics"]["mask"]["recall"].as_f64().unwrap();
        assert!(epoch["fitness"] == recall && recall > 0.2, "{epoch}");
    }
    let begun = format!("train {set} --model yolov8n --name boxes imgsz=64 batch=4 epochs=1");
    assert_eq!(desk.json(&begun, &[], 0)[0]["epoch"], 1);

    let runs = ["packs", "boxes"].map(|name| desk.path(format!("runs/{name}")));
    for (run, columns, epochs) in [(&runs[0], SEGMENTER, 2), (&runs[1], DETECTOR, 1)] {
        let results = fs::read_to_string(run.join("results.csv")).unwrap();
        let lines: Vec<&str> = results.lines().collect();
        assert_eq!((lines[0], lines.len()), (columns, epochs + 1));
        for line in &lines[1..] {
            let values: Vec<f64> = line.split(',').map(|value| value.parse().unwrap()).collect();
            assert_eq!(values.len(), columns.split(',').count(), "{line}");
        }
        for name in ["best", "last"] {
            let (weights, card) = (format!("weights/{name}.safetensors"), format!("weights/{name}.card.json"));
            assert!(run.join(weights).is_file() && run.join(card).is_file(), "{name} of {}", run.display());
        }
        // A chart a column of losses and figures; the labels as they are learnt from, and what is found beside what is there.
        let charts = columns.matches("/").count() as u32 - 3;
        let size = (320 * charts.div_ceil(3), 260 * charts.div_ceil(charts.div_ceil(3)));
        assert!(epochs == 1 || coloured(&run.join("results.png"), size, CURVE) > 2000);
        assert!(coloured(&run.join("train_batch.png"), (1280, 320), class_colour(0)) > 500);
        assert!(coloured(&run.join("val_found.png"), (1280, 640), class_colour(0)) > 500);
    }
    figures_are_drawn(&runs[0], &["Box", "Mask"]);
    assert!(runs[1].join("BoxPR_curve.png").is_file() && !runs[1].join("MaskPR_curve.png").exists());
    // Every second picture is what was found; in one at least that is something.
    let found = image::open(runs[0].join("val_found.png")).unwrap().to_rgb8();
    let marked = found.enumerate_pixels().filter(|(x, _, pixel)| x / 320 % 2 == 1 && **pixel == class_colour(0));
    assert!(marked.count() > 200);

    // Judged again, at the size that the weights state, it is as good as the run said.
    let (packs, judged) = (card(&runs[0]), "evaluate --model runs/packs/weights/best.safetensors");
    let figures = desk.path("figures");
    let found = &desk.json(&format!("{judged} {set} --out {}", figures.display()), &[], 0)[0];
    assert_eq!((&found["pictures"], &found["split"]), (&4.into(), &"val".into()), "{found}");
    for (ours, theirs) in [("boxes", "box"), ("masks", "mask")] {
        for figure in ["map50", "map50_95", "recall"] {
            let [again, said] = [&found["ultralytics"][ours][figure], &packs["metrics"][theirs][figure]];
            let apart = (again.as_f64().unwrap() - said.as_f64().unwrap()).abs();
            assert!(apart < 0.05, "{ours}.{figure}: {again}, the run said {said}");
        }
    }
    figures_are_drawn(&figures, &["Box", "Mask"]);
    // Answers have the numbers of the set's export, by which COCO tools know its pictures and classes.
    let (coco, read) = (desk.path("coco"), |path: PathBuf| -> Value {
        serde_json::from_slice(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
    });
    desk.json(&format!("dataset export {set} --format coco --out {}", coco.display()), &[], 0);
    let truth = read(coco.join("annotations/instances_val.json"));
    let names: Vec<(&Value, &Value)> =
        truth["images"].as_array().unwrap().iter().map(|image| (&image["id"], &image["file_name"])).collect();
    let answers = read(figures.join("predictions.json"));
    let answers = answers.as_array().unwrap();
    assert!(answers.len() > 4, "{}", answers.len());
    for answer in answers {
        assert!(names.contains(&(&answer["image_id"], &answer["file_name"])), "{answer}");
        assert_eq!(answer["category_id"], truth["categories"][0]["id"]);
    }
    let table = text(&desk.run(&format!("{judged} {set}"), &[]).stdout);
    for what in ["boxes", "masks"] {
        let map50 = found["ultralytics"][what]["map50"].as_f64().unwrap();
        let mut lines = table.lines().skip_while(|line| !line.starts_with(what));
        let all = lines.find(|line| line.trim_start().starts_with("all ")).unwrap();
        assert!(all.contains(&format!("{map50:.4}")) && all.contains(" 12 "), "{table}");
    }
    assert!(table.contains("pycocotools") && table.contains("pixels"), "{table}");

    // Held against a gate: reached, missed, or too little to tell by.
    let map50 = found["ultralytics"]["boxes"]["map50"].as_f64().unwrap();
    let recall = found["ultralytics"]["masks"]["recall"].as_f64().unwrap();
    let gate = desk.path("gate.yaml");
    for (asked, code, outcome) in [
        (format!("evidence: 12\nfigures:\n  boxes.map50: {{at_least: {}}}", map50 - 0.01), 0, "pass"),
        (format!("evidence: 12\nfigures:\n  boxes.map50: {{at_least: {}}}", map50 + 0.01), 3, "fail"),
        (format!("figures:\n  boxes.map50: {{at_least: {}}}", map50 - 0.01), 3, "insufficient_evidence"),
        // A share of twelve objects: its bound lies far below it. Of one class the recall is one, too.
        (
            format!("evidence: 12\nfigures:\n  masks.recall: {{at_least: {}}}", recall - 0.01),
            3,
            "insufficient_evidence",
        ),
        (
            format!("evidence: 12\nfigures:\n  masks.worst_class_recall: {{at_least: {}}}", recall - 0.01),
            3,
            "insufficient_evidence",
        ),
    ] {
        fs::write(&gate, &asked).unwrap();
        let held = desk.json(&format!("{judged} {set} --gate {}", gate.display()), &[], code);
        assert_eq!(held[0]["gate"]["outcome"], outcome, "{asked}: {}", held[0]["gate"]);
    }
    let held = desk.run(&format!("{judged} {set} --gate {}", gate.display()), &[]);
    assert!(text(&held.stdout).contains("gate: insufficient evidence"), "{}", text(&held.stdout));
    assert!(text(&held.stderr).contains("masks.worst_class_recall"), "{}", text(&held.stderr));
    let boxes = format!("evaluate {set} --model runs/boxes/weights/best.safetensors --gate {}", gate.display());
    let refused = desk.run(&boxes, &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("no figure `masks.worst_class_recall` here"), "{}", text(&refused.stderr));

    // Of a size that nothing has there is no figure: that is told of it alone.
    let sizes = ["large", "medium", "small"];
    let asked = sizes.map(|size| format!("  boxes.coco_ap_{size}: {{at_least: 0}}\n")).concat();
    fs::write(&gate, format!("evidence: 1\nfigures:\n{asked}")).unwrap();
    let held = &desk.json(&format!("{judged} {set} --gate {}", gate.display()), &[], 3)[0];
    let outcome = |place: usize| held["gate"]["checks"][place]["outcome"].as_str().unwrap();
    let seen = [2, 1, 0].map(|size| !found["coco"]["boxes"]["ap_by_size"][size].is_null());
    let expected = seen.map(|is_seen| if is_seen { "pass" } else { "insufficient_evidence" });
    assert_eq!([0, 1, 2].map(outcome), expected, "{held}");
    assert!(seen.contains(&true) && seen.contains(&false), "{found}");

    runs_stand_beside_each_other(&desk, &runs);
}

/// What `runs` tells of the two.
fn runs_stand_beside_each_other(desk: &Desk, runs: &[PathBuf; 2]) {
    let best = card(&runs[0])["metrics"]["epoch"].as_u64().unwrap();
    let results = fs::read_to_string(runs[0].join("results.csv")).unwrap();
    let map50 = results.lines().nth(best as usize).unwrap().split(',').nth(12).unwrap().to_owned();
    let shown = |words: &str| {
        // From where the set of a run's name is.
        let done = desk.command(words, &[]).current_dir(desk.dir.path()).output().unwrap();
        assert!(done.status.success(), "{words}: {}", text(&done.stderr));
        text(&done.stdout)
    };
    let listed = shown("runs list");
    let line = listed.lines().find(|line| line.starts_with("packs ")).unwrap();
    let short = format!("mAP50(M) {:.4}", map50.parse::<f64>().unwrap());
    assert!(line.contains("2/2") && line.contains(&short), "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("boxes ") && line.contains("1/1")), "{listed}");

    let told = shown("runs show packs");
    assert!(told.lines().any(|line| line.split_whitespace().eq(["imgsz", "160"])), "{told}");
    let marked: Vec<&str> = told.lines().filter(|line| line.ends_with(" *")).collect();
    assert!(marked.len() == 1 && marked[0].trim_start().starts_with(&format!("{best} ")), "{told}");

    let compared = shown("runs compare packs boxes");
    let rows: Vec<Vec<&str>> = compared.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |name: &str| rows.iter().find(|row| row[0] == name).map(|row| row[1..].to_vec());
    assert_eq!(rows[0], ["packs", "boxes"]);
    for (name, values) in [
        ("epochs", ["2", "1"]),
        ("imgsz", ["160", "64"]),
        ("optimizer", ["\"adamw\"", "\"auto\""]),
        ("fitness", ["\"worst_recall\"", "\"map\""]),
        ("metrics/mAP50(M)", [map50.as_str(), "-"]),
        ("epoch", [&best.to_string(), "1"]),
    ] {
        assert_eq!(row(name).as_deref(), Some(&values[..]), "{name} in\n{compared}");
    }
    assert!(row("batch").is_none() && row("seed").is_none() && row("data").is_none(), "they are the same: {compared}");
    assert!(row("metrics/mAP50-95(B)").is_some(), "{compared}");
    let ends: Vec<usize> = compared.lines().map(|line| line.chars().count()).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "columns, however long a path is:\n{compared}");
    let values = desk.json("runs compare", &[&runs[0], &runs[1]], 0);
    assert_eq!((&values[0]["args"]["imgsz"], &values[1]["epochs"]), (&160.into(), &1.into()));
    assert_eq!(values[0]["best"]["metrics/mAP50(M)"].to_string(), map50);
}

#[test]
fn what_a_detector_cannot_learn_from_is_told_with_its_remedy_and_leaves_no_run() {
    let desk = Desk::new(&[]);
    let boxes = rectangles(&desk, "boxes", &["red", "blue"], false, 12);
    rectangles(&desk, "outlines", &["red", "blue"], true, 12);
    // A set of its own a fault: which file is another, or none.
    let faulty = |name: &str, file: &str, bytes: Option<&[u8]>| {
        rectangles(&desk, name, &["red", "blue"], false, 12);
        match bytes {
            Some(bytes) => drop(desk.write(format!("{name}/{file}"), bytes)),
            None => fs::remove_file(desk.path(format!("{name}/{file}"))).unwrap(),
        }
    };
    let picture = fs::read(boxes.join("images/val/2.png")).unwrap();
    faulty("beyond", "labels/train/0.txt", Some(b"2 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n"));
    faulty("mixed", "labels/train/0.txt", Some(b"0 0.5 0.5 0.2 0.2\n0 0.1 0.1 0.4 0.1 0.4 0.4\n"));
    faulty("without", "images/val/2.png", None);
    faulty("torn", "images/val/2.png", Some(&picture[..picture.len() / 2]));
    faulty("undivided", "data.yaml", Some(b"train: images/train\nnames: [red, blue]\n"));
    desk.write("empty/data.yaml", b"train: images/train\nval: images/val\nnames: [red]\n");
    fs::create_dir_all(desk.path("empty/images/train")).unwrap();
    fs::create_dir_all(desk.path("empty/images/val")).unwrap();
    rectangles(&desk, "unlabelled", &["red"], false, 6);
    for n in [2, 5] {
        desk.write(format!("unlabelled/labels/val/{n}.txt"), b"");
    }
    desk.write("note.safetensors", b"no weights");
    let embedder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pack-embed.safetensors");
    let [embedder, segmenter] = [embedder, shipped()].map(|path| path.display().to_string());

    let despite = "--despite-problems";
    for (words, named, remedy, code) in [
        ("empty --model yolov8n", "empty/data.yaml has no pictures", "are the paths in it right", 2),
        ("undivided --model yolov8n", "undivided: it has no pictures to choose by", "dataset split", 2),
        ("unlabelled --model yolov8n", "unlabelled: none of its pictures to choose by", "label some", 2),
        ("beyond --model yolov8n", "beyond/labels/train/0.txt:1: class 2 is out of range", despite, 2),
        ("mixed --model yolov8n", "mixed/labels/train/0.txt: it mixes", "one or the other", 2),
        ("without --model yolov8n", "without/labels/val/2.txt: there is no picture of this name", despite, 2),
        ("torn --model yolov8n", "torn/images/val/2.png: the file ends before the picture does", despite, 2),
        ("boxes --model yolov8n-seg", "boxes: its labels are boxes", "--model yolov8n", 2),
        (&format!("boxes --model {segmenter}"), "boxes: its labels are boxes", "--model yolov8n", 2),
        (&format!("outlines --model {embedder}"), "this network learns from whole ones", "--model yolov8n-seg", 2),
        ("boxes --model note.safetensors", "note.safetensors: not a kind of file", "neither a .safetensors", 1),
        ("boxes --model gone.safetensors", "gone.safetensors", "check that the file exists", 4),
        ("boxes --model yolov8q", "`yolov8q` is no architecture", "yolov8n, s, m, l or x", 2),
        ("boxes --model yolov8n lr=1", "`lr` is no option", "lr0", 2),
        ("boxes --model yolov8n imgsz=65", "`imgsz=65`", "multiple of 32", 2),
        ("boxes --model yolov8n fitness=recall1", "`fitness=recall1`", "`worst_recall`", 2),
        ("boxes --model yolov8n --name ../up", "`../up` is no name", "letters, digits", 2),
        // A file where the folder of runs should be: not even root makes one there.
        ("boxes --model yolov8n --runs note.safetensors/runs", "cannot make", "choose another folder (--runs)", 1),
    ] {
        let refused = desk.command(&format!("train {words}"), &[]).current_dir(desk.dir.path()).output().unwrap();
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{words}: {said}");
        assert!(said.contains(named) && said.contains(remedy) && !said.contains("panicked"), "{words}: {said}");
        assert!(refused.stdout.is_empty() && !desk.path("runs").exists(), "{words}: it leaves nothing");
    }
    let without = Desk::new(&[("device", "\"cuda:63\"")]);
    let refused = without.run(&format!("train {} --model yolov8n epochs=1 imgsz=64", boxes.display()), &[]);
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("no device `cuda:63`"), "{said}");
    assert!(!without.path("runs").exists());

    // What was left out is listed, and the rest is enough.
    let words = format!("train {} --model yolov8n epochs=1 imgsz=64 batch=4 {despite}", desk.path("beyond").display());
    let done = desk.run(&words, &[]);
    let said = text(&done.stderr);
    assert!(done.status.success() && said.contains("class 2 is out of range"), "{said}");
    assert!(desk.path("runs/train/weights/best.safetensors").is_file());
    // A run of that name is there now.
    let refused = desk.run(&format!("train {} --model yolov8n --name train", boxes.display()), &[]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused.stderr).contains("--resume"), "{}", text(&refused.stderr));
    assert_eq!(fs::read_dir(desk.path("runs")).unwrap().count(), 1);
}
