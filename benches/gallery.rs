//! The gallery on one thread: exact search, one probe at a time and a thousand together, and the approximate index.
//!
//! `GALLERY_1M=1` takes a million vectors, too (some hours and 10 GB, most of it for the peers' indexes). Vectors, probes
//! and all indexes are kept in `target/bench`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sightline::domain::{Embedding, Fingerprint, ImageId, Label, Neighbour, Rotation};
use sightline::gallery::{Gallery, NamedVectors, Options, build_index, open_index};

use crate::harness::{Bench, Peer, milliseconds};

const DIMENSION: usize = 384;
/// Sightings of a pack.
const ALIKE: usize = 50;
/// Vectors near the same centres that are not in the gallery.
const PROBES: usize = 1000;
/// Of them, those that are asked one by one.
const ALONE: usize = 50;
/// What is asked for, and how much of it must be found.
const TOP: usize = 10;
const RECALL: f64 = 0.99;

/// Where things are kept from one run to the next.
fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench")
}

/// Unit vectors around centres, as packs photographed again and again are, from a file or drawn and kept in one.
fn clustered(count: usize) -> (PathBuf, PathBuf) {
    let kept = kept();
    let (file, probes) = (kept.join(format!("vectors-{count}.f32")), kept.join(format!("probes-{count}.f32")));
    if probes.is_file() {
        return (file, probes);
    }
    std::fs::create_dir_all(&kept).expect("target/bench");
    let mut random = SmallRng::seed_from_u64(7);
    let mut noise = |scale: f32| -> Vec<f32> { (0..DIMENSION).map(|_| random.random_range(-scale..scale)).collect() };
    let centres: Vec<Vec<f32>> = (0..count / ALIKE).map(|_| noise(1.0)).collect();
    for (path, count) in [(&file, count), (&probes, PROBES)] {
        let mut out = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
        for n in 0..count {
            let near: Vec<f32> = centres[n % centres.len()].iter().zip(noise(0.6)).map(|(a, b)| a + b).collect();
            for value in Embedding::normalised(near).expect("a direction").as_slice() {
                out.write_all(&value.to_le_bytes()).expect("the file");
            }
        }
    }
    (file, probes)
}

fn read(path: &Path) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path).expect("the vectors");
    let values = |row: &[u8]| row.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    bytes.chunks_exact(4 * DIMENSION).map(values).collect()
}

fn enrolled(dir: &Path, weights: Fingerprint, vectors: &[Vec<f32>]) -> Gallery {
    let mut gallery = Gallery::open(dir, Options::default()).expect("a gallery");
    for (file, vectors) in vectors.chunks(100_000).enumerate() {
        let named = |(n, vector): (usize, &Vec<f32>)| -> NamedVectors {
            let label = Label::new(&format!("label {}", n % (vectors.len() / ALIKE))).expect("a label");
            (label, vec![(Rotation::R0, vector.clone())])
        };
        let sightings = vectors.iter().enumerate().map(named).collect();
        for (sighting, enrolled) in gallery.import(weights, ImageId([file as u8; 32]), sightings).expect("imported") {
            gallery.admit(sighting, enrolled.label, weights, &enrolled.vectors).expect("admitted");
        }
    }
    gallery
}

fn recall(found: &[Vec<Neighbour>], exact: &[Vec<Neighbour>]) -> f64 {
    let of = |(found, exact): (&Vec<Neighbour>, &Vec<Neighbour>)| {
        found.iter().filter(|n| exact.iter().any(|e| e.sighting == n.sighting)).count()
    };
    found.iter().zip(exact).map(of).sum::<usize>() as f64 / (exact.len() * TOP) as f64
}

/// The gallery's index, made or from an earlier run.
fn indexed(gallery: &Gallery, weights: Fingerprint, count: usize) -> PathBuf {
    let (path, kept) = (gallery.index_path(weights), kept().join(format!("index-{count}.ann")));
    if kept.is_file() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of indexes");
        std::fs::copy(&kept, &path).expect("the index of an earlier run");
        return path;
    }
    let began = Instant::now();
    let snapshot = gallery.snapshot(weights).expect("a gallery");
    build_index(&snapshot, |act| act(gallery), |_| true).expect("an index");
    eprintln!("{count} vectors indexed in {:.0} s", began.elapsed().as_secs_f64());
    std::fs::copy(&path, &kept).expect("kept for later runs");
    path
}

