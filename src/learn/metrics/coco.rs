//! The protocol of COCO (<https://cocodataset.org/#detection-eval>): average precision over 101 recalls and ten overlaps,
//! by the size of objects, equal to pycocotools.

mod rates;

use std::collections::BTreeSet;

use serde::Serialize;

pub use rates::{ClassRates, Rate, Rates};

use super::shape::Picture;

/// Overlaps asked for: 0.50 to 0.95.
pub const OVERLAPS: usize = 10;
/// Recalls at which precision is read: 0 to 1.
const RECALLS: usize = 101;
/// Most answers a picture and class that count.
const MOST: [usize; 3] = [1, 10, 100];
/// Areas in pixels: all, small, medium, large.
const SIZES: [(f64, f64); 4] = [(0.0, 1e10), (0.0, 1024.0), (1024.0, 9216.0), (9216.0, 1e10)];

/// The figures; none where no object is there to be found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Average precision over all overlaps: "mAP50-95".
    pub ap: Option<f64>,
    /// At an overlap of 0.50.
    pub ap50: Option<f64>,
    /// At an overlap of 0.75.
    pub ap75: Option<f64>,
    /// Of small, medium and large objects: below 32 x 32 pixels, below 96 x 96, above.
    pub ap_by_size: [Option<f64>; 3],
    /// Average recall with at most 1, 10, 100 answers a picture.
    pub ar: [Option<f64>; 3],
    /// Of small, medium and large objects, with at most 100.
    pub ar_by_size: [Option<f64>; 3],
    /// Average precision over all overlaps of each class that is there.
    pub classes: Vec<ClassScore>,
}

/// A class's figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// The class's number.
    pub class: u32,
    /// Objects of it.
    pub truths: usize,
    /// Average precision over all overlaps.
    pub ap: Option<f64>,
    /// At an overlap of 0.50.
    pub ap50: Option<f64>,
    /// At an overlap of 0.75.
    pub ap75: Option<f64>,
    /// Over all overlaps, of its small, medium and large objects.
    pub ap_by_size: [Option<f64>; 3],
    /// Average recall of them, with at most 100 answers a picture.
    pub ar_by_size: [Option<f64>; 3],
}

/// What became of an answer at each overlap.
#[derive(Clone, Copy, Default)]
struct Fate {
    score: f64,
    /// Its place among the picture's answers of its class, the surest first.
    rank: usize,
    /// A bit an overlap: it was matched.
    hit: u16,
    /// A bit an overlap: it counts neither for nor against.
    passed: u16,
}

/// One class at one size over all pictures.
#[derive(Default)]
struct Tally {
    /// Objects to be found.
    truths: usize,
    fates: Vec<Fate>,
}

/// Precision and recall of one tally with at most so many answers a picture.
struct Curve {
    /// Precision at each recall.
    precision: [[f64; RECALLS]; OVERLAPS],
    recall: [f64; OVERLAPS],
}

/// `numpy.linspace(0.5, 0.95, 10)`, to the last bit.
fn overlap(number: usize) -> f64 {
    let step = (0.95 - 0.5) / 9.0;
    if number == OVERLAPS - 1 { 0.95 } else { number as f64 * step + 0.5 }
}

/// What became of every answer: class by class, of all objects, then of small, medium and large ones.
pub struct Matched(Vec<(u32, [Tally; 4])>);

impl Matched {
    /// Matches answers with objects. Boxes and masks alike; a picture's truths and answers must be of one kind.
    #[must_use]
    pub fn of(pictures: &[Picture]) -> Self {
        matched(pictures)
    }

    /// The protocol's own figures.
    #[must_use]
    pub fn scores(&self) -> Scores {
        summed(&self.0)
    }

    /// Precision, recall and F1 by size where answers of at least `confidence` are given; by the protocol's matching at an
    /// overlap of 0.50.
    #[must_use]
    pub fn rates(&self, confidence: f64) -> Rates {
        let there = self.0.iter().filter(|(_, sizes)| sizes[0].truths > 0);
        Rates::of(there.map(|(class, sizes)| (*class, &sizes[1..])), confidence)
    }
}

fn matched(pictures: &[Picture]) -> Matched {
    let classes: BTreeSet<u32> =
        pictures.iter().flat_map(|p| p.truths.iter().map(|t| t.class).chain(p.found.iter().map(|f| f.class))).collect();
    let classes: Vec<u32> = classes.into_iter().collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(classes.len().max(1));
    let each = |class: &u32| (*class, judge(pictures, *class));
    // Classes are independent: each thread takes every so-manieth.
    Matched(std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|first| {
                let mine = classes.iter().skip(first).step_by(threads);
                scope.spawn(move || mine.map(each).collect::<Vec<_>>())
            })
            .collect();
        let mut judged: Vec<_> = parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        judged.sort_by_key(|(class, _)| *class);
        judged
    }))
}

