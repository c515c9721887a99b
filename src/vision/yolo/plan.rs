//! What a YOLOv8 network is made of, told from its weights' shapes (Ultralytics' `yolov8.yaml`, 2023).

use std::collections::BTreeMap;

use crate::vision::checkpoint::{Fault, Weights};

/// Bins of the distribution over each distance (Generalized Focal Loss, arXiv:2006.04388).
pub const BINS: usize = 16;
/// Ultralytics' batch-norm epsilon.
const EPS: f64 = 1e-3;

/// The shape of a YOLOv8 network.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Channels after layers 0, 1, 3, 5 and 7, at strides 2 to 32.
    pub channels: [usize; 5],
    /// Bottlenecks in the C2f blocks of three and of six.
    pub repeats: [usize; 2],
    /// The number of classes.
    pub classes: u32,
    /// Width of the box branches.
    pub box_width: usize,
    /// Width of the class branches.
    pub class_width: usize,
    /// The mask branches; none in a network that only detects.
    pub masks: Option<MaskPlan>,
    /// Whether each batch norm is folded into its convolution.
    pub folded: bool,
    /// The batch norms' epsilon.
    pub eps: f64,
    /// Convolutions without activation, by name.
    pub linear: Vec<String>,
}

/// The shape of the mask branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskPlan {
    /// Prototypes, and coefficients a box has.
    pub count: usize,
    /// Width of the coefficient branches.
    pub width: usize,
    /// Width of the prototype network.
    pub prototype_width: usize,
}

/// Widths at strides 2 to 32 and repeats of the published sizes.
const SIZES: [(&str, [usize; 5], [usize; 2]); 5] = [
    ("n", [16, 32, 64, 128, 256], [1, 2]),
    ("s", [32, 64, 128, 256, 512], [1, 2]),
    ("m", [48, 96, 192, 384, 576], [2, 4]),
    ("l", [64, 128, 256, 512, 512], [3, 6]),
    ("x", [80, 160, 320, 640, 640], [3, 6]),
];

/// The C2f blocks: layer, channels in and out (as places in `channels`; two places are concatenated), which repeats,
/// and whether its bottlenecks add their input.
pub const BLOCKS: [(usize, &[usize], usize, usize, bool); 8] = [
    (2, &[1], 1, 0, true),
    (4, &[2], 2, 1, true),
    (6, &[3], 3, 1, true),
    (8, &[4], 4, 0, true),
    (12, &[4, 3], 3, 0, false),
    (15, &[3, 2], 2, 0, false),
    (18, &[2, 3], 3, 0, false),
    (21, &[3, 4], 4, 0, false),
];
/// The plain convolutions of stride 2: layer, place in and out (the first takes the picture).
pub(super) const DOWN: [(usize, Option<usize>, usize); 7] = [
    (0, None, 0),
    (1, Some(0), 1),
    (3, Some(1), 2),
    (5, Some(2), 3),
    (7, Some(3), 4),
    (16, Some(2), 2),
    (19, Some(3), 3),
];

impl Plan {
    /// A published size: `n`, `s`, `m`, `l` or `x`.
    #[must_use]
    pub fn published(size: &str, classes: u32, segments: bool) -> Option<Self> {
        let (_, channels, repeats) = SIZES.into_iter().find(|(name, ..)| *name == size)?;
        let finest = channels[2];
        let masks = MaskPlan { count: 32, width: (finest / 4).max(32), prototype_width: finest };
        Some(Self {
            channels,
            repeats,
            classes,
            box_width: (finest / 4).max(4 * BINS),
            class_width: finest.max(classes.min(100) as usize),
            masks: segments.then_some(masks),
            folded: false,
            eps: EPS,
            linear: Vec::new(),
        })
    }

    /// Reads the plan off the weights, and checks that every tensor is there, of its shape, and that none is left over.
    ///
    /// # Errors
    /// When the weights are of another network, or incomplete.
    pub fn of(weights: &Weights) -> Result<Self, Fault> {
        let out = |name: &str| weights.shape(name).map(|shape| shape.first().copied().unwrap_or(0));
        let conv = |layer: &str| out(&format!("model.{layer}.conv.weight"));
        let count = |layer: usize| (0..64).take_while(|i| conv(&format!("{layer}.m.{i}.cv1")).is_ok()).count();
        let classes = out("model.22.cv3.0.2.weight")?;
        let masks = weights.get("model.22.proto.cv1.conv.weight").is_some();
        let masks = masks.then(|| -> Result<MaskPlan, Fault> {
            Ok(MaskPlan {
                count: conv("22.proto.cv3")?,
                width: conv("22.cv4.0.0")?,
                prototype_width: conv("22.proto.cv1")?,
            })
        });
        let eps = weights.meta.get("bn_eps").and_then(|eps| eps.parse().ok());
        let linear = weights.meta.get("linear").map(|names| names.split_whitespace().map(str::to_owned).collect());
        let plan = Self {
            channels: [conv("0")?, conv("1")?, conv("3")?, conv("5")?, conv("7")?],
            repeats: [count(2), count(4)],
            classes: u32::try_from(classes).ok().filter(|n| (1..=100_000).contains(n)).unwrap_or(0),
            box_width: conv("22.cv2.0.0")?,
            class_width: conv("22.cv3.0.0")?,
            masks: masks.transpose()?,
            folded: weights.get("model.0.conv.bias").is_some(),
            eps: eps.filter(|eps: &f64| eps.is_finite() && *eps > 0.0).unwrap_or(EPS),
            linear: linear.unwrap_or_default(),
        };
        plan.check(weights)?;
        Ok(plan)
    }

