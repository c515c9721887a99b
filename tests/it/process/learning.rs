//! `train` and `evaluate` of embedders and classifiers, from their arguments to the files they write.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::{ImageFormat, Rgb, RgbImage};

use super::{Desk, text};
use crate::support::encoded;

/// Crops of three colours, a folder a class, divided into parts.
fn crops(desk: &Desk) {
    for (class, colour) in [("red", [220, 40, 30]), ("blue", [30, 60, 220]), ("green", [40, 180, 60])] {
        for n in 0..9_u32 {
            let dot = |x: u32, y: u32| (x / 7 + y / 7 + n).is_multiple_of(3);
            let drawn = RgbImage::from_fn(42, 42, |x, y| if dot(x, y) { Rgb(colour) } else { Rgb([90 + n as u8; 3]) });
            let part = if n % 3 == 2 { "val" } else { "train" };
            desk.write(format!("crops/{part}/{class}/{n}.png"), &encoded(&drawn, ImageFormat::Png));
        }
    }
}

fn files(dir: &Path, names: &[&str]) {
    for name in names {
        assert!(fs::metadata(dir.join(name)).is_ok_and(|file| file.len() > 0), "{name} is not there");
    }
}

#[test]
fn an_embedder_and_classifiers_are_trained_and_judged() {
    let desk = Desk::new(&[]);
    crops(&desk);
    let set = desk.path("crops");
    let common = "imgsz=42 labels=3 per_label=3 batch=8 epochs=2 lr0=0.002";
    for (name, more, plots) in [
        ("nearness", "", ["val_neighbours.png", "results.png"]),
        ("full", "--head full", ["confusion_matrix.png", "ROC_curve.png"]),
        ("linear", "--head linear", ["PR_curve.png", "calibration.png"]),
    ] {
        let words = format!("train {} {common} --model dinov2_vit64x2_14 --name {name} {more}", set.display());
        let told = desk.json(&words, &[], 0);
        let last = told.last().unwrap();
        assert!(last["run"].as_str().unwrap().ends_with(name), "{last}");
        let run = desk.path(format!("runs/{name}"));
        files(&run, &["args.yaml", "results.csv", "weights/best.safetensors", "weights/best.card.json"]);
        files(&run, &plots);
        let (model, figures) = (run.join("weights/best.safetensors"), desk.path("figures"));
        let words = format!("evaluate --model {} --out {}", model.display(), figures.display());
        let found = &desk.json(&words, &[&set], 0)[0];
        if more.is_empty() {
            assert_eq!(found["retrieval"]["probes"], 9, "{found}");
            let learnt = desk.path("learnt");
            desk.json(
                &format!("evaluate --model {} --split train --out {}", model.display(), learnt.display()),
                &[&set],
                0,
            );
            files(&learnt, &["train_neighbours.png"]);
            assert!(!learnt.join("val_neighbours.png").exists(), "they are of another part");
        } else {
            assert_eq!(found["classification"]["pictures"], 9, "{found}");
            files(&figures, &["confusion_matrix.png", "calibration.png"]);
        }
    }
    // As the engine would answer: two labels enrolled by a picture each, one not.
    let judge =
        "evaluate --enrolled 1 --strangers 0.34 --model runs/nearness/weights/best.safetensors --record held-out";
    let words = format!("{judge} --out {}", desk.path("figures").display());
    let found = &desk.json(&words, &[&set], 0)[0]["identification"];
    assert_eq!((&found["labels"], &found["strangers"]), (&2.into(), &1.into()), "{found}");
    assert_eq!((&found["recall_at_1"]["all"], &found["wrong_stranger"]["all"]), (&4.into(), &3.into()), "{found}");
    assert_eq!(found["by_label"].as_array().map(Vec::len), Some(2));
    files(&desk.path("figures"), &["open_set_curve.png"]);
    let card = fs::read_to_string(desk.path("runs/nearness/weights/best.card.json")).unwrap();
    let card: serde_json::Value = serde_json::from_str(&card).unwrap();
    let recorded = &card["metrics"]["held-out"];
    assert_eq!(recorded["figures"]["identification.recall_at_1"], found["recall_at_1"]["share"], "{recorded}");
    // Held against a gate: reached, missed, or too little to tell by.
    let full = "evaluate --model runs/full/weights/best.safetensors";
    for (gate, code, outcome) in [
        ("evidence: 9\nfigures:\n  accuracy: {at_least: 0.01}", 0, "pass"),
        ("figures:\n  accuracy: {at_least: 0.01}", 3, "insufficient_evidence"),
        ("evidence: 1\nfigures:\n  calibration_error: {at_most: 0}", 3, "fail"),
    ] {
        desk.write("gate.yaml", gate.as_bytes());
        let found = desk.json(&format!("{full} --gate {}", desk.path("gate.yaml").display()), &[&set], code);
        assert_eq!(found[0]["gate"]["outcome"], outcome, "{}", found[0]["gate"]);
    }
    for (gate, said) in [("figures:\n  map50: {at_least: 1}", "no figure `map50` here"), ("figures: 3", "for example")]
    {
        desk.write("gate.yaml", gate.as_bytes());
        let refused = desk.run(&format!("{full} --gate {}", desk.path("gate.yaml").display()), &[&set]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(said), "{}", text(&refused.stderr));
    }
    // Weights are named from where the command is given, or from the workspace; a classifier becomes an embedder again.
    let elsewhere = desk.path("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::copy(desk.path("runs/full/weights/best.safetensors"), elsewhere.join("mine.safetensors")).unwrap();
    let refused =
        desk.command("evaluate --model mine.safetensors --record x", &[&set]).current_dir(&elsewhere).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("mine.safetensors has no card"), "{}", text(&refused.stderr));
    let words = format!("train {} {common} --model mine.safetensors --head none --name again", set.display());
    for words in ["evaluate --model mine.safetensors", &words] {
        let files: &[&Path] = if words == "evaluate --model mine.safetensors" { &[&set] } else { &[] };
        let done = desk.command(words, files).current_dir(&elsewhere).output().unwrap();
        assert!(done.status.success(), "{words}: {}", text(&done.stderr));
    }
    let card = fs::read_to_string(desk.path("runs/again/weights/best.card.json")).unwrap();
    assert!(card.contains("\"embed\"") && !card.contains("linear"), "{card}");
    let args = fs::read_to_string(desk.path("runs/again/args.yaml")).unwrap();
    assert!(args.contains(elsewhere.join("mine.safetensors").to_str().unwrap()), "{args}");
    // A class that nobody is asked about proves nothing.
    fs::rename(desk.path("crops/val/green"), desk.path("green")).unwrap();
    desk.write("gate.yaml", b"evidence: 1\nfigures:\n  worst_class_recall: {at_least: 0}\n");
    let found = desk.json(&format!("{full} --gate {}", desk.path("gate.yaml").display()), &[&set], 3);
    let check = &found[0]["gate"]["checks"][0];
    assert_eq!(check["outcome"], "insufficient_evidence", "{check}");
    assert!(check["reason"].as_str().unwrap().ends_with("1 are not tested at all: green"), "{check}");
    // A classifier is judged by its own classes, by name.
    fs::rename(desk.path("crops/val/red"), desk.path("crops/val/crimson")).unwrap();
    let judged = desk.run("evaluate --model runs/full/weights/best.safetensors", &[&set]);
    assert!(text(&judged.stderr).contains("knows no class `crimson`"), "{}", text(&judged.stderr));
}

