//! Dividing a set: each class in its share everywhere, and what belongs together in one part.

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{Item, Split};

/// The parts' shares; they are weighed against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// To learn from.
    pub train: f64,
    /// To choose by.
    pub val: f64,
    /// To judge by.
    pub test: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { train: 0.8, val: 0.1, test: 0.1 }
    }
}

/// Pictures that stay together.
struct Group {
    items: Vec<usize>,
    /// Objects of each class; background is a class of its own, behind all others.
    holds: BTreeMap<u32, f64>,
}

/// Divides pictures: `groups[i]` names the group of picture `i`, and a group is never divided.
///
/// Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011), with groups for single pictures: again and again
/// the class with the fewest objects left takes the part that lacks most of it; of equal parts the one that lacks most
/// pictures. No part with a share above 0 stays empty where there is a group for each. The same seed gives the same
/// division.
///
/// # Errors
/// `groups` is of another length; shares that are negative, not finite, or all zero.
pub fn divide(items: &mut [Item], groups: &[usize], shares: Shares, seed: u64) -> Result<(), String> {
    if groups.len() != items.len() {
        return Err(format!("{} groups were given for {} pictures", groups.len(), items.len()));
    }
    let weights = [shares.train, shares.val, shares.test];
    let total: f64 = weights.iter().sum();
    if weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0) || total <= 0.0 || !total.is_finite() {
        return Err(format!("the shares {weights:?} cannot be divided by; give numbers from 0 on, one above 0"));
    }
    let mut random = SmallRng::seed_from_u64(seed);
    let mut left = grouped(items, groups);
    left.shuffle(&mut random);
    // The largest first: what is left for the end should be small.
    left.sort_by_key(|group| std::cmp::Reverse(group.items.len()));

    let mut held: BTreeMap<u32, f64> = BTreeMap::new();
    for group in &left {
        group.holds.iter().for_each(|(class, count)| *held.entry(*class).or_default() += count);
    }
    let lacking = |count: f64| weights.map(|weight| count * weight / total);
    let mut lacks: BTreeMap<u32, [f64; 3]> = held.iter().map(|(class, count)| (*class, lacking(*count))).collect();
    let mut lacks_pictures = lacking(items.len() as f64);
    let mut of_class: BTreeMap<u32, VecDeque<usize>> = BTreeMap::new();
    for (at, group) in left.iter().enumerate() {
        group.holds.keys().for_each(|class| of_class.entry(*class).or_default().push_back(at));
    }
    let totals = held.clone();
    let mut parts: Vec<Option<usize>> = vec![None; left.len()];
    loop {
        // The rarest class that is still there.
        let rarest = held.iter().min_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(b.0))).map(|(class, _)| *class);
        let Some(class) = rarest else { break };
        let next = of_class.get_mut(&class).and_then(VecDeque::pop_front);
        let Some(at) = next else {
            held.remove(&class);
            continue;
        };
        if parts[at].is_some() {
            continue;
        }
        let group = &left[at];
        let lack = lacks.get(&class).copied().unwrap_or_default();
        let allowed = (0..3).filter(|part| weights[*part] > 0.0);
        let tie: [u32; 3] = std::array::from_fn(|_| random.random());
        let chosen = allowed.max_by(|&a, &b| {
            let by_class = lack[a].total_cmp(&lack[b]);
            by_class.then(lacks_pictures[a].total_cmp(&lacks_pictures[b])).then(tie[a].cmp(&tie[b]))
        });
        let Some(chosen) = chosen else { break };
        for (class, count) in &group.holds {
            if let Some(held) = held.get_mut(class) {
                *held -= count;
            }
            lacks.entry(*class).or_default()[chosen] -= count;
        }
        lacks_pictures[chosen] -= group.items.len() as f64;
        parts[at] = Some(chosen);
    }
    let mut balance = Balance { totals, lacks, pictures: items.len() as f64, lacks_pictures };
    while let Some((at, to)) = move_into_empty(&left, &parts, weights, &balance) {
        if let Some(from) = parts[at].replace(to) {
            balance.moved(&left[at], from, to);
        }
    }
    for (group, part) in left.iter().zip(parts) {
        for item in &group.items {
            items[*item].split = Split::ALL[part.unwrap_or_default()];
        }
    }
    Ok(())
}

/// How far parts are from their shares.
struct Balance {
    /// Objects of each class, in all parts.
    totals: BTreeMap<u32, f64>,
    /// What each part lacks of each class; below 0 what it has too many.
    lacks: BTreeMap<u32, [f64; 3]>,
    pictures: f64,
    lacks_pictures: [f64; 3],
}

