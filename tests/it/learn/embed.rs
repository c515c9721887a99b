//! Training of embedders against DINOv2's reference code (`tests/golden/embed.py`) and of heads against scikit-learn
//! (`tests/golden/probe.py`); runs that are stopped against runs that are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use image::{Rgb, RgbImage};
use serde::Deserialize;
use sightline::learn::dataset::{Dataset, Item, Kind as DataKind, Object, Split};
use sightline::learn::embed::crops::of_set;
use sightline::learn::embed::judge::{Aim, Figures};
use sightline::learn::embed::logistic::{solve, standardised};
use sightline::learn::embed::network::Network;
use sightline::learn::embed::options::{Loss, Options};
use sightline::learn::embed::probe::probe;
use sightline::learn::embed::run::{Request, Told, train};
use sightline::learn::embed::scratch::scratch;
use sightline::learn::embed::{loss, start};
use sightline::learn::train::optimiser::{Method, Optimiser, Pace};
use sightline::learn::train::run::Begin;
use sightline::vision::checkpoint::{self, Task, TensorData, Weights};
use sightline::vision::dino::{Classifier, Network as Answering, Plan};
use sightline::vision::{Runtime, random};
use tch::{Device, Kind, Tensor};

#[derive(Deserialize)]
struct Golden {
    side: i64,
    labels: Vec<i64>,
    width: usize,
    depth: usize,
    grid: usize,
    plain_supcon: Run,
    registers_arcface: Run,
}

#[derive(Deserialize)]
struct Run {
    tokens: Vec<Vec<f64>>,
    norm: f64,
    gradients: BTreeMap<String, f64>,
    losses: Vec<f64>,
    weights: BTreeMap<String, Vec<f64>>,
    moved: BTreeMap<String, f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../golden/embed.json")).expect("the golden file")
}

fn pictures(count: usize, side: i64) -> Tensor {
    let bytes: Vec<u8> = random::uniform("pictures", 0)
        .take(count * (side * side * 3) as usize)
        .map(|value| ((value + 1.0) * 127.0).floor() as u8)
        .collect();
    Tensor::from_data_size(&bytes, &[count as i64, side, side, 3], Kind::Uint8)
}

/// The made-up weights of `weights.py`.
fn made_up(plan: &Plan) -> Weights {
    let mut weights = Weights::default();
    for (name, shape) in plan.manifest() {
        weights.tensors.insert(name.clone(), random::tensor(&name, &shape, 0));
    }
    weights
}

fn off(found: f64, right: f64) -> f64 {
    ((found - right) / right).abs()
}