#[test]
fn a_search_tries_settings_and_can_be_gone_on_with() {
    let desk = Desk::new(&[]);
    crops(&desk);
    let set = desk.path("crops");
    let words = "imgsz=42 labels=3 per_label=3 epochs=3 --model dinov2_vit64x2_14 --name search --tune 5";
    let told = desk.json(&format!("train {} {words}", set.display()), &[], 0);
    let found = told.last().unwrap();
    let trials = found["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 5, "{found}");
    let first = trials.iter().find(|trial| trial["trial"] == 1).unwrap();
    assert_eq!((&first["settings"]["lr0"], &first["epochs"]), (&0.0003.into(), &3.into()), "first as given: {first}");
    assert!(trials.windows(2).all(|pair| pair[0]["fitness"].as_f64() >= pair[1]["fitness"].as_f64()), "{found}");
    let run = desk.path("runs/search");
    files(&run, &["args.yaml", "tune.jsonl", "trial-005/args.yaml", "trial-005/results.csv", "trial-001/results.png"]);
    // As if it had been killed in the last trial: that one is begun anew, the others stay as they are.
    let record = fs::read_to_string(run.join("tune.jsonl")).unwrap();
    let cut = record.rfind("{\"ended\"").unwrap();
    fs::write(run.join("tune.jsonl"), &record[..cut + 9]).unwrap();
    let again = desk.json("train --resume", &[&run], 0);
    assert_eq!(again.last().unwrap()["trials"], found["trials"], "the same settings, the same figures");
    // What is over is told again.
    assert_eq!(desk.json("train --resume", &[&run], 0).last().unwrap()["trials"], found["trials"]);
    let refused = desk.run("train --model dinov2_vit64x2_14 --head linear --tune 3", &[&set]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("leave --tune out"), "{}", text(&refused.stderr));
}

/// The weights that runs ended with, bit for bit.
fn last(run: &Path) -> Vec<u8> {
    fs::read(run.join("weights/last.safetensors")).unwrap()
}

#[test]
fn a_killed_run_and_one_without_room_go_on_to_the_same_end() {
    let desk = Desk::new(&[]);
    crops(&desk);
    let set = desk.path("crops");
    let settings = "imgsz=42 labels=3 per_label=3 epochs=6 --model dinov2_vit64x2_14 --origin here --name";
    let words = format!("train {} {settings}", set.display());
    desk.json(&format!("{words} whole"), &[], 0);
    let whole = last(&desk.path("runs/whole"));

    // SIGKILL as soon as something was kept, thrice.
    let run = desk.path("runs/killed");
    for round in 0..3 {
        let begun = if round == 0 { format!("{words} killed") } else { format!("train --resume {}", run.display()) };
        let mut child = desk.command(&begun, &[]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let (state, began) = (run.join("weights/last.state"), Instant::now());
        let before = fs::metadata(&state).and_then(|file| file.modified()).ok();
        while fs::metadata(&state).and_then(|file| file.modified()).ok() == before
            && child.try_wait().unwrap().is_none()
        {
            assert!(began.elapsed() < Duration::from_secs(120), "nothing is kept");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    desk.json("train --resume", &[&run], 0);
    assert_eq!(last(&run), whole, "killed three times, the same weights");

    // The connection breaks: it stops as by Ctrl-C, at a point that it can go on from.
    let run = desk.path("runs/hung");
    let mut child = desk.command(&format!("{words} hung"), &[]).stdout(Stdio::null()).spawn().unwrap();
    while !run.join("weights/last.state").is_file() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().code().is_some(), "it ends of itself");
    desk.json("train --resume", &[&run], 0);
    assert_eq!(last(&run), whole, "hung up on, the same weights");

    // Nobody reads what it says (`| tee` that was ended): it trains all the same.
    let mut child = desk.command(&format!("{words} unread"), &[]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(last(&desk.path("runs/unread")), whole, "unread, the same weights");
    // Stopped, it ends as any that is stopped: what would follow it must not.
    let run = desk.path("runs/unheard");
    let mut child = desk.command(&format!("{words} unheard"), &[]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    while !run.join("weights/last.state").is_file() {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1), "stopped is not done");

    // A file may not grow beyond 64 kB: as on a full disk, the state cannot be kept.
    let run = desk.path("runs/full");
    let mut child = desk.command(&format!("{words} full"), &[]).stdout(Stdio::null()).spawn().unwrap();
    while !run.join("weights/last.state").is_file() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = fs::read(run.join("weights/last.state")).unwrap();
    let resume = desk.command("train --resume", &[&run]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(resume.get_program())
        .args(resume.get_args());
    for (name, value) in resume.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let output = shell.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write") && !said.contains("panicked"), "{said}");
    assert_eq!(fs::read(run.join("weights/last.state")).unwrap(), kept, "what was kept last stays");
    desk.json("train --resume", &[&run], 0);
    assert_eq!(last(&run), whole, "with room again, the same weights");
}

#[test]
fn weights_are_trained_on_with_crops_as_theirs_were() {
    let desk = Desk::new(&[]);
    crops(&desk);
    let set = desk.path("crops");
    let begin = format!(
        "train {} --model dinov2_vit64x2_14 --name first imgsz=42 labels=3 per_label=3 epochs=1 square=false align=true",
        set.display()
    );
    desk.json(&begin, &[], 0);
    let first = desk.path("runs/first/weights/best.safetensors");
    for (name, more, side) in [("same", "", 42), ("other", "imgsz=28 align=false", 28)] {
        let words = format!("train {} --model {} --name {name} --head linear {more}", set.display(), first.display());
        let output = desk.run(&words, &[]);
        let told = text(&output.stderr);
        assert!(output.status.success() && told.contains("as these weights were trained"), "{told}");
        let args = fs::read_to_string(desk.path(format!("runs/{name}/args.yaml"))).unwrap();
        let align = more.is_empty();
        for line in [format!("imgsz: {side}"), format!("align: {align}"), "square: false".into()] {
            assert!(args.contains(&line), "{line} is missing in\n{args}");
        }
    }
    let listed = text(&desk.run("runs list", &[]).stdout);
    assert!(
        listed.lines().any(|line| line.starts_with("same") && line.contains("1/1") && line.contains("acc")),
        "{listed}"
    );
    assert!(desk.run("runs show same", &[]).status.success());
}

#[test]
fn what_cannot_be_learnt_from_is_told_with_its_remedy() {
    let desk = Desk::new(&[]);
    crops(&desk);
    let set = desk.path("crops");
    let set = set.display();
    desk.json("model untrained yolov8n --name finder", &[], 0);
    desk.json(
        &format!("train {set} imgsz=42 labels=3 per_label=2 epochs=1 --model dinov2_vit64x2_14 --name nearness"),
        &[],
        0,
    );
    let embedder = desk.path("runs/nearness/weights/best.safetensors");
    let embedder = embedder.display();
    desk.write("gate.yaml", b"figures:\n  masks.map50: {at_least: 0.9}\n");
    for (folder, n) in [("train/red", 1), ("val/red", 2)] {
        let drawn = encoded(&RgbImage::from_pixel(42, 42, Rgb([n * 20; 3])), ImageFormat::Png);
        desk.write(format!("one/{folder}/{n}.png"), &drawn);
    }
    desk.write("torn/train/red/1.png", b"no picture");
    for (folder, n) in [("train/red", 3), ("train/blue", 4), ("val/red", 5), ("val/red", 6), ("val/blue", 7)] {
        let drawn = encoded(&RgbImage::from_pixel(42, 42, Rgb([n * 20; 3])), ImageFormat::Png);
        desk.write(format!("torn/{folder}/{n}.png"), &drawn);
    }
    let whole = encoded(&RgbImage::from_fn(42, 42, |x, y| Rgb([x as u8, y as u8, 9])), ImageFormat::Jpeg);
    desk.write("torn/val/red/8.jpg", &whole[..whole.len() - 20]);
    desk.write("torn/val/red/9.png", &fs::read(desk.path("torn/train/red/3.png")).unwrap());
    let (one, torn) = (desk.path("one"), desk.path("torn"));
    let (one, torn) = (one.display(), torn.display());
    let gate = desk.path("gate.yaml");
    let gate = gate.display();
    for (words, said) in [
        (format!("train {set}"), "--model dinov2_vits14"),
        (format!("train {set} --model dinov2_vits15"), "no architecture that is known"),
        (format!("train {set} --model models/finder.safetensors"), "a YOLOv8 learns where objects are"),
        (format!("train {set} --model yolov8n --head linear"), "--head makes a classifier of a DINOv2"),
        (format!("train {set} mosaic=1 --model dinov2_vit64x2_14"), "`mosaic` is no option"),
        (format!("train {set} fitness=f1 --model dinov2_vit64x2_14"), "an embedder is judged by"),
        (format!("train {one} --model dinov2_vit64x2_14"), "one class only"),
        (
            format!("train {torn} imgsz=42 --model dinov2_vit64x2_14 --head linear"),
            "torn/train/red/1.png: this is not an image",
        ),
        (format!("evaluate {set} --model models/finder.safetensors"), "name a classifier or an embedder"),
        ("train --resume nowhere".to_owned(), "name the folder of a run"),
        (format!("train {set} epochs=1 epochs=2 --model dinov2_vit64x2_14"), "`epochs` is given twice"),
        (format!("train {set} last_blocks=3 --model dinov2_vit64x2_14"), "the network has 2 blocks"),
        (format!("evaluate {set} --model {embedder} --gate {gate}"), "no figure `masks.map50` here"),
        (format!("evaluate {set} --model {embedder} --imgsz 64"), "--imgsz is for detectors"),
        (format!("evaluate {one} --model {embedder}"), "no label has two pictures in `val`"),
        ("dataset synth --out d --images 2 --packs 2 --align".to_owned(), "--align"),
    ] {
        let output = desk.run(&words, &[]);
        let stderr = text(&output.stderr);
        assert!(!output.status.success() && stderr.contains(said), "{words}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    // Without them it goes on, and does not stop at one that is cut short when it comes to it.
    let cut = "8.jpg: the file ends before the picture does";
    for (words, told) in [
        (
            format!("train {torn} imgsz=42 --model dinov2_vit64x2_14 --head linear --name torn --despite-problems"),
            vec![
                "1.png: this is not an image",
                cut,
                "2 in all are left out",
                "1 of the pictures have the bytes of one in another",
            ],
        ),
        // Only the part that is judged by is looked at.
        (
            format!("evaluate {torn} --model runs/torn/weights/best.safetensors --despite-problems"),
            vec![cut, "1 in all are left out"],
        ),
    ] {
        let output = desk.run(&words, &[]);
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{words}: {stderr}");
        for said in told {
            assert!(stderr.contains(said), "{words}: {stderr}");
        }
    }
    // Where nothing can be printed the work is done all the same.
    let words = format!("train {set} imgsz=42 labels=3 per_label=2 epochs=1 --model dinov2_vit64x2_14 --name unheard");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let unheard = desk.command(&words, &[]).stdout(full).output().unwrap();
    assert!(unheard.status.success() && text(&unheard.stderr).contains("cannot print"), "{}", text(&unheard.stderr));
    assert!(desk.path("runs/unheard/weights/best.safetensors").is_file());
    assert!(!desk.path("runs/train").exists() || desk.path("runs/train/args.yaml").is_file());
}