impl Balance {
    /// By how much more classes and pictures would be away from their shares; classes count alike, however frequent.
    fn disturbed_by(&self, group: &Group, from: usize, to: usize) -> f64 {
        let change = |lack: [f64; 3], count: f64, total: f64| {
            let after = (lack[from] + count).abs() + (lack[to] - count).abs();
            (after - lack[from].abs() - lack[to].abs()) / total.max(1.0)
        };
        let of = |(class, count): (&u32, &f64)| {
            let lack = self.lacks.get(class).copied().unwrap_or_default();
            change(lack, *count, self.totals.get(class).copied().unwrap_or_default())
        };
        let pictures = change(self.lacks_pictures, group.items.len() as f64, self.pictures);
        group.holds.iter().map(of).sum::<f64>() + pictures
    }

    fn moved(&mut self, group: &Group, from: usize, to: usize) {
        let pictures = [(&mut self.lacks_pictures, group.items.len() as f64)];
        let classes = self.lacks.iter_mut().filter_map(|(class, lack)| Some((lack, *group.holds.get(class)?)));
        for (lack, count) in pictures.into_iter().chain(classes) {
            lack[from] += count;
            lack[to] -= count;
        }
    }
}

/// Which group goes into which part, where one that is asked for is empty: of those that are not alone in their part the one
/// that disturbs the balance least. None where no part is empty, or there are too few groups.
fn move_into_empty(
    groups: &[Group],
    parts: &[Option<usize>],
    weights: [f64; 3],
    balance: &Balance,
) -> Option<(usize, usize)> {
    let count = |part: usize| parts.iter().filter(|of| **of == Some(part)).count();
    let counts = [0, 1, 2].map(count);
    let empty = (0..3).filter(|part| weights[*part] > 0.0 && counts[*part] == 0);
    let mut best: Option<(f64, (usize, usize))> = None;
    for to in empty {
        for (at, group) in groups.iter().enumerate() {
            let Some(from) = parts[at].filter(|from| counts[*from] > 1) else { continue };
            let cost = balance.disturbed_by(group, from, to);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, (at, to)));
            }
        }
    }
    best.map(|(_, chosen)| chosen)
}

fn grouped(items: &[Item], groups: &[usize]) -> Vec<Group> {
    let background = items.iter().flat_map(|item| &item.objects).map(|object| object.class + 1).max().unwrap_or(0);
    let mut by_group: BTreeMap<usize, Group> = BTreeMap::new();
    for (number, (item, group)) in items.iter().zip(groups).enumerate() {
        let group = by_group.entry(*group).or_insert_with(|| Group { items: Vec::new(), holds: BTreeMap::new() });
        group.items.push(number);
        if item.objects.is_empty() {
            *group.holds.entry(background).or_default() += 1.0;
        }
        for object in &item.objects {
            *group.holds.entry(object.class).or_default() += 1.0;
        }
    }
    by_group.into_values().collect()
}

