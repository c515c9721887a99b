//! Training against Ultralytics' (`tests/golden/train.py`): losses, gradients, and where 20 steps lead; and a run that is
//! stopped against one that is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use image::{Rgb, RgbImage};
use serde::Deserialize;
use sightline::learn::dataset::{Dataset, Item, Kind as DataKind, Object, Outline, Split};
use sightline::learn::train::assign::Wanted;
use sightline::learn::train::loss::{Gains, Targets, loss};
use sightline::learn::train::network::Network;
use sightline::learn::train::optimiser::{Method, Optimiser, Pace};
use sightline::learn::train::options::Options;
use sightline::learn::train::run::{Begin, Request, Told, rare, train};
use sightline::learn::train::start;
use sightline::vision::checkpoint::{self, Weights};
use sightline::vision::random;
use sightline::vision::yolo::Plan;
use tch::{Device, Kind, Tensor};

#[derive(Deserialize)]
struct Golden {
    side: i64,
    objects: Vec<Vec<[f64; 5]>>,
    detect_sgd: Run,
    segment_sgd: Run,
    segment_adamw: Run,
    weighted: Vec<Weighted>,
}

/// A loss whose classes count by how rare they are.
#[derive(Deserialize)]
struct Weighted {
    counts: Vec<f64>,
    power: f64,
    weights: Vec<f32>,
    parts: [f64; 4],
    gradient: f64,
}

#[derive(Deserialize)]
struct Run {
    parts: [f64; 4],
    gradient: f64,
    steps: Vec<[f64; 4]>,
    weights: BTreeMap<String, Vec<f64>>,
    moved: BTreeMap<String, f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../golden/train.json")).expect("the golden file")
}

/// The made-up pictures and their objects: ellipses.
fn batch(golden: &Golden, outlines: bool) -> (Tensor, Targets) {
    let (side, count) = (golden.side as usize, golden.objects.len());
    let pixels: Vec<u8> = random::uniform("pictures", 0)
        .take(count * side * side * 3)
        .map(|value| ((value + 1.0) * 127.0).floor() as u8)
        .collect();
    let shape = [count as i64, golden.side, golden.side, 3];
    let pixels = Tensor::from_data_size(&pixels, &shape, Kind::Uint8);
    let mut targets = Targets { objects: Vec::new(), masks: outlines.then(Vec::new) };
    for objects in &golden.objects {
        let wanted = |o: &[f64; 5]| Wanted { class: o[0] as u32, corners: [o[1], o[2], o[3], o[4]].map(|c| c as f32) };
        targets.objects.push(objects.iter().map(wanted).collect());
        let Some(masks) = &mut targets.masks else { continue };
        let mut map = vec![0_u16; (side / 4).pow(2)];
        for (place, [_, x1, y1, x2, y2]) in objects.iter().enumerate() {
            for (pixel, owner) in map.iter_mut().enumerate() {
                let (x, y) = ((pixel % (side / 4) * 4 + 2) as f64, (pixel / (side / 4) * 4 + 2) as f64);
                let across = (x - (x1 + x2) / 2.0) / ((x2 - x1) / 2.0);
                let down = (y - (y1 + y2) / 2.0) / ((y2 - y1) / 2.0);
                if across.powi(2) + down.powi(2) < 1.0 {
                    *owner = place as u16 + 1;
                }
            }
        }
        masks.push(map);
    }
    (pixels, targets)
}

fn network(segments: bool) -> Network {
    let plan = Plan::published("n", 3, segments).expect("a size");
    let weights = start::scratch(&plan, vec!["a".into(), "b".into(), "c".into()], 0);
    Network::new(&weights, Device::Cpu, Kind::Float).expect("the network")
}

