//! YOLOv8 as it learns: batch norms apart from their convolutions, every tensor under its published name.
//!
//! The network that answers (`vision::yolo::Network`) folds and lays out its weights and cannot be changed any more; this
//! one keeps what a gradient needs. Both are built from the same plan and the same weights.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use super::TrainError;
use crate::vision::checkpoint::{Fault, TensorData, Weights, to_tensor};
use crate::vision::yolo::{BLOCKS, Heads, Plan};

/// What of a batch's mean and variance goes into the running ones (Ultralytics' value; PyTorch's is 0.1).
const MOMENTUM: f64 = 0.03;

/// A YOLOv8 network that can be trained.
#[derive(Debug)]
pub struct Network {
    /// Its shape.
    pub plan: Plan,
    tensors: BTreeMap<String, Tensor>,
    names: Option<Vec<String>>,
    /// What the weights say of themselves; with it the batch norms' epsilon.
    meta: BTreeMap<String, String>,
    /// What convolutions count in: fp32, or bf16 / fp16 over fp32 weights.
    kind: Kind,
    device: Device,
}

impl Network {
    /// Builds it from weights; `kind` is what convolutions count in, the weights themselves are fp32.
    ///
    /// # Errors
    /// The weights are not YOLOv8's, or libtorch fails.
    pub fn new(weights: &Weights, device: Device, kind: Kind) -> Result<Self, TrainError> {
        let plan = Plan::of(weights).map_err(|fault| TrainError::Weights(fault.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, _) in plan.manifest() {
            let data = weights.get(&name).ok_or_else(|| Fault::Damaged(format!("`{name}` is missing")));
            let data = data.map_err(|fault| TrainError::Weights(fault.to_string()))?;
            let mut tensor = to_tensor(data, device, Kind::Float)?.f_contiguous()?;
            if tensor.dim() == 4 {
                // Channels last, where convolutions are fastest; gradients and updates follow.
                tensor = tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?;
            }
            // A copy of its own: what it was made from stays as it is.
            tensors.insert(name, copied(&tensor)?);
        }
        let mut network =
            Self { plan, tensors, names: weights.names.clone(), meta: weights.meta.clone(), kind, device };
        network.freeze(|_| false)?;
        Ok(network)
    }

    /// Says which parameters stay as they are. A batch norm of which they do goes by its running statistics, which stay, too
    /// (as with Ultralytics).
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn freeze(&mut self, frozen: impl Fn(&str) -> bool) -> Result<(), TchError> {
        for (name, tensor) in &mut self.tensors {
            let learns = is_parameter(name) && !frozen(name);
            *tensor = tensor.f_detach()?.f_set_requires_grad(learns)?;
        }
        Ok(())
    }

    /// Every tensor by name: parameters and running statistics.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Gradients that were gathered and not yet stepped by, under `gradient.<name>`.
    #[must_use]
    pub fn gradients(&self) -> BTreeMap<String, Tensor> {
        let gathered = |(name, tensor): (&String, &Tensor)| {
            let gradient = tensor.requires_grad().then(|| tensor.grad()).filter(Tensor::defined)?;
            Some((format!("gradient.{name}"), gradient))
        };
        self.tensors.iter().filter_map(gathered).collect()
    }

    /// Takes gradients out of `kept` (named as in [`Network::gradients`]) and goes on gathering from them.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn put_gradients(&self, kept: &mut BTreeMap<String, Tensor>) -> Result<(), TchError> {
        for (name, tensor) in &self.tensors {
            if let Some(gradient) = kept.remove(&format!("gradient.{name}")).filter(|_| tensor.requires_grad()) {
                // There is no other way to set one: the gradient of this sum is the gradient itself, to the bit.
                tensor.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
            }
        }
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// The weights as data, row-major, fp32.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn weights(&self) -> Result<Weights, TrainError> {
        Ok(Weights { meta: self.meta.clone(), ..to_weights(&self.tensors, self.names.clone())? })
    }