#[test]
fn losses_gradients_and_steps_are_those_of_the_reference() {
    let golden = golden();
    let (width, depth, grid) = (golden.width, golden.depth, golden.grid);
    let plain = Plan { width, depth, registers: 0, grid, hidden: 4 * width, gated: false, scaled: true };
    let other = Plan { registers: 4, hidden: 344, gated: true, ..plain.clone() };
    let pixels = pictures(golden.labels.len(), golden.side);
    let labels = Tensor::from_slice(&golden.labels);
    println!("run                what                           ours         reference    off");
    for (name, run, plan, arc) in [
        ("plain_supcon", &golden.plain_supcon, plain, false),
        ("registers_arcface", &golden.registers_arcface, other, true),
    ] {
        let mut weights = made_up(&plan);
        if arc {
            start::margin(&mut weights, width, 3, 0);
        }
        let network = Network::new(&weights, Device::Cpu, Kind::Float).expect("the network");
        let begun: BTreeMap<String, Tensor> =
            network.tensors().iter().map(|(name, tensor)| (name.clone(), tensor.detach().copy())).collect();
        let mut optimiser = Optimiser::new(Method::AdamW);
        let pace = Pace { rates: [0.0005; 3], momentum: 0.9, decay: 0.05 };
        let tell = |what: &str, found: f64, right: f64, most: f64| {
            println!("{name:<18} {what:<30} {found:<12.6} {right:<12.6} {:.1e}", off(found, right));
            assert!(off(found, right) < most, "{name}, {what}: {found}, not {right}");
        };
        for (step, right) in run.losses.iter().enumerate() {
            let tokens = network.forward(&pixels).expect("a forward pass");
            if step == 0 {
                for (row, right) in run.tokens.iter().enumerate() {
                    let found: Vec<f32> = Vec::try_from(tokens.get(row as i64).detach()).expect("numbers");
                    for (found, right) in found.iter().zip(right) {
                        assert!((f64::from(*found) - right).abs() < 1e-4, "{name}, token {row}: {found}, not {right}");
                    }
                }
            }
            let vectors = loss::unit(&tokens).expect("vectors");
            let loss = if arc {
                let directions = network.tensor("margin_head.weight").expect("directions");
                loss::angular(&vectors, directions, &labels, 0.5, 30.0)
            } else {
                loss::contrastive(&vectors, &labels, 0.1)
            };
            let loss = loss.expect("a loss");
            loss.backward();
            let gradients: BTreeMap<&String, f64> =
                run.gradients.keys().map(|of| (of, network.tensors()[of].grad().norm().double_value(&[]))).collect();
            let length = optimiser.step(network.tensors(), &pace, 10.0).expect("a step");
            // Once next to nothing is left, its digits are noise.
            if *right > 0.1 {
                tell(&format!("loss of step {}", step + 1), loss.double_value(&[]), *right, 1e-3);
            }
            if step == 0 {
                tell("gradient", length, run.norm, 0.001);
                for (of, found) in gradients {
                    tell(of, found, run.gradients[of], 0.001);
                }
            }
        }
        for (tensor, right) in &run.weights {
            let now = network.tensors()[tensor].detach();
            let far = (&now - &begun[tensor]).square().sum(Kind::Double).sqrt().double_value(&[]);
            let found: Vec<f32> = Vec::try_from(now.contiguous().view([-1])).expect("numbers");
            let apart = found.iter().zip(right).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt();
            let way = run.moved[tensor] * (right.len() as f64 / found.len() as f64).sqrt();
            println!("{name:<18} {tensor:<30} moved {far:.5}, apart {:.1e} of the way", apart / way);
            assert!(off(far, run.moved[tensor]) < 0.02, "{name}, {tensor}: moved {far}, not {}", run.moved[tensor]);
            // Stated tolerance: after 10 steps weights lie within a twentieth of the way they have gone.
            assert!(apart < 0.05 * way, "{name}, {tensor}: {apart} apart, moved {way}");
        }
    }
}

#[test]
fn the_network_that_learns_and_the_one_that_answers_say_the_same() {
    let small = Plan::named("dinov2_vit128x3_14", 5).expect("a plan");
    let registers = Plan::named("dinov2_vit64x2_14_reg", 4).expect("a plan");
    let gated = Plan { gated: true, hidden: 88, ..small.clone() };
    let bare = Plan { scaled: false, ..small.clone() };
    let published = Plan::named("dinov2_vits14", 0).expect("a plan");
    assert_eq!(published.grid, 37, "a published size has its own positions");
    for (plan, side) in [(small, 70), (registers, 98), (gated, 56), (bare, 84), (published, 112)] {
        let weights = made_up(&plan);
        let learning = Network::new(&weights, Device::Cpu, Kind::Float).expect("the network that learns");
        let answering = Answering::new(&weights, Runtime::cpu()).expect("the network that answers");
        let bytes = pictures(2, side);
        let row = |values: [f32; 3]| Tensor::from_slice(&values).view([1, 3, 1, 1]);
        let shares = bytes.to_kind(Kind::Float).permute([0, 3, 1, 2]) / 255.0;
        let normal = (shares - row([0.485, 0.456, 0.406])) / row([0.229, 0.224, 0.225]);
        let ours = tch::no_grad(|| learning.forward(&bytes)).expect("tokens");
        let theirs = tch::no_grad(|| answering.forward(&normal)).expect("tokens");
        let cosine = |a: &Tensor, b: &Tensor| {
            let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
            (&a * &b).sum(Kind::Double).double_value(&[]) / (a.norm() * b.norm()).double_value(&[])
        };
        for picture in 0..2 {
            let apart = 1.0 - cosine(&ours.get(picture), &theirs.get(picture));
            println!("{} at {side}: 1 - cosine {apart:.1e}", plan.architecture());
            assert!(apart < 1e-6, "{}: {apart}", plan.architecture());
        }
    }
}

