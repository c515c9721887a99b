//! The DINOv2 vision transformer (arXiv:2304.07193), from pictures to their normed class tokens.

use std::cell::RefCell;

use tch::{Device, Kind, TchError, Tensor};

use super::plan::{HEAD, PATCH, Plan};
use crate::vision::VisionError;
use crate::vision::attention::{self, Part};
use crate::vision::checkpoint::{Fault, Weights, to_tensor};
use crate::vision::device::Runtime;
use crate::vision::memory::keep_blocks;
use crate::vision::norms::Norm;
use crate::vision::onednn::{self, Then};

/// What norms add to a variance.
pub const EPS: f64 = 1e-6;
/// The first models were trained with positions scaled by `(n + 0.1) / grid` instead of `n / grid`; those with
/// registers without it, but smoothed where they shrink. Each must be asked in the way it learnt.
const OFFSET: f64 = 0.1;

/// How many tokens weights are laid out for: four pictures of 224 pixels. Other numbers run as well.
const ROWS: i64 = 4 * 257;

/// A DINOv2 network, ready to run.
#[derive(Debug)]
pub struct Network {
    /// Its shape.
    pub plan: Plan,
    runtime: Runtime,
    /// What is added up from block to block is kept so precisely.
    sums: Kind,
    patches: Patches,
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
struct Patches {
    weight: Tensor,
    bias: Tensor,
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
    /// Whether the weight is laid out for oneDNN.
    packed: bool,
}

/// How tokens look at one another.
#[derive(Debug)]
enum Asks {
    /// Every token asks: queries, keys and values in one layer.
    All(Linear),
    /// Only the class token asks, and only it goes on: the last block, whose other tokens nobody reads. Five sixths of the
    /// block's work fall away, and the class token's numbers stay what they were.
    Class {
        /// The class token's query.
        query: Linear,
        /// Every token's key and value.
        answers: Linear,
    },
}

#[derive(Debug)]
struct Block {
    norms: [Norm; 2],
    asks: Asks,
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
        keep_blocks();
        let plan = Plan::of(weights)?;
        let load = Loader { weights, runtime, packed: onednn::serves(runtime) };
        let mut blocks = Vec::with_capacity(plan.depth);
        for block in 0..plan.depth {
            let name = |part: &str| format!("blocks.{block}.{part}");
            let feed = if plan.gated { ["mlp.w12", "mlp.w3"] } else { ["mlp.fc1", "mlp.fc2"] };
            let scale = |part: &str| plan.scaled.then(|| name(part));
            blocks.push(Block {
                norms: [load.norm(&name("norm1"), runtime.kind)?, load.norm(&name("norm2"), runtime.kind)?],
                asks: if block + 1 == plan.depth {
                    load.class_asks(&name("attn.qkv"))?
                } else {
                    Asks::All(load.linear(&name("attn.qkv"), None)?)
                },
                proj: load.linear(&name("attn.proj"), scale("ls1.gamma").as_deref())?,
                feed: [load.linear(&name(feed[0]), None)?, load.linear(&name(feed[1]), scale("ls2.gamma").as_deref())?],
                gated: plan.gated,
            });
        }
        let registers = (plan.registers > 0).then(|| load.tensor("register_tokens", load.sums())).transpose()?;
        Ok(Self {
            sums: load.sums(),
            patches: load.patches()?,
            class: load.tensor("cls_token", load.sums())?,
            registers,
            positions: load.tensor("pos_embed", Kind::Float)?,
            last: RefCell::new(None),
            blocks,
            // Vectors are fp32 from here on.
            norm: load.norm("norm", load.sums())?,
            runtime,
            plan,
        })
    }

