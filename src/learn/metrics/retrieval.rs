//! Figures of embedders and of open-set identification.

use std::collections::BTreeMap;

use serde::Serialize;
use statrs::distribution::{Beta, ContinuousCDF as _};

/// Embeddings with their labels, compared by dot product: unit vectors.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// Unit vectors.
    pub vectors: &'a [Vec<f32>],
    /// One each.
    pub labels: &'a [u32],
}

/// How well neighbours carry the right label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// Probes that have their label in the gallery at all; only these count.
    pub probes: usize,
    /// Of those, the share with the right label among the nearest k, for each k asked for.
    pub recall_at: BTreeMap<usize, f64>,
    /// The least share of a label's probes whose nearest neighbour has it.
    pub worst_label_recall: f64,
    /// Mean average precision over the whole ranking.
    pub mean_average_precision: f64,
}

/// Ranks the gallery for each probe. `itself` leaves the entry of the probe's own number out: a set against itself.
#[must_use]
pub fn rank(gallery: Labelled<'_>, probes: Labelled<'_>, ks: &[usize], itself: bool) -> Ranking {
    let (mut counted, mut hits, mut precision) = (0, vec![0_usize; ks.len()], 0.0);
    // Probes of each label, and those whose nearest neighbour has it.
    let mut labels: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for (number, (probe, label)) in probes.vectors.iter().zip(probes.labels).enumerate() {
        let mut near: Vec<(f32, usize)> = gallery
            .vectors
            .iter()
            .enumerate()
            .filter(|(other, _)| !(itself && *other == number))
            .map(|(other, vector)| (vector.iter().zip(probe).map(|(a, b)| a * b).sum(), other))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let right: Vec<usize> = near
            .iter()
            .enumerate()
            .filter(|(_, (_, i))| gallery.labels[*i] == *label)
            .map(|(place, _)| place)
            .collect();
        let Some(first) = right.first() else { continue };
        counted += 1;
        ks.iter().zip(&mut hits).for_each(|(k, hits)| *hits += usize::from(first < k));
        let (probes, right_first) = labels.entry(*label).or_default();
        *probes += 1;
        *right_first += usize::from(*first == 0);
        let each = right.iter().enumerate().map(|(before, place)| (before + 1) as f64 / (place + 1) as f64);
        precision += each.sum::<f64>() / right.len() as f64;
    }
    let share = |part: f64| if counted == 0 { 0.0 } else { part / counted as f64 };
    let share_of = |part: usize, whole: usize| part as f64 / whole as f64;
    Ranking {
        probes: counted,
        worst_label_recall: labels.values().map(|(all, right)| share_of(*right, *all)).reduce(f64::min).unwrap_or(0.0),
        recall_at: ks.iter().zip(hits).map(|(k, hits)| (*k, share(hits as f64))).collect(),
        mean_average_precision: share(precision),
    }
}

/// A probe's answer, before any threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Whether its label is enrolled at all.
    pub enrolled: bool,
    /// Whether the label given is the right one; never for one that is not enrolled.
    pub right: bool,
    /// What the answer is accepted by: the higher, the surer.
    pub score: f64,
}

/// What a threshold does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Operating {
    /// Answers of at least this score are given.
    pub threshold: f64,
    /// Of the enrolled probes, the share that gets an answer.
    pub coverage: f64,
    /// Of all probes, the share that gets a wrong one.
    pub wrong_accept: f64,
}

/// Every threshold that changes anything, from the most careful to the least.
#[must_use]
pub fn open_set(answers: &[Answer]) -> Vec<Operating> {
    let mut sorted: Vec<&Answer> = answers.iter().collect();
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    let enrolled = answers.iter().filter(|answer| answer.enrolled).count();
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let (mut given, mut wrong, mut curve) = (0, 0, Vec::new());
    for (place, answer) in sorted.iter().enumerate() {
        given += usize::from(answer.enrolled);
        wrong += usize::from(!answer.right);
        // Equal scores are accepted together.
        if sorted.get(place + 1).is_none_or(|next| next.score < answer.score) {
            let (coverage, wrong_accept) = (share(given, enrolled), share(wrong, answers.len()));
            curve.push(Operating { threshold: answer.score, coverage, wrong_accept });
        }
    }
    curve
}

/// The threshold of the highest coverage with at most so many wrong answers, as shares; none where even the surest
/// answer is one too many.
#[must_use]
pub fn best_within(curve: &[Operating], most_wrong: f64) -> Option<Operating> {
    curve.iter().rev().find(|point| point.wrong_accept <= most_wrong).copied()
}

