//! A search over settings: what to try next, and which trials are not worth their end.
//!
//! The first trial is the settings as they were given; then some are drawn at random, and the rest are changed copies of the
//! best so far (as in an evolution strategy, which Ultralytics' `tune` is too). A trial is ended early by the median
//! stopping rule (Golovin et al., "Google Vizier", KDD 2017, 3.2.2): its best fitness so far lies below the median of what
//! the others had reached by that epoch.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Trials drawn at random before the best are changed: a third, and at least so many.
const LEAST_RANDOM: usize = 3;
/// Others that must have come as far before a trial is ended early.
const LEAST_OTHERS: usize = 3;
/// Of the best trials so many are changed.
const PARENTS: usize = 3;
/// How probable it is that a setting is changed.
const CHANGED: f64 = 0.7;
/// How far it is changed, as a share of its range (a standard deviation).
const STEP: f64 = 0.15;

/// A setting that is searched over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Its name.
    pub key: &'static str,
    /// Its least value.
    pub from: f64,
    /// Its greatest.
    pub to: f64,
    /// Whether it is searched by its order of magnitude.
    pub log: bool,
}

const fn range(key: &'static str, from: f64, to: f64, log: bool) -> Range {
    Range { key, from, to, log }
}

/// What is searched over for a YOLOv8; the ranges are Ultralytics' defaults' surroundings.
pub const DETECTOR: &[Range] = &[
    range("lr0", 1e-4, 0.05, true),
    range("lrf", 0.005, 0.5, true),
    range("momentum", 0.7, 0.98, false),
    range("weight_decay", 1e-5, 2e-3, true),
    range("box", 2.0, 15.0, true),
    range("cls", 0.2, 2.0, true),
    range("dfl", 0.5, 4.0, true),
    range("hsv_h", 0.0, 0.05, false),
    range("hsv_s", 0.0, 0.9, false),
    range("hsv_v", 0.0, 0.9, false),
    range("degrees", 0.0, 45.0, false),
    range("translate", 0.0, 0.4, false),
    range("scale", 0.0, 0.9, false),
    range("mosaic", 0.0, 1.0, false),
];

/// What is searched over for an embedder or a classifier.
pub const EMBEDDER: &[Range] = &[
    range("lr0", 1e-5, 3e-3, true),
    range("lrf", 0.005, 0.5, true),
    range("weight_decay", 1e-3, 0.3, true),
    range("temperature", 0.02, 0.5, true),
    range("degrees", 0.0, 45.0, false),
    range("scale", 0.0, 0.5, false),
    range("hsv_s", 0.0, 0.9, false),
    range("hsv_v", 0.0, 0.9, false),
    range("blur", 0.0, 0.6, false),
];

/// Values of settings by name.
pub type Settings = BTreeMap<String, f64>;

/// What is known of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// What it was told.
    pub settings: Settings,
    /// Its fitness after each epoch (from 1) that is known.
    pub curve: BTreeMap<u64, f64>,
    /// Whether it came to an end, its own or an early one.
    pub ended: bool,
    /// Whether it was ended early.
    pub pruned: bool,
}

impl Trial {
    /// The best fitness by the end of an epoch; none where it has not come so far.
    fn best_by(&self, epoch: u64) -> Option<f64> {
        let reached = self.curve.keys().next_back().is_some_and(|last| *last >= epoch);
        reached.then(|| self.curve.range(..=epoch).map(|(_, fitness)| *fitness).fold(f64::MIN, f64::max))
    }

    /// The best fitness; none before an epoch ended.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        self.curve.values().copied().reduce(f64::max)
    }
}

/// A line of the search's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A trial begins.
    Begun {
        /// Which, from 1.
        trial: usize,
        /// What it is told.
        settings: Settings,
    },
    /// It ended an epoch.
    Epoch {
        /// Which trial.
        trial: usize,
        /// Which epoch, from 1.
        epoch: u64,
        /// How good it is.
        fitness: f64,
    },
    /// It is over.
    Ended {
        /// Which trial.
        trial: usize,
        /// Whether before its time.
        pruned: bool,
    },
}