#[test]
fn only_what_is_to_learn_has_gradients() {
    let plan = Plan::named("dinov2_vit64x3_14", 2).expect("a plan");
    let mut network = Network::new(&made_up(&plan), Device::Cpu, Kind::BFloat16).expect("the network");
    network.learn_from(2).expect("set");
    let tokens = network.forward(&pictures(4, 28)).expect("tokens");
    let labels = Tensor::from_slice(&[0_i64, 0, 1, 1]);
    let loss = loss::contrastive(&loss::unit(&tokens).expect("vectors"), &labels, 0.1).expect("a loss");
    loss.backward();
    for (name, tensor) in network.tensors() {
        let learns = name.starts_with("blocks.2.") || name.starts_with("norm.");
        assert_eq!(tensor.grad().defined(), learns, "{name}");
    }
}

#[derive(Deserialize)]
struct Solved {
    classes: usize,
    pictures: usize,
    c: f64,
    scaled: bool,
    probabilities: Vec<Vec<f64>>,
}

#[test]
fn a_solved_head_is_that_of_scikit_learn() {
    const FEATURES: usize = 12;
    let cases: Vec<Solved> = serde_json::from_str(include_str!("../../golden/probe.json")).expect("the golden file");
    for case in cases {
        let scaled = if case.scaled { "True" } else { "False" };
        let name = format!("features {} {} {scaled}", case.classes, case.pictures);
        let labels: Vec<u32> = (0..case.pictures).map(|n| (n % case.classes) as u32).collect();
        let centres: Vec<f64> = random::uniform("centres", 0).take(case.classes * FEATURES).collect();
        let features: Vec<f64> = random::uniform(&name, 0)
            .take(case.pictures * FEATURES)
            .enumerate()
            .map(|(place, value)| {
                let (row, column) = (place / FEATURES, place % FEATURES);
                (value * 1.5 + centres[labels[row] as usize * FEATURES + column]) * (1 + column) as f64
            })
            .collect();
        let features = Tensor::from_slice(&features).view([case.pictures as i64, FEATURES as i64]);
        let solved = if case.scaled {
            let (flat, means, deviations) = standardised(&features).expect("scaled features");
            solve(&flat, &labels, case.classes, case.c).expect("a head").unscaled(&means, &deviations)
        } else {
            solve(&features, &labels, case.classes, case.c).expect("a head")
        };
        let rows: Vec<Vec<f64>> = Vec::try_from(&features).expect("rows");
        let mut worst: f64 = 0.0;
        for (row, right) in rows.iter().zip(&case.probabilities) {
            let score =
                |(weight, bias): (&Vec<f64>, &f64)| weight.iter().zip(row).map(|(a, b)| a * b).sum::<f64>() + bias;
            let parts: Vec<f64> = solved.weight.iter().zip(&solved.bias).map(score).map(f64::exp).collect();
            let sum: f64 = parts.iter().sum();
            for (part, right) in parts.iter().zip(right) {
                worst = worst.max((part / sum - right).abs());
            }
        }
        println!("{} classes, C {}: {} steps, probabilities apart {worst:.1e}", case.classes, case.c, solved.steps);
        assert!(worst < 1e-6, "{} classes, C {}: {worst}", case.classes, case.c);
    }
}