fn summed(judged: &[(u32, [Tally; 4])]) -> Scores {
    let curves = |size: usize, most: usize| -> Vec<(u32, usize, Option<Curve>)> {
        judged.iter().map(|(class, sizes)| (*class, sizes[size].truths, sizes[size].curve(most))).collect()
    };
    let mean = |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let precision = |curves: &[(u32, usize, Option<Curve>)], overlaps: std::ops::Range<usize>| {
        let of_overlap = |t: usize| curves.iter().filter_map(move |(.., curve)| curve.as_ref().map(|c| c.precision[t]));
        mean(&overlaps.flat_map(|t| of_overlap(t).flatten().collect::<Vec<_>>()).collect::<Vec<f64>>())
    };
    let recall = |curves: &[(u32, usize, Option<Curve>)]| {
        mean(&curves.iter().filter_map(|(.., c)| c.as_ref()).flat_map(|c| c.recall).collect::<Vec<f64>>())
    };
    let all = curves(0, MOST[2]);
    let by_size = [1, 2, 3].map(|size| curves(size, MOST[2]));
    let sized = |place: usize, of: fn(&Curve) -> &[f64]| -> [Option<f64>; 3] {
        [0, 1, 2].map(|size| by_size[size][place].2.as_ref().and_then(|curve| mean(of(curve))))
    };
    let present = all.iter().enumerate().filter(|(_, (_, truths, _))| *truths > 0);
    let classes = present.map(|(place, (class, truths, curve))| ClassScore {
        class: *class,
        truths: *truths,
        ap: curve.as_ref().and_then(|c| mean(c.precision.as_flattened())),
        ap50: curve.as_ref().and_then(|c| mean(&c.precision[0])),
        ap75: curve.as_ref().and_then(|c| mean(&c.precision[5])),
        ap_by_size: sized(place, |curve| curve.precision.as_flattened()),
        ar_by_size: sized(place, |curve| &curve.recall),
    });
    Scores {
        ap: precision(&all, 0..OVERLAPS),
        ap50: precision(&all, 0..1),
        ap75: precision(&all, 5..6),
        ap_by_size: [0, 1, 2].map(|size| precision(&by_size[size], 0..OVERLAPS)),
        ar: MOST.map(|most| recall(&curves(0, most))),
        ar_by_size: [0, 1, 2].map(|size| recall(&by_size[size])),
        classes: classes.collect(),
    }
}

/// Matches one class in every picture, at every size.
fn judge(pictures: &[Picture], class: u32) -> [Tally; 4] {
    let mut tallies: [Tally; 4] = Default::default();
    for picture in pictures {
        let truths: Vec<_> = picture.truths.iter().filter(|truth| truth.class == class).collect();
        let mut ranked = picture.ranked(class);
        ranked.truncate(MOST[2]);
        if truths.is_empty() && ranked.is_empty() {
            continue;
        }
        let overlaps: Vec<Vec<f64>> = ranked
            .iter()
            .map(|&i| truths.iter().map(|t| picture.found[i].shape.overlap(&t.shape, t.crowd)).collect())
            .collect();
        for (tally, (least, most)) in tallies.iter_mut().zip(SIZES) {
            let ignored: Vec<bool> = truths.iter().map(|t| t.crowd || t.area < least || t.area > most).collect();
            tally.truths += ignored.iter().filter(|ignored| !**ignored).count();
            // Those that count come first, so that an answer takes one of them where it can.
            let mut order: Vec<usize> = (0..truths.len()).collect();
            order.sort_by_key(|&i| ignored[i]);
            let mut fates: Vec<Fate> = (0..)
                .zip(&ranked)
                .map(|(rank, &i)| Fate { score: picture.found[i].score, rank, ..Fate::default() })
                .collect();
            for t in 0..OVERLAPS {
                let mut taken = vec![false; truths.len()];
                for (answer, fate) in fates.iter_mut().enumerate() {
                    let (mut best, mut chosen) = (overlap(t).min(1.0 - 1e-10), None);
                    for &truth in &order {
                        if taken[truth] && !truths[truth].crowd {
                            continue;
                        }
                        if chosen.is_some_and(|chosen: usize| !ignored[chosen]) && ignored[truth] {
                            break;
                        }
                        if overlaps[answer][truth] >= best {
                            (best, chosen) = (overlaps[answer][truth], Some(truth));
                        }
                    }
                    let area = picture.found[ranked[answer]].shape.area();
                    match chosen {
                        Some(truth) => {
                            taken[truth] = true;
                            fate.hit |= 1 << t;
                            fate.passed |= u16::from(ignored[truth]) << t;
                        }
                        None => fate.passed |= u16::from(area < least || area > most) << t,
                    }
                }
            }
            tally.fates.extend(fates);
        }
    }
    for tally in &mut tallies {
        tally.fates.sort_by(|a, b| b.score.total_cmp(&a.score));
    }
    tallies
}

impl Tally {
    fn curve(&self, most: usize) -> Option<Curve> {
        if self.truths == 0 {
            return None;
        }
        let mut curve = Curve { precision: [[0.0; RECALLS]; OVERLAPS], recall: [0.0; OVERLAPS] };
        for t in 0..OVERLAPS {
            let (mut right, mut wrong) = (0_u32, 0_u32);
            let mut points: Vec<(f64, f64)> = Vec::with_capacity(self.fates.len());
            for fate in self.fates.iter().filter(|fate| fate.rank < most) {
                let (hit, passed) = (fate.hit >> t & 1 == 1, fate.passed >> t & 1 == 1);
                right += u32::from(hit && !passed);
                wrong += u32::from(!hit && !passed);
                let (right, wrong) = (f64::from(right), f64::from(wrong));
                points.push((right / self.truths as f64, right / (wrong + right + f64::EPSILON)));
            }
            curve.recall[t] = points.last().map_or(0.0, |(recall, _)| *recall);
            // Precision never falls towards lower recall.
            for i in (1..points.len()).rev() {
                points[i - 1].1 = points[i - 1].1.max(points[i].1);
            }
            let mut at = 0;
            for (number, value) in curve.precision[t].iter_mut().enumerate() {
                let recall = if number == RECALLS - 1 { 1.0 } else { number as f64 * 0.01 };
                while points.get(at).is_some_and(|(r, _)| *r < recall) {
                    at += 1;
                }
                *value = points.get(at).map_or(0.0, |(_, precision)| *precision);
            }
        }
        Some(curve)
    }
}