/// The trials that a record tells of, in their order. A last line that was cut off is passed over.
///
/// # Errors
/// A sentence that names a line which is no record.
pub fn read(text: &str) -> Result<Vec<Trial>, String> {
    let mut trials: Vec<Trial> = Vec::new();
    let count = text.lines().count();
    for (number, line) in text.lines().enumerate() {
        let line: Line = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(_) if number + 1 == count && !text.ends_with('\n') => break,
            Err(error) => return Err(format!("line {}: {error}", number + 1)),
        };
        let (Line::Begun { trial, .. } | Line::Epoch { trial, .. } | Line::Ended { trial, .. }) = &line;
        let next = trials.len() + 1;
        match (line.clone(), trials.get_mut(trial.wrapping_sub(1))) {
            (Line::Begun { settings, .. }, None) if *trial == next => {
                trials.push(Trial { settings, ..Trial::default() });
            }
            // Begun anew after a crash.
            (Line::Begun { settings, .. }, Some(known)) => known.settings = settings,
            (Line::Epoch { epoch, fitness, .. }, Some(known)) => drop(known.curve.insert(epoch, fitness)),
            (Line::Ended { pruned, .. }, Some(known)) => (known.ended, known.pruned) = (true, pruned),
            _ => return Err(format!("line {}: there is no trial {trial} yet", number + 1)),
        }
    }
    Ok(trials)
}

/// What the next trial is told, of `count`: the same for the same past and seed.
#[must_use]
pub fn propose(ranges: &[Range], given: &Settings, past: &[Trial], count: usize, seed: u64) -> Settings {
    if past.is_empty() {
        return given.clone();
    }
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(past.len() as u64)));
    if past.len() <= LEAST_RANDOM.max(count / 3) {
        return ranges.iter().map(|range| (range.key.to_owned(), range.at(rng.random()))).collect();
    }
    let mut best: Vec<(&Trial, f64)> = past.iter().filter_map(|trial| Some((trial, trial.best()?))).collect();
    best.sort_by(|a, b| b.1.total_cmp(&a.1));
    best.truncate(PARENTS);
    let parent = match best.len() {
        0 => given,
        // The better the likelier: the least of two draws.
        n => &best[rng.random_range(0..n).min(rng.random_range(0..n))].0.settings,
    };
    let changed = |range: &Range, rng: &mut StdRng| {
        let value = parent.get(range.key).or_else(|| given.get(range.key)).copied().unwrap_or(range.from);
        if !rng.random_bool(CHANGED) {
            return value;
        }
        // The sum of twelve even draws is nearly normal.
        let normal = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        range.at((range.place(value) + normal * STEP).clamp(0.0, 1.0))
    };
    ranges.iter().map(|range| (range.key.to_owned(), changed(range, &mut rng))).collect()
}

/// Whether a trial is not worth its end; `epochs` is how long it would go on.
#[must_use]
pub fn is_hopeless(trial: &Trial, others: &[Trial], epochs: u64) -> bool {
    let Some(epoch) = trial.curve.keys().next_back().copied() else { return false };
    // At first they all are bad; and the last epoch is no gain.
    if epoch < (epochs / 4).max(1) || epoch >= epochs {
        return false;
    }
    let mut reached: Vec<f64> = others.iter().filter_map(|other| other.best_by(epoch)).collect();
    if reached.len() < LEAST_OTHERS {
        return false;
    }
    reached.sort_by(f64::total_cmp);
    let middle = reached.len() / 2;
    let median =
        if reached.len() % 2 == 1 { reached[middle] } else { f64::midpoint(reached[middle - 1], reached[middle]) };
    trial.best_by(epoch).is_some_and(|best| best < median)
}

/// The settings that are searched over, as they were given.
#[must_use]
pub fn given(ranges: &[Range], options: &Value) -> Settings {
    ranges.iter().filter_map(|range| Some((range.key.to_owned(), typed(options.get(range.key)?.as_f64()?)))).collect()
}

/// A number as it was typed: what options keep in 32 bits would be recorded with the digits of 64.
fn typed(value: f64) -> f64 {
    let short = value as f32;
    if f64::from(short) == value { short.to_string().parse().unwrap_or(value) } else { value }
}