/// Crops of colours with noise of their own, a colour a class.
fn drawn(dir: &Path, each: u32) -> Dataset {
    let colours = [[220, 40, 30], [30, 60, 220], [40, 180, 60]];
    let mut items = Vec::new();
    for (class, colour) in (0..).zip(colours) {
        for number in 0..each {
            let path = dir.join(format!("{class}-{number}.png"));
            let shade = (number * 37 % 60) as u8;
            let dot = |x: u32, y: u32| (x / 7 + y / 7 + number) % 3 == class % 2;
            let pixel = |x, y| if dot(x, y) { Rgb(colour) } else { Rgb([90 + shade, 90, 90]) };
            RgbImage::from_fn(42, 42, pixel).save(&path).expect("a picture");
            let split = if number % 3 == 2 { Split::Val } else { Split::Train };
            items.push(Item { image: path, split, objects: vec![Object { class, outline: None }], crowds: Vec::new() });
        }
    }
    let names = ["red", "blue", "green"].map(str::to_owned).to_vec();
    Dataset { kind: DataKind::Classify, names, items, problems: Vec::new() }
}

fn read(path: &Path) -> Result<RgbImage, String> {
    image::open(path).map(|picture| picture.to_rgb8()).map_err(|error| error.to_string())
}

fn small() -> Weights {
    scratch(&Plan::named("dinov2_vit64x2_14", 3).expect("a plan"), 3).expect("weights")
}

struct Trained {
    rows: Vec<String>,
    weights: Weights,
    info: checkpoint::ModelInfo,
    stops: usize,
}

/// A run that is stopped after its first batch and gone on with after `between` did something.
fn gone_on(data: &Dataset, dir: &Path, between: impl FnOnce(&Path)) -> Result<(), String> {
    std::fs::create_dir(dir).expect("a folder");
    let options = Options { imgsz: 42, labels: 3, per_label: 4, epochs: 1, ..Options::default() };
    let stop = AtomicBool::new(true);
    let once = |begin: Begin| {
        let [learnt, judged] = of_set(data, dir, Aim::Embed, (options.policy(), 1 << 20), &read).expect("crops");
        let (names, options, stop) = (&data.names, &options, &stop);
        let (aim, device) = (Aim::Embed, Device::Cpu);
        let request = Request { aim, train: &learnt, val: &judged, names, dir, options, device, stop };
        train(&request, begin, &mut |_| {}).map(drop).map_err(|error| error.to_string())
    };
    once(Begin::Weights(small())).expect("a run");
    between(&dir.join("weights/last.state"));
    stop.store(false, Ordering::Relaxed);
    once(Begin::Resume)
}

#[test]
fn a_run_goes_on_with_its_own_numbers_and_pictures_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = drawn(dir.path(), 12);
    assert_eq!(gone_on(&data, &dir.path().join("whole"), |_| {}), Ok(()));
    // One bit of a weight: it would be a number like any other.
    let flipped = gone_on(&data, &dir.path().join("flipped"), |state| {
        let mut bytes = std::fs::read(state).expect("a state");
        let place = bytes.len() - 1001;
        bytes[place] ^= 1;
        std::fs::write(state, bytes).expect("a state");
    });
    assert!(flipped.as_ref().is_err_and(|why| why.contains("changed since it was written")), "{flipped:?}");
    let exchanged = gone_on(&data, &dir.path().join("exchanged"), |_| {
        RgbImage::from_pixel(64, 64, Rgb([1, 2, 3])).save(dir.path().join("0-0.png")).expect("a picture");
    });
    assert!(exchanged.as_ref().is_err_and(|why| why.contains("not what it began with")), "{exchanged:?}");
}

