//! The gallery against brute force, crashes and damage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::domain::*;

mod cut;
mod index;

const D: usize = 37;

fn weights(n: u8) -> Fingerprint {
    Fingerprint(ImageId([n; 32]))
}

fn sighting(n: u8, index: u32) -> SightingId {
    SightingId { image: ImageId([n; 32]), index }
}

fn label(n: usize) -> Label {
    Label::new(&format!("label {n}")).unwrap()
}

fn vector(rng: &mut SmallRng, dimension: usize) -> Embedding {
    Embedding::normalised((0..dimension).map(|_| rng.random_range(-1.0..1.0)).collect()).unwrap()
}

fn turned(rng: &mut SmallRng) -> Vec<(Rotation, Embedding)> {
    Rotation::ALL.map(|rotation| (rotation, vector(rng, D))).into()
}

fn open(dir: &Path) -> Gallery {
    Gallery::open(dir, Options::default()).unwrap()
}

/// Each sighting's label and vectors, kept apart from the gallery.
type Model = BTreeMap<SightingId, Known>;
type Known = (Label, Vec<(Rotation, Embedding)>);

/// The definition: best rotation of each sighting, in double precision.
fn brute_force(model: &Model, probe: &Embedding) -> Vec<(f64, SightingId, Rotation)> {
    let dot = |v: &Embedding| {
        v.as_slice().iter().zip(probe.as_slice()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    let best = |(id, (_, vectors)): (&SightingId, &Known)| {
        let all = vectors.iter().map(|(rotation, v)| (dot(v), *id, *rotation));
        all.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
    };
    let mut hits: Vec<_> = model.iter().map(best).collect();
    hits.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    hits
}

fn same_as_brute_force(gallery: &Gallery, model: &Model, probe: &Embedding, tolerance: f64) {
    let wanted = brute_force(model, probe);
    for k in [0, 1, 3, model.len(), model.len() + 5] {
        let found = gallery.search(weights(1), probe, k).unwrap();
        assert_eq!(found.len(), k.min(model.len()));
        assert_eq!(found, if model.is_empty() { Vec::new() } else { gallery.scan(weights(1), probe, k) });
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!((f64::from(found.similarity) - wanted.0).abs() < tolerance);
            if tolerance < 1e-4 {
                assert_eq!((found.sighting, found.rotation), (wanted.1, wanted.2));
            }
            assert_eq!(found.label, model[&found.sighting].0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn search_is_brute_force_through_everything_that_happens(
        seed: u64,
        acts in prop::collection::vec((0..6_u8, 0..12_u8), 1..40),
        half: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let dtype = if half { Dtype::F16 } else { Dtype::F32 };
        let options = Options { dtype, segment_bytes: 3000 };
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut gallery = Gallery::open(dir.path(), options).unwrap();
        let (mut model, mut journal) = (Model::new(), BTreeMap::new());
        for (act, n) in acts {
            let id = sighting(n, 0);
            match act {
                0..=2 => {
                    let vectors = turned(&mut rng);
                    let places = gallery.append(weights(1), id, &vectors).unwrap();
                    gallery.sync().unwrap();
                    gallery.admit(id, label(usize::from(n)), weights(1), &places).unwrap();
                    journal.insert(id, places);
                    model.insert(id, (label(usize::from(n)), vectors));
                }
                3 => {
                    prop_assert_eq!(gallery.remove(&id).is_ok(), model.remove(&id).is_some());
                    journal.remove(&id);
                }
                4 => {
                    let changed = gallery.relabel(&id, label(99)).is_ok();
                    prop_assert_eq!(changed, model.get_mut(&id).map(|m| m.0 = label(99)).is_some());
                }
                _ => {
                    // Closed and opened, with what the journal knows.
                    drop(gallery);
                    gallery = Gallery::open(dir.path(), options).unwrap();
                    for (id, places) in &journal {
                        gallery.admit(*id, model[id].0.clone(), weights(1), places).unwrap();
                    }
                }
            }
        }
        let probe = vector(&mut rng, D);
        same_as_brute_force(&gallery, &model, &probe, if half { 2e-3 } else { 1e-5 });
        prop_assert_eq!(gallery.labels().values().sum::<usize>(), model.len());
        prop_assert!(gallery.verify().ok);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// The filter may leave nothing out: vectors a rounding apart, equal ones, mirrored ones, one large component among
    /// small ones, in either type on disk, asked alone and together.
    #[test]
    fn the_filter_never_changes_an_answer(
        seed: u64,
        count in 1..150_usize,
        dimension in prop::sample::select(vec![1_usize, 3, 4, 37, 64, 70, 384]),
        apart in prop::sample::select(vec![0.0_f32, 1e-7, 1e-5, 1e-3, 0.3, 3.0]),
        spike in prop::sample::select(vec![0.0_f32, 50.0]),
        half: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let dtype = if half { Dtype::F16 } else { Dtype::F32 };
        let mut gallery = Gallery::open(dir.path(), Options { dtype, segment_bytes: 100_000 }).unwrap();
        let mut rng = SmallRng::seed_from_u64(seed);
        let centre: Vec<f32> = (0..dimension).map(|_| rng.random_range(-1.0..1.0)).collect();
        let near = |rng: &mut SmallRng| {
            let sign = if rng.random_bool(0.1) { -1.0 } else { 1.0 };
            let mut values: Vec<f32> = centre.iter().map(|c| sign * c + apart * rng.random_range(-1.0..1.0)).collect();
            if rng.random_bool(0.3) {
                values[0] += spike;
            }
            Embedding::normalised(values).unwrap()
        };
        for n in 0..count {
            let id = sighting((n % 250) as u8, n as u32);
            let vectors: Vec<_> = Rotation::ALL.into_iter().take(1 + n % 4).map(|r| (r, near(&mut rng))).collect();
            let places = gallery.append(weights(1), id, &vectors).unwrap();
            gallery.admit(id, label(n % 7), weights(1), &places).unwrap();
            if rng.random_bool(0.2) {
                gallery.remove(&id).unwrap();
            }
        }
        prop_assume!(gallery.stats().sightings > 0);
        let probes: Vec<Embedding> = (0..11).map(|_| near(&mut rng)).collect();
        for k in [1, 2, 10, count] {
            let together = gallery.search_all(weights(1), &probes, k).unwrap();
            for (probe, found) in probes.iter().zip(together) {
                let wanted = gallery.scan(weights(1), probe, k);
                prop_assert_eq!(&found, &wanted);
                prop_assert_eq!(&gallery.search(weights(1), probe, k).unwrap(), &wanted);
            }
        }
    }
}

#[test]
fn a_turned_probe_tells_its_rotation_and_ties_go_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = open(dir.path());
    let mut rng = SmallRng::seed_from_u64(5);
    let vectors = turned(&mut rng);
    assert_eq!(gallery.search(weights(1), &vectors[0].1, 3).unwrap(), []);
    for index in [2, 0, 1] {
        let places = gallery.append(weights(1), sighting(1, index), &vectors).unwrap();
        gallery.admit(sighting(1, index), label(0), weights(1), &places).unwrap();
    }
    for (rotation, probe) in &vectors {
        let found = gallery.search(weights(1), probe, 2).unwrap();
        assert_eq!(found.iter().map(|n| n.sighting.index).collect::<Vec<_>>(), [0, 1]);
        assert!(found.iter().all(|n| n.rotation == *rotation && n.similarity > 0.999_99));
    }
}

#[test]
fn vectors_of_other_weights_never_mix() {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = open(dir.path());
    let mut rng = SmallRng::seed_from_u64(6);
    let old = gallery.append(weights(1), sighting(1, 0), &turned(&mut rng)).unwrap();
    gallery.admit(sighting(1, 0), label(1), weights(1), &old).unwrap();
    let probe = vector(&mut rng, D);
    let error = gallery.search(weights(2), &probe, 1).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, GalleryError::OtherWeights { sightings: 1, .. }));
    for part in [weights(1).to_string(), weights(2).to_string(), "sightline gallery reembed".into()] {
        assert!(text.contains(&part), "{text}");
    }
    // The journal's word is not enough either: the rows must have been made with those weights.
    assert!(matches!(gallery.admit(sighting(1, 0), label(1), weights(2), &old), Err(GalleryError::Row { .. })));
    // Embedded anew, also with another dimension: the same sighting, now seen by the new weights only.
    let vectors = vec![(Rotation::R0, vector(&mut rng, 8))];
    let new = gallery.append(weights(2), sighting(1, 0), &vectors).unwrap();
    assert_ne!(new[0].segment, old[0].segment);
    gallery.admit(sighting(1, 0), label(1), weights(2), &new).unwrap();
    assert_eq!(gallery.search(weights(2), &vectors[0].1, 5).unwrap().len(), 1);
    assert!(matches!(gallery.search(weights(1), &probe, 5), Err(GalleryError::OtherWeights { .. })));
    assert_eq!((gallery.made_with_others(weights(1)), gallery.made_with_others(weights(2))), (1, 0));
    assert!(matches!(gallery.search(weights(2), &probe, 5), Err(GalleryError::Dimension { .. })));
    let wrong = gallery.append(weights(2), sighting(2, 0), &[(Rotation::R0, vector(&mut rng, 9))]);
    assert!(matches!(wrong, Err(GalleryError::Dimension { expected: 8, given: 9, .. })));
}

#[test]
fn cut_anywhere_what_is_left_is_served_and_what_is_lost_is_named() {
    let made = tempfile::tempdir().unwrap();
    let mut gallery = open(made.path());
    let mut rng = SmallRng::seed_from_u64(7);
    let named: Vec<_> = (0..3)
        .map(|n| {
            let vectors = vec![(Rotation::R0, vector(&mut rng, 5)), (Rotation::R90, vector(&mut rng, 5))];
            (sighting(n, 0), gallery.append(weights(1), sighting(n, 0), &vectors).unwrap())
        })
        .collect();
    gallery.sync().unwrap();
    drop(gallery);
    let bytes = fs::read(made.path().join("00000000.vec")).unwrap();
    let row = (bytes.len() - 64) / 6;
    for cut in 0..bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("00000000.vec"), &bytes[..cut]).unwrap();
        let mut gallery = open(dir.path());
        let whole = cut.saturating_sub(64) / row;
        for (n, (id, places)) in named.iter().enumerate() {
            match gallery.admit(*id, label(n), weights(1), places) {
                Ok(()) => assert!(n * 2 + 1 < whole, "cut at {cut}"),
                Err(error) => {
                    assert!(n * 2 + 1 >= whole, "cut at {cut}: {error}");
                    assert!(error.to_string().contains("00000000.vec: row "), "{error}");
                }
            }
        }
        // New rows never lie over what was torn.
        let places = gallery.append(weights(1), sighting(9, 9), &[(Rotation::R0, vector(&mut rng, 5))]).unwrap();
        gallery.sync().unwrap();
        gallery.admit(sighting(9, 9), label(9), weights(1), &places).unwrap();
        let torn = cut < 64 || !(cut - 64).is_multiple_of(row);
        assert_eq!(places[0].segment, u32::from(torn), "cut at {cut}");
        assert_eq!(fs::read(dir.path().join("00000000.vec")).unwrap()[..cut], bytes[..cut]);
        assert!(gallery.verify().ok);
    }
}