impl Range {
    /// The value at a place from 0 to 1, to four digits: shorter to read, and as good.
    fn at(&self, place: f64) -> f64 {
        let value = if self.log {
            (self.from.ln() + (self.to.ln() - self.from.ln()) * place).exp()
        } else {
            self.from + (self.to - self.from) * place
        };
        format!("{value:.3e}").parse::<f64>().unwrap_or(value).clamp(self.from, self.to)
    }

    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.from, self.to);
        if self.log {
            (value.ln() - self.from.ln()) / (self.to.ln() - self.from.ln())
        } else {
            (value - self.from) / (self.to - self.from)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    fn ended(settings: Settings, curve: &[f64]) -> Trial {
        let curve = (1..).zip(curve.iter().copied()).collect();
        Trial { settings, curve, ended: true, pruned: false }
    }

    /// Best at lr0 = 0.003 and hsv_s = 0.6.
    fn fitness(settings: &Settings) -> f64 {
        let (rate, colour) = (settings["lr0"], settings["hsv_s"]);
        1.0 - ((rate / 0.003).ln() / 6.0).powi(2) - (colour - 0.6).powi(2)
    }

    #[test]
    fn a_search_comes_nearer_than_chance() {
        let ranges: Vec<Range> =
            DETECTOR.iter().filter(|range| ["lr0", "hsv_s"].contains(&range.key)).copied().collect();
        let given = Settings::from([("lr0".into(), 0.05), ("hsv_s".into(), 0.0)]);
        let search = |seed: u64, count: usize| -> Vec<f64> {
            let mut past = Vec::new();
            for _ in 0..count {
                let settings = propose(&ranges, &given, &past, count, seed);
                assert!(ranges.iter().all(|r| (r.from..=r.to).contains(&settings[r.key])), "{settings:?}");
                assert_eq!(settings, propose(&ranges, &given, &past, count, seed), "the same past, the same step");
                let reached = fitness(&settings);
                past.push(ended(settings, &[reached]));
            }
            past.iter().map(|trial| trial.best().unwrap()).collect()
        };
        let best = |found: &[f64]| found.iter().copied().fold(f64::MIN, f64::max);
        let (mut near, mut drawn) = (0.0, 0.0);
        for seed in 0..20 {
            let found = search(seed, 30);
            assert!((found[0] - fitness(&given)).abs() < 1e-12, "first as given");
            near += best(&found) / 20.0;
            // The random third alone.
            drawn += best(&found[..11]) / 20.0;
        }
        assert!(near > drawn && near > 0.99, "{near} by changing the best, {drawn} by chance");
    }

    #[test]
    fn what_was_given_is_recorded_as_it_was_typed() {
        let options = serde_json::json!({ "lr0": 0.01, "hsv_h": 0.015_f32, "degrees": 0.0_f32, "epochs": 3 });
        let expected = [("degrees", 0.0), ("hsv_h", 0.015), ("lr0", 0.01)].map(|(key, value)| (key.to_owned(), value));
        assert_eq!(given(DETECTOR, &options), Settings::from(expected));
    }

    #[test]
    fn what_lies_below_the_median_is_ended() {
        let others = [0.5, 0.6, 0.7].map(|last| ended(Settings::new(), &[0.1, 0.3, 0.4, last]));
        let at = |curve: &[f64]| ended(Settings::new(), curve);
        assert!(is_hopeless(&at(&[0.2, 0.29]), &others, 8));
        assert!(!is_hopeless(&at(&[0.0, 0.3]), &others, 8), "at the median");
        assert!(!is_hopeless(&at(&[0.4, 0.1]), &others, 8), "its best counts");
        assert!(!is_hopeless(&at(&[0.0]), &others, 8), "too early");
        assert!(!is_hopeless(&at(&[0.0, 0.0]), &others[..2], 8), "too few to compare with");
        assert!(!is_hopeless(&at(&[0.0, 0.0]), &others, 2), "it is over anyway");
        assert!(!is_hopeless(&Trial::default(), &others, 8));
    }

    #[test]
    fn a_record_is_read_back_and_a_torn_last_line_passed_over() {
        let settings = Settings::from([("lr0".into(), 0.01)]);
        let lines = [
            Line::Begun { trial: 1, settings: settings.clone() },
            Line::Epoch { trial: 1, epoch: 1, fitness: 0.25 },
            Line::Ended { trial: 1, pruned: true },
            Line::Begun { trial: 2, settings: settings.clone() },
        ];
        let text: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        let trials = read(&text).unwrap();
        assert_eq!(trials.len(), 2);
        assert_eq!((trials[0].best(), trials[0].ended, trials[0].pruned), (Some(0.25), true, true));
        assert_eq!((&trials[1].settings, trials[1].ended), (&settings, false));
        assert_eq!(read(&format!("{text}{{\"epoch\":{{\"tri")).unwrap(), trials);
        assert!(read(&format!("{text}nonsense\n")).unwrap_err().starts_with("line 5"));
        assert!(read("{\"ended\":{\"trial\":3,\"pruned\":false}}\n").unwrap_err().contains("no trial 3"));
    }
}
