//! What somebody does to the gallery's files while they are in use: no answer comes from what is no longer there.

use std::os::unix::fs::FileExt as _;

use super::*;

/// Three packs of two rotations each, and where the second one's vectors lie.
fn three(dir: &Path) -> (Gallery, Vec<Embedding>, Vec<VectorRef>) {
    let mut gallery = open(dir);
    let mut rng = SmallRng::seed_from_u64(31);
    let (mut probes, mut second) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let vectors = vec![(Rotation::R0, vector(&mut rng, D)), (Rotation::R90, vector(&mut rng, D))];
        let places = gallery.append(weights(1), sighting(n, 0), &vectors).unwrap();
        gallery.admit(sighting(n, 0), label(usize::from(n)), weights(1), &places).unwrap();
        probes.push(vectors[0].1.clone());
        if n == 1 {
            second = places;
        }
    }
    gallery.sync().unwrap();
    (gallery, probes, second)
}

fn segment(dir: &Path) -> std::path::PathBuf {
    dir.join("00000000.vec")
}

#[test]
fn a_file_that_is_cut_or_changed_under_the_gallery_gives_no_answer_and_is_named() {
    let row = 48 + 4 * D as u64;
    // To nothing, into the second pack, within its last vector; and made long again, with zeros.
    for (cut, filled) in [(0, false), (64 + 2 * row, false), (64 + 4 * row - 3, false), (64 + 2 * row, true)] {
        let dir = tempfile::tempdir().unwrap();
        let (mut gallery, probes, second) = three(dir.path());
        assert!(gallery.lost().is_empty());
        let file = OpenOptions::new().write(true).open(segment(dir.path())).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(cut).unwrap();
        if filled {
            file.set_len(length).unwrap();
        }
        assert_eq!(gallery.lost().contains_key(&0), !filled);
        let error = gallery.search(weights(1), &probes[1], 3).unwrap_err();
        assert!(matches!(error, GalleryError::Row { .. }), "cut to {cut}: {error}");
        assert!(error.to_string().contains("00000000.vec: row "), "{error}");
        assert!(gallery.vector(&second[1]).is_err());
        assert!(gallery.export(&dir.path().join("out.safetensors"), weights(1)).is_err(), "half a backup is none");
        // All that are damaged are known after one doubt, and the others are searched on.
        let whole = u64::from(cut > 0) as usize;
        assert!(gallery.doubt(&segment(dir.path())).unwrap().to_string().contains("00000000.vec"));
        assert_eq!(gallery.damaged().len(), 3 - whole, "cut to {cut}");
        assert_eq!(gallery.stats().sightings, whole);
        assert_eq!(gallery.search(weights(1), &probes[0], 3).unwrap().len(), whole);
        assert!(gallery.doubt(&segment(dir.path())).is_none());
        assert!(!gallery.verify().ok);
        // What is enrolled now goes where it lasts.
        if !filled {
            let next = gallery.append(weights(1), sighting(9, 0), &[(Rotation::R0, probes[0].clone())]).unwrap();
            gallery.sync().unwrap();
            assert_eq!(next[0].segment, 1);
        }
    }
}

/// Where all are alike all are read, many at once: the one that is damaged is the one that is named.
#[test]
fn among_hundreds_of_equal_vectors_the_damaged_row_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = open(dir.path());
    let same = vector(&mut SmallRng::seed_from_u64(3), D);
    let other = Embedding::normalised(same.as_slice().iter().rev().copied().collect()).unwrap();
    for n in 0..1200 {
        let one = if n % 100 == 7 { &other } else { &same };
        let places = gallery.append(weights(1), sighting(1, n), &[(Rotation::R0, one.clone())]).unwrap();
        gallery.admit(sighting(1, n), label(0), weights(1), &places).unwrap();
    }
    gallery.sync().unwrap();
    for (probe, first) in [(&same, [0, 1, 2]), (&other, [7, 107, 207])] {
        let found: Vec<u32> =
            gallery.search(weights(1), probe, 3).unwrap().iter().map(|found| found.sighting.index).collect();
        assert_eq!(found, first);
    }
    let row = 48 + 4 * D as u64;
    let file = OpenOptions::new().read(true).write(true).open(segment(dir.path())).unwrap();
    file.write_all_at(&[0x55], 64 + 611 * row + 60).unwrap();
    let error = gallery.search(weights(1), &same, 3).unwrap_err().to_string();
    assert!(error.contains("00000000.vec: row 611"), "{error}");
    assert_eq!(gallery.search(weights(1), &other, 3).unwrap().len(), 3, "it is not among those");
}

#[test]
fn what_is_added_to_a_file_without_a_name_does_not_count_as_lasting() {
    let dir = tempfile::tempdir().unwrap();
    let (mut gallery, probes, _) = three(dir.path());
    let vectors = [(Rotation::R0, probes[0].clone())];
    gallery.append(weights(1), sighting(9, 0), &vectors).unwrap();
    fs::remove_file(segment(dir.path())).unwrap();
    let error = gallery.sync().unwrap_err().to_string();
    assert!(error.contains("00000000.vec") && error.contains("removed or replaced"), "{error}");
    let again = gallery.append(weights(1), sighting(9, 0), &vectors).unwrap();
    assert_eq!(again[0].segment, 1);
    gallery.sync().unwrap();
    let report = gallery.verify();
    assert!(!report.ok && report.problems[0].contains("removed or replaced"), "{report:?}");
}

#[test]
fn something_else_in_the_place_of_a_segment_is_named_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    assert!(std::process::Command::new("mkfifo").arg(segment(dir.path())).status().unwrap().success());
    let error = Gallery::open(dir.path(), Options::default()).err().unwrap().to_string();
    assert!(error.contains("00000000.vec") && error.contains("a pipe stands there"), "{error}");
    assert!(error.contains("move it away"), "{error}");
}
