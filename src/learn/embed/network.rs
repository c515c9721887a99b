//! DINOv2 as it learns: every tensor under its published name, gradients all the way.
//!
//! The network that answers (`vision::dino::Network`) multiplies scales into its layers and lays them out; this one keeps
//! them apart. Both are built from the same plan and the same weights.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use crate::learn::train::TrainError;
use crate::learn::train::network::{copied, to_weights};
use crate::vision::checkpoint::{Fault, Weights, to_tensor};
use crate::vision::dino::{DEVIATION, EPS, HEAD, LINEAR, MEAN, PATCH, Plan, placed};

/// How the tensors of a margin softmax begin: a direction a label.
pub const MARGIN: &str = "margin_head.weight";

/// A DINOv2 network that can be trained, with the head that it is trained through, if any.
#[derive(Debug)]
pub struct Network {
    /// Its shape.
    pub plan: Plan,
    tensors: BTreeMap<String, Tensor>,
    /// ImageNet's mean and deviation, in bytes: `[1, 3, 1, 1]`.
    normal: [Tensor; 2],
    /// What layers count in: fp32, or bf16 / fp16 over fp32 weights. Norms, sums and positions count in fp32.
    kind: Kind,
    device: Device,
}

impl Network {
    /// Builds it from weights, whose heads ([`LINEAR`], [`MARGIN`]) come along.
    ///
    /// # Errors
    /// The weights are not DINOv2's, or libtorch fails.
    pub fn new(weights: &Weights, device: Device, kind: Kind) -> Result<Self, TrainError> {
        let unfit = |fault: Fault| TrainError::Weights(fault.to_string());
        let plan = Plan::of(weights).map_err(unfit)?;
        let heads = LINEAR.into_iter().chain([MARGIN]).filter(|name| weights.get(name).is_some()).map(str::to_owned);
        let mut tensors = BTreeMap::new();
        for name in plan.manifest().into_iter().map(|(name, _)| name).chain(heads) {
            let data = weights.get(&name).ok_or_else(|| unfit(Fault::Damaged(format!("`{name}` is missing"))))?;
            // A copy of its own: what it was made from stays as it is.
            tensors.insert(name, copied(&to_tensor(data, device, Kind::Float)?.f_contiguous()?)?);
        }
        let row = |values: [f32; 3]| -> Result<Tensor, TchError> {
            Tensor::f_from_slice(&values.map(|value| value * 255.0))?.f_view([1, 3, 1, 1])?.f_to_device(device)
        };
        let mut network = Self { plan, tensors, normal: [row(MEAN)?, row(DEVIATION)?], kind, device };
        network.learn_from(0)?;
        Ok(network)
    }

    /// Says what learns: blocks from this one on (from 0) with the last norm and the head; from 0, the patches, positions
    /// and class token as well. Everything else stays as it is.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn learn_from(&mut self, block: usize) -> Result<(), TchError> {
        for (name, tensor) in &mut self.tensors {
            let of = name.strip_prefix("blocks.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
            let learns = match of {
                Some(of) => of >= block,
                None => block == 0 || name.starts_with("norm.") || is_head(name),
            };
            *tensor = tensor.f_detach()?.f_set_requires_grad(learns)?;
        }
        Ok(())
    }

