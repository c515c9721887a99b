//! What is wrong with a set, or doubtful: broken files, doubles, leaks between its parts, odd labels; and what it holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::{Dataset, Fate, Item, Outline, Problem, Split};
use crate::domain::{ImageId, RawPath};

/// Pictures whose 64-bit perceptual hashes differ in at most so many bits look nearly the same. Of 771 pictures 98% lie within
/// it when they are compressed to a quality of 30, 88% at half the size, 48% with 1% cut off at each side; from 6 bits on,
/// photographs of other things do, too.
const NEAR: u32 = 4;
/// Two labels of a picture that overlap more than this are one object labelled twice.
const DOUBLE: f32 = 0.9;
/// Pixels: an object that is narrower is hardly to be learnt from.
const TINY: f32 = 4.0;
/// A class with fewer than this share of the most frequent one's objects is rare.
const RARE: f64 = 0.05;

/// What a look at a picture's file gave.
#[derive(Clone, Debug)]
pub struct Look {
    /// SHA-256 of its bytes.
    pub bytes: ImageId,
    /// 64 bits that pictures which look alike share.
    pub perceptual: u64,
    /// Pixels, upright: width and height.
    pub size: (u32, u32),
}

/// A part of the set's pictures and objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Pictures.
    pub pictures: usize,
    /// Of those, without an object.
    pub background: usize,
    /// Objects.
    pub objects: usize,
}

/// A class's objects.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassCount {
    /// Its number.
    pub class: u32,
    /// Its name.
    pub name: String,
    /// Objects in each part.
    pub objects: BTreeMap<Split, usize>,
}

/// How a figure is spread: the least, the 5th, 50th and 95th hundredth, and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub least: f32,
    /// A twentieth lies below.
    pub p5: f32,
    /// Half lies below.
    pub median: f32,
    /// A twentieth lies above.
    pub p95: f32,
    /// The most.
    pub most: f32,
}

/// Pictures that are the same, or look it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alike {
    /// The pictures with their parts.
    pub pictures: Vec<(RawPath, Split)>,
    /// Whether they lie in more than one part: what is judged by was learnt from.
    pub leak: bool,
    /// Whether they are labelled with other classes, or other numbers of their objects.
    pub contradiction: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Each part's size.
    pub splits: BTreeMap<Split, Count>,
    /// Each class's objects.
    pub classes: Vec<ClassCount>,
    /// Files that are no sound pictures.
    pub broken: Vec<Problem>,
    /// Labels that were left out or mended.
    pub labels: Vec<Problem>,
    /// Labels that can be read and look wrong; pictures that look like one with other classes.
    pub suspicious: Vec<Problem>,
    /// Pictures with the same bytes.
    pub doubles: Vec<Alike>,
    /// Pictures that look nearly the same.
    pub near_doubles: Vec<Alike>,
    /// Objects' widths, heights (shares of the picture) and areas (pixels).
    pub sizes: BTreeMap<&'static str, Spread>,
    /// Objects' centres on a grid of 5 by 5, from the top left, row by row.
    pub centres: [[usize; 5]; 5],
    /// Other things to know, in words.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether the set can be trained on and judged by as it is.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let leaks = self.doubles.iter().chain(&self.near_doubles).any(|alike| alike.leak);
        let is_labelled = self.splits.values().any(|count| count.objects > 0);
        is_labelled
            && self.broken.is_empty()
            && !leaks
            && !self.doubles.iter().any(|alike| alike.contradiction)
            && self.labels.iter().all(|p| !matches!(p.fate, Fate::LeftOut | Fate::Leak))
    }
}

