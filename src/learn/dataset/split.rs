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
/// pictures. The same seed gives the same division.
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
    let mut left: Vec<Option<Group>> = left.into_iter().map(Some).collect();
    loop {
        // The rarest class that is still there.
        let rarest = held.iter().min_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(b.0))).map(|(class, _)| *class);
        let Some(class) = rarest else { break };
        let next = of_class.get_mut(&class).and_then(VecDeque::pop_front);
        let Some(at) = next else {
            held.remove(&class);
            continue;
        };
        let Some(group) = left[at].take() else { continue };
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
        for item in group.items {
            items[item].split = Split::ALL[chosen];
        }
    }
    Ok(())
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

    #[test]
    fn shares_that_cannot_be_are_refused() {
        let mut items = vec![item(0, &[])];
        for shares in [[0.0, 0.0, 0.0], [-1.0, 1.0, 1.0], [f64::NAN, 1.0, 1.0], [1e308, 1e308, 1.0]] {
            let [train, val, test] = shares;
            assert!(divide(&mut items, &[0], Shares { train, val, test }, 1).unwrap_err().contains("shares"));
        }
    }
}
