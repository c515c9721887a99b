//! Steps: SGD with Nesterov's momentum, AdamW (arXiv:1711.05101), and the running mean of weights that is judged and kept.
//!
//! The state is plain tensors by name, so that a run goes on from a file exactly where it stopped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use super::network::{copied, is_parameter};

/// How weights are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Stochastic gradient descent with Nesterov's momentum.
    Sgd,
    /// Adam with decoupled weight decay.
    AdamW,
}

/// The groups that learn at rates of their own, in the order of the `lr/pg…` columns: weights, which decay; gains of norms; biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Weights of convolutions and layers.
    Weights = 0,
    /// Gains of norms.
    Norms = 1,
    /// Biases.
    Biases = 2,
}

/// Which group a parameter belongs to.
#[must_use]
pub fn group(name: &str, dimensions: usize) -> Group {
    if name.ends_with(".bias") {
        Group::Biases
    } else if dimensions < 2 {
        Group::Norms
    } else {
        Group::Weights
    }
}

/// What a step goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The learning rate of each [`Group`].
    pub rates: [f64; 3],
    /// SGD's momentum, AdamW's first beta.
    pub momentum: f64,
    /// What of a weight is taken off at a rate of 1 (of [`Group::Weights`] only).
    pub decay: f64,
}

/// An optimiser with its state.
#[derive(Debug)]
pub struct Optimiser {
    method: Method,
    /// Momentum, or the mean of gradients.
    first: BTreeMap<String, Tensor>,
    /// AdamW: the mean of squared gradients.
    second: BTreeMap<String, Tensor>,
    steps: u64,
}

/// AdamW's second beta and epsilon (PyTorch's defaults).
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

impl Optimiser {
    /// One that has not made a step.
    #[must_use]
    pub fn new(method: Method) -> Self {
        Self { method, first: BTreeMap::new(), second: BTreeMap::new(), steps: 0 }
    }

    /// One that goes on: `first.<name>` and `second.<name>` of [`Optimiser::state`], and how many steps it made.
    #[must_use]
    pub fn resumed(method: Method, state: &BTreeMap<String, Tensor>, steps: u64) -> Self {
        let of = |prefix: &str| {
            let own = |(name, tensor): (&String, &Tensor)| {
                name.strip_prefix(prefix).map(|name| (name.to_owned(), tensor.shallow_clone()))
            };
            state.iter().filter_map(own).collect()
        };
        Self { method, first: of("first."), second: of("second."), steps }
    }

