#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::design::stirred;
use super::scene::{LEAST_VISIBLE, instances, painted, photograph};
use super::set::{self, Order};
use super::{Form, Pack, crop_set};

use crate::vision::CropPolicy;

#[test]
fn a_seed_draws_the_same_picture() {
    let pack = Pack::numbered(7, 4);
    assert_eq!(pack, Pack::numbered(7, 4));
    assert_eq!(pack.photograph(3), Pack::numbered(7, 4).photograph(3));
    assert_ne!(pack.photograph(3), pack.photograph(4));
    assert_ne!(pack, Pack::numbered(8, 4));
    let policy = CropPolicy { input_size: 112, ..CropPolicy::default() };
    assert_eq!(pack.crop(&policy, false, 5), pack.crop(&policy, false, 5));
    assert_ne!(pack.crop(&policy, false, 5), pack.crop(&policy, false, 6));
    assert_eq!(pack.crop(&policy, false, 5).dimensions(), (112, 112));
}

#[test]
fn look_alikes_differ_in_their_strength_alone() {
    for number in (0..24).step_by(2) {
        let (pack, twin) = (Pack::numbered(7, number), Pack::numbered(7, number + 1));
        assert_eq!(pack.design, twin.design);
        assert_ne!(pack.strength, twin.strength);
        assert_ne!(pack.label(), twin.label());
        let (a, b) = (pack.face(), twin.face());
        assert_eq!(a.dimensions(), b.dimensions());
        let differing = a.pixels().zip(b.pixels()).filter(|(a, b)| a != b).count();
        let share = differing as f32 / (a.width() * a.height()) as f32;
        assert!((0.002..0.35).contains(&share), "{} and {} differ in {share}", pack.label(), twin.label());
    }
    // In one pose and light they are seen in the same place.
    let (pack, twin) = (Pack::numbered(7, 0), Pack::numbered(7, 1));
    let (a, b) = (photograph(&[pack], 480, 360, 9), photograph(&[twin], 480, 360, 9));
    assert_eq!(a.instances, b.instances);
    assert_ne!(a.picture, b.picture);
}

#[test]
fn designs_are_many_and_of_every_form() {
    let packs: Vec<Pack> = (0..4000).map(|number| Pack::numbered(3, number)).collect();
    let labels: BTreeSet<String> = packs.iter().map(Pack::label).collect();
    assert_eq!(labels.len(), packs.len(), "every label is told from every other");
    let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
    for pack in &packs {
        let form = match pack.form() {
            Form::Carton => "carton",
            Form::Blister => "blister",
            Form::Bottle => "bottle",
        };
        *forms.entry(form).or_default() += 1;
    }
    assert!(forms.len() == 3 && forms.values().all(|count| *count > 600), "{forms:?}");
}

/// Whether a point lies inside, by the even-odd rule.
fn holds(outline: &[[f32; 2]], x: f32, y: f32) -> bool {
    let next = outline.iter().cycle().skip(1);
    let crossed =
        |a: &[f32; 2], b: &[f32; 2]| (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0];
    outline.iter().zip(next).filter(|(a, b)| crossed(a, b)).count() % 2 == 1
}

#[test]
fn outlines_fit_what_is_visible() {
    let (width, height) = (400, 300);
    let mut found = 0;
    for seed in 0..10 {
        let packs: Vec<Pack> = (0..5).map(|n| Pack::numbered(seed, n * 3)).collect();
        let mut rng = SmallRng::seed_from_u64(stirred(&[seed, 1]));
        let (frame, seen) = painted(&packs, width, height, &mut rng);
        let outlines = instances(&frame, &seen);
        assert!(outlines.iter().all(|i| (LEAST_VISIBLE..=1.0).contains(&i.visible)));
        for instance in outlines {
            // The owner of most of the pixels inside is the pack; hold both against each other, pixel for pixel.
            let mut inside = vec![false; frame.owner.len()];
            for (place, inside) in inside.iter_mut().enumerate() {
                let (x, y) = (place % frame.width, place / frame.width);
                let (x, y) = ((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32);
                *inside = holds(&instance.outline, x, y);
            }
            let mut owners: BTreeMap<u8, usize> = BTreeMap::new();
            let owned = inside.iter().zip(&frame.owner).filter(|(inside, _)| **inside);
            owned.for_each(|(_, owner)| *owners.entry(*owner).or_default() += 1);
            let (owner, shared) = owners.into_iter().max_by_key(|(_, count)| *count).unwrap();
            let either = inside.iter().zip(&frame.owner).filter(|(inside, o)| **inside || **o == owner).count();
            let overlap = shared as f32 / either as f32;
            // A pixel's width along the edge is much of a small thing.
            let least = if either > 1500 { 0.94 } else { 0.8 };
            assert!(overlap > least, "seed {seed}: {overlap} of {either} pixels");
            found += 1;
        }
    }
    assert!(found >= 25, "{found} packs were found");
}

fn order() -> Order {
    Order { images: 6, packs: 8, first: 10, seed: 5, val: 0.34, test: 0.17 }
}

/// Every file below a folder with its bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_set_is_the_same_on_any_number_of_threads_and_its_rows_name_their_packs() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let summary = set::write(&order(), &at("one"), 1, || {}).unwrap();
    assert_eq!(set::write(&order(), &at("three"), 3, || {}).unwrap(), summary);
    let (one, three) = (files(&at("one")), files(&at("three")));
    assert!(one == three, "the bytes depend on the threads");
    assert_eq!(summary.pictures, [3, 2, 1]);

    let read = crate::learn::dataset::read(&at("one")).unwrap();
    assert_eq!((read.items.len(), read.names.clone()), (6, vec!["pack".to_owned()]));
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    let text = fs::read_to_string(at("one").join(set::INSTANCES)).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let objects: usize = read.items.iter().map(|item| item.objects.len()).sum();
    assert_eq!((lines.len(), objects), (summary.instances as usize, summary.instances as usize));
    let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
    for line in &lines {
        let next = rows.entry(line["image"].as_str().unwrap()).or_default();
        assert_eq!(line["row"].as_u64().unwrap(), *next, "rows are in the order of the labels");
        *next += 1;
        let pack = line["pack"].as_u64().unwrap() as u32;
        assert!((10..18).contains(&pack));
        assert_eq!(line["label"], Pack::numbered(5, pack).label());
        assert!(line["visible"].as_f64().unwrap() >= 0.15);
    }
    for item in &read.items {
        let image = item.image.strip_prefix(at("one")).unwrap().to_str().unwrap();
        assert_eq!(rows.get(image).copied().unwrap_or(0), item.objects.len() as u64, "{image}");
    }
    // A folder that is there is left alone.
    let refused = set::write(&order(), &at("one"), 1, || {}).unwrap_err();
    assert!(refused.to_string().contains("it is there already"), "{refused}");
    assert!(files(&at("one")) == one);
}