#[test]
fn rare_classes_count_as_with_ultralytics() {
    let golden = golden();
    let (pixels, targets) = batch(&golden, false);
    for Weighted { counts, power, weights, parts, gradient } in &golden.weighted {
        let ours = rare(counts, *power);
        let mut largest = 0.0_f64;
        for (ours, theirs) in ours.iter().zip(weights) {
            println!(
                "cls_pw {power}    weight    {ours:<11.6} {theirs:<12.6} {:.1e}",
                off((*ours).into(), (*theirs).into())
            );
            largest = largest.max(off((*ours).into(), (*theirs).into()));
        }
        assert!(ours.len() == weights.len() && largest < 1e-5, "{ours:?}, not {weights:?}");
        let network = network(false);
        let heads = network.forward(&pixels, true).expect("a forward pass");
        let loss = loss(&heads, &targets, (golden.side, golden.side), &Gains::default(), &ours).expect("a loss");
        loss.total.backward();
        let still = Pace { rates: [0.0; 3], momentum: 0.9, decay: 0.0 };
        let found = Optimiser::new(Method::Sgd).step(network.tensors(), &still, 10.0).expect("a step");
        println!(
            "cls_pw {power}    classes   {:<11.6} {:<12.6} {:.1e}",
            loss.parts[2],
            parts[2],
            off(loss.parts[2], parts[2])
        );
        println!("cls_pw {power}    gradient  {found:<11.4} {gradient:<12.4} {:.1e}", off(found, *gradient));
        assert!(off(loss.parts[2], parts[2]) < 1e-3 && off(found, *gradient) < 0.01);
    }
    assert!(rare(&[3.0, 4.0], 0.0).is_empty() && rare(&[0.0, 0.0], 1.0).is_empty());
}

fn off(found: f64, right: f64) -> f64 {
    if right == 0.0 { found.abs() } else { ((found - right) / right).abs() }
}

#[test]
fn losses_gradients_and_steps_are_those_of_ultralytics() {
    let golden = golden();
    println!("run            part      ours        Ultralytics  off");
    for (name, run, segments, method, rate, momentum, decay) in [
        ("detect_sgd", &golden.detect_sgd, false, Method::Sgd, 0.0001, 0.9, 0.0005),
        ("segment_sgd", &golden.segment_sgd, true, Method::Sgd, 0.0001, 0.9, 0.0005),
        ("segment_adamw", &golden.segment_adamw, true, Method::AdamW, 0.00001, 0.9, 0.0005),
    ] {
        let (pixels, targets) = batch(&golden, segments);
        let (size, gains) = ((golden.side, golden.side), Gains::default());
        let network = network(segments);
        let begun: BTreeMap<String, Tensor> =
            network.tensors().iter().map(|(name, tensor)| (name.clone(), tensor.detach().copy())).collect();
        let mut optimiser = Optimiser::new(method);
        let pace = Pace { rates: [rate; 3], momentum, decay };
        for (step, right) in run.steps.iter().enumerate() {
            let heads = network.forward(&pixels, true).expect("a forward pass");
            let loss = loss(&heads, &targets, size, &gains, &[]).expect("a loss");
            loss.total.backward();
            let gradient = optimiser.step(network.tensors(), &pace, 10.0).expect("a step");
            if step == 0 {
                for (part, (found, right)) in
                    ["boxes", "masks", "classes", "distances"].iter().zip(loss.parts.iter().zip(run.parts))
                {
                    println!("{name:<14} {part:<9} {found:<11.6} {right:<12.6} {:.1e}", off(*found, right));
                    assert!(off(*found, right) < 1e-3, "{name}, {part}: {found}, not {right}");
                }
                println!(
                    "{name:<14} gradient  {gradient:<11.4} {:<12.4} {:.1e}",
                    run.gradient,
                    off(gradient, run.gradient)
                );
                assert!(off(gradient, run.gradient) < 0.01, "{name}: {gradient}, not {}", run.gradient);
            }
            if step + 1 == run.steps.len() {
                for (found, right) in loss.parts.iter().zip(right) {
                    println!("{name:<14} step 20   {found:<11.6} {right:<12.6} {:.1e}", off(*found, *right));
                    assert!(off(*found, *right) < 0.02, "{name}, after 20 steps: {found}, not {right}");
                }
            }
        }
        for (tensor, right) in &run.weights {
            let now = &network.tensors()[tensor];
            let far = (now.detach() - &begun[tensor]).square().sum(Kind::Double).sqrt().double_value(&[]);
            let found: Vec<f32> = Vec::try_from(now.detach().contiguous().view([-1])).expect("numbers");
            let apart = found.iter().zip(right).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt();
            let step = found.iter().zip(right).count() as f64 / found.len() as f64;
            let moved = run.moved[tensor] * step.sqrt();
            println!(
                "{name:<14} {tensor:<32} moved {far:.5} (theirs {:.5}), apart {:.1e}",
                run.moved[tensor],
                apart / moved.max(1e-9)
            );
            assert!(off(far, run.moved[tensor]) < 0.05, "{name}, {tensor}: moved by {far}, not {}", run.moved[tensor]);
            // Stated tolerance: after 20 steps weights lie within a tenth of the way they have gone.
            assert!(apart < 0.1 * moved + 1e-6, "{name}, {tensor}: {apart} apart, moved {moved}");
        }
    }
}