pub fn run(bench: &Bench) {
    sized(bench, 100_000, "100,000");
    if std::env::var_os("GALLERY_1M").is_some() {
        sized(bench, 1_000_000, "1,000,000");
    }
}

fn sized(bench: &Bench, count: usize, name: &str) {
    let alone = format!("exact search, {name} vectors of {DIMENSION}, top {TOP}, one probe, one thread");
    let together = format!("exact search, {name} vectors of {DIMENSION}, top {TOP}, {PROBES} probes, one thread");
    let approximate = format!("approximate search, {name} vectors of {DIMENSION}, recall@{TOP} {RECALL}, one thread");
    let opened = format!("opening the index of {name} vectors");
    let memory = format!("index of {name} vectors in memory, by the vectors' own bytes");
    let ann = [&approximate, &opened, &memory].into_iter().any(|what| bench.wants(what));
    if !ann && !bench.wants(&alone) && !bench.wants(&together) {
        return;
    }
    let (file, probe_file) = clustered(count);
    let paths = [file.display().to_string(), probe_file.display().to_string()];
    let weights = Fingerprint(ImageId([7; 32]));
    let mut gallery = enrolled(&bench.scratch.path().join(format!("gallery-{count}")), weights, &read(&file));
    let probes: Vec<Embedding> =
        read(&probe_file).into_iter().map(|v| Embedding::normalised(v).expect("a direction")).collect();
    let exact = gallery.search_all(weights, &probes, TOP).expect("the truth");
    let peer = |name: &str, script: &str, more: &[&str]| {
        let arguments = [&["--vectors", &paths[0], "--probes", &paths[1]], more].concat();
        bench.peer(name, script, &arguments)
    };

    if bench.wants(&alone) {
        let search = || {
            for (probe, exact) in probes.iter().take(ALONE).zip(&exact) {
                assert_eq!(gallery.search(weights, probe, TOP).expect("an answer"), *exact);
            }
        };
        let mut peers: Vec<Peer> = peer("faiss Flat (inner product)", "flat.py", &[]).into_iter().collect();
        bench.measure(&alone, "ms", &mut peers, || milliseconds(1, search) / ALONE as f64);
    }
    if bench.wants(&together) {
        let mut peers: Vec<Peer> = peer("faiss Flat (inner product)", "flat.py", &["--together"]).into_iter().collect();
        bench.measure(&together, "queries/s", &mut peers, || {
            let ms = milliseconds(1, || {
                gallery.search_all(weights, &probes, TOP).expect("answers");
            });
            PROBES as f64 / ms * 1000.0
        });
    }
    if !ann {
        return;
    }
    let path = indexed(&gallery, weights, count);
    if bench.wants(&opened) {
        bench.measure(&opened, "ms", &mut [], || {
            milliseconds(1, || gallery.use_index(open_index(&path).expect("the index")))
        });
    }
    gallery.use_index(open_index(&path).expect("the index"));
    let known = gallery.index_stats(weights).map(|stats| stats.vectors);
    assert_eq!(known, Some(count), "the index in target/bench is of other vectors; remove it");
    if bench.wants(&memory) {
        let bytes = std::fs::metadata(&path).expect("the index").len() as f64;
        bench.measure(&memory, "x", &mut [], || bytes / (4 * DIMENSION * count) as f64);
    }
    if bench.wants(&approximate) {
        let search = |beam: usize| -> Vec<Vec<Neighbour>> {
            let find = |probe| gallery.approximate(weights, probe, TOP, beam).expect("an answer").expect("an index");
            probes.iter().map(find).collect()
        };
        // The least that reaches it, as for the peers.
        let beams = (TOP..64).step_by(2).chain((64..1000).step_by(16));
        let beam = beams.into_iter().find(|beam| recall(&search(*beam), &exact) >= RECALL).expect("enough is found");
        eprintln!("{name} vectors: a beam of {beam} finds {:.4}", recall(&search(beam), &exact));
        let mut peers: Vec<Peer> = ["hnswlib", "faiss", "usearch-f16", "usearch-bf16"]
            .into_iter()
            .filter_map(|library| peer(&format!("{library} HNSW"), "hnsw.py", &["--library", library]))
            .collect();
        bench.measure(&approximate, "queries/s", &mut peers, || {
            let ms = milliseconds(1, || drop(search(beam)));
            PROBES as f64 / ms * 1000.0
        });
    }
}
