//! The approximate index through the engine: kept in the background, measured on live probes, doubted when damaged.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use sightline::domain::view::{IndexRow, Remove, Which};
use sightline::domain::{AbstainReason, Decision, Label};

use super::{Yard, Yarded, pack, png, reasoned, until};

const PACKS: u32 = 30;

/// A workspace whose gallery is large enough for an index, and every probe asked both ways.
fn indexed() -> (Yard, Yarded) {
    // Enrolled without one first, so that it is made once, of everything.
    let yard = Yard::new(&[("gallery.ann_above", "0")]);
    let engine = yard.start();
    for n in 0..PACKS {
        yard.write(format!("watch/enroll/pack {n}/a.png"), &png(&pack(n)));
    }
    engine.wait(u64::from(PACKS));
    assert_eq!(engine.gallery_stats().unwrap().indexes, []);
    engine.stop();
    let settings = [("gallery.ann_above", "50"), ("gallery.ann_sample", "1")];
    let yard = Yard { config: Yard::at(&yard.config.workspace, &settings).config, ..yard };
    let engine = yard.start();
    index(&engine, u64::from(PACKS));
    (yard, engine)
}

/// Waits for an index of nearly all vectors of so many sightings, and of none that were removed.
fn index(engine: &Yarded, sightings: u64) -> IndexRow {
    until("an index", || match engine.gallery_stats().unwrap().indexes.as_slice() {
        [row] if row.vectors + row.outside == 4 * sightings && row.gone == 0 && row.outside * 10 <= 4 * sightings => {
            Ok(row.clone())
        }
        rows => Err(format!("{rows:?} {:?} {:?}", engine.look().warnings, engine.stats().jobs)),
    })
}

fn accepted(engine: &Yarded, n: u32) -> Option<Label> {
    match &engine.identify(&png(&pack(n))).unwrap().answers[0].decision {
        Decision::Accept { label, .. } => Some(label.clone()),
        Decision::Abstain { .. } => None,
    }
}

fn named(n: u32) -> Option<Label> {
    Some(Label::new(&format!("pack {n}")).unwrap())
}

fn file(yard: &Yard, extension: &str) -> PathBuf {
    let files: Vec<PathBuf> =
        std::fs::read_dir(yard.path("database/gallery/ann")).unwrap().map(|file| file.unwrap().path()).collect();
    let mut fit = files.iter().filter(|path| path.to_str().unwrap().ends_with(extension));
    fit.next().unwrap_or_else(|| panic!("no {extension} among {files:?}")).clone()
}

#[test]
fn live_probes_measure_its_recall_and_answers_stay_those_of_exact_search() {
    let (yard, engine) = indexed();
    for n in 0..PACKS {
        assert_eq!(accepted(&engine, n), named(n));
    }
    assert_eq!(accepted(&engine, 999), None);
    let row = index(&engine, u64::from(PACKS));
    assert_eq!(row.measured, u64::from(PACKS) + 1, "{row:?}");
    assert!(row.recall.unwrap() >= 0.99 && row.in_use && row.overruled == 0, "{row:?}");
    assert!(row.bytes > 4 * u64::from(PACKS) * 193, "{row:?}");

    // A few more are found beside it at once, removed ones are not.
    yard.write("watch/enroll/pack 500/a.png", &png(&pack(500)));
    engine.wait(u64::from(PACKS) + 1);
    assert_eq!(accepted(&engine, 500), named(500));
    let which = Which::Label(named(3).unwrap());
    engine.remove("tester", &reasoned(Remove { which })).unwrap();
    assert_eq!(accepted(&engine, 3), None);
    let found = engine.identify(&png(&pack(3))).unwrap();
    assert!(found.answers[0].neighbours.iter().all(|near| Some(&near.label) != named(3).as_ref()));
    let stats = engine.gallery_stats().unwrap();
    assert_eq!((stats.indexes[0].outside, stats.indexes[0].gone), (4, 4));

    // More than a tenth: it is made anew, while answers go on.
    for n in 600..606 {
        yard.write(format!("watch/enroll/pack {n}/a.png"), &png(&pack(n)));
    }
    engine.wait(u64::from(PACKS) + 7);
    index(&engine, u64::from(PACKS) + 6);
    for n in [0, 500, 605] {
        assert_eq!(accepted(&engine, n), named(n));
    }
    engine.prove();
    engine.stop();
    // A start opens it instead of making it.
    let made = std::fs::metadata(file(&yard, ".ann")).unwrap().modified().unwrap();
    let engine = yard.start();
    index(&engine, u64::from(PACKS) + 6);
    assert_eq!(std::fs::metadata(file(&yard, ".ann")).unwrap().modified().unwrap(), made);
    assert_eq!(accepted(&engine, 7), named(7));
}