/// A set of drawn rectangles of two colours, each colour a class.
fn drawn(dir: &Path, pictures: u32) -> Dataset {
    let mut items = Vec::new();
    for number in 0..pictures {
        let path = dir.join(format!("{number}.png"));
        let (left, top) = (4 + number % 5 * 6, 6 + number % 3 * 8);
        let class = number % 2;
        let colour = if class == 0 { Rgb([230, 40, 30]) } else { Rgb([30, 60, 220]) };
        let inside = |x, y| (left..left + 26).contains(&x) && (top..top + 22).contains(&y);
        RgbImage::from_fn(64, 64, |x, y| if inside(x, y) { colour } else { Rgb([90, 90, 90]) })
            .save(&path)
            .expect("a picture");
        let share = |x: u32, y: u32| [x as f32 / 64.0, y as f32 / 64.0];
        let corners = vec![share(left, top), share(left + 26, top), share(left + 26, top + 22), share(left, top + 22)];
        let split = if number % 4 == 3 { Split::Val } else { Split::Train };
        let objects = vec![Object { class, outline: Some(Outline::Polygon(corners)) }];
        items.push(Item { image: path, split, objects, crowds: Vec::new() });
    }
    Dataset { kind: DataKind::Segment, names: vec!["red".into(), "blue".into()], items, problems: Vec::new() }
}

fn read(path: &Path) -> Result<RgbImage, String> {
    image::open(path).map(|picture| picture.to_rgb8()).map_err(|error| error.to_string())
}

struct Trained {
    rows: Vec<String>,
    weights: Weights,
    stops: usize,
}