#[test]
fn orders_that_cannot_be_drawn_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (wrong, words) in [
        (Order { images: 0, ..order() }, "0 images cannot be drawn"),
        (Order { images: set::MOST_IMAGES + 1, ..order() }, "ask for 1 to 1000000"),
        (Order { packs: 0, ..order() }, "0 packs from design 10 on"),
        (Order { first: u32::MAX, ..order() }, "below 2^32"),
        (Order { val: 0.7, test: 0.7, ..order() }, "are no shares"),
        (Order { val: f64::NAN, ..order() }, "val NaN"),
        (Order { test: -0.1, ..order() }, "are no shares"),
    ] {
        let error = set::write(&wrong, &dir.path().join("set"), 1, || {}).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is left behind");
}

fn crops() -> crop_set::Order {
    crop_set::Order {
        by: crop_set::By::Pack,
        packs: 20,
        crops: 2,
        side: 42,
        masked: true,
        align: true,
        stretched: false,
        upright: false,
        pairs: 1.0,
        first: 11,
        seed: 5,
        val: 0.0,
        test: 0.3,
    }
}

#[test]
fn so_many_designs_of_a_set_of_crops_have_a_look_alike() {
    assert_eq!(crops().designs(), (11..31).collect::<Vec<u32>>());
    assert_eq!(crop_set::Order { pairs: 0.0, ..crops() }.designs(), (6..26).map(|look| look * 2).collect::<Vec<u32>>());
    for (pairs, twins) in [(0.1, 2), (0.2, 4), (0.5, 10), (1.0, 20)] {
        let designs = crop_set::Order { pairs, first: 0, ..crops() }.designs();
        assert!(designs.windows(2).all(|two| two[0] < two[1]), "{designs:?}");
        let has_twin = |number: &&u32| designs.contains(&(*number ^ 1));
        let found = designs.iter().filter(has_twin).count();
        assert!(designs.len() == 20 && found.abs_diff(twins) <= 2, "{pairs}: {designs:?}");
        let in_twos = designs.chunks(2).filter(|two| two[0] + 1 == two[1]).count();
        assert_eq!(in_twos * 2, found, "{designs:?}");
    }
    for (wrong, words) in [
        (crop_set::Order { pairs: 1.1, ..crops() }, "pairs 1.1"),
        (crop_set::Order { align: false, upright: true, ..crops() }, "--align"),
        (crop_set::Order { first: u32::MAX - 30, ..crops() }, "below 2^31"),
    ] {
        assert!(wrong.check().unwrap_err().contains(words));
    }
}

#[test]
fn crops_by_strength_are_those_by_pack_in_other_folders() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let order = crop_set::Order { packs: 6, ..crops() };
    let counts = crop_set::write(&order, &at("packs"), 2, || {}).unwrap();
    let by = crop_set::Order { by: crop_set::By::Strength, ..order };
    assert_eq!(crop_set::write(&by, &at("strengths"), 2, || {}).unwrap(), counts);
    let (packs, strengths) = (files(&at("packs")), files(&at("strengths")));
    let sorted = |files: &BTreeMap<String, Vec<u8>>| files.values().cloned().collect::<BTreeSet<_>>();
    assert_eq!((packs.len(), sorted(&packs)), (12, sorted(&strengths)));
    for number in order.designs() {
        let label = Pack::numbered(order.seed, number).strength_label();
        let mine = strengths.keys().filter(|path| path.contains(&format!("/{label}/{number:06}-"))).count();
        assert_eq!(mine, 2, "{number} {label}");
    }
}

#[test]
fn a_crop_that_is_upright_is_the_one_that_lies_level_turned_by_right_angles() {
    let policy = CropPolicy { input_size: 56, mask_background: true, align: true, ..CropPolicy::default() };
    let mut met = BTreeSet::new();
    for number in 0..12 {
        let pack = Pack::numbered(7, number);
        let seed = u64::from(number);
        let (level, upright) = (pack.crop(&policy, false, seed), pack.crop(&policy, true, seed));
        let turned = crate::vision::rotations(&level).iter().position(|one| *one == upright);
        met.insert(turned.unwrap());
        // A level pack fills its square from side to side, and its corners are its own.
        let filled = level.enumerate_pixels().filter(|(_, _, pixel)| **pixel == crate::vision::dino::FILL).count();
        assert!(filled < 56 * 56 * 7 / 10, "pack {number}: {filled} pixels are filled");
    }
    assert!(met.len() >= 3, "{met:?}");
}