#[test]
fn every_flipped_byte_is_noticed_where_it_matters_and_only_there() {
    let made = tempfile::tempdir().unwrap();
    let mut gallery = open(made.path());
    let mut rng = SmallRng::seed_from_u64(8);
    let vectors = vec![(Rotation::R0, vector(&mut rng, 5))];
    let named = gallery.append(weights(1), sighting(1, 0), &vectors).unwrap();
    gallery.append(weights(1), sighting(2, 0), &vectors).unwrap();
    gallery.sync().unwrap();
    drop(gallery);
    let bytes = fs::read(made.path().join("00000000.vec")).unwrap();
    let row = (bytes.len() - 64) / 2;
    for at in 0..bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        let mut bent = bytes.clone();
        bent[at] ^= 4;
        fs::write(dir.path().join("00000000.vec"), &bent).unwrap();
        let mut gallery = open(dir.path());
        let admitted = gallery.admit(sighting(1, 0), label(1), weights(1), &named);
        // The second row is of nobody: a crash came before its entry.
        assert_eq!(admitted.is_ok(), at >= 64 + row, "flip at {at}");
        if admitted.is_ok() {
            let report = gallery.verify();
            assert!(report.ok && report.damaged_unused == 1 && report.enrolled == 1, "flip at {at}: {report:?}");
            let next = gallery.append(weights(1), sighting(3, 0), &vectors).unwrap();
            assert_eq!(next[0].segment, 1, "nothing is added behind a damaged row");
        }
    }
    // Damage that comes after admission is found by verifying.
    let mut gallery = open(made.path());
    gallery.admit(sighting(1, 0), label(1), weights(1), &named).unwrap();
    use std::os::unix::fs::FileExt as _;
    let file = OpenOptions::new().write(true).open(made.path().join("00000000.vec")).unwrap();
    file.write_all_at(&[0xAA], 64 + 48 + 2).unwrap();
    assert!(!gallery.verify().ok);
    assert!(matches!(gallery.vector(&named[0]), Err(GalleryError::Row { row: 0, .. })));
}

