//! How good a model is: the field's figures, each equal to its reference implementation.
//!
//! | module | what | reference |
//! |---|---|---|
//! | [`coco`] | detection and masks, protocol `coco` | pycocotools |
//! | [`ultralytics`] | detection and masks, protocol `ultralytics` | its validator |
//! | [`confusion`] | which class was taken for which | its validator |
//! | [`classification`] | accuracy, precision, recall, F1, curves, calibration | scikit-learn |
//! | [`semantic`] | mean IoU, pixel accuracy, F1 | scikit-learn's confusion matrix |
//! | [`retrieval`] | recall@k, mAP, open-set answers, bounds | by definition; scipy |
//!
//! `tests/golden/metrics.py` runs the references.

pub mod classification;
pub mod coco;
pub mod confusion;
mod polygon;
pub mod retrieval;
pub mod semantic;
pub mod shape;
pub mod ultralytics;

pub use shape::{Found, Picture, Runs, Shape, Truth};
