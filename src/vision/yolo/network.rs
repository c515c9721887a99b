//! The YOLOv8 network: backbone, neck and heads, batch norms folded in, channels last; on the CPU over oneDNN's fused
//! layers.

use tch::{Kind, TchError, Tensor};

use super::plan::{BLOCKS, DOWN, Plan};
use crate::vision::VisionError;
use crate::vision::checkpoint::{Fault, Weights, to_tensor};
use crate::vision::device::Runtime;
use crate::vision::memory::keep_blocks;
use crate::vision::onednn::{self, Then};
use crate::vision::winograd::{self, Kernels};

/// The side of the pictures that weights are laid out for; others run as well.
const SIDE: i64 = 640;
/// What a byte's value is worth.
const BYTE: f64 = 1.0 / 255.0;

/// What the network says before anything is decoded. `A` is the number of anchors, finest level first.
#[derive(Debug)]
pub struct Heads {
    /// `[batch, 64, A]`: 16 bins for each of left, top, right, bottom.
    pub boxes: Tensor,
    /// `[batch, classes, A]`, before the sigmoid.
    pub scores: Tensor,
    /// `[batch, 32, A]`: each box's share of the prototypes.
    pub coefficients: Option<Tensor>,
    /// `[batch, 32, height / 4, width / 4]`.
    pub prototypes: Option<Tensor>,
}

/// A YOLOv8 network, ready to run.
#[derive(Debug)]
pub struct Network {
    /// Its shape.
    pub plan: Plan,
    runtime: Runtime,
    down: Vec<Unit>,
    blocks: Vec<Block>,
    pool: [Unit; 2],
    boxes: Vec<Branch>,
    scores: Vec<Branch>,
    coefficients: Vec<Branch>,
    prototypes: Option<Prototypes>,
}

#[derive(Debug)]
struct Unit {
    weight: Weight,
    bias: Tensor,
    stride: i64,
    padding: i64,
    activated: bool,
    /// The kind of its numbers: the last layers count in fp32 at every precision, so that what is decoded was not
    /// rounded again.
    kind: Kind,
}

#[derive(Debug)]
enum Weight {
    /// As libtorch has it.
    Plain(Tensor),
    /// Laid out for oneDNN.
    Packed(Tensor),
    /// For Winograd's scheme, together with the bias.
    Winograd(Kernels),
}

#[derive(Debug)]
struct Block {
    first: Unit,
    bottlenecks: Vec<[Unit; 2]>,
    last: Unit,
    adds: bool,
    half: i64,
}

#[derive(Debug)]
struct Branch([Unit; 3]);

#[derive(Debug)]
struct Prototypes {
    first: Unit,
    upsample: (Tensor, Tensor),
    second: Unit,
    third: Unit,
}

impl Network {
    /// Builds the network from its weights.
    ///
    /// # Errors
    /// When the weights are not YOLOv8's, or libtorch fails.
    pub fn new(weights: &Weights, runtime: Runtime) -> Result<Self, VisionError> {
        keep_blocks();
        let plan = Plan::of(weights)?;
        let load = Loader { weights, runtime, plan: &plan, packed: onednn::serves(runtime) };
        let side = |place: usize| SIDE >> (place + 1);
        let step = |(layer, _, to): &(usize, Option<usize>, usize)| {
            load.unit(&format!("model.{layer}"), 2, 2 * side(*to), if *layer == 0 { BYTE } else { 1.0 })
        };
        let down = DOWN.iter().map(step).collect::<Result<_, _>>()?;
        let mut blocks = Vec::new();
        for (layer, _, to, repeats, adds) in BLOCKS {
            let unit = |part: &str| load.unit(&format!("model.{layer}.{part}"), 1, side(to), 1.0);
            let bottleneck =
                |i| -> Result<_, VisionError> { Ok([unit(&format!("m.{i}.cv1"))?, unit(&format!("m.{i}.cv2"))?]) };
            blocks.push(Block {
                first: unit("cv1")?,
                bottlenecks: (0..plan.repeats[repeats]).map(bottleneck).collect::<Result<_, _>>()?,
                last: unit("cv2")?,
                adds,
                half: (plan.channels[to] / 2) as i64,
            });
        }
        let branches = |branch: &str| -> Result<Vec<Branch>, VisionError> {
            (0..3).map(|level| load.branch(&format!("model.22.{branch}.{level}"), side(level + 2))).collect()
        };
        let (coefficients, prototypes) = if plan.segments() {
            let name = "model.22.proto";
            let upsample = (format!("{name}.upsample.weight"), format!("{name}.upsample.bias"));
            let prototypes = Prototypes {
                first: load.unit(&format!("{name}.cv1"), 1, side(2), 1.0)?,
                upsample: (load.tensor(&upsample.0)?, load.tensor(&upsample.1)?),
                second: load.unit(&format!("{name}.cv2"), 1, side(1), 1.0)?,
                third: load.unit(&format!("{name}.cv3"), 1, side(1), 1.0)?,
            };
            (branches("cv4")?, Some(prototypes))
        } else {
            (Vec::new(), None)
        };
        let pool = [load.unit("model.9.cv1", 1, side(4), 1.0)?, load.unit("model.9.cv2", 1, side(4), 1.0)?];
        let (boxes, scores) = (branches("cv2")?, branches("cv3")?);
        Ok(Self { runtime, down, blocks, pool, boxes, scores, coefficients, prototypes, plan })
    }

