//! The linear probe: vectors are computed once, and a head on them is solved. The network stays as it is.

use tch::{Kind, Tensor};

use super::judge::{Aim, judge, vectors};
use super::logistic::{solve, standardised};
use super::results::{self, Row};
use super::run::{Request, kept};
use crate::learn::dataset::Split;
use crate::learn::train::results::write;
use crate::learn::train::run::Files;
use crate::learn::train::{TrainError, pictures};
use crate::vision::checkpoint::{TensorData, Weights};
use crate::vision::dino::{LINEAR, Plan, state};
use crate::vision::{Embedder, Runtime};

/// Solves a head for the vectors of `weights`, and keeps both as a classifier in the run's folder. `tell` hears of how many
/// crops of how many the vectors are there.
///
/// # Errors
/// A crop cannot be read, the weights are not DINOv2's, the disk refuses, or libtorch fails.
pub fn probe(request: &Request, mut weights: Weights, tell: &mut dyn FnMut(usize, usize)) -> Result<Row, TrainError> {
    let since = std::time::Instant::now();
    let options = request.options;
    options.check().map_err(TrainError::Setting)?;
    let files = Files::of(request.dir);
    std::fs::create_dir_all(&files.weights).map_err(TrainError::io("make", &files.weights))?;
    let plan = Plan::of(&weights).map_err(|fault| TrainError::Weights(fault.to_string()))?;
    let runtime = Runtime { device: request.device, kind: Kind::Float };
    let (train, val) = (request.train.len(), request.val.len());
    let embedder = Embedder::new(&weights, options.policy(), runtime)?;
    let found = vectors(&embedder, request.train, &mut |done| tell(done, train + val))?;
    drop(embedder);
    let flat: Vec<f64> = found.iter().flatten().map(|value| f64::from(*value)).collect();
    // What the head is shown: the vector times the root of its length.
    let shown = Tensor::f_from_slice(&flat)?
        .f_view([train as i64, plan.width as i64])?
        .f_mul_scalar((plan.width as f64).sqrt())?;
    let (scaled, means, deviations) = standardised(&shown)?;
    let solved = solve(&scaled, request.train.labels(), request.names.len(), options.c)?.unscaled(&means, &deviations);
    let [weight, bias] = LINEAR;
    let short = |values: &mut dyn Iterator<Item = &f64>| values.map(|value| *value as f32).collect::<Vec<f32>>();
    let rows = short(&mut solved.weight.iter().flatten());
    let classes = request.names.len();
    weights.tensors.insert(weight.into(), TensorData::from_f32(&[classes, plan.width], &rows));
    weights.tensors.insert(bias.into(), TensorData::from_f32(&[classes], &short(&mut solved.bias.iter())));
    weights.names = Some(request.names.to_vec());
    state(&mut weights, &options.policy());
    let on = |crops, offset: usize, tell: &mut dyn FnMut(usize, usize)| {
        let mut tell = |done: usize| tell(offset + done, train + val);
        judge(&weights, Aim::Classify, crops, options.policy(), runtime, &mut tell)
    };
    let judged = on(request.val, train, tell)?;
    let fitness = judged.figures.fitness(options.fitness)?;
    let row = Row {
        epoch: 1,
        seconds: since.elapsed().as_secs_f64(),
        loss: own_loss(&found, &weights, request)?,
        rates: [0.0; 3],
        figures: judged.figures.clone(),
        fitness,
        best: true,
    };
    let mut metrics = row.figures.metrics();
    metrics["steps"] = solved.steps.into();
    metrics["epoch"] = row.epoch.into();
    kept(&weights, &files, "best", &metrics)?;
    kept(&weights, &files, "last", &metrics)?;
    write(&files.results, &results::columns(Aim::Classify), &[row.line()])?;
    results::draw(request.dir, &judged, request.val, request.names, Split::Val)?;
    pictures::results(request.dir, &results::columns(Aim::Classify), &[row.line()])?;
    Ok(row)
}

/// The mean loss on what was learnt from.
fn own_loss(vectors: &[Vec<f32>], weights: &Weights, request: &Request) -> Result<f64, TrainError> {
    let head = crate::vision::dino::Linear::of(weights).map_err(|fault| TrainError::Weights(fault.to_string()))?;
    let right = |(row, label): (&Vec<f32>, &u32)| -head.answer(row)[*label as usize].max(f64::MIN_POSITIVE).ln();
    let losses = vectors.iter().zip(request.train.labels()).map(right);
    Ok(losses.sum::<f64>() / vectors.len().max(1) as f64)
}
