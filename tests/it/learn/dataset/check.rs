//! What a check of labels finds.

use std::path::Path;

use sightline::domain::ImageId;
use sightline::learn::dataset::check::{Look, Report, check};
use sightline::learn::dataset::{Dataset, Item, Kind, Object, Outline, Problem, Split};

fn boxed(class: u32, bounds: [f32; 4]) -> Object {
    Object { class, outline: Some(Outline::Box(bounds)) }
}

fn outlined(class: u32, points: &[[f32; 2]]) -> Object {
    Object { class, outline: Some(Outline::Polygon(points.to_vec())) }
}

/// A set of pictures of 200 x 100 pixels, all unlike each other.
fn set(names: &[&str], pictures: Vec<(Split, Vec<Object>)>) -> (Dataset, Vec<Result<Look, String>>) {
    let item = |(number, (split, objects)): (usize, (Split, Vec<Object>))| Item {
        image: format!("{number}.png").into(),
        split,
        objects,
        crowds: Vec::new(),
    };
    let looks = (0..pictures.len() as u64).map(|number| {
        // Far apart, by any bits.
        let perceptual = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Ok(Look { bytes: ImageId([number as u8; 32]), perceptual, size: (200, 100) })
    });
    let looks = looks.collect();
    let items = pictures.into_iter().enumerate().map(item).collect();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    (Dataset { kind: Kind::Detect, names, items, problems: Vec::new() }, looks)
}

fn report(names: &[&str], pictures: Vec<(Split, Vec<Object>)>) -> Report {
    let (set, looks) = set(names, pictures);
    check(&set, &looks)
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn labels_that_look_wrong_are_named() {
    let square = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]];
    let crossing = [[0.1, 0.1], [0.4, 0.4], [0.4, 0.1], [0.1, 0.4]];
    let found = report(
        &["carton", "strip"],
        vec![
            (Split::Train, vec![boxed(0, [0.5, 0.5, 0.4, 0.4]), boxed(0, [0.501, 0.5, 0.4, 0.4])]),
            (Split::Train, vec![boxed(0, [0.5, 0.5, 0.4, 0.4]), boxed(1, [0.5, 0.5, 0.4, 0.39])]),
            // Half of it is no double.
            (Split::Train, vec![boxed(0, [0.5, 0.5, 0.4, 0.4]), boxed(0, [0.6, 0.5, 0.4, 0.4])]),
            (Split::Train, vec![outlined(0, &square), outlined(1, &crossing)]),
            // 3 pixels high; 5 are enough.
            (Split::Train, vec![boxed(1, [0.5, 0.5, 0.1, 0.03]), boxed(1, [0.5, 0.8, 0.025, 0.05])]),
        ],
    );
    let expected = [
        "0.png: a `carton` is labelled twice (kept)",
        "1.png: one place is labelled `carton` and `strip` (kept)",
        "3.png: the outline of a `strip` crosses itself (kept)",
        "3.png: one place is labelled `carton` and `strip` (kept)",
        "4.png: a `strip` of 20.0 x 3.0 pixels (kept)",
    ];
    assert_eq!(lines(&found.suspicious), expected);
    assert!(found.is_sound(), "what only looks wrong stops nobody");
}

#[test]
fn pictures_that_look_alike_with_other_labels_are_doubtful() {
    let place = [0.5, 0.5, 0.4, 0.4];
    let boxes = |classes: &[u32]| -> Vec<Object> {
        let number = |n: usize| [0.3 + n as f32 * 0.2, 0.5, 0.1, 0.1];
        classes.iter().enumerate().map(|(n, class)| boxed(*class, if n == 0 { place } else { number(n) })).collect()
    };
    let pictures = [&[0][..], &[0], &[1], &[0, 1], &[], &[0, 0], &[1]].map(|classes| (Split::Train, boxes(classes)));
    let (set, mut looks) = set(&["carton", "strip"], pictures.into());
    // All look alike but the last; the third and the fourth have the same bytes, which is told as such.
    for (number, look) in looks.iter_mut().take(6).enumerate() {
        let bytes = ImageId([if number == 3 { 2 } else { number as u8 }; 32]);
        *look = Ok(Look { bytes, perceptual: number as u64 % 4, size: (200, 100) });
    }
    let found = check(&set, &looks);
    let expected = [
        "2.png: it is labelled `strip`, but looks nearly the same as 0.png, labelled `carton` (kept)",
        "4.png: it is labelled with nothing, but looks nearly the same as 0.png, labelled `carton` (kept)",
        "5.png: it is labelled `carton`, but looks nearly the same as 2.png, labelled `strip` (kept)",
    ];
    assert_eq!(lines(&found.suspicious), expected);
    assert_eq!((found.doubles.len(), found.doubles[0].contradiction), (1, true));
    let (_, kept): (Vec<_>, Vec<_>) = looks.iter().cloned().enumerate().partition(|(number, _)| *number == 3);
    let mut set = set;
    set.items.remove(3);
    let looks: Vec<_> = kept.into_iter().map(|(_, look)| look).collect();
    assert!(check(&set, &looks).is_sound(), "packs may look alike");
}