/// Checks a set; `looks[i]` is what a look at picture `i` gave, or why it is no sound picture.
#[must_use]
pub fn check(dataset: &Dataset, looks: &[Result<Look, String>]) -> Report {
    let mut report = Report { labels: dataset.problems.clone(), ..Report::default() };
    for item in &dataset.items {
        let count = report.splits.entry(item.split).or_default();
        count.pictures += 1;
        count.background += usize::from(item.is_background());
        count.objects += item.objects.len();
    }
    let balance = dataset.balance();
    report.classes = (0..)
        .zip(&dataset.names)
        .map(|(class, name)| {
            let objects = balance.get(&class).cloned().unwrap_or_default();
            ClassCount { class, name: name.clone(), objects }
        })
        .collect();
    let (mut widths, mut heights, mut areas) = (Vec::new(), Vec::new(), Vec::new());
    for (item, look) in dataset.items.iter().zip(looks) {
        let size = match look {
            Err(reason) => {
                report.broken.push(Problem::rejected(&item.image, None, reason.clone()));
                continue;
            }
            Ok(look) => look.size,
        };
        let (width, height) = (size.0 as f32, size.1 as f32);
        for object in &item.objects {
            let Some(outline) = &object.outline else { continue };
            let [left, top, right, bottom] = outline.corners();
            widths.push(right - left);
            heights.push(bottom - top);
            areas.push((right - left) * width * (bottom - top) * height);
            let cell = |at: f32| ((at * 5.0) as usize).min(4);
            report.centres[cell(f32::midpoint(top, bottom))][cell(f32::midpoint(left, right))] += 1;
        }
        report.suspicious.extend(suspicious(dataset, item, (width, height)));
    }
    for (name, mut values) in [("width", widths), ("height", heights), ("area_pixels", areas)] {
        report.sizes.extend(spread(&mut values).map(|spread| (name, spread)));
    }
    let known: Vec<(usize, &Look)> =
        looks.iter().enumerate().filter_map(|(i, l)| Some((i, l.as_ref().ok()?))).collect();
    let links = near(&known);
    (report.doubles, report.near_doubles) = alike(&dataset.items, &known, &links);
    report.suspicious.extend(labelled_otherwise(dataset, &known, &links));
    report.notes = notes(dataset, &report);
    report
}

fn spread(values: &mut [f32]) -> Option<Spread> {
    values.sort_by(f32::total_cmp);
    let at = |share: f64| values.get(((values.len().checked_sub(1)?) as f64 * share).round() as usize).copied();
    Some(Spread { least: at(0.0)?, p5: at(0.05)?, median: at(0.5)?, p95: at(0.95)?, most: at(1.0)? })
}

fn suspicious(dataset: &Dataset, item: &Item, (width, height): (f32, f32)) -> Vec<Problem> {
    let mut found = Vec::new();
    let name = |class: u32| dataset.names.get(class as usize).map_or("?", String::as_str);
    let mut doubt = |reason: String| found.push(Problem::doubtful(&item.image, reason));
    let placed: Vec<_> =
        item.objects.iter().filter_map(|object| Some((object, object.outline.as_ref()?.corners()))).collect();
    for (number, (object, [left, top, right, bottom])) in placed.iter().enumerate() {
        let (w, h) = ((right - left) * width, (bottom - top) * height);
        if w < TINY || h < TINY {
            doubt(format!("a `{}` of {w:.1} x {h:.1} pixels", name(object.class)));
        }
        if let Some(Outline::Polygon(points)) = &object.outline
            && crosses_itself(points)
        {
            doubt(format!("the outline of a `{}` crosses itself", name(object.class)));
        }
        for (other, corners) in &placed[..number] {
            if overlap([*left, *top, *right, *bottom], *corners) > DOUBLE {
                let both = (name(other.class), name(object.class));
                doubt(if both.0 == both.1 {
                    format!("a `{}` is labelled twice", both.0)
                } else {
                    format!("one place is labelled `{}` and `{}`", both.0, both.1)
                });
            }
        }
    }
    found
}

/// Intersection over union of boxes by their corners.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let area = |c: [f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let union = area(a) + area(b) - width * height;
    if union <= 0.0 { 0.0 } else { width * height / union }
}