    fn check(&self, weights: &Weights) -> Result<(), Fault> {
        let mut expected: BTreeMap<String, Vec<usize>> = self.manifest().into_iter().collect();
        if self.classes == 0 {
            return Err(Fault::Unsupported("a detector without classes".into()));
        }
        for (name, tensor) in &weights.tensors {
            let counter = name.ends_with(".num_batches_tracked") || name == "model.22.dfl.conv.weight";
            match expected.remove(name) {
                Some(shape) if shape != tensor.shape => {
                    let found = &tensor.shape;
                    return Err(Fault::Unsupported(format!("`{name}` is {found:?} where YOLOv8 has {shape:?}")));
                }
                Some(_) if !tensor.dtype.is_float() => {
                    return Err(Fault::Unsupported(format!("`{name}` holds {}", tensor.dtype.name())));
                }
                None if !counter => {
                    return Err(Fault::Unsupported(format!(
                        "`{name}` is no part of YOLOv8 (another generation of YOLO?)"
                    )));
                }
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

    /// Every tensor of the network with its shape, in the order of the layers.
    #[must_use]
    pub fn manifest(&self) -> Vec<(String, Vec<usize>)> {
        let mut list = Manifest { folded: self.folded, tensors: Vec::new() };
        let c = self.channels;
        for (layer, from, to) in DOWN {
            list.unit(&format!("model.{layer}"), from.map_or(3, |from| c[from]), c[to], 3);
        }
        for (layer, from, to, repeats, _) in BLOCKS {
            let (half, repeats) = (c[to] / 2, self.repeats[repeats]);
            list.unit(&format!("model.{layer}.cv1"), from.iter().map(|i| c[*i]).sum(), 2 * half, 1);
            for i in 0..repeats {
                list.unit(&format!("model.{layer}.m.{i}.cv1"), half, half, 3);
                list.unit(&format!("model.{layer}.m.{i}.cv2"), half, half, 3);
            }
            list.unit(&format!("model.{layer}.cv2"), (2 + repeats) * half, c[to], 1);
        }
        list.unit("model.9.cv1", c[4], c[4] / 2, 1);
        list.unit("model.9.cv2", c[4] / 2 * 4, c[4], 1);
        let mut branches = vec![("cv2", self.box_width, 4 * BINS), ("cv3", self.class_width, self.classes as usize)];
        if let Some(masks) = self.masks {
            branches.push(("cv4", masks.width, masks.count));
            let width = masks.prototype_width;
            list.unit("model.22.proto.cv1", c[2], width, 3);
            list.plain("model.22.proto.upsample", vec![width, width, 2, 2], width);
            list.unit("model.22.proto.cv2", width, width, 3);
            list.unit("model.22.proto.cv3", width, masks.count, 1);
        }
        for (branch, width, out) in branches {
            for (level, from) in c[2..].iter().enumerate() {
                let name = format!("model.22.{branch}.{level}");
                list.unit(&format!("{name}.0"), *from, width, 3);
                list.unit(&format!("{name}.1"), width, width, 3);
                list.plain(&format!("{name}.2"), vec![out, width, 1, 1], out);
            }
        }
        list.tensors
    }

    /// Whether it outlines objects.
    #[must_use]
    pub fn segments(&self) -> bool {
        self.masks.is_some()
    }

    /// `n`, `s`, `m`, `l`, `x`, or `custom`.
    #[must_use]
    pub fn size(&self) -> &'static str {
        let same = |(_, channels, repeats): &(&str, [usize; 5], [usize; 2])| {
            *channels == self.channels && *repeats == self.repeats
        };
        SIZES.into_iter().find(same).map_or("custom", |(name, ..)| name)
    }

    /// For example `yolov8n-seg`.
    #[must_use]
    pub fn architecture(&self) -> String {
        let size = match self.size() {
            "custom" => "-custom",
            size => size,
        };
        format!("yolov8{size}{}", if self.segments() { "-seg" } else { "" })
    }
}

struct Manifest {
    folded: bool,
    tensors: Vec<(String, Vec<usize>)>,
}

impl Manifest {
    /// A convolution with its batch norm.
    fn unit(&mut self, name: &str, from: usize, to: usize, kernel: usize) {
        self.tensors.push((format!("{name}.conv.weight"), vec![to, from, kernel, kernel]));
        if self.folded {
            self.tensors.push((format!("{name}.conv.bias"), vec![to]));
        } else {
            for part in ["weight", "bias", "running_mean", "running_var"] {
                self.tensors.push((format!("{name}.bn.{part}"), vec![to]));
            }
        }
    }

    /// A convolution with a bias of its own.
    fn plain(&mut self, name: &str, shape: Vec<usize>, out: usize) {
        self.tensors.push((format!("{name}.weight"), shape));
        self.tensors.push((format!("{name}.bias"), vec![out]));
    }
}
