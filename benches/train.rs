//! Training YOLOv8n-seg: pictures a second, whole epochs of a run, what makes batches included.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use sightline::learn::augment::Recipe;
use sightline::learn::dataset;
use sightline::learn::synth::set::{Order, write};
use sightline::learn::train::options::{Chosen, Mixed, Options};
use sightline::learn::train::run::{Begin, Request, Told, train};
use sightline::learn::train::start;
use sightline::vision::yolo::Plan;
use tch::Device;

use crate::harness::{Bench, Peer};

/// Pictures of an epoch and of a batch.
const PICTURES: u32 = 64;
const BATCH: usize = 8;

pub fn run(bench: &Bench) {
    for size in [320_u32, 640] {
        for (augmented, recipe) in [("without", Recipe::none()), ("with", Recipe::default())] {
            let what = format!("training yolov8n-seg at {size}, batch {BATCH}, {augmented} augmentation");
            if !bench.wants(&what) {
                continue;
            }
            let packs = bench.scratch.path().join("packs");
            if !packs.exists() {
                let order = Order { images: PICTURES + 4, packs: 40, first: 0, seed: 3, val: 0.05, test: 0.0 };
                write(&order, &packs, 2, || {}).expect("a set");
            }
            let description = packs.join("data.yaml");
            let (data, side) = (description.to_str().expect("text").to_owned(), size.to_string());
            let batch = BATCH.to_string();
            let arguments = ["--data", &data, "--imgsz", &side, "--batch", &batch, "--augment", augmented];
            let mut peers: Vec<Peer> =
                bench.peer("Ultralytics' trainer, fp32", "train.py", &arguments).into_iter().collect();
            for (mixed, precision) in [(Mixed::Fp32, "fp32"), (Mixed::Bf16, "bf16")] {
                let options = Options {
                    epochs: 2,
                    batch: BATCH,
                    imgsz: size,
                    optimizer: Chosen::Sgd,
                    amp: mixed,
                    close_mosaic: 0,
                    augment: recipe,
                    ..Options::default()
                };
                bench.measure(&format!("{what}, {precision}"), "images/s", &mut peers, || rate(&description, &options));
            }
        }
    }
}

/// Pictures a second of the second epoch: in the first, pictures are read for the first time.
fn rate(description: &Path, options: &Options) -> f64 {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dataset::read(description).expect("the set");
    let read = |path: &Path| image::open(path).map(|picture| picture.to_rgb8()).map_err(|error| error.to_string());
    let plan = Plan::published("n", 1, true).expect("a size");
    let begin = Begin::Weights(start::scratch(&plan, data.names.clone(), 1));
    let stop = AtomicBool::new(false);
    let request = Request {
        data: &data,
        data_path: description,
        read: &read,
        dir: dir.path(),
        options,
        device: Device::Cpu,
        stop: &stop,
    };
    // From the end of the second epoch's first batch to the end of its last.
    let (mut began, mut seconds, mut pictures) = (None::<Instant>, 0.0, 0);
    let mut tell = |told: &Told| {
        if let Told::Batch { epoch: 1, pictures: seen, .. } = told {
            match began {
                None => began = Some(Instant::now()),
                Some(began) => {
                    pictures += seen;
                    seconds = began.elapsed().as_secs_f64();
                }
            }
        }
    };
    train(&request, begin, &mut tell).expect("a run");
    pictures as f64 / seconds
}