/// Whether two sides that do not touch cross. Outlines of many points are not looked at: they were traced.
fn crosses_itself(points: &[[f32; 2]]) -> bool {
    let n = points.len();
    if !(4..=100).contains(&n) {
        return false;
    }
    let side = |a: [f32; 2], b: [f32; 2], c: [f32; 2]| (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
    let crosses = |a, b, c, d| side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0;
    (0..n).any(|i| {
        (i + 2..n)
            .filter(|j| (j + 1) % n != i)
            .any(|j| crosses(points[i], points[(i + 1) % n], points[j], points[(j + 1) % n]))
    })
}

/// The classes of a picture's objects, sorted.
fn classes(item: &Item) -> Vec<u32> {
    let mut classes: Vec<u32> = item.objects.iter().map(|object| object.class).collect();
    classes.sort_unstable();
    classes
}

/// Doubts about pictures that look nearly the same as one before them and have other classes: packs may well look so, but a
/// copy that went into the wrong folder does, too. One doubt a picture; those with the same bytes are told elsewhere.
fn labelled_otherwise(dataset: &Dataset, known: &[(usize, &Look)], links: &[(usize, usize)]) -> Vec<Problem> {
    let classes: Vec<BTreeSet<u32>> =
        dataset.items.iter().map(|item| item.objects.iter().map(|object| object.class).collect()).collect();
    // The first of the same pictures stands for them.
    let mut seen = HashSet::new();
    let first: HashSet<usize> = known.iter().filter(|(_, look)| seen.insert(look.bytes)).map(|(i, _)| *i).collect();
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    for (one, other) in links.iter().filter(|(one, other)| first.contains(one) && first.contains(other)) {
        if classes[*one] != classes[*other] {
            before.entry(*other).and_modify(|least| *least = (*least).min(*one)).or_insert(*one);
        }
    }
    let labels = |picture: usize| {
        let name = |class: &u32| format!("`{}`", dataset.names.get(*class as usize).map_or("?", String::as_str));
        let named: Vec<String> = classes[picture].iter().map(name).collect();
        if named.is_empty() { "with nothing".to_owned() } else { named.join(", ") }
    };
    let doubt = |(picture, like): (usize, usize)| {
        let other = RawPath(dataset.items[like].image.clone());
        let (ours, theirs) = (labels(picture), labels(like));
        let reason = format!("it is labelled {ours}, but looks nearly the same as {other}, labelled {theirs}");
        Problem::doubtful(&dataset.items[picture].image, reason)
    };
    before.into_iter().map(doubt).collect()
}

/// Pictures with the same bytes, and others that look nearly the same.
fn alike(items: &[Item], known: &[(usize, &Look)], links: &[(usize, usize)]) -> (Vec<Alike>, Vec<Alike>) {
    let mut same: HashMap<ImageId, Vec<usize>> = HashMap::new();
    known.iter().for_each(|(i, look)| same.entry(look.bytes).or_default().push(*i));
    let group = |members: &[usize]| {
        let pictures: Vec<_> = members.iter().map(|&i| (RawPath(items[i].image.clone()), items[i].split)).collect();
        let leak = pictures.iter().any(|(_, split)| *split != pictures[0].1);
        let contradiction = members.iter().any(|&i| classes(&items[i]) != classes(&items[members[0]]));
        Alike { pictures, leak, contradiction }
    };
    let mut doubles: Vec<Vec<usize>> = same.into_values().filter(|members| members.len() > 1).collect();
    doubles.sort();
    // The first of each set of same pictures stands for them.
    let others: HashSet<usize> = doubles.iter().flat_map(|members| members[1..].iter().copied()).collect();
    let groups = super::split::groups_of(items.len(), links.iter().copied());
    let mut linked: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, _) in known.iter().filter(|(i, _)| !others.contains(i)) {
        linked.entry(groups[*i]).or_default().push(*i);
    }
    let near = linked.into_values().filter(|members| members.len() > 1);
    (doubles.iter().map(|members| group(members)).collect(), near.map(|members| group(&members)).collect())
}

/// Pairs of pictures that look nearly the same. Hashes that differ in at most four bits agree in one of five pieces, so
/// only those that share a piece are compared.
#[must_use]
pub fn near(looks: &[(usize, &Look)]) -> Vec<(usize, usize)> {
    const PIECES: u32 = NEAR + 1;
    let mut links = Vec::new();
    for piece in 0..PIECES {
        let (from, to) = (piece * 64 / PIECES, (piece + 1) * 64 / PIECES);
        let mask = (u64::MAX >> (64 - (to - from))) << from;
        let mut shelves: HashMap<u64, Vec<(usize, u64)>> = HashMap::new();
        for (i, look) in looks {
            let shelf = shelves.entry(look.perceptual & mask).or_default();
            let mates = shelf.iter().filter(|(_, other)| (other ^ look.perceptual).count_ones() <= NEAR);
            links.extend(mates.map(|(mate, _)| (*mate, *i)));
            shelf.push((*i, look.perceptual));
        }
    }
    links
}

fn notes(dataset: &Dataset, report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let total = |class: &ClassCount| class.objects.values().sum::<usize>();
    let most = report.classes.iter().map(total).max().unwrap_or(0);
    for class in &report.classes {
        match total(class) {
            0 => notes.push(format!("class {} (`{}`) has no object", class.class, class.name)),
            n if (n as f64) < RARE * most as f64 => {
                notes.push(format!(
                    "class {} (`{}`) is rare: {n} objects, the most frequent has {most}",
                    class.class, class.name
                ));
            }
            _ => {}
        }
        let learnt = class.objects.get(&Split::Train).copied().unwrap_or(0);
        if learnt == 0 && total(class) > 0 {
            notes.push(format!(
                "class {} (`{}`) is judged by but not learnt: none is in train",
                class.class, class.name
            ));
        }
    }
    for split in [Split::Val, Split::Test] {
        if dataset.of(split).next().is_none() {
            notes.push(format!("there is no {}; `sightline dataset split` makes one", split.name()));
        }
    }
    if dataset.names.len() == 1 {
        notes.push(format!("there is one class only, `{}`", dataset.names[0]));
    }
    notes
}