/// Trains, stopping after each of these batches of the run and going on.
fn trained(data: &Dataset, dir: &Path, aim: Aim, options: &Options, stops: &[u64]) -> Trained {
    std::fs::create_dir(dir).expect("a folder");
    let stop = AtomicBool::new(false);
    let [learnt, judged] = of_set(data, dir, aim, (options.policy(), 1 << 20), &read).expect("crops");
    let request = Request {
        aim,
        train: &learnt,
        val: &judged,
        names: &data.names,
        dir,
        options,
        device: Device::Cpu,
        stop: &stop,
    };
    let mut begin = Begin::Weights(small());
    let (mut batches, mut mined, mut stopped) = (0, 0, 0);
    loop {
        let mut tell = |told: &Told| match told {
            Told::Batch { .. } => {
                batches += 1;
                stop.store(stops.contains(&batches), Ordering::Relaxed);
            }
            // The second time that it looks for labels that are alike, it is stopped within.
            Told::Mined(..) => {
                mined += 1;
                stop.store(mined == 2 && !stops.is_empty(), Ordering::Relaxed);
            }
            _ => {}
        };
        if !train(&request, begin, &mut tell).expect("a run").stopped {
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
    let last = checkpoint::read(&dir.join("weights/last.safetensors")).expect("its weights");
    Trained { rows: text.lines().map(row).collect(), weights: last.weights, info: last.info, stops: stopped }
}

#[test]
fn a_stopped_run_goes_on_to_the_very_same_end_and_learns() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = drawn(dir.path(), 12);
    let base = Options { imgsz: 42, labels: 3, per_label: 4, batch: 8, epochs: 4, lr0: 0.0005, ..Options::default() };
    for (name, aim, loss) in [
        ("supcon", Aim::Embed, Loss::Supcon),
        ("mined", Aim::Embed, Loss::Supcon),
        ("arcface", Aim::Embed, Loss::Arcface),
        ("full", Aim::Classify, Loss::Supcon),
    ] {
        let mine = name == "mined";
        let options = Options { loss, mine, together: if mine { 2 } else { 1 }, ..base.clone() };
        let run = |way: &str| -> PathBuf { dir.path().join(format!("{name}-{way}")) };
        let whole = trained(&data, &run("whole"), aim, &options, &[]);
        let stopped = trained(&data, &run("stopped"), aim, &options, &[1, 2, 5]);
        assert_eq!((whole.stops, stopped.stops), (0, if mine { 4 } else { 3 }), "{name}");
        assert_eq!(whole.rows.len(), 5, "{name}: a line an epoch");
        assert_eq!(whole.rows, stopped.rows, "{name}");
        assert_eq!(whole.weights.fingerprint(), stopped.weights.fingerprint(), "{name}");
        let other = trained(&data, &run("other"), aim, &Options { seed: 9, ..options }, &[]);
        assert_ne!(whole.weights.fingerprint(), other.weights.fingerprint(), "{name}: another seed is another run");
        let loss_of = |row: &String| row.split(',').nth(1).and_then(|v| v.parse::<f64>().ok()).expect("a loss");
        assert!(loss_of(&whole.rows[4]) < loss_of(&whole.rows[1]), "{name} learns: {:?}", whole.rows);
        let (task, architecture) = match aim {
            Aim::Embed => (Task::Embed, "dinov2_vit64x2_14"),
            Aim::Classify => (Task::Classify, "dinov2_vit64x2_14+linear"),
        };
        assert_eq!((whole.info.task, whole.info.architecture.as_str()), (task, architecture));
        let plots = if aim == Aim::Embed { "val_neighbours.png" } else { "confusion_matrix.png" };
        for file in ["train_batch.png", "results.png", plots] {
            assert!(run("whole").join(file).is_file(), "{name}: {file}");
        }
    }
}

#[test]
fn a_probe_tells_colours_apart_and_says_so_again_from_its_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = drawn(dir.path(), 12);
    let options = Options { imgsz: 42, ..Options::default() };
    let run = dir.path().join("probe");
    std::fs::create_dir(&run).expect("a folder");
    let stop = AtomicBool::new(false);
    let [learnt, judged] = of_set(&data, &run, Aim::Classify, (options.policy(), 1 << 20), &read).expect("crops");
    let request = Request {
        aim: Aim::Classify,
        train: &learnt,
        val: &judged,
        names: &data.names,
        dir: &run,
        options: &options,
        device: Device::Cpu,
        stop: &stop,
    };
    let mut heard = Vec::new();
    let plan = Plan::named("dinov2_vit64x2_14", 3).expect("a plan");
    let row = probe(&request, made_up(&plan), &mut |done, of| heard.push((done, of))).expect("a probe");
    let Figures::Classify(report) = &row.figures else { panic!("a classifier's figures") };
    assert_eq!(heard.last(), Some(&(36, 36)));
    assert!(report.accuracy > 0.9, "{report:?}");
    let classifier = Classifier::load(&run.join("weights/best.safetensors"), Runtime::cpu()).expect("the classifier");
    assert_eq!(classifier.names(), data.names);
    let mut right = 0;
    let val: Vec<&Item> = data.of(Split::Val).collect();
    for item in &val {
        let answer = &classifier.classify(&[read(&item.image).expect("a picture")]).expect("an answer")[0].1;
        assert!((answer.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let best = (0..3).max_by(|a, b| answer[*a].total_cmp(&answer[*b])).expect("a class");
        right += usize::from(best as u32 == item.objects[0].class);
    }
    assert!((right as f64 / val.len() as f64 - report.accuracy).abs() < 1e-12);
}

#[test]
fn a_set_that_cannot_be_learnt_from_says_why_and_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = drawn(dir.path(), 6);
    let policy = Options { imgsz: 42, ..Options::default() }.policy();
    let fault = |data: &Dataset, aim| match of_set(data, Path::new("set"), aim, (policy, 0), &read) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    };
    let with = |change: &dyn Fn(&mut Dataset)| {
        let mut changed = data.clone();
        change(&mut changed);
        changed
    };
    let boxes = with(&|data| data.kind = DataKind::Detect);
    assert!(fault(&boxes, Aim::Embed).contains("a folder a class"));
    let empty = with(&|data| data.items.clear());
    assert!(fault(&empty, Aim::Embed).contains("no pictures to learn from"));
    let unsplit = with(&|data| data.items.iter_mut().for_each(|item| item.split = Split::Train));
    assert!(fault(&unsplit, Aim::Classify).contains("`sightline dataset split`"));
    let one = with(&|data| data.items.retain(|item| item.objects[0].class == 1));
    assert!(fault(&one, Aim::Embed).contains("one class only"));
    let none = with(&|data| data.items.retain(|item| item.objects[0].class != 2 || item.split == Split::Val));
    assert!(fault(&none, Aim::Classify).contains("`green` has no picture to learn from"));
    // A picture that went missing is named when it is wanted.
    let gone = with(&|data| data.items[0].image = dir.path().join("gone.png"));
    let [learnt, _] = of_set(&gone, Path::new("set"), Aim::Classify, (policy, 0), &read).expect("crops");
    let error = (0..learnt.len()).find_map(|place| learnt.crop(place).err()).expect("an error").to_string();
    assert!(error.contains("gone.png") && error.contains("take it out of the set"), "{error}");
}

#[test]
fn a_head_that_does_not_fit_is_refused() {
    let mut weights = small();
    start::linear(&mut weights, 64, &["a", "b"].map(str::to_owned), 1);
    let read = |weights: &Weights| checkpoint::from_bytes(&checkpoint::to_bytes(weights).expect("bytes"));
    assert_eq!(read(&weights).expect("a classifier").info.classes, Some(2));
    let mut short = weights.clone();
    short.tensors.insert("linear_head.bias".into(), TensorData::from_f32(&[3], &[0.0; 3]));
    assert!(read(&short).unwrap_err().to_string().contains("linear_head.bias"));
    let mut nameless = weights;
    nameless.names = None;
    assert!(read(&nameless).unwrap_err().to_string().contains("name its classes"));
}
