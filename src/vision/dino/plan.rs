//! What a DINOv2 network is made of, told from its weights' shapes (Oquab et al., arXiv:2304.07193).

use std::collections::BTreeMap;

use crate::vision::checkpoint::{Fault, Weights};

/// Pixels on the side of a patch.
pub const PATCH: usize = 14;
/// Channels of an attention head, in every published size.
pub const HEAD: usize = 64;

/// The shape of a DINOv2 network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Channels of a token: the length of the vectors.
    pub width: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Register tokens (arXiv:2309.16588); 0 in the first models.
    pub registers: usize,
    /// Patches on a side of the square for which the position embeddings were learnt.
    pub grid: usize,
    /// Channels inside the feed-forward layers.
    pub hidden: usize,
    /// Whether the feed-forward layers are gated (SwiGLU, arXiv:2002.05202), as in ViT-g.
    pub gated: bool,
    /// Whether the branches are scaled (LayerScale, arXiv:2103.17239), as in every published model.
    pub scaled: bool,
}

/// How tensors begin that are no part of the network itself: heads of its training, a classifier's head
/// ([`LINEAR`](super::LINEAR)), the labels' directions of a margin softmax.
pub const ON_TOP: [&str; 4] = ["dino_head.", "ibot_head.", "linear_head.", "margin_head."];

const SIZES: [(&str, usize, usize); 4] = [("s", 384, 12), ("b", 768, 12), ("l", 1024, 24), ("g", 1536, 40)];

impl Plan {
    /// A published size, `s`, `b`, `l` or `g`, with or without its 4 registers.
    #[must_use]
    pub fn published(size: &str, registers: bool) -> Option<Self> {
        let (_, width, depth) = SIZES.into_iter().find(|(name, ..)| *name == size)?;
        let gated = size == "g";
        // Gated layers have two thirds of the channels, rounded up to a multiple of 8.
        let hidden = if gated { (4 * width * 2 / 3).next_multiple_of(8) } else { 4 * width };
        let registers = if registers { 4 } else { 0 };
        Some(Self { width, depth, registers, grid: 37, hidden, gated, scaled: true })
    }

    /// The plan that an architecture's name says: a published one (`dinov2_vits14`, `dinov2_vitb14_reg`), or
    /// `dinov2_vit<width>x<depth>_14` with `_reg` or without, whose positions are a square of `grid` patches.
    #[must_use]
    pub fn named(architecture: &str, grid: usize) -> Option<Self> {
        let rest = architecture.strip_prefix("dinov2_vit")?;
        let (size, registers) = rest.strip_suffix("_reg").map_or((rest, false), |size| (size, true));
        let size = size.strip_suffix("14")?;
        if let Some(plan) = Self::published(size, registers) {
            return Some(plan);
        }
        let (width, depth) = size.strip_suffix('_')?.split_once('x')?;
        let (width, depth): (usize, usize) = (width.parse().ok()?, depth.parse().ok()?);
        let sound = (HEAD..=4096).contains(&width) && width.is_multiple_of(HEAD) && (1..=100).contains(&depth);
        let registers = if registers { 4 } else { 0 };
        sound.then_some(Self { width, depth, registers, grid, hidden: 4 * width, gated: false, scaled: true })
    }

    /// Reads the plan off the weights, and checks that every tensor is there, of its shape, and that none is left over.
    ///
    /// # Errors
    /// When the weights are of another network, or incomplete.
    pub fn of(weights: &Weights) -> Result<Self, Fault> {
        let sizes = |name: &str| weights.shape(name).map(<[usize]>::to_vec);
        let &[width, 3, PATCH, PATCH] = sizes("patch_embed.proj.weight")?.as_slice() else {
            return Err(Fault::Unsupported("a vision transformer whose patches are not 14x14 pixels of RGB".into()));
        };
        let positions = match sizes("pos_embed")?.as_slice() {
            [1, positions, _] => positions.saturating_sub(1),
            _ => 0,
        };
        let grid = positions.isqrt();
        if width == 0 || !width.is_multiple_of(HEAD) || grid == 0 || grid * grid != positions {
            return Err(Fault::Unsupported(format!(
                "a vision transformer of width {width} with {positions} positions"
            )));
        }
        let registers = weights.get("register_tokens").map_or(0, |tensor| tensor.shape.get(1).copied().unwrap_or(0));
        let gated = weights.get("blocks.0.mlp.w12.weight").is_some();
        let inner = if gated {
            sizes("blocks.0.mlp.w3.bias").and(sizes("blocks.0.mlp.w3.weight"))
        } else {
            sizes("blocks.0.mlp.fc2.weight")
        };
        let hidden = inner?.get(1).copied().unwrap_or(0);
        let depth = (0..1000).take_while(|i| weights.get(&format!("blocks.{i}.norm1.weight")).is_some()).count();
        let scaled = weights.get("blocks.0.ls1.gamma").is_some();
        let plan = Self { width, depth, registers, grid, hidden, gated, scaled };
        plan.check(weights)?;
        Ok(plan)
    }

