//! The DINOv2 vision transformer (arXiv:2304.07193), from pictures to their normed class tokens.

use std::cell::RefCell;

use tch::{Device, Kind, TchError, Tensor};

use super::plan::{HEAD, PATCH, Plan};
use crate::vision::VisionError;
use crate::vision::checkpoint::{Fault, Weights, to_tensor};
use crate::vision::device::Runtime;

const EPS: f64 = 1e-6;
/// The first models were trained with positions scaled by `(n + 0.1) / grid` instead of `n / grid`; those with
/// registers without it, but smoothed where they shrink. Each must be asked in the way it learnt.
const OFFSET: f64 = 0.1;

/// A DINOv2 network, ready to run.
#[derive(Debug)]
pub struct Network {
    /// Its shape.
    pub plan: Plan,
    runtime: Runtime,
    patches: Linear,
    class: Tensor,
    registers: Option<Tensor>,
    /// `[1, 1 + grid * grid, width]` in fp32.
    positions: Tensor,
    /// The positions of the last grid asked for.
    last: RefCell<Option<((i64, i64), Tensor)>>,
    blocks: Vec<Block>,
    norm: Norm,
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

#[derive(Debug)]
struct Block {
    norms: [Norm; 2],
    scales: Option<[Tensor; 2]>,
    qkv: Linear,
    proj: Linear,
    /// `fc1` and `fc2`, or `w12` and `w3`.
    feed: [Linear; 2],
    gated: bool,
}

impl Network {
    /// Builds the network from its weights.
    ///
    /// # Errors
    /// When the weights are not DINOv2's, or libtorch fails.
    pub fn new(weights: &Weights, runtime: Runtime) -> Result<Self, VisionError> {
        let plan = Plan::of(weights)?;
        let load = Loader { weights, runtime };
        let mut blocks = Vec::with_capacity(plan.depth);
        for block in 0..plan.depth {
            let name = |part: &str| format!("blocks.{block}.{part}");
            let feed = if plan.gated { ["mlp.w12", "mlp.w3"] } else { ["mlp.fc1", "mlp.fc2"] };
            let scale = |part: &str| load.tensor(&name(part), runtime.kind);
            blocks.push(Block {
                norms: [load.norm(&name("norm1"))?, load.norm(&name("norm2"))?],
                scales: if plan.scaled { Some([scale("ls1.gamma")?, scale("ls2.gamma")?]) } else { None },
                qkv: load.linear(&name("attn.qkv"))?,
                proj: load.linear(&name("attn.proj"))?,
                feed: [load.linear(&name(feed[0]))?, load.linear(&name(feed[1]))?],
                gated: plan.gated,
            });
        }
        let registers = (plan.registers > 0).then(|| load.tensor("register_tokens", runtime.kind)).transpose()?;
        Ok(Self {
            patches: load.linear("patch_embed.proj")?,
            class: load.tensor("cls_token", runtime.kind)?,
            registers,
            positions: load.tensor("pos_embed", Kind::Float)?,
            last: RefCell::new(None),
            blocks,
            norm: load.norm("norm")?,
            runtime,
            plan,
        })
    }

    /// Where it runs.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// The class tokens, `[batch, width]`, of normalised pictures `[batch, 3, height, width]` whose sides are
    /// multiples of 14.
    ///
    /// # Errors
    /// When the sides are no multiples of 14, or libtorch fails.
    pub fn forward(&self, pictures: &Tensor) -> Result<Tensor, TchError> {
        let (batch, _, height, width) = pictures.size4()?;
        let patch = PATCH as i64;
        if height % patch != 0 || width % patch != 0 || height == 0 || width == 0 {
            return Err(TchError::Kind(format!("{width}x{height} pixels: the sides must be multiples of {PATCH}")));
        }
        let (rows, columns) = (height / patch, width / patch);
        let stride = [patch, patch];
        let x = pictures.f_conv2d(&self.patches.weight, Some(&self.patches.bias), stride, [0, 0], [1, 1], 1)?;
        let x = x.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let spread = |token: &Tensor| token.f_expand([batch, -1, -1], false);
        let x = Tensor::f_cat(&[spread(&self.class)?, x], 1)?.f_add(&self.positions(rows, columns)?)?;
        let mut x = match &self.registers {
            None => x,
            Some(registers) => {
                let class = x.f_narrow(1, 0, 1)?;
                let patches = x.f_narrow(1, 1, rows * columns)?;
                Tensor::f_cat(&[class, spread(registers)?, patches], 1)?
            }
        };
        for block in &self.blocks {
            x = block.run(&x)?;
        }
        // Only the class token is asked for, and a layer norm sees each token alone.
        self.norm.run(&x.f_select(1, 0)?)
    }