/// Groups by links between pictures: pictures that are linked, also by way of others, have one group.
#[must_use]
pub fn groups_of(pictures: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Vec<usize> {
    fn top(above: &mut [usize], mut at: usize) -> usize {
        while above[at] != at {
            above[at] = above[above[at]];
            at = above[at];
        }
        at
    }
    let mut above: Vec<usize> = (0..pictures).collect();
    for (a, b) in links {
        if a < pictures && b < pictures {
            let (a, b) = (top(&mut above, a), top(&mut above, b));
            above[a.max(b)] = a.min(b);
        }
    }
    (0..pictures).map(|at| top(&mut above, at)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use proptest::prelude::*;

    use super::super::Object;
    use super::*;

    fn item(number: usize, classes: &[u32]) -> Item {
        let objects = classes.iter().map(|class| Object { class: *class, outline: None }).collect();
        Item { image: format!("{number}.jpg").into(), split: Split::Train, objects, crowds: Vec::new() }
    }

    #[test]
    fn each_class_gets_its_share() {
        // A common class, and one of which there are ten in a thousand.
        let mut items: Vec<Item> = (0..1000).map(|n| item(n, if n % 100 == 0 { &[0, 1] } else { &[0] })).collect();
        let alone: Vec<usize> = (0..items.len()).collect();
        divide(&mut items, &alone, Shares::default(), 3).unwrap();
        let count = |split: Split, class: u32| {
            let of = items.iter().filter(|item| item.split == split);
            of.filter(|item| item.objects.iter().any(|object| object.class == class)).count()
        };
        assert_eq!(Split::ALL.map(|split| count(split, 1)), [8, 1, 1]);
        assert_eq!(Split::ALL.map(|split| count(split, 0)), [800, 100, 100]);
    }

    proptest! {
        #[test]
        fn groups_stay_whole_and_seeds_repeat(
            classes in prop::collection::vec(prop::collection::vec(0_u32..4, 0..3), 1..80),
            links in prop::collection::vec((0_usize..80, 0_usize..80), 0..40),
            seed: u64,
        ) {
            let mut items: Vec<Item> = classes.iter().enumerate().map(|(n, classes)| item(n, classes)).collect();
            let groups = groups_of(items.len(), links.iter().copied());
            divide(&mut items, &groups, Shares { train: 2.0, val: 1.0, test: 0.0 }, seed).unwrap();
            for (a, b) in links {
                if a < items.len() && b < items.len() {
                    prop_assert_eq!(items[a].split, items[b].split);
                }
            }
            prop_assert!(items.iter().all(|item| item.split != Split::Test), "nothing goes where no share is");
            let mut again = items.clone();
            divide(&mut again, &groups, Shares { train: 2.0, val: 1.0, test: 0.0 }, seed).unwrap();
            prop_assert_eq!(items, again);
        }
    }

    /// How many pictures the parts have.
    fn sizes(items: &[Item]) -> [usize; 3] {
        Split::ALL.map(|split| items.iter().filter(|item| item.split == split).count())
    }

    #[test]
    fn few_groups_go_into_all_parts() {
        let thirds = Shares { train: 0.34, val: 0.33, test: 0.33 };
        for seed in 0..20 {
            let mut items: Vec<Item> = (0..12).map(|n| item(n, &[n as u32 % 3])).collect();
            let groups: Vec<usize> = (0..12).map(|n| n / 4).collect();
            divide(&mut items, &groups, thirds, seed).unwrap();
            assert_eq!(sizes(&items), [4, 4, 4], "seed {seed}");
            let mut items: Vec<Item> = (0..5).map(|n| item(n, &[n as u32 % 2])).collect();
            divide(&mut items, &[0, 1, 2, 3, 4], Shares::default(), seed).unwrap();
            assert_eq!(sizes(&items), [3, 1, 1], "seed {seed}");
            // The small groups move, not the large one.
            let mut items: Vec<Item> = (0..12).map(|n| item(n, &[0])).collect();
            let groups: Vec<usize> = (0..12).map(|n: usize| n.saturating_sub(9)).collect();
            divide(&mut items, &groups, Shares::default(), seed).unwrap();
            assert_eq!(sizes(&items), [10, 1, 1], "seed {seed}");
        }
    }

    proptest! {
        #[test]
        fn no_part_that_is_asked_for_stays_empty(
            groups in prop::collection::vec((1_usize..6, prop::collection::vec(0_u32..4, 0..3)), 1..12),
            weights in prop::array::uniform3(prop_oneof![Just(0.0), 0.01_f64..1.0]),
            seed: u64,
        ) {
            prop_assume!(weights.iter().sum::<f64>() > 0.0);
            let of: Vec<usize> = groups.iter().enumerate().flat_map(|(n, (size, _))| vec![n; *size]).collect();
            let mut items: Vec<Item> = of.iter().enumerate().map(|(n, of)| item(n, &groups[*of].1)).collect();
            let [train, val, test] = weights;
            divide(&mut items, &of, Shares { train, val, test }, seed).unwrap();
            let (asked, sizes) = (weights.map(|weight| weight > 0.0), sizes(&items));
            for (is_asked, size) in asked.into_iter().zip(sizes) {
                prop_assert!(is_asked || size == 0, "nothing goes where no share is");
            }
            let filled = sizes.into_iter().filter(|size| *size > 0).count();
            let parts = asked.into_iter().filter(|is_asked| *is_asked).count();
            prop_assert!(filled == parts || groups.len() < parts, "{sizes:?} of {} groups by {weights:?}", groups.len());
            for pair in of.iter().zip(&items).collect::<Vec<_>>().windows(2) {
                prop_assert!(pair[0].0 != pair[1].0 || pair[0].1.split == pair[1].1.split, "a group is divided");
            }
        }
    }

    #[test]
    fn shares_that_cannot_be_are_refused() {
        let mut items = vec![item(0, &[])];
        for shares in [[0.0, 0.0, 0.0], [-1.0, 1.0, 1.0], [f64::NAN, 1.0, 1.0], [1e308, 1e308, 1.0]] {
            let [train, val, test] = shares;
            assert!(divide(&mut items, &[0], Shares { train, val, test }, 1).unwrap_err().contains("shares"));
        }
    }
}