    /// Where it runs.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// The class tokens, `[batch, width]`, fp32 on the CPU, of normalised pictures `[batch, 3, height, width]` whose sides are
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
        let x = pictures.f_to_kind(self.sums)?.f_conv2d(
            &self.patches.weight,
            Some(&self.patches.bias),
            stride,
            [0, 0],
            [1, 1],
            1,
        )?;
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
        let mut more = None;
        for block in &self.blocks {
            (x, more) = block.run(x, more.as_ref()).map(|(x, more)| (x, Some(more)))?;
        }
        // The last block leaves the class token alone.
        let (_, normed) = self.norm.add_and_run(x, more.as_ref())?;
        normed.f_select(1, 0)
    }

    /// The position embeddings of a grid of patches: bicubic, as the reference interpolates them.
    fn positions(&self, rows: i64, columns: i64) -> Result<Tensor, TchError> {
        if let Some((size, positions)) = &*self.last.borrow()
            && *size == (rows, columns)
        {
            return Ok(positions.shallow_clone());
        }
        let placed = placed(&self.plan, &self.positions, rows, columns)?.f_to_kind(self.sums)?;
        *self.last.borrow_mut() = Some(((rows, columns), placed.shallow_clone()));
        Ok(placed)
    }
}

/// The position embeddings of a grid of patches, `[1, 1 + rows * columns, width]`, from those that were learnt.
///
/// # Errors
/// When libtorch fails.
pub fn placed(plan: &Plan, positions: &Tensor, rows: i64, columns: i64) -> Result<Tensor, TchError> {
    let (grid, width) = (plan.grid as i64, plan.width as i64);
    if (rows, columns) == (grid, grid) {
        return Ok(positions.shallow_clone());
    }
    let square = positions.f_narrow(1, 1, grid * grid)?.f_reshape([1, grid, grid, width])?;
    let square = square.f_permute([0, 3, 1, 2])?;
    let sized = if plan.registers > 0 {
        square.f_internal_upsample_bicubic2d_aa([rows, columns], false, None, None)?
    } else {
        let scale = |count: i64| (count as f64 + OFFSET) / grid as f64;
        square.f_upsample_bicubic2d([rows, columns], false, scale(rows), scale(columns))?
    };
    let flat = sized.f_permute([0, 2, 3, 1])?.f_reshape([1, rows * columns, width])?;
    Tensor::f_cat(&[positions.f_narrow(1, 0, 1)?, flat], 1)
}

impl Linear {
    fn run(&self, x: &Tensor, then: Then) -> Result<Tensor, TchError> {
        if self.packed {
            return onednn::linear(x, &self.weight, &self.bias, then);
        }
        let y = x.f_linear(&self.weight, Some(&self.bias))?;
        match then {
            Then::Nothing => Ok(y),
            Then::Silu => y.f_silu(),
            Then::Gelu => y.f_gelu("none"),
        }
    }
}

impl Block {
    /// Takes the sums so far and what the block before has to add; gives both for the next.
    fn run(&self, x: Tensor, more: Option<&Tensor>) -> Result<(Tensor, Tensor), TchError> {
        let (x, seen) = self.norms[0].add_and_run(x, more)?;
        let width = x.size3()?.2;
        let (x, seen) = match &self.asks {
            Asks::All(layer) => {
                let all = layer.run(&seen, Then::Nothing)?;
                let part = |from| Part { of: &all, from };
                (x, attend(&part(0), &part(width), &part(2 * width), width)?)
            }
            Asks::Class { query, answers } => {
                let class = |x: &Tensor| x.f_narrow(1, 0, 1)?.f_contiguous();
                let asked = query.run(&class(&seen)?, Then::Nothing)?;
                let answers = answers.run(&seen, Then::Nothing)?;
                let part = |from| Part { of: &answers, from };
                (class(&x)?, attend(&Part { of: &asked, from: 0 }, &part(0), &part(width), width)?)
            }
        };
        let (x, seen) = self.norms[1].add_and_run(x, Some(&self.proj.run(&seen, Then::Nothing)?))?;
        Ok((x, self.feed[1].run(&self.feed(&seen)?, Then::Nothing)?))
    }

    fn feed(&self, x: &Tensor) -> Result<Tensor, TchError> {
        if !self.gated {
            return self.feed[0].run(x, Then::Gelu);
        }
        let inner = self.feed[0].run(x, Then::Nothing)?;
        let half = inner.size3()?.2 / 2;
        inner.f_narrow(2, 0, half)?.f_silu()?.f_mul(&inner.f_narrow(2, half, half)?)
    }
}