    /// The position embeddings of a grid of patches: bicubic, as the reference interpolates them.
    fn positions(&self, rows: i64, columns: i64) -> Result<Tensor, TchError> {
        let grid = self.plan.grid as i64;
        if let Some((size, positions)) = &*self.last.borrow()
            && *size == (rows, columns)
        {
            return Ok(positions.shallow_clone());
        }
        let whole = if (rows, columns) == (grid, grid) {
            self.positions.shallow_clone()
        } else {
            let width = self.plan.width as i64;
            let square = self.positions.f_narrow(1, 1, grid * grid)?.f_reshape([1, grid, grid, width])?;
            let square = square.f_permute([0, 3, 1, 2])?;
            let sized = if self.plan.registers > 0 {
                square.f_internal_upsample_bicubic2d_aa([rows, columns], false, None, None)?
            } else {
                let scale = |count: i64| (count as f64 + OFFSET) / grid as f64;
                square.f_upsample_bicubic2d([rows, columns], false, scale(rows), scale(columns))?
            };
            let flat = sized.f_permute([0, 2, 3, 1])?.f_reshape([1, rows * columns, width])?;
            Tensor::f_cat(&[self.positions.f_narrow(1, 0, 1)?, flat], 1)?
        };
        let placed = whole.f_to_kind(self.runtime.kind)?;
        *self.last.borrow_mut() = Some(((rows, columns), placed.shallow_clone()));
        Ok(placed)
    }
}

impl Linear {
    fn run(&self, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_linear(&self.weight, Some(&self.bias))
    }
}

impl Norm {
    fn run(&self, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), EPS, true)
    }
}

impl Block {
    fn run(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let scale = |branch: Tensor, which: usize| match &self.scales {
            Some(scales) => branch.f_mul(&scales[which]),
            None => Ok(branch),
        };
        let x = x.f_add(&scale(self.attend(&self.norms[0].run(x)?)?, 0)?)?;
        let fed = self.feed(&self.norms[1].run(&x)?)?;
        x.f_add(&scale(fed, 1)?)
    }

    fn attend(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let (batch, tokens, width) = x.size3()?;
        let head = HEAD as i64;
        let qkv = self.qkv.run(x)?.f_reshape([batch, tokens, 3, width / head, head])?.f_permute([2, 0, 3, 1, 4])?;
        let (q, k, v) = (qkv.f_get(0)?, qkv.f_get(1)?, qkv.f_get(2)?);
        let seen = Tensor::f_scaled_dot_product_attention::<Tensor>(&q, &k, &v, None, 0.0, false, None, false)?;
        self.proj.run(&seen.f_transpose(1, 2)?.f_reshape([batch, tokens, width])?)
    }

    fn feed(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let inner = self.feed[0].run(x)?;
        let inner = if self.gated {
            let half = inner.size3()?.2 / 2;
            inner.f_narrow(2, 0, half)?.f_silu()?.f_mul(&inner.f_narrow(2, half, half)?)?
        } else {
            inner.f_gelu("none")?
        };
        self.feed[1].run(&inner)
    }
}

struct Loader<'a> {
    weights: &'a Weights,
    runtime: Runtime,
}

impl Loader<'_> {
    fn tensor(&self, name: &str, kind: Kind) -> Result<Tensor, VisionError> {
        let missing = || Fault::Damaged(format!("`{name}` is missing"));
        let tensor = to_tensor(self.weights.get(name).ok_or_else(missing)?, Device::Cpu, kind)?;
        Ok(tensor.f_to_device(self.runtime.device)?)
    }

    fn linear(&self, name: &str) -> Result<Linear, VisionError> {
        let part = |part: &str| self.tensor(&format!("{name}.{part}"), self.runtime.kind);
        Ok(Linear { weight: part("weight")?, bias: part("bias")? })
    }

    fn norm(&self, name: &str) -> Result<Norm, VisionError> {
        let Linear { weight, bias } = self.linear(name)?;
        Ok(Norm { weight, bias })
    }
}