/// The one-sided 95% lower bound of a share of which `right` in `all` were seen (Clopper and Pearson, 1934): with 5%
/// chance at most is the true share below it.
#[must_use]
pub fn lower_bound(right: u64, all: u64) -> f64 {
    if right == 0 || all < right {
        return 0.0;
    }
    Beta::new(right as f64, (all - right + 1) as f64).map_or(0.0, |beta| beta.inverse_cdf(0.05))
}

/// The one-sided 95% upper bound of a share; see [`lower_bound`].
#[must_use]
pub fn upper_bound(of: u64, all: u64) -> f64 {
    if all < of { 1.0 } else { 1.0 - lower_bound(all - of, all) }
}

/// Labels that are hard to tell apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusable {
    /// The two labels, the lower number first.
    pub labels: [u32; 2],
    /// Their nearest vectors' similarity, -1 to 1.
    pub similarity: f32,
}

/// The pairs of labels whose nearest vectors lie nearest to each other, the nearest first.
#[must_use]
pub fn confusable(all: Labelled<'_>, most: usize) -> Vec<Confusable> {
    let mut nearest: BTreeMap<[u32; 2], f32> = BTreeMap::new();
    for (number, (a, label)) in all.vectors.iter().zip(all.labels).enumerate() {
        for (b, other) in all.vectors[..number].iter().zip(all.labels).filter(|(_, other)| *other != label) {
            let similarity = a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let best = nearest.entry([*label.min(other), *label.max(other)]).or_insert(f32::MIN);
            *best = best.max(similarity);
        }
    }
    let mut pairs: Vec<Confusable> =
        nearest.into_iter().map(|(labels, similarity)| Confusable { labels, similarity }).collect();
    pairs.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    pairs.truncate(most);
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ranking_is_counted_by_hand() {
        // On a half circle: labels 1 2 1 2 from left to right.
        let at = |degrees: f32| vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
        let (vectors, labels) = (vec![at(0.0), at(10.0), at(30.0), at(60.0)], [1, 2, 1, 2]);
        let gallery = Labelled { vectors: &vectors, labels: &labels };
        let found = rank(gallery, gallery, &[1, 2], true);
        // Ranks of the right neighbour: 0 -> 2nd, 10 -> 3rd, 30 -> 2nd (after 10; 0 and 60 lie equally far, 0 first),
        // 60 -> 2nd.
        assert_eq!(found.probes, 4);
        assert_eq!(found.recall_at, BTreeMap::from([(1, 0.0), (2, 0.75)]));
        assert!(found.worst_label_recall.abs() < 1e-12);
        assert!((found.mean_average_precision - (0.5 + 1.0 / 3.0 + 0.5 + 0.5) / 4.0).abs() < 1e-12);
        let alone = Labelled { vectors: &vectors[..1], labels: &[9] };
        assert_eq!(rank(gallery, alone, &[1], false).probes, 0, "what is not enrolled cannot be found");
        // Two of label 1 beside each other; of label 2 one is nearer to label 1, one to its like.
        let (vectors, labels) = (vec![at(0.0), at(1.0), at(3.0), at(20.0)], [1, 1, 2, 2]);
        let uneven = Labelled { vectors: &vectors, labels: &labels };
        let found = rank(uneven, uneven, &[1], true);
        assert_eq!((found.recall_at[&1], found.worst_label_recall), (0.75, 0.5));
    }

    #[test]
    fn thresholds_trade_coverage_for_wrong_answers() {
        let answer = |enrolled, right, score| Answer { enrolled, right, score };
        let answers =
            [answer(true, true, 0.9), answer(true, true, 0.8), answer(false, false, 0.8), answer(true, false, 0.5)];
        let curve = open_set(&answers);
        let point = |threshold, coverage, wrong_accept| Operating { threshold, coverage, wrong_accept };
        assert_eq!(curve, [point(0.9, 1.0 / 3.0, 0.0), point(0.8, 2.0 / 3.0, 0.25), point(0.5, 1.0, 0.5)]);
        assert_eq!(best_within(&curve, 0.3), Some(curve[1]));
        assert_eq!(best_within(&curve, 0.0), Some(curve[0]));
        assert_eq!(best_within(&open_set(&[answer(false, false, 1.0)]), 0.1), None);
    }

    #[test]
    fn the_closest_pair_comes_first() {
        let vectors = [vec![1.0, 0.0], vec![0.8, 0.6], vec![0.0, 1.0], vec![0.6, 0.8]];
        let pairs = confusable(Labelled { vectors: &vectors, labels: &[3, 1, 2, 1] }, 2);
        assert_eq!(pairs.iter().map(|pair| pair.labels).collect::<Vec<_>>(), [[1, 2], [1, 3]]);
        assert!((pairs[0].similarity - 0.8).abs() < 1e-6 && (pairs[1].similarity - 0.8).abs() < 1e-6);
    }
}