    /// Every tensor by name, the head's among them.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Where it is.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// The weights as data, fp32, the head's among them.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn weights(&self) -> Result<Weights, TrainError> {
        to_weights(&self.tensors, None)
    }

    /// A tensor by name.
    ///
    /// # Errors
    /// There is none.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, TchError> {
        self.tensors.get(name).ok_or_else(|| TchError::Kind(format!("`{name}` is missing")))
    }

    /// The normed class tokens, `[batch, width]` in fp32, of RGB bytes `[batch, height, width, 3]` whose sides are multiples
    /// of 14.
    ///
    /// # Errors
    /// When the sides are no multiples of 14, or libtorch fails (most often: no memory left).
    pub fn forward(&self, pictures: &Tensor) -> Result<Tensor, TchError> {
        let (batch, height, width, _) = pictures.size4()?;
        let patch = PATCH as i64;
        if height % patch != 0 || width % patch != 0 || height == 0 || width == 0 {
            return Err(TchError::Kind(format!("{width}x{height} pixels: the sides must be multiples of {PATCH}")));
        }
        let (rows, columns) = (height / patch, width / patch);
        let x = pictures.f_to_device(self.device)?.f_to_kind(Kind::Float)?.f_permute([0, 3, 1, 2])?;
        let x = x.f_sub(&self.normal[0])?.f_div(&self.normal[1])?.f_to_kind(self.kind)?;
        let (weight, bias) = (self.cast("patch_embed.proj.weight")?, self.cast("patch_embed.proj.bias")?);
        let x = x.f_conv2d(&weight, Some(&bias), [patch; 2], [0, 0], [1, 1], 1)?;
        let x = x.f_flatten(2, 3)?.f_transpose(1, 2)?.f_to_kind(Kind::Float)?;
        let spread = |name: &str| self.tensor(name)?.f_expand([batch, -1, -1], false);
        let positions = placed(&self.plan, self.tensor("pos_embed")?, rows, columns)?;
        let mut x = Tensor::f_cat(&[spread("cls_token")?, x], 1)?.f_add(&positions)?;
        if self.plan.registers > 0 {
            let (class, patches) = (x.f_narrow(1, 0, 1)?, x.f_narrow(1, 1, rows * columns)?);
            x = Tensor::f_cat(&[class, spread("register_tokens")?, patches], 1)?;
        }
        for block in 0..self.plan.depth {
            x = self.block(block, &x)?;
        }
        self.norm("norm", &x.f_select(1, 0)?)
    }

    /// A block. In the last one only the class token goes on: nobody reads the others.
    fn block(&self, block: usize, x: &Tensor) -> Result<Tensor, TchError> {
        let name = |part: &str| format!("blocks.{block}.{part}");
        let seen = self.norm(&name("norm1"), x)?.f_to_kind(self.kind)?;
        let (weight, bias) = (self.cast(&name("attn.qkv.weight"))?, self.cast(&name("attn.qkv.bias"))?);
        let width = self.plan.width as i64;
        let part = |x: &Tensor, from: i64| {
            let (weight, bias) = (weight.f_narrow(0, from * width, width)?, bias.f_narrow(0, from * width, width)?);
            apart(&x.f_linear(&weight, Some(&bias))?)
        };
        let last = block + 1 == self.plan.depth;
        let class = |x: &Tensor| if last { x.f_narrow(1, 0, 1) } else { Ok(x.shallow_clone()) };
        let (q, k, v) = (part(&class(&seen)?, 0)?, part(&seen, 1)?, part(&seen, 2)?);
        let seen = attend(&q, &k, &v)?;
        let seen = seen.f_transpose(1, 2)?.f_flatten(2, 3)?;
        let x = self.plus(&class(x)?, &self.linear(&name("attn.proj"), &seen)?, &name("ls1.gamma"))?;
        let inner = self.norm(&name("norm2"), &x)?.f_to_kind(self.kind)?;
        let fed = if self.plan.gated {
            let both = self.linear(&name("mlp.w12"), &inner)?;
            let half = self.plan.hidden as i64;
            self.linear(&name("mlp.w3"), &both.f_narrow(2, 0, half)?.f_silu()?.f_mul(&both.f_narrow(2, half, half)?)?)?
        } else {
            self.linear(&name("mlp.fc2"), &self.linear(&name("mlp.fc1"), &inner)?.f_gelu("none")?)?
        };
        self.plus(&x, &fed, &name("ls2.gamma"))
    }

    /// A branch added to what it branched off, scaled where the plan says so.
    fn plus(&self, x: &Tensor, branch: &Tensor, scale: &str) -> Result<Tensor, TchError> {
        let branch = branch.f_to_kind(Kind::Float)?;
        x.f_add(&if self.plan.scaled { branch.f_mul(self.tensor(scale)?)? } else { branch })
    }

    /// A weight in the kind that is counted in.
    fn cast(&self, name: &str) -> Result<Tensor, TchError> {
        self.tensor(name)?.f_to_kind(self.kind)
    }

    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_linear(&self.cast(&format!("{name}.weight"))?, Some(&self.cast(&format!("{name}.bias"))?))
    }

    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor, TchError> {
        let (gain, shift) = (self.tensor(&format!("{name}.weight"))?, self.tensor(&format!("{name}.bias"))?);
        x.f_layer_norm(gain.size(), Some(gain), Some(shift), EPS, true)
    }
}

/// Whether a tensor is a head's.
fn is_head(name: &str) -> bool {
    LINEAR.contains(&name) || name == MARGIN
}

/// Weights without what they were trained through.
pub fn without_margin(weights: &mut Weights) {
    weights.tensors.remove(MARGIN);
}

/// What each query sees, `[batch, heads, queries, channels]`.
///
/// libtorch's fused attention learns bf16 on a CPU by a product a head and picture, each of which oneDNN prepares anew: measured, 106 ms
/// there and back for 128 pictures of 65 tokens, against 15 ms for whole products with their shares in between.
fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor, TchError> {
    if q.kind() != Kind::BFloat16 || q.device() != Device::Cpu {
        return Tensor::f_scaled_dot_product_attention::<Tensor>(q, k, v, None, 0.0, false, None, false);
    }
    let scores = q.f_mul_scalar((HEAD as f64).powf(-0.5))?.f_matmul(&k.f_transpose(2, 3)?)?;
    // The shares are counted in fp32 and rounded once.
    scores.f_softmax(-1, Kind::BFloat16)?.f_matmul(v)
}

/// `[batch, tokens, width]` to `[batch, heads, tokens, channels]`.
fn apart(x: &Tensor) -> Result<Tensor, TchError> {
    let (batch, tokens, width) = x.size3()?;
    x.f_view([batch, tokens, width / HEAD as i64, HEAD as i64])?.f_transpose(1, 2)
}