    /// Runs the network on RGB bytes `[batch, height, width, 3]` with sides that are multiples of 32. While `training`,
    /// batch norms that learn go by the batch and their running statistics follow it.
    ///
    /// # Errors
    /// When libtorch fails (most often: no memory left).
    pub fn forward(&self, pictures: &Tensor, training: bool) -> Result<Heads, TchError> {
        let pass = Pass { network: self, training };
        let x = pictures.f_to_device(self.device)?.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?;
        // As they come, the channels are last in memory, and stay so.
        let x = x.f_to_kind(self.kind)?.f_permute([0, 3, 1, 2])?;
        let stem = pass.block(2, &pass.unit("model.1", &pass.unit("model.0", &x, 2)?, 2)?)?;
        let fine = pass.block(4, &pass.unit("model.3", &stem, 2)?)?;
        let middle = pass.block(6, &pass.unit("model.5", &fine, 2)?)?;
        let coarse = pass.pool(&pass.block(8, &pass.unit("model.7", &middle, 2)?)?)?;
        let up_middle = pass.block(12, &Tensor::f_cat(&[double(&coarse)?, middle], 1)?)?;
        let p3 = pass.block(15, &Tensor::f_cat(&[double(&up_middle)?, fine], 1)?)?;
        let p4 = pass.block(18, &Tensor::f_cat(&[pass.unit("model.16", &p3, 2)?, up_middle], 1)?)?;
        let p5 = pass.block(21, &Tensor::f_cat(&[pass.unit("model.19", &p4, 2)?, coarse], 1)?)?;
        let levels = [p3, p4, p5];
        let segments = self.plan.segments();
        Ok(Heads {
            boxes: pass.join("cv2", &levels)?,
            scores: pass.join("cv3", &levels)?,
            coefficients: segments.then(|| pass.join("cv4", &levels)).transpose()?,
            prototypes: segments.then(|| pass.prototypes(&levels[0])).transpose()?,
        })
    }
}

/// A copy of its own, laid out alike.
///
/// # Errors
/// When libtorch fails.
pub fn copied(tensor: &Tensor) -> Result<Tensor, TchError> {
    let mut copy = tensor.f_detach()?.f_zeros_like()?;
    copy.f_copy_(&tensor.f_detach()?)?;
    Ok(copy)
}

/// Whether a tensor is learnt rather than counted along.
#[must_use]
pub fn is_parameter(name: &str) -> bool {
    !name.ends_with(".running_mean") && !name.ends_with(".running_var")
}

/// Tensors as data, row-major, fp32.
///
/// # Errors
/// When libtorch fails.
pub fn to_weights(tensors: &BTreeMap<String, Tensor>, names: Option<Vec<String>>) -> Result<Weights, TrainError> {
    let mut weights = Weights { names, ..Weights::default() };
    for (name, tensor) in tensors {
        weights.tensors.insert(name.clone(), to_data(tensor)?);
    }
    Ok(weights)
}

/// A tensor as data, row-major, fp32.
///
/// # Errors
/// When libtorch fails.
pub fn to_data(tensor: &Tensor) -> Result<TensorData, TrainError> {
    let shape: Vec<usize> = tensor.size().iter().map(|size| *size as usize).collect();
    let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?;
    let values: Vec<f32> = Vec::try_from(flat)?;
    Ok(TensorData::from_f32(&shape, &values))
}

/// One run through the network.
struct Pass<'a> {
    network: &'a Network,
    training: bool,
}

