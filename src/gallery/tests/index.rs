//! The approximate index: against the exact search, against what changes around it, against damage.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::gallery::graph::{DIGEST, HEADER};

/// A gallery of clusters, every sighting in four rotations.
fn filled(dir: &Path, count: u8, rng: &mut SmallRng) -> Gallery {
    let mut gallery = open(dir);
    for n in 0..count {
        enrol(&mut gallery, n, rng);
    }
    gallery
}

fn enrol(gallery: &mut Gallery, n: u8, rng: &mut SmallRng) {
    let places = gallery.append(weights(1), sighting(n, 0), &turned(rng)).unwrap();
    gallery.admit(sighting(n, 0), label(usize::from(n) % 9), weights(1), &places).unwrap();
}

fn index(gallery: &mut Gallery) {
    let snapshot = gallery.snapshot(weights(1)).unwrap();
    assert!(build_index(&snapshot, |act| act(gallery), |_| true).unwrap());
    gallery.use_index(open_index(&gallery.index_path(weights(1))).unwrap());
}

#[test]
fn it_finds_what_exact_search_finds_and_shows_the_same_similarities() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = SmallRng::seed_from_u64(21);
    let mut gallery = filled(dir.path(), 200, &mut rng);
    let probe = vector(&mut rng, D);
    assert_eq!(gallery.approximate(weights(1), &probe, 10, 64).unwrap(), None, "there is no index");
    index(&mut gallery);
    let stats = gallery.index_stats(weights(1)).unwrap();
    assert_eq!((stats.vectors, stats.outside, stats.gone), (800, 0, 0));
    let mut found = 0;
    for _ in 0..50 {
        let probe = vector(&mut rng, D);
        let exact = gallery.scan(weights(1), &probe, 200);
        let short = gallery.approximate(weights(1), &probe, 10, 16).unwrap().unwrap();
        let near = gallery.approximate(weights(1), &probe, 10, 256).unwrap().unwrap();
        assert_eq!((near.len(), short.len()), (10, 10));
        for neighbour in near.iter().chain(&short) {
            assert!(exact.contains(neighbour), "a sighting is shown with its best rotation and true similarity");
        }
        found += near.iter().filter(|n| exact[..10].contains(n)).count();
    }
    assert!(found >= 495, "{found} of 500");
    assert_eq!(gallery.approximate(weights(1), &probe, 200, 16).unwrap().unwrap().len(), 200, "the beam grows");
    assert!(matches!(gallery.approximate(weights(2), &probe, 1, 16), Err(GalleryError::OtherWeights { .. })));
    // Opened again it serves as before.
    let before = gallery.approximate(weights(1), &probe, 10, 64).unwrap();
    gallery.use_index(open_index(&gallery.index_path(weights(1))).unwrap());
    assert_eq!(gallery.approximate(weights(1), &probe, 10, 64).unwrap(), before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, ..ProptestConfig::default() })]

    /// Vectors that 8 bits cannot tell apart, some of them enrolled after the index was made: a row that is not read is none of
    /// the nearest.
    #[test]
    fn no_bound_keeps_one_of_the_nearest_back(
        seed: u64,
        count in 20..200_usize,
        apart in prop::sample::select(vec![0.0_f32, 1e-7, 1e-5, 1e-3, 1e-2, 0.3]),
        rotations in 1..5_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut gallery = open(dir.path());
        let mut rng = SmallRng::seed_from_u64(seed);
        let centre = vector(&mut rng, 384);
        let near = |rng: &mut SmallRng| {
            let values = centre.as_slice().iter().map(|c| c * (1.0 + apart * rng.random_range(-1.0..1.0_f32)));
            Embedding::normalised(values.collect()).unwrap()
        };
        for n in 0..count {
            if n == count * 9 / 10 {
                index(&mut gallery);
            }
            let vectors: Vec<_> = Rotation::ALL.into_iter().take(rotations).map(|r| (r, near(&mut rng))).collect();
            let id = sighting((n % 250) as u8, n as u32);
            let places = gallery.append(weights(1), id, &vectors).unwrap();
            gallery.admit(id, label(n % 7), weights(1), &places).unwrap();
        }
        for k in [1, 5, 10, count] {
            let probe = near(&mut rng);
            prop_assert_eq!(gallery.by_bounds(weights(1), &probe, k), gallery.scan(weights(1), &probe, k));
        }
    }

    /// Whatever is enrolled, removed, embedded anew or relabelled after the index was made: what is new is found, what is
    /// gone is not, and what is shown is true.
    #[test]
    fn what_changed_since_is_seen(seed: u64, acts in prop::collection::vec((0..5_u8, 0..60_u8), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut gallery = filled(dir.path(), 40, &mut rng);
        index(&mut gallery);
        let mut new = BTreeSet::new();
        for (act, n) in acts {
            match act {
                0 | 1 => {
                    enrol(&mut gallery, n, &mut rng);
                    new.insert(sighting(n, 0));
                }
                2 => {
                    drop(gallery.remove(&sighting(n, 0)));
                    new.remove(&sighting(n, 0));
                }
                3 => drop(gallery.relabel(&sighting(n, 0), label(77))),
                _ => gallery.use_index(open_index(&gallery.index_path(weights(1))).unwrap()),
            }
        }
        prop_assume!(gallery.stats().sightings > 0);
        let stats = gallery.index_stats(weights(1)).unwrap();
        prop_assert_eq!(stats.outside, 4 * new.len());
        prop_assert_eq!(stats.vectors + stats.outside, gallery.stats().vectors);
        for _ in 0..5 {
            let probe = vector(&mut rng, D);
            let exact = gallery.scan(weights(1), &probe, 100);
            let near = gallery.approximate(weights(1), &probe, 5, 400).unwrap();
            let near = near.unwrap_or_else(|| gallery.search(weights(1), &probe, 5).unwrap());
            prop_assert_eq!(near.len(), exact.len().min(5));
            for neighbour in &near {
                prop_assert!(exact.contains(neighbour));
            }
            // Those enrolled since are searched exactly.
            let last = near.last().map_or(1.0, |last| last.similarity);
            for missed in exact.iter().filter(|n| n.similarity > last && !near.contains(n)) {
                prop_assert!(!new.contains(&missed.sighting), "{missed:?}");
            }
        }
    }
}