#[test]
fn classes_that_are_rare_or_not_learnt_are_noted() {
    let many = |class: u32, count: usize, split: Split| vec![(split, vec![boxed(class, [0.5, 0.5, 0.2, 0.2])]); count];
    let mut pictures = many(0, 41, Split::Train);
    pictures.extend(many(1, 2, Split::Train));
    pictures.extend(many(2, 3, Split::Val));
    let notes = report(&["carton", "strip", "bottle", "bag"], pictures).notes;
    let expected = [
        "class 1 (`strip`) is rare: 2 objects, the most frequent has 41",
        "class 2 (`bottle`) is judged by but not learnt: none is in train",
        "class 3 (`bag`) has no object",
        "there is no test; `sightline dataset split` makes one",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn sizes_and_places_are_counted() {
    // Widths of 0.01 to 1.00 in pictures of 200 x 100 pixels; all but one lie in the middle.
    let mut pictures: Vec<_> =
        (1..=100).map(|n| (Split::Train, vec![boxed(0, [0.5, 0.5, n as f32 / 100.0, 0.5])])).collect();
    pictures.push((Split::Val, vec![boxed(0, [0.95, 0.05, 0.1, 0.1])]));
    pictures.push((Split::Val, Vec::new()));
    let found = report(&["carton"], pictures);
    let width = found.sizes["width"];
    let near = |a: f32, b: f32| (a - b).abs() < 1e-5;
    assert!(near(width.least, 0.01) && near(width.most, 1.0), "{width:?}");
    // 101 widths, a tenth there twice.
    assert!(near(width.median, 0.5) && near(width.p5, 0.06) && near(width.p95, 0.95), "{width:?}");
    let height = found.sizes["height"];
    assert!(near(height.least, 0.1) && near(height.median, 0.5) && near(height.most, 0.5), "{height:?}");
    let area = found.sizes["area_pixels"];
    assert!((area.least - 100.0).abs() < 0.1 && (area.most - 10_000.0).abs() < 1.0, "{area:?}");
    let mut centres = [[0; 5]; 5];
    (centres[2][2], centres[0][4]) = (100, 1);
    assert_eq!(found.centres, centres);
    let val = found.splits[&Split::Val];
    assert_eq!((val.pictures, val.background, val.objects), (2, 1, 1));
}

#[test]
fn pictures_that_look_alike_are_grouped_and_a_leak_only_across_parts() {
    let one = || vec![boxed(0, [0.5, 0.5, 0.2, 0.2])];
    let parts = [Split::Train, Split::Val, Split::Train, Split::Train, Split::Train, Split::Test];
    let (set, mut looks) = set(&["carton"], parts.into_iter().map(|split| (split, one())).collect());
    // Four bits apart look alike, five do not; a chain is one group. By bytes the last two are the same.
    for (look, (perceptual, bytes)) in
        looks.iter_mut().zip([(0, 0), (0b1111, 1), (0b1111_1111, 2), (u64::MAX, 3), (7 << 40, 4), (7 << 40, 4)])
    {
        *look = Ok(Look { bytes: ImageId([bytes; 32]), perceptual, size: (200, 100) });
    }
    let report = check(&set, &looks);
    let members = |alike: &[sightline::learn::dataset::check::Alike]| -> Vec<(Vec<String>, bool)> {
        let names = |alike: &sightline::learn::dataset::check::Alike| {
            alike.pictures.iter().map(|(path, _)| path.to_string()).collect()
        };
        alike.iter().map(|alike| (names(alike), alike.leak)).collect()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    // 4 differs from 0 in three bits.
    assert_eq!(members(&report.near_doubles), [(names(&["0.png", "1.png", "2.png", "4.png"]), true)]);
    assert_eq!(members(&report.doubles), [(names(&["4.png", "5.png"]), true)]);
    assert!(!report.is_sound());
    let none: Vec<Result<Look, String>> = (0..6).map(|_| Err("it is truncated".to_owned())).collect();
    let broken = check(&set, &none);
    assert_eq!(broken.broken.len(), 6);
    assert!(broken.near_doubles.is_empty() && Path::new("0.png") == broken.broken[0].file);
}
