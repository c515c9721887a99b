//! Training of embedders, and of classifiers on top of them: DINOv2 from crops with labels.
//!
//! In reading order: what a run is told ([`options`]), the network as it learns, what it begins with, where crops come
//! from, which labels come together ([`mine`]), what is to become small, how good it is, and the run itself; last the probe, a head alone that is solved rather than
//! trained. Steps, rates, the mean of the weights and the state to go on from are those of [`train`](super::train).

pub mod crops;
pub mod judge;
pub mod logistic;
pub mod loss;
pub mod mine;
pub mod network;
pub mod options;
pub mod probe;
pub mod results;
pub mod run;
pub mod scratch;
pub mod start;