#[test]
fn a_damaged_index_is_set_aside_and_made_anew_while_exact_search_answers() {
    let (yard, engine) = indexed();
    engine.stop();
    let path = file(&yard, ".ann");
    let whole = std::fs::read(&path).unwrap();
    for (round, damage) in ["flipped", "cut", "empty"].into_iter().enumerate() {
        let mut bytes = std::fs::read(&path).unwrap();
        match damage {
            "flipped" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            "cut" => bytes.truncate(bytes.len() / 3),
            _ => bytes.clear(),
        }
        std::fs::write(&path, &bytes).unwrap();
        // What a kill leaves of an index that was being written.
        std::fs::write(path.with_extension("ann.new"), &whole[..whole.len() / 2]).unwrap();
        let engine = yard.start();
        for n in 0..3 {
            assert_eq!(accepted(&engine, n), named(n), "{damage}");
        }
        index(&engine, u64::from(PACKS));
        assert!(engine.warned("is damaged"), "{damage}: {:?}", engine.look().warnings);
        assert_eq!(std::fs::read(file(&yard, ".damaged")).unwrap(), bytes);
        assert!(!path.with_extension("ann.new").exists());
        assert_eq!(accepted(&engine, round as u32), named(round as u32));
        engine.stop();
    }
}

/// An index that does not find the true runner-up shows too large a margin: the worst that it can do.
#[test]
fn an_index_that_misses_the_runner_up_gives_no_answer() {
    let (yard, engine) = indexed();
    // Another pack that looks nearly the same.
    let mut twin = pack(0);
    twin.get_pixel_mut(50, 50).0[0] ^= 0x40;
    yard.write("watch/enroll/twin/a.png", &png(&twin));
    engine.wait(u64::from(PACKS) + 1);
    engine.stop();
    // Made anew, with the twin in it.
    let path = file(&yard, ".ann");
    std::fs::remove_file(&path).unwrap();
    let settings = [("gallery.ann_above", "50"), ("gallery.ann_sample", "1000000")];
    let yard = Yard { config: Yard::at(&yard.config.workspace, &settings).config, ..yard };
    let engine = yard.start();
    index(&engine, u64::from(PACKS) + 1);
    assert_eq!(accepted(&engine, 5), named(5));
    assert_eq!(accepted(&engine, 0), None, "the margin between the two is too small");
    assert_eq!(engine.gallery_stats().unwrap().indexes[0].overruled, 0);
    engine.stop();

    // All nodes of the twin made the opposite of how it lies, under a right digest.
    let mut bytes = std::fs::read(&path).unwrap();
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (stride, nodes) = (word(&bytes, 12) as usize, word(&bytes, 16) as usize);
    assert_eq!((stride, nodes), (256, 4 * (PACKS as usize + 1)));
    let scales = (128 + 12 * nodes).next_multiple_of(64);
    let codes = bytes.len() - nodes * stride;
    let rows: Vec<u32> = (0..nodes).map(|node| word(&bytes, 128 + 12 * node + 4)).collect();
    let upright = rows.iter().position(|row| *row == 4 * PACKS).unwrap();
    let scale = -f32::from_bits(word(&bytes, scales + 4 * upright));
    let twins: Vec<usize> = (0..nodes).filter(|node| rows[*node] >= 4 * PACKS).collect();
    assert_eq!(twins.len(), 4);
    for node in twins {
        bytes[scales + 4 * node..][..4].copy_from_slice(&scale.to_le_bytes());
        bytes.copy_within(codes + upright * stride..codes + (upright + 1) * stride, codes + node * stride);
    }
    let digest = Sha256::new_with_prefix(&bytes[..96]).chain_update(&bytes[128..]).finalize();
    bytes[96..128].copy_from_slice(&digest);
    std::fs::write(&path, bytes).unwrap();

    let engine = yard.start();
    index(&engine, u64::from(PACKS) + 1);
    for asked in 1..=25 {
        let answer = engine.identify(&png(&pack(0))).unwrap().answers.remove(0);
        let small = matches!(answer.decision, Decision::Abstain { reason: AbstainReason::MarginTooSmall, .. });
        assert!(small, "{asked}: {answer:?}");
        assert_eq!(answer.neighbours[1].label.as_str(), "twin", "the runner-up is shown");
    }
    let row = engine.gallery_stats().unwrap().indexes.remove(0);
    assert!(row.overruled >= 20, "{row:?}");
    assert!(row.recall.unwrap() < 0.99 && !row.in_use, "{row:?}");
    assert!(engine.warned("exact search answers everything"), "{:?}", engine.look().warnings);
    // Exact search has taken over: packs that nothing is wrong with are found as ever.
    assert_eq!(accepted(&engine, 7), named(7));
}
