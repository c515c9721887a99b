//! What the best epoch of a detector is the best by.

use sightline::learn::evaluate::Figures;
use sightline::learn::metrics::ultralytics::{Scores, score};
use sightline::learn::metrics::{Picture, Shape, Truth};
use sightline::learn::train::options::Fitness;
use sightline::learn::train::run::fitness;

/// Scores of three classes, found so often each.
fn scores(recalls: [f64; 3], map50: f64, map50_95: f64) -> Scores {
    let truth = |class| Truth { class, area: 1.0, shape: Shape::Box([0.0, 0.0, 1.0, 1.0]), crowd: false };
    let picture = Picture { truths: (0..3).map(truth).collect(), ..Picture::default() };
    let mut scores = Scores { map50, map50_95, ..score(&[picture]) };
    scores.classes.iter_mut().zip(recalls).for_each(|(class, recall)| class.recall = recall);
    scores
}

#[test]
fn the_worst_class_counts_and_outlines_before_boxes() {
    let boxes = scores([0.5, 0.25, 1.0], 0.5, 0.4);
    let masks = scores([0.75, 0.75, 0.125], 0.25, 0.2);
    let (found, outlined) = (Figures { boxes: boxes.clone(), masks: None }, Figures { boxes, masks: Some(masks) });
    let close = |by, figures: &Figures, right: f64| {
        let given = fitness(figures, by);
        assert!((given - right).abs() < 1e-12, "{by:?}: {given}, not {right}");
    };
    close(Fitness::WorstRecall, &found, 0.25);
    close(Fitness::WorstRecall, &outlined, 0.125);
    close(Fitness::Map50, &found, 0.5);
    close(Fitness::Map50, &outlined, 0.75);
    close(Fitness::Map, &found, 0.1 * 0.5 + 0.9 * 0.4);
    close(Fitness::Map, &outlined, 0.1 * 0.75 + 0.9 * 0.6);
}
