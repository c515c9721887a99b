//! Weights as plain data: named arrays of numbers, whatever file they came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::Fault;
use crate::domain::ImageId;

/// The kind of number in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Dtype {
    Bool,
    U8,
    I8,
    I16,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

impl Dtype {
    /// Bytes a number takes.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// `fp16`, `fp32`, … as people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F16 => "fp16",
            Self::BF16 => "bf16",
            Self::F32 => "fp32",
            Self::F64 => "fp64",
        }
    }

    /// Whether it is a floating-point kind.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }
}

/// One tensor: row-major, little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorData {
    /// The kind of its numbers.
    pub dtype: Dtype,
    /// Its sizes; empty for a single number.
    pub shape: Vec<usize>,
    /// Its numbers: `shape` times the size of `dtype`.
    pub bytes: Vec<u8>,
}

impl TensorData {
    /// A tensor of `f32`.
    #[must_use]
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }

    /// How many numbers it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether it has no numbers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Under this key weights say what side of input, in pixels, they were trained with.
const INPUT_SIZE: &str = "input_size";

/// The weights of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// By their names in the model, for example `model.0.conv.weight`.
    pub tensors: BTreeMap<String, TensorData>,
    /// The names of the classes, by number, where the file states them.
    pub names: Option<Vec<String>>,
    /// What else the file states: `licence`, `task`, `version`, `bn_eps`, `origin`, ….
    pub meta: BTreeMap<String, String>,
}

impl Weights {
    /// Takes the first prefix off every name where all that matter carry it, and unfolds DINOv2's chunked blocks.
    ///
    /// Wrappers leave their name behind: `module.` (data parallel), `backbone.` (a training run's teacher).
    pub(super) fn normalise(&mut self) {
        for prefix in ["module.", "teacher.", "backbone.", "model.model."] {
            if self.tensors.keys().any(|key| key.starts_with(prefix)) {
                let cut = if prefix == "model.model." { "model." } else { prefix };
                let old = std::mem::take(&mut self.tensors);
                let kept =
                    old.into_iter().filter_map(|(key, tensor)| Some((key.strip_prefix(cut)?.to_owned(), tensor)));
                self.tensors = kept.collect();
            }
        }
        let chunked = |key: &str| {
            let rest = key.strip_prefix("blocks.")?;
            let mut parts = rest.splitn(3, '.');
            let (chunk, block, rest) = (parts.next()?, parts.next()?, parts.next()?);
            chunk.parse::<u32>().ok()?;
            block.parse::<u32>().ok()?;
            Some(format!("blocks.{block}.{rest}"))
        };
        if self.tensors.keys().any(|key| chunked(key).is_some()) {
            let old = std::mem::take(&mut self.tensors);
            self.tensors = old.into_iter().map(|(key, tensor)| (chunked(&key).unwrap_or(key), tensor)).collect();
        }
    }

    /// The same in fp16: half the bytes, and what the published weights have.
    #[must_use]
    pub fn halved(&self) -> Self {
        let mut halved = self.clone();
        for tensor in halved.tensors.values_mut().filter(|tensor| tensor.dtype == Dtype::F32) {
            let short = |bytes: &[u8; 4]| half::f16::from_f32(f32::from_le_bytes(*bytes)).to_le_bytes();
            tensor.bytes = tensor.bytes.as_chunks::<4>().0.iter().flat_map(short).collect();
            tensor.dtype = Dtype::F16;
        }
        halved
    }

    /// The first tensor with a number that is infinite or none (NaN): no network answers with such.
    #[must_use]
    pub fn first_not_finite(&self) -> Option<&str> {
        // All bits of the exponent are set in nothing else.
        let has = |tensor: &TensorData| match tensor.dtype {
            Dtype::F16 => tensor.bytes.as_chunks::<2>().0.iter().any(|b| u16::from_le_bytes(*b) & 0x7c00 == 0x7c00),
            Dtype::BF16 => tensor.bytes.as_chunks::<2>().0.iter().any(|b| u16::from_le_bytes(*b) & 0x7f80 == 0x7f80),
            Dtype::F32 => tensor.bytes.as_chunks::<4>().0.iter().any(|b| !f32::from_le_bytes(*b).is_finite()),
            Dtype::F64 => tensor.bytes.as_chunks::<8>().0.iter().any(|b| !f64::from_le_bytes(*b).is_finite()),
            _ => false,
        };
        self.tensors.iter().find(|(_, tensor)| has(tensor)).map(|(name, _)| name.as_str())
    }

    /// A tensor by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TensorData> {
        self.tensors.get(name)
    }

    /// The shape of a tensor that must be there.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], Fault> {
        let missing = || Fault::Unsupported(format!("weights without the tensor `{name}`"));
        self.get(name).map(|tensor| tensor.shape.as_slice()).ok_or_else(missing)
    }

    /// The side of the input that they were trained with, pixels, where they state one: whether a network can have it is for the
    /// network to say.
    #[must_use]
    pub fn input_size(&self) -> Option<u32> {
        self.meta.get(INPUT_SIZE)?.parse().ok()
    }

    /// Lets them state the side of the input that they were trained with, pixels.
    pub fn state_input_size(&mut self, side: u32) {
        self.meta.insert(INPUT_SIZE.into(), side.to_string());
    }

    /// The number of parameters: all numbers but running statistics and counters.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let statistic = |key: &str| {
            key.ends_with("running_mean") || key.ends_with("running_var") || key.ends_with("num_batches_tracked")
        };
        self.tensors.iter().filter(|(key, _)| !statistic(key)).map(|(_, tensor)| tensor.len() as u64).sum()
    }

    /// The kind that most of the numbers have.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        let mut counts: BTreeMap<Dtype, usize> = BTreeMap::new();
        for tensor in self.tensors.values() {
            *counts.entry(tensor.dtype).or_default() += tensor.len();
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map_or(Dtype::F32, |(dtype, _)| dtype)
    }

    /// SHA-256 over names, kinds, shapes and numbers, in the order of the names: the same for the same
    /// weights in any container.
    #[must_use]
    pub fn fingerprint(&self) -> ImageId {
        let mut hash = Sha256::new();
        hash.update(b"sightline weights 1\0");
        for (key, tensor) in &self.tensors {
            hash.update((key.len() as u64).to_le_bytes());
            hash.update(key.as_bytes());
            hash.update(tensor.dtype.name().as_bytes());
            hash.update([0]);
            hash.update((tensor.shape.len() as u64).to_le_bytes());
            for size in &tensor.shape {
                hash.update((*size as u64).to_le_bytes());
            }
            hash.update((tensor.bytes.len() as u64).to_le_bytes());
            hash.update(&tensor.bytes);
        }
        ImageId(hash.finalize().into())
    }
}