    /// Where it runs.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// Runs the network on `[batch, 3, height, width]`, RGB from 0 to 255, sides multiples of 32. (The first layer's
    /// weights hold the division by 255: bytes are exact in bf16, their 255th parts are not.)
    ///
    /// # Errors
    /// When libtorch fails (most often: no memory left on the device).
    pub fn forward(&self, pictures: &Tensor) -> Result<Heads, TchError> {
        let [d0, d1, d3, d5, d7, d16, d19] = self.down.as_slice() else { return Err(incomplete()) };
        let [b2, b4, b6, b8, b12, b15, b18, b21] = self.blocks.as_slice() else { return Err(incomplete()) };
        let stem = b2.run(&d1.run(&d0.run(pictures)?)?)?;
        let fine = b4.run(&d3.run(&stem)?)?;
        let middle = b6.run(&d5.run(&fine)?)?;
        let coarse = self.pool(&b8.run(&d7.run(&middle)?)?)?;
        let up_middle = b12.run(&Tensor::f_cat(&[double(&coarse)?, middle], 1)?)?;
        let p3 = b15.run(&Tensor::f_cat(&[double(&up_middle)?, fine], 1)?)?;
        let p4 = b18.run(&Tensor::f_cat(&[d16.run(&p3)?, up_middle], 1)?)?;
        let p5 = b21.run(&Tensor::f_cat(&[d19.run(&p4)?, coarse], 1)?)?;
        let levels = [p3, p4, p5];
        Ok(Heads {
            boxes: join(&self.boxes, &levels)?,
            scores: join(&self.scores, &levels)?,
            coefficients: if self.coefficients.is_empty() { None } else { Some(join(&self.coefficients, &levels)?) },
            prototypes: self.prototypes.as_ref().map(|prototypes| prototypes.run(&levels[0])).transpose()?,
        })
    }

    /// Spatial pyramid pooling, the fast form: three poolings in a row see as far as three of growing size.
    fn pool(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let mut seen = vec![self.pool[0].run(x)?];
        for i in 0..3 {
            seen.push(seen[i].f_max_pool2d([5, 5], [1, 1], [2, 2], [1, 1], false)?);
        }
        self.pool[1].run(&Tensor::f_cat(&seen, 1)?)
    }
}

fn incomplete() -> TchError {
    TchError::Kind("the network is incomplete".into())
}

impl Unit {
    fn run(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.run_and_add(x, None)
    }

    /// Adds `plus` to the result, of whose shape and kind it is.
    fn run_and_add(&self, x: &Tensor, plus: Option<&Tensor>) -> Result<Tensor, TchError> {
        if x.kind() != self.kind {
            return self.run_and_add(&x.f_to_kind(self.kind)?, plus);
        }
        let then = if self.activated { Then::Silu } else { Then::Nothing };
        let mut y = match &self.weight {
            Weight::Winograd(kernels) => return winograd::convolve(x, kernels, then, plus),
            Weight::Packed(weight) => onednn::convolve(x, weight, &self.bias, self.stride, self.padding, then)?,
            Weight::Plain(weight) => {
                let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
                let mut y = x.f_conv2d(weight, Some(&self.bias), stride, padding, [1, 1], 1)?;
                if self.activated { y.f_silu_()? } else { y }
            }
        };
        match plus {
            Some(plus) => y.f_add_(plus),
            None => Ok(y),
        }
    }
}

impl Block {
    fn run(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let both = self.first.run(x)?;
        let mut last = both.f_narrow(1, self.half, self.half)?;
        let mut parts = vec![both];
        for [first, second] in &self.bottlenecks {
            let y = second.run_and_add(&first.run(&last)?, self.adds.then_some(&last))?;
            last = y.shallow_clone();
            parts.push(y);
        }
        self.last.run(&Tensor::f_cat(&parts, 1)?)
    }
}

impl Branch {
    fn run(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.0[2].run(&self.0[1].run(&self.0[0].run(x)?)?)
    }
}