    fn check(&self, weights: &Weights) -> Result<(), Fault> {
        let mut expected: BTreeMap<String, Vec<usize>> = self.manifest().into_iter().collect();
        for (name, tensor) in &weights.tensors {
            // Training's leftovers: the mask token and the projection heads; and what stands on top.
            let unused = name == "mask_token" || ON_TOP.iter().any(|head| name.starts_with(head));
            match expected.remove(name) {
                Some(shape) if shape != tensor.shape => {
                    let found = &tensor.shape;
                    return Err(Fault::Unsupported(format!("`{name}` is {found:?} where DINOv2 has {shape:?}")));
                }
                Some(_) if !tensor.dtype.is_float() => {
                    return Err(Fault::Unsupported(format!("`{name}` holds {}", tensor.dtype.name())));
                }
                None if !unused => return Err(Fault::Unsupported(format!("`{name}` is no part of DINOv2"))),
                _ => {}
            }
        }
        match expected.keys().next() {
            Some(missing) => {
                Err(Fault::Damaged(format!("`{missing}` and {} more tensors are missing", expected.len() - 1)))
            }
            None => Ok(()),
        }
    }

    /// Every tensor of the network with its shape.
    #[must_use]
    pub fn manifest(&self) -> Vec<(String, Vec<usize>)> {
        let (width, hidden) = (self.width, self.hidden);
        let mut tensors = vec![
            ("cls_token".to_owned(), vec![1, 1, width]),
            ("pos_embed".to_owned(), vec![1, 1 + self.grid * self.grid, width]),
            ("patch_embed.proj.weight".to_owned(), vec![width, 3, PATCH, PATCH]),
            ("patch_embed.proj.bias".to_owned(), vec![width]),
            ("norm.weight".to_owned(), vec![width]),
            ("norm.bias".to_owned(), vec![width]),
        ];
        if self.registers > 0 {
            tensors.push(("register_tokens".to_owned(), vec![1, self.registers, width]));
        }
        for block in 0..self.depth {
            let mut add = |name: &str, shape: Vec<usize>| tensors.push((format!("blocks.{block}.{name}"), shape));
            for norm in ["norm1", "norm2"] {
                add(&format!("{norm}.weight"), vec![width]);
                add(&format!("{norm}.bias"), vec![width]);
            }
            if self.scaled {
                add("ls1.gamma", vec![width]);
                add("ls2.gamma", vec![width]);
            }
            let ends = if self.gated {
                [("mlp.w12", 2 * hidden), ("mlp.w3", 0)]
            } else {
                [("mlp.fc1", hidden), ("mlp.fc2", 0)]
            };
            for (name, out, from) in [
                ("attn.qkv", 3 * width, width),
                ("attn.proj", width, width),
                (ends[0].0, ends[0].1, width),
                (ends[1].0, width, hidden),
            ] {
                add(&format!("{name}.weight"), vec![out, from]);
                add(&format!("{name}.bias"), vec![out]);
            }
        }
        tensors
    }

    /// `s`, `b`, `l`, `g`, or `custom`.
    #[must_use]
    pub fn size(&self) -> &'static str {
        let same = |(_, width, depth): &(&str, usize, usize)| *width == self.width && *depth == self.depth;
        SIZES.into_iter().find(same).map_or("custom", |(name, ..)| name)
    }

    /// For example `dinov2_vits14_reg`.
    #[must_use]
    pub fn architecture(&self) -> String {
        let size = match self.size() {
            "custom" => format!("{}x{}_", self.width, self.depth),
            size => size.to_owned(),
        };
        format!("dinov2_vit{size}14{}", if self.registers > 0 { "_reg" } else { "" })
    }
}