impl Pass<'_> {
    fn tensor(&self, name: &str) -> Result<&Tensor, TchError> {
        self.network.tensors.get(name).ok_or_else(|| TchError::Kind(format!("`{name}` is missing")))
    }

    /// A weight in the kind that is counted in.
    fn cast(&self, name: &str) -> Result<Tensor, TchError> {
        self.tensor(name)?.f_to_kind(self.network.kind)
    }

    /// A convolution, its batch norm and its activation.
    fn unit(&self, name: &str, x: &Tensor, stride: i64) -> Result<Tensor, TchError> {
        let plan = &self.network.plan;
        let weight = self.cast(&format!("{name}.conv.weight"))?;
        let padding = weight.size4()?.3 / 2;
        let bias = plan.folded.then(|| self.cast(&format!("{name}.conv.bias"))).transpose()?;
        let mut y = x.f_conv2d(&weight, bias.as_ref(), [stride; 2], [padding; 2], [1, 1], 1)?;
        if !plan.folded {
            let part = |part: &str| self.tensor(&format!("{name}.bn.{part}"));
            let (gain, shift) = (Some(part("weight")?), Some(part("bias")?));
            let (mean, variance) = (Some(part("running_mean")?), Some(part("running_var")?));
            let by_batch = self.training && gain.as_ref().is_some_and(|gain| gain.requires_grad());
            y = y.f_batch_norm(gain, shift, mean, variance, by_batch, MOMENTUM, plan.eps, true)?;
        }
        if plan.linear.iter().any(|linear| linear == name) { Ok(y) } else { y.f_silu() }
    }

    /// A C2f block.
    fn block(&self, layer: usize, x: &Tensor) -> Result<Tensor, TchError> {
        let plan = &self.network.plan;
        let (_, _, _, repeats, adds) =
            BLOCKS.into_iter().find(|block| block.0 == layer).ok_or_else(|| TchError::Kind("no such block".into()))?;
        let unit = |part: &str, x: &Tensor| self.unit(&format!("model.{layer}.{part}"), x, 1);
        let both = unit("cv1", x)?;
        let half = both.size4()?.1 / 2;
        let mut last = both.f_narrow(1, half, half)?;
        let mut parts = vec![both];
        for i in 0..plan.repeats[repeats] {
            let mut y = unit(&format!("m.{i}.cv2"), &unit(&format!("m.{i}.cv1"), &last)?)?;
            if adds {
                y = y.f_add(&last)?;
            }
            last = y.shallow_clone();
            parts.push(y);
        }
        unit("cv2", &Tensor::f_cat(&parts, 1)?)
    }

    /// Spatial pyramid pooling, the fast form.
    fn pool(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let mut seen = vec![self.unit("model.9.cv1", x, 1)?];
        for i in 0..3 {
            seen.push(seen[i].f_max_pool2d([5, 5], [1, 1], [2, 2], [1, 1], false)?);
        }
        self.unit("model.9.cv2", &Tensor::f_cat(&seen, 1)?, 1)
    }

    /// A convolution with a bias of its own.
    fn plain(&self, name: &str, x: &Tensor) -> Result<Tensor, TchError> {
        let (weight, bias) = (self.cast(&format!("{name}.weight"))?, self.cast(&format!("{name}.bias"))?);
        x.f_conv2d(&weight, Some(&bias), [1, 1], [0, 0], [1, 1], 1)
    }

    /// One branch a level, `[batch, values, anchors]` in fp32.
    fn join(&self, branch: &str, levels: &[Tensor; 3]) -> Result<Tensor, TchError> {
        let mut parts = Vec::with_capacity(3);
        for (level, x) in levels.iter().enumerate() {
            let name = format!("model.22.{branch}.{level}");
            let y = self.unit(&format!("{name}.1"), &self.unit(&format!("{name}.0"), x, 1)?, 1)?;
            parts.push(self.plain(&format!("{name}.2"), &y)?.f_flatten(2, 3)?);
        }
        Tensor::f_cat(&parts, 2)?.f_to_kind(Kind::Float)
    }

    fn prototypes(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let name = |part: &str| format!("model.22.proto.{part}");
        let x = self.unit(&name("cv1"), x, 1)?;
        let (weight, bias) = (self.cast(&name("upsample.weight"))?, self.cast(&name("upsample.bias"))?);
        let x = x.f_conv_transpose2d(&weight, Some(&bias), [2, 2], [0, 0], [0, 0], 1, [1, 1])?;
        let x = self.unit(&name("cv3"), &self.unit(&name("cv2"), &x, 1)?, 1)?;
        x.f_to_kind(Kind::Float)
    }
}

fn double(x: &Tensor) -> Result<Tensor, TchError> {
    let (_, _, height, width) = x.size4()?;
    x.f_upsample_nearest2d([2 * height, 2 * width], 2.0, 2.0)
}

/// Weights as they are kept: in fp16, or as they are where a number is too large for it.
///
/// # Errors
/// A number is not finite: they are not kept.
pub fn sound(weights: Weights) -> Result<Weights, TrainError> {
    if weights.first_not_finite().is_some() {
        return Err(TrainError::NotFinite);
    }
    let halved = weights.halved();
    Ok(if halved.first_not_finite().is_none() { halved } else { weights })
}
