//! Exact search in a gallery of 100,000 vectors, one probe at a time, on one thread.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sightline::domain::{Embedding, Fingerprint, ImageId, Label, Rotation};
use sightline::gallery::{Gallery, NamedVectors, Options};

use crate::harness::{Bench, Peer, milliseconds};

const VECTORS: usize = 100_000;
const CLUSTERS: usize = 2000;
const DIMENSION: usize = 384;
const CALLS: usize = 20;

/// Unit vectors around so many centres, as packs photographed again and again are.
fn clustered() -> Vec<Vec<f32>> {
    let mut random = SmallRng::seed_from_u64(7);
    let mut noise = |scale: f32| -> Vec<f32> { (0..DIMENSION).map(|_| random.random_range(-scale..scale)).collect() };
    let centres: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| noise(1.0)).collect();
    (0..VECTORS)
        .map(|n| {
            let near: Vec<f32> = centres[n % CLUSTERS].iter().zip(noise(0.6)).map(|(a, b)| a + b).collect();
            Embedding::normalised(near).expect("a direction").as_slice().to_vec()
        })
        .collect()
}

pub fn run(bench: &Bench) {
    let what = "exact search, 100,000 vectors of 384, top 10, one probe, one thread";
    if !bench.wants(what) {
        return;
    }
    let vectors = clustered();
    let file = bench.scratch.path().join("vectors.f32");
    let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(&file, bytes).expect("the vectors");
    let mut gallery = Gallery::open(&bench.scratch.path().join("gallery"), Options::default()).expect("a gallery");
    let weights = Fingerprint(ImageId([7; 32]));
    let named = |(n, vector): (usize, &Vec<f32>)| -> NamedVectors {
        (Label::new(&format!("label {}", n % CLUSTERS)).expect("a label"), vec![(Rotation::R0, vector.clone())])
    };
    let sightings = vectors.iter().enumerate().map(named).collect();
    for (sighting, enrolled) in gallery.import(weights, ImageId([1; 32]), sightings).expect("imported") {
        gallery.admit(sighting, enrolled.label, weights, &enrolled.vectors).expect("admitted");
    }
    let probes: Vec<Embedding> =
        (0..CALLS).map(|n| Embedding::normalised(vectors[n * 37].clone()).expect("a direction")).collect();
    let search = || {
        for probe in &probes {
            let found = gallery.search(weights, probe, 10).expect("an answer");
            assert!(found[0].similarity > 0.999, "the nearest is the probe itself");
        }
    };
    search();
    let path = file.display().to_string();
    let mut peers: Vec<Peer> =
        bench.peer("faiss Flat (inner product)", "flat.py", &["--vectors", &path]).into_iter().collect();
    bench.measure(what, "ms", &mut peers, || milliseconds(1, search) / CALLS as f64);
}