#[test]
fn every_damage_is_refused_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = SmallRng::seed_from_u64(22);
    let mut gallery = filled(dir.path(), 3, &mut rng);
    index(&mut gallery);
    let path = gallery.index_path(weights(1));
    let bytes = fs::read(&path).unwrap();
    let bent = dir.path().join("bent.ann");
    for at in 0..bytes.len() {
        let mut copy = bytes.clone();
        copy[at] ^= 1 << (at % 8);
        fs::write(&bent, &copy).unwrap();
        assert!(matches!(open_index(&bent), Err(IndexFault::Damaged(_))), "flip at {at}");
        assert!(prove_index(&bent).is_err(), "flip at {at}");
    }
    for cut in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        fs::write(&bent, &bytes[..cut]).unwrap();
        assert!(open_index(&bent).is_err() && prove_index(&bent).is_err(), "cut at {cut}");
    }
    assert!(open_index(&dir.path().join("none.ann")).is_err());
    assert_eq!(prove_index(&path), Ok(()));
    // One that is in memory stays as it was, whatever becomes of its file.
    let probe = vector(&mut rng, D);
    let before = gallery.approximate(weights(1), &probe, 3, 64).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    assert_eq!(gallery.approximate(weights(1), &probe, 3, 64).unwrap(), before);
    let aside = gallery.set_index_aside(weights(1)).unwrap();
    assert!(!path.exists() && aside.exists());
}

#[test]
fn a_file_that_lies_under_a_right_digest_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = SmallRng::seed_from_u64(23);
    let mut gallery = filled(dir.path(), 60, &mut rng);
    index(&mut gallery);
    let bytes = fs::read(gallery.index_path(weights(1))).unwrap();
    let bent = dir.path().join("bent.ann");
    let probe = vector(&mut rng, D);
    let exact = gallery.scan(weights(1), &probe, 60);
    let mut opened = 0;
    for round in 0..300 {
        let mut copy = bytes.clone();
        for _ in 0..1 + round % 40 {
            // The numbers of the header more often than the rest.
            let at = if rng.random_bool(0.1) { rng.random_range(8..40) } else { rng.random_range(HEADER..copy.len()) };
            copy[at] = rng.random();
        }
        let digest = Sha256::new_with_prefix(&copy[..DIGEST]).chain_update(&copy[HEADER..]).finalize();
        copy[DIGEST..HEADER].copy_from_slice(&digest);
        fs::write(&bent, &copy).unwrap();
        let Ok(index) = open_index(&bent) else { continue };
        opened += 1;
        gallery.use_index(index);
        for neighbour in gallery.approximate(weights(1), &probe, 10, 64).unwrap().unwrap_or_default() {
            assert!(exact.contains(&neighbour), "a wrong list at worst, never a wrong similarity");
        }
    }
    assert!(opened > 20, "{opened}");
}

#[test]
fn a_build_that_is_stopped_leaves_the_old_index_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = SmallRng::seed_from_u64(24);
    let mut gallery = filled(dir.path(), 100, &mut rng);
    index(&mut gallery);
    let path = gallery.index_path(weights(1));
    let before = fs::read(&path).unwrap();
    enrol(&mut gallery, 200, &mut rng);
    let snapshot = gallery.snapshot(weights(1)).unwrap();
    assert_eq!((snapshot.len(), snapshot.is_empty(), snapshot.fingerprint()), (404, false, weights(1)));
    assert!(!build_index(&snapshot, |act| act(&gallery), |done| done < 256).unwrap());
    assert_eq!(fs::read(&path).unwrap(), before);
    // What a kill leaves of one, and the index of weights that are no longer there.
    let (unfinished, other) = (path.with_extension("ann.new"), path.with_file_name("other.ann"));
    fs::write(&unfinished, &before[..100]).unwrap();
    fs::write(&other, &before).unwrap();
    gallery.tidy_indexes().unwrap();
    assert!(!unfinished.exists() && !other.exists() && path.exists());
    gallery.drop_index(weights(1));
    assert_eq!(gallery.index_stats(weights(1)), None);
}