#[test]
fn references_are_held_against_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = open(dir.path());
    let mut rng = SmallRng::seed_from_u64(9);
    let vectors = turned(&mut rng);
    let places = gallery.append(weights(1), sighting(1, 0), &vectors).unwrap();
    gallery.sync().unwrap();
    for (reference, (_, vector)) in places.iter().zip(&vectors) {
        let found = gallery.admit(sighting(1, 0), label(1), weights(1), std::slice::from_ref(reference));
        assert!(found.is_ok());
        assert!(gallery.vector(reference).unwrap().similarity(vector.as_slice()) > 0.999_99);
    }
    let first = &places[0];
    let wrong = [
        VectorRef { row: 1, ..first.clone() },
        VectorRef { row: 100, ..first.clone() },
        VectorRef { segment: 7, ..first.clone() },
        VectorRef { rotation: Rotation::R270, ..first.clone() },
        VectorRef { crc: first.crc ^ 1, ..first.clone() },
    ];
    for reference in wrong {
        let refused = gallery.admit(sighting(1, 0), label(1), weights(1), std::slice::from_ref(&reference));
        assert!(matches!(refused, Err(GalleryError::Row { .. })), "{reference:?}");
    }
    assert!(gallery.admit(sighting(2, 0), label(1), weights(1), &places).is_err());
    assert_eq!(gallery.stats().sightings, 1, "what was refused changed nothing");
}

