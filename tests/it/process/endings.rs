//! How trainings end that do not simply come to their end: stopped, killed, no better any more, diverged, not worth it.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use sightline::learn::train::state;
use tch::Device;

use super::detectors::rectangles;
use super::{Desk, text};
use crate::support::encoded;

/// Waits until something holds while a child goes on.
fn until(child: &mut Child, what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {what}");
        assert!(began.elapsed() < Duration::from_secs(120), "{what} does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a run ended with: its weights bit for bit, and its table without the second column, the time.
fn end(run: &Path) -> (Vec<Vec<u8>>, Vec<String>) {
    let weights = ["best", "last"].map(|name| fs::read(run.join(format!("weights/{name}.safetensors"))).unwrap());
    let table = fs::read_to_string(run.join("results.csv")).unwrap();
    let row = |line: &str| {
        let values: Vec<&str> = line.split(',').collect();
        [&values[..1], &values[2..]].concat().join(",")
    };
    (weights.to_vec(), table.lines().map(row).collect())
}

fn rows(run: &Path) -> usize {
    fs::read_to_string(run.join("results.csv")).map_or(0, |table| table.lines().count().saturating_sub(1))
}

/// Crops of two shades, a folder each.
fn crops(desk: &Desk) {
    for n in 0..4_u8 {
        for (class, shade) in [("dark", 20), ("light", 180)] {
            let drawn = RgbImage::from_pixel(28, 28, Rgb([shade + n * 9, shade, shade]));
            let part = if n % 2 == 1 { "val" } else { "train" };
            desk.write(format!("crops/{part}/{class}/{n}.png"), &encoded(&drawn, ImageFormat::Png));
        }
    }
}

#[test]
fn a_detector_that_was_stopped_or_killed_goes_on_to_the_same_end() {
    const BATCHES: u64 = 16;
    let desk = Desk::new(&[]);
    let set = rectangles(&desk, "set", &["red", "blue"], true, 24);
    // A batch a picture, two batches a step: a stop may fall between them.
    let settings = "--model yolov8n imgsz=64 batch=1 nbs=2 epochs=2 close_mosaic=1 warmup_epochs=0";
    let words = |name: &str| format!("train {} {settings} --name {name}", set.display());
    desk.json(&words("whole"), &[], 0);
    let whole = end(&desk.path("runs/whole"));
    assert_eq!(whole.1.len(), 3);

    // Ctrl-C while the first epoch goes on.
    let run = desk.path("runs/stopped");
    let mut child = desk.command(&words("stopped"), &[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    until(&mut child, "the first batch", || run.join("train_batch.png").is_file());
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let stopped = child.wait_with_output().unwrap();
    let said = text(&stopped.stdout);
    assert_eq!(stopped.status.code(), Some(1), "stopped is not done: {said}");
    assert!(said.contains("stopped in epoch 1") && said.contains("--resume"), "{said}");
    let stand = state::load(&run.join("weights/last.state"), Device::Cpu).unwrap().stand;
    assert!(stand.epoch == 0 && (1..BATCHES).contains(&stand.batch), "within the epoch, at batch {}", stand.batch);
    desk.json("train --resume", &[&run], 0);
    assert!(end(&run) == whole, "stopped, the same end");

    // SIGKILL in the first epoch, and again in the second.
    let run = desk.path("runs/killed");
    for (begun, epochs) in [(words("killed"), 0), (format!("train --resume {}", run.display()), 1)] {
        let mut child = desk.command(&begun, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until(&mut child, "an epoch", || run.join("train_batch.png").is_file() && rows(&run) == epochs);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    desk.json("train --resume", &[&run], 0);
    assert!(end(&run) == whole, "killed twice, the same end");
}

#[test]
fn a_run_that_gets_no_better_ends_early_and_keeps_its_first() {
    let desk = Desk::new(&[]);
    // One class is enough; at a rate of nothing no epoch is better than the first.
    let set = rectangles(&desk, "set", &["red"], false, 6);
    crops(&desk);
    let detector = "--model yolov8n imgsz=64 batch=4 optimizer=sgd warmup_bias_lr=0";
    let embedder = "--model dinov2_vit64x2_14 imgsz=28 labels=2 per_label=2";
    for (name, set, model, patience) in [("detector", set, detector, 2), ("embedder", desk.path("crops"), embedder, 1)]
    {
        let words = format!("train {} {model} lr0=0 epochs=20 patience={patience} --name {name}", set.display());
        let told = desk.json(&words, &[], 0);
        let run = desk.path(format!("runs/{name}"));
        let ended = told.last().unwrap();
        assert_eq!((&ended["stopped"], &ended["epochs"]), (&false.into(), &(patience + 1).into()), "{ended}");
        assert_eq!((&ended["best"]["epoch"], rows(&run)), (&1.into(), patience + 1), "{ended}");
        let card: Value =
            serde_json::from_str(&fs::read_to_string(run.join("weights/best.card.json")).unwrap()).unwrap();
        assert_eq!(card["metrics"]["epoch"], 1);
        // It is over: going on changes nothing.
        let before = end(&run);
        assert_eq!(desk.json("train --resume", &[&run], 0).last(), Some(ended));
        assert!(end(&run) == before);
        let said = text(&desk.run("train --resume", &[&run]).stdout);
        assert!(said.contains(" of 20, ended early") && said.contains("`patience`"), "{said}");
    }
}

#[test]
fn a_run_that_diverges_says_so_and_keeps_what_was_good() {
    let desk = Desk::new(&[]);
    let set = rectangles(&desk, "set", &["red", "blue"], false, 12);
    // Three batches make a step and an epoch has two: the first one ends before there is a step, and the next breaks.
    let words = format!(
        "train {} --model yolov8n --name far imgsz=64 batch=4 nbs=12 epochs=4 mosaic=0 optimizer=adamw lr0=10 \
         warmup_epochs=0",
        set.display()
    );
    let run = desk.path("runs/far");
    let mut kept = None;
    for words in [words, format!("train --resume {}", run.display())] {
        let diverged = desk.run(&words, &[]);
        let said = text(&diverged.stderr);
        assert_eq!(diverged.status.code(), Some(1), "{said}");
        let told = ["not a finite number", "`weights/`", "--model", "lr0"];
        assert!(told.iter().all(|part| said.contains(part)) && !said.contains("panicked"), "{said}");
        assert!(!said.contains("  "), "one sentence: {said}");
        assert_eq!(rows(&run), 1, "{said}");
        let now = end(&run);
        assert!(kept.get_or_insert_with(|| now.clone()) == &now, "gone on with, it ends alike");
    }
    // The remedy that was named works.
    let last = run.join("weights/last.safetensors");
    desk.json("model inspect", &[&last], 0);
    let again = format!(
        "train {} --model {} imgsz=64 batch=4 epochs=1 lr0=0.001 optimizer=adamw",
        set.display(),
        last.display()
    );
    desk.json(&again, &[], 0);

    // An embedder notices it where it is judged: each step multiplies its weights by nine.
    crops(&desk);
    let words = format!(
        "train {} --model dinov2_vit64x2_14 imgsz=28 labels=2 per_label=2 epochs=50 lr0=10 weight_decay=1 warmup_epochs=0",
        desk.path("crops").display()
    );
    let diverged = desk.run(&words, &[]);
    let said = text(&diverged.stderr);
    assert!(
        diverged.status.code() == Some(1) && said.contains("not a finite number") && said.contains("lr0"),
        "{said}"
    );
}

#[test]
fn a_search_ends_a_trial_that_lies_below_the_others() {
    let desk = Desk::new(&[]);
    let set = rectangles(&desk, "set", &["red", "blue"], false, 6);
    let run = desk.path("runs/search");
    desk.json(
        &format!(
            "train {} --model yolov8n --name search --tune 1 imgsz=64 batch=4 nbs=8 epochs=3 mosaic=0 optimizer=adamw \
             lr0=10 warmup_epochs=0",
            set.display()
        ),
        &[],
        0,
    );
    // As if two more had found nearly everything: no network from nothing does within an epoch.
    let record = run.join("tune.jsonl");
    let mut lines = fs::read_to_string(&record).unwrap();
    let settings = serde_json::from_str::<Value>(lines.lines().next().unwrap()).unwrap()["begun"]["settings"].clone();
    for trial in [2, 3] {
        let fitness = |epoch: u64| json!({ "epoch": { "trial": trial, "epoch": epoch, "fitness": 0.9 } });
        let begun = json!({ "begun": { "trial": trial, "settings": settings } });
        let ended = json!({ "ended": { "trial": trial, "pruned": false } });
        for line in [begun, fitness(1), fitness(2), fitness(3), ended] {
            lines.push_str(&format!("{line}\n"));
        }
    }
    fs::write(&record, lines).unwrap();
    let args = fs::read_to_string(run.join("args.yaml")).unwrap();
    fs::write(run.join("args.yaml"), args.replace("tune: 1\n", "tune: 4\n")).unwrap();

    let told = desk.json("train --resume", &[&run], 0);
    let trials = told.last().unwrap()["trials"].as_array().unwrap();
    let trial = |number: u64| trials.iter().find(|trial| trial["trial"] == number).unwrap();
    assert_eq!((&trial(4)["pruned"], &trial(4)["epochs"]), (&true.into(), &1.into()), "{}", trial(4));
    let settings = &trial(4)["settings"];
    assert!(settings["lr0"].is_number() && settings["mosaic"].is_null(), "what has an effect is searched: {settings}");
    // What diverges is no end of the search.
    assert_eq!((&trial(1)["pruned"], &trial(1)["epochs"]), (&true.into(), &1.into()), "{}", trial(1));
    assert_eq!(rows(&run.join("trial-004")), 1, "it is not gone on with");
    assert!(run.join("trial-004/weights/best.safetensors").is_file());
    assert!(!run.join("trial-004/weights/last.state").exists(), "nothing is kept of it to go on from");
    let table = text(&desk.run("train --resume", &[&run]).stdout);
    let early: Vec<&str> = table.lines().filter(|line| line.contains("ended early")).collect();
    assert!(early.len() == 2 && early.iter().all(|line| line.trim_start().starts_with(['1', '4'])), "{table}");
}