impl Prototypes {
    fn run(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let (weight, bias) = &self.upsample;
        let x = self.first.run(x)?;
        let x = x.f_conv_transpose2d(weight, Some(bias), [2, 2], [0, 0], [0, 0], 1, [1, 1])?;
        self.third.run(&self.second.run(&x)?)
    }
}

/// One branch a level, their anchors in a row; in memory each anchor's values stay together, as the layers leave them.
fn join(branches: &[Branch], levels: &[Tensor; 3]) -> Result<Tensor, TchError> {
    let flat = |(branch, level): (&Branch, &Tensor)| branch.run(level)?.f_permute([0, 2, 3, 1])?.f_flatten(1, 2);
    let parts: Vec<Tensor> = branches.iter().zip(levels).map(flat).collect::<Result<_, _>>()?;
    Tensor::f_cat(&parts, 1)?.f_transpose(1, 2)
}

fn double(x: &Tensor) -> Result<Tensor, TchError> {
    let (_, _, height, width) = x.size4()?;
    x.f_upsample_nearest2d([2 * height, 2 * width], 2.0, 2.0)
}

struct Loader<'a> {
    weights: &'a Weights,
    runtime: Runtime,
    plan: &'a Plan,
    packed: bool,
}

impl Loader<'_> {
    fn raw(&self, name: &str, kind: Kind) -> Result<Tensor, VisionError> {
        let missing = || Fault::Damaged(format!("`{name}` is missing"));
        to_tensor(self.weights.get(name).ok_or_else(missing)?, tch::Device::Cpu, kind)
    }

    fn tensor(&self, name: &str) -> Result<Tensor, VisionError> {
        self.place(&self.raw(name, Kind::Float)?, self.runtime.kind)
    }

    /// Moves to the device; pictures' weights get their channels last in memory, where convolutions are fastest.
    fn place(&self, tensor: &Tensor, kind: Kind) -> Result<Tensor, VisionError> {
        let placed = tensor.f_to_kind(kind)?.f_to_device(self.runtime.device)?;
        if placed.dim() != 4 {
            return Ok(placed);
        }
        Ok(placed.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
    }

    /// A convolution with its batch norm folded in: `w * g / sqrt(var + eps)`, `b - mean * g / sqrt(var + eps)`.
    /// Its input has `side` pixels a side where the picture has [`SIDE`], and is multiplied by `scale`.
    fn unit(&self, name: &str, stride: i64, side: i64, scale: f64) -> Result<Unit, VisionError> {
        let mut weight = self.raw(&format!("{name}.conv.weight"), Kind::Double)?.f_mul_scalar(scale)?;
        let bias = if self.plan.folded {
            self.raw(&format!("{name}.conv.bias"), Kind::Double)?
        } else {
            let part = |part: &str| self.raw(&format!("{name}.bn.{part}"), Kind::Double);
            let scale = part("weight")?.f_div(&part("running_var")?.f_add_scalar(self.plan.eps)?.f_sqrt()?)?;
            weight = weight.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
            part("bias")?.f_sub(&part("running_mean")?.f_mul(&scale)?)?
        };
        let activated = !self.plan.linear.iter().any(|linear| linear == name);
        let kind = if name == "model.22.proto.cv3" { Kind::Float } else { self.runtime.kind };
        self.assemble(&weight, &bias, stride, side, activated, kind)
    }

    fn plain(&self, name: &str, side: i64) -> Result<Unit, VisionError> {
        let weight = self.raw(&format!("{name}.weight"), Kind::Double)?;
        let bias = self.raw(&format!("{name}.bias"), Kind::Double)?;
        self.assemble(&weight, &bias, 1, side, false, Kind::Float)
    }

    fn assemble(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        stride: i64,
        side: i64,
        activated: bool,
        kind: Kind,
    ) -> Result<Unit, VisionError> {
        let (_, inputs, _, kernel) = weight.size4()?;
        let padding = kernel / 2;
        let (placed, placed_bias) = (self.place(weight, kind)?, self.place(bias, kind)?);
        let weight = match self.packed {
            true if winograd::serves(weight, stride, kind) => Weight::Winograd(Kernels::new(weight, bias)?),
            true => Weight::Packed(onednn::pack_convolution(&placed, stride, padding, [1, inputs, side, side])?),
            false => Weight::Plain(placed),
        };
        Ok(Unit { weight, bias: placed_bias, stride, padding, activated, kind })
    }

    fn branch(&self, name: &str, side: i64) -> Result<Branch, VisionError> {
        let unit = |part: u8| self.unit(&format!("{name}.{part}"), 1, side, 1.0);
        Ok(Branch([unit(0)?, unit(1)?, self.plain(&format!("{name}.2"), side)?]))
    }
}