#[test]
fn what_is_exported_can_be_imported() {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = open(&dir.path().join("a"));
    let mut rng = SmallRng::seed_from_u64(10);
    let mut model = Model::new();
    for n in 0..7 {
        let vectors = turned(&mut rng);
        let places = gallery.append(weights(1), sighting(n, 3), &vectors).unwrap();
        gallery.admit(sighting(n, 3), label(usize::from(n) % 3), weights(1), &places).unwrap();
        model.insert(sighting(n, 3), (label(usize::from(n) % 3), vectors));
    }
    let (one, two) = (dir.path().join("one.safetensors"), dir.path().join("two.safetensors"));
    let exported = gallery.export(&one, weights(1)).unwrap();
    assert_eq!(exported, Exported { sightings: 7, vectors: 28, dimension: D });
    gallery.export(&two, weights(1)).unwrap();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());

    let read = read_export("one", &fs::read(&one).unwrap()).unwrap();
    assert_eq!((read.fingerprint, read.sightings.len()), (weights(1), 7));
    let mut other = open(&dir.path().join("b"));
    let enrolled = other.import(read.fingerprint, read.file, read.sightings).unwrap();
    assert_eq!(enrolled[3].0, SightingId { image: read.file, index: 3 });
    for (id, Enrolled { label, fingerprint, vectors }) in enrolled {
        other.admit(id, label, fingerprint, &vectors).unwrap();
    }
    let probe = vector(&mut rng, D);
    let (a, b) = (gallery.search(weights(1), &probe, 7).unwrap(), other.search(weights(1), &probe, 7).unwrap());
    for (a, b) in a.iter().zip(&b) {
        assert!((a.similarity - b.similarity).abs() < 1e-6 && a.label == b.label && a.rotation == b.rotation);
    }

    let lists = |values: Vec<f32>| vec![(label(1), vec![(Rotation::R0, values)])];
    assert!(matches!(other.import(weights(1), read.file, lists(vec![0.0; D])), Err(GalleryError::Exchange { .. })));
    assert!(matches!(
        other.import(weights(1), read.file, lists(vec![f32::NAN; D])),
        Err(GalleryError::Exchange { .. })
    ));
    assert!(matches!(other.import(weights(1), read.file, lists(vec![1.0; 3])), Err(GalleryError::Dimension { .. })));
    let bytes = fs::read(&one).unwrap();
    for cut in [0, 7, 100, bytes.len() - 1] {
        assert!(matches!(read_export("two", &bytes[..cut]), Err(GalleryError::Exchange { .. })), "cut at {cut}");
    }
}