/// Trains, stopping after each of these batches of the run and going on.
fn trained(data: &Dataset, dir: &Path, options: &Options, stops: &[u64]) -> Trained {
    let stop = AtomicBool::new(false);
    let request = Request { data, data_path: dir, read: &read, dir, options, device: Device::Cpu, stop: &stop };
    let plan = Plan::published("n", 2, true).expect("a size");
    let mut begin = Begin::Weights(start::scratch(&plan, data.names.clone(), 3));
    let (mut batches, mut stopped) = (0, 0);
    loop {
        let mut tell = |told: &Told| {
            // A judgement counts as a batch, after the epoch's own.
            if matches!(told, Told::Batch { .. } | Told::Judged(..)) {
                batches += 1;
                stop.store(stops.contains(&batches), Ordering::Relaxed);
            }
        };
        let ended = train(&request, begin, &mut tell).expect("a run");
        if !ended.stopped {
            break;
        }
        stopped += 1;
        begin = Begin::Resume;
        stop.store(false, Ordering::Relaxed);
    }
    let text = std::fs::read_to_string(dir.join("results.csv")).expect("its results");
    // Without the second column, the time.
    let row =
        |line: &str| line.split(',').enumerate().filter(|(n, _)| *n != 1).map(|(_, v)| v.to_owned() + ",").collect();
    let weights = checkpoint::read(&dir.join("weights/last.safetensors")).expect("its weights").weights;
    Trained { rows: text.lines().map(row).collect(), weights, stops: stopped }
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_very_same_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = drawn(dir.path(), 24);
    // Two batches make a step, so that a stop can fall between them; the last epoch is without mosaics. Stopped is in the midst of
    // an epoch, after its last batch, between two judged batches, and after the run's last batch.
    let options = Options {
        epochs: 3,
        batch: 4,
        nbs: 8,
        imgsz: 64,
        warmup_epochs: 0.5,
        close_mosaic: 1,
        workers: 2,
        ..Options::default()
    };
    let runs: Vec<PathBuf> = ["whole", "stopped"].map(|name| dir.path().join(name)).to_vec();
    runs.iter().for_each(|run| std::fs::create_dir(run).expect("a folder"));
    let whole = trained(&data, &runs[0], &options, &[]);
    let stopped = trained(&data, &runs[1], &options, &[1, 4, 5, 6, 17, 18, 20]);
    assert_eq!((whole.stops, stopped.stops), (0, 7));
    assert_eq!(whole.rows.len(), 4, "a line an epoch");
    println!("results.csv (without its times) of a run and of one that was stopped seven times:");
    for (whole, stopped) in whole.rows.iter().zip(&stopped.rows) {
        println!("  {whole}\n  {stopped}");
    }
    println!("weights: {} and {}", whole.weights.fingerprint(), stopped.weights.fingerprint());
    assert_eq!(whole.rows, stopped.rows);
    assert_eq!(whole.weights.fingerprint(), stopped.weights.fingerprint());
    let sizes = [&whole, &stopped].map(|run| run.weights.input_size());
    assert_eq!(sizes, [Some(64); 2], "they state the size they were trained at");

    // Another seed is another run.
    let other = dir.path().join("other");
    std::fs::create_dir(&other).expect("a folder");
    let other = trained(&data, &other, &Options { seed: 9, ..options }, &[]);
    assert_ne!(whole.weights.fingerprint(), other.weights.fingerprint());
}

#[test]
fn frozen_layers_stay_as_they_are_with_their_running_statistics() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = drawn(dir.path(), 8);
    let run = dir.path().join("run");
    std::fs::create_dir(&run).expect("a folder");
    let options = Options {
        epochs: 2,
        batch: 4,
        nbs: 4,
        imgsz: 64,
        freeze: 10,
        warmup_epochs: 0.0,
        lr0: 0.01,
        ..Options::default()
    };
    let trained = trained(&data, &run, &options, &[]);
    let plan = Plan::published("n", 2, true).expect("a size");
    let begun = start::scratch(&plan, data.names.clone(), 3).halved();
    let (mut same, mut moved) = (0, 0);
    for (name, data) in &trained.weights.tensors {
        let layer: usize = name.split('.').nth(1).and_then(|layer| layer.parse().ok()).expect("a layer");
        let is_same = begun.get(name).expect("the tensor") == data;
        assert!(layer >= 10 || is_same, "{name} is frozen and changed");
        if layer < 10 { same += 1 } else { moved += usize::from(!is_same) }
    }
    assert!(same > 50 && moved > 50, "{same} stayed, {moved} changed");
}

#[test]
fn a_run_goes_on_with_its_own_data_and_for_one_process_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut data = drawn(dir.path(), 8);
    let options = Options { epochs: 1, batch: 4, nbs: 4, imgsz: 64, ..Options::default() };
    let run = dir.path().join("run");
    std::fs::create_dir(&run).expect("a folder");
    trained(&data, &run, &options, &[1]);
    let stop = AtomicBool::new(false);
    let attempt = |data: &Dataset| {
        let request = Request {
            data,
            data_path: dir.path(),
            read: &read,
            dir: &run,
            options: &options,
            device: Device::Cpu,
            stop: &stop,
        };
        train(&request, Begin::Resume, &mut |_| {}).map_err(|error| error.to_string())
    };
    let held = sightline::learn::train::state::take(&run).expect("the run's folder");
    let error = attempt(&data).expect_err("two processes");
    assert!(error.contains("another process trains in it"), "{error}");
    drop(held);
    assert!(attempt(&data).is_ok());
    data.items[0].objects[0].class = 1;
    let error = attempt(&data).expect_err("other labels");
    assert!(error.contains("are not those it began with"), "{error}");
}