    /// Its tensors by name.
    #[must_use]
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let named = |prefix: &'static str, of: &BTreeMap<String, Tensor>| {
            of.iter()
                .map(move |(name, tensor)| (format!("{prefix}.{name}"), tensor.shallow_clone()))
                .collect::<Vec<_>>()
        };
        named("first", &self.first).into_iter().chain(named("second", &self.second)).collect()
    }

    /// How many steps it made.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Changes the parameters by their gradients, which are cleared. Gradients longer than `most` together are shortened to
    /// it; the length before is given back.
    ///
    /// # Errors
    /// When libtorch fails. A length that is not finite changes nothing.
    pub fn step(&mut self, tensors: &BTreeMap<String, Tensor>, pace: &Pace, most: f64) -> Result<f64, TchError> {
        let learning: Vec<(&String, &Tensor)> =
            tensors.iter().filter(|(name, tensor)| is_parameter(name) && tensor.requires_grad()).collect();
        tch::no_grad(|| {
            let length = norm(&learning)?;
            if !length.is_finite() {
                return Ok(length);
            }
            self.steps += 1;
            let shorter = (most / (length + 1e-6)).min(1.0);
            for (name, tensor) in learning {
                let grad = tensor.grad();
                let grad = if grad.defined() { grad.f_mul_scalar(shorter)? } else { tensor.f_zeros_like()? };
                let of = group(name, tensor.dim());
                let decay = if of == Group::Weights { pace.decay } else { 0.0 };
                self.change(name, tensor, grad, pace.rates[of as usize], pace.momentum, decay)?;
                let mut tensor = tensor.shallow_clone();
                tensor.zero_grad();
            }
            Ok(length)
        })
    }

    fn change(
        &mut self,
        name: &str,
        tensor: &Tensor,
        grad: Tensor,
        rate: f64,
        momentum: f64,
        decay: f64,
    ) -> Result<(), TchError> {
        let mut tensor = tensor.f_detach()?;
        match self.method {
            Method::Sgd => {
                let grad = grad.f_add(&tensor.f_mul_scalar(decay)?)?;
                let step = match self.first.get_mut(name) {
                    None => {
                        self.first.insert(name.to_owned(), copied(&grad)?);
                        grad.f_mul_scalar(1.0 + momentum)?
                    }
                    Some(held) => {
                        let moved = held.f_mul_scalar_(momentum)?.f_add_(&grad)?;
                        grad.f_add(&moved.f_mul_scalar(momentum)?)?
                    }
                };
                drop(tensor.f_sub_(&step.f_mul_scalar(rate)?)?);
            }
            Method::AdamW => {
                drop(tensor.f_mul_scalar_(1.0 - rate * decay)?);
                let zeros = || grad.f_zeros_like();
                if !self.first.contains_key(name) {
                    self.first.insert(name.to_owned(), zeros()?);
                    self.second.insert(name.to_owned(), zeros()?);
                }
                let missing = || TchError::Kind(format!("no state of `{name}`"));
                let first = self.first.get_mut(name).ok_or_else(missing)?;
                let first = first.f_mul_scalar_(momentum)?.f_add_(&grad.f_mul_scalar(1.0 - momentum)?)?;
                let second = self.second.get_mut(name).ok_or_else(missing)?;
                let second = second.f_mul_scalar_(BETA2)?.f_add_(&grad.f_square()?.f_mul_scalar(1.0 - BETA2)?)?;
                let steps = self.steps.min(i32::MAX as u64) as i32;
                let (bias1, bias2) = (1.0 - momentum.powi(steps), 1.0 - BETA2.powi(steps));
                let below = second.f_sqrt()?.f_div_scalar(bias2.sqrt())?.f_add_scalar(EPS)?;
                drop(tensor.f_sub_(&first.f_div(&below)?.f_mul_scalar(rate / bias1)?)?);
            }
        }
        Ok(())
    }
}

/// How long all gradients together are.
fn norm(learning: &[(&String, &Tensor)]) -> Result<f64, TchError> {
    let mut lengths = Vec::new();
    for (_, tensor) in learning {
        let grad = tensor.grad();
        if grad.defined() {
            lengths.push(grad.f_square()?.f_sum(Kind::Float)?);
        }
    }
    if lengths.is_empty() {
        Ok(0.0)
    } else {
        Ok(Tensor::f_stack(&lengths, 0)?.f_sum(Kind::Double)?.f_double_value(&[])?.sqrt())
    }
}

/// The running mean of all tensors, parameters and statistics: quick at first, slow later.
#[derive(Debug)]
pub struct Mean {
    tensors: BTreeMap<String, Tensor>,
    updates: u64,
}

impl Mean {
    /// The slowest share that is kept, and after how many updates it is nearly reached (Ultralytics' values).
    const KEPT: f64 = 0.9999;
    const UNTIL: f64 = 2000.0;

    /// Begins at these tensors.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn new(of: &BTreeMap<String, Tensor>) -> Result<Self, TchError> {
        let copy = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), copied(tensor)?));
        Ok(Self { tensors: of.iter().map(copy).collect::<Result<_, TchError>>()?, updates: 0 })
    }

    /// Goes on from tensors that were kept.
    #[must_use]
    pub fn resumed(tensors: BTreeMap<String, Tensor>, updates: u64) -> Self {
        Self { tensors, updates }
    }

    /// The tensors by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// How many updates it had.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Moves towards the tensors.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn update(&mut self, of: &BTreeMap<String, Tensor>) -> Result<(), TchError> {
        self.updates += 1;
        let kept = Self::KEPT * (1.0 - (-(self.updates as f64) / Self::UNTIL).exp());
        tch::no_grad(|| {
            for (name, mean) in &mut self.tensors {
                if let Some(now) = of.get(name) {
                    // So that what does not change stays the same to the bit.
                    drop(mean.f_lerp_(&now.f_detach()?, 1.0 - kept)?);
                }
            }
            Ok(())
        })
    }
}