/// What each query sees, `[batch, queries, width]`: queries, keys and values are so many columns of layers
/// `[batch, tokens, ...]`, from these columns on.
fn attend(queries: &Part, keys: &Part, values: &Part, width: i64) -> Result<Tensor, TchError> {
    let head = HEAD as i64;
    let heads = width / head;
    if attention::serves(queries.of) {
        return attention::attend(queries, keys, values, heads);
    }
    let apart = |part: &Part| -> Result<Tensor, TchError> {
        let (batch, tokens, _) = part.of.size3()?;
        part.of.f_narrow(2, part.from, width)?.f_reshape([batch, tokens, heads, head])?.f_transpose(1, 2)
    };
    let (q, k, v) = (apart(queries)?, apart(keys)?, apart(values)?);
    let (batch, _, queries, _) = q.size4()?;
    // libtorch's softmax counts in fp32 at every precision.
    let seen = Tensor::f_scaled_dot_product_attention::<Tensor>(&q, &k, &v, None, 0.0, false, None, false)?;
    seen.f_transpose(1, 2)?.f_reshape([batch, queries, width])
}

struct Loader<'a> {
    weights: &'a Weights,
    runtime: Runtime,
    packed: bool,
}

impl Loader<'_> {
    fn tensor(&self, name: &str, kind: Kind) -> Result<Tensor, VisionError> {
        let missing = || Fault::Damaged(format!("`{name}` is missing"));
        let tensor = to_tensor(self.weights.get(name).ok_or_else(missing)?, Device::Cpu, kind)?;
        Ok(tensor.f_to_device(self.runtime.device)?)
    }

    fn part(&self, name: &str, part: &str, kind: Kind) -> Result<Tensor, VisionError> {
        self.tensor(&format!("{name}.{part}"), kind)
    }

    /// A linear layer, with the scale that follows it multiplied in.
    fn linear(&self, name: &str, scale: Option<&str>) -> Result<Linear, VisionError> {
        let (mut weight, mut bias) = (self.part(name, "weight", Kind::Double)?, self.part(name, "bias", Kind::Double)?);
        if let Some(scale) = scale {
            let scale = self.tensor(scale, Kind::Double)?;
            weight = weight.f_mul(&scale.f_view([-1, 1])?)?;
            bias = bias.f_mul(&scale)?;
        }
        self.assemble(&weight, &bias)
    }

    fn assemble(&self, weight: &Tensor, bias: &Tensor) -> Result<Linear, VisionError> {
        let (mut weight, bias) = (weight.f_to_kind(self.runtime.kind)?, bias.f_to_kind(self.runtime.kind)?);
        if self.packed {
            weight = onednn::pack_linear(&weight, ROWS)?;
        }
        Ok(Linear { weight, bias, packed: self.packed })
    }

    /// The last block's layer, its queries apart from its keys and values.
    fn class_asks(&self, name: &str) -> Result<Asks, VisionError> {
        let (weight, bias) = (self.part(name, "weight", Kind::Double)?, self.part(name, "bias", Kind::Double)?);
        let width = weight.size2()?.1;
        let rows = |from: i64, count: i64| -> Result<Linear, VisionError> {
            let bias = bias.f_narrow(0, from, count)?;
            self.assemble(&weight.f_narrow(0, from, count)?, &bias)
        };
        Ok(Asks::Class { query: rows(0, width)?, answers: rows(width, 2 * width)? })
    }

    fn patches(&self) -> Result<Patches, VisionError> {
        let part = |part: &str| self.part("patch_embed.proj", part, self.sums());
        Ok(Patches { weight: part("weight")?, bias: part("bias")? })
    }

    fn norm(&self, name: &str, to: Kind) -> Result<Norm, VisionError> {
        let part = |part: &str| self.part(name, part, self.sums());
        Ok(Norm::new(part("weight")?, part("bias")?, EPS, to))
    }

    /// See [`crate::vision::norms`]. fp16 has three bits more, and keeps them.
    fn sums(&self) -> Kind {
        if self.runtime.kind == Kind::BFloat16 { Kind::Float } else { self.runtime.kind }
    }
}
