//! `.safetensors`: a JSON header and the numbers behind it. What is not a tensor is kept in one metadata
//! value under the key `sightline`, so that the file says by itself what it is.

use std::collections::{BTreeMap, HashMap};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as SafeDtype, TensorView};
use serde::{Deserialize, Serialize};

use super::error::{Fault, damaged};
use super::weights::{Dtype, TensorData, Weights};

/// Headers of real models have some hundred KB.
const MAX_HEADER: u64 = 16 << 20;
const KEY: &str = "sightline";

#[derive(Serialize, Deserialize)]
struct Stated {
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    meta: BTreeMap<String, String>,
}

/// Whether the bytes begin like a safetensors file.
#[must_use]
pub fn looks_like(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// Reads the weights of a `.safetensors` file.
///
/// # Errors
/// When the file is damaged or its header is larger than any model needs.
pub fn read(bytes: &[u8]) -> Result<Weights, Fault> {
    let header = bytes.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
    if header > MAX_HEADER {
        return Err(Fault::Limit(format!("its header claims {header} bytes")));
    }
    let broken =
        |error: safetensors::SafeTensorError| Fault::Damaged(format!("not a valid safetensors file ({error})"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
    let mut weights = Weights::default();
    for (name, view) in tensors.iter() {
        let Some(dtype) = from_safe(view.dtype()) else {
            return Err(Fault::Unsupported(format!("`{name}` holds numbers of the kind {:?}", view.dtype())));
        };
        let tensor = TensorData { dtype, shape: view.shape().to_vec(), bytes: view.data().to_vec() };
        weights.tensors.insert(name.to_owned(), tensor);
    }
    if weights.tensors.is_empty() {
        return Err(Fault::Unsupported("it holds no tensors".into()));
    }
    let stated = header.metadata().as_ref();
    if let Some(json) = stated.and_then(|stated| stated.get(KEY)) {
        let Ok(stated) = serde_json::from_str::<Stated>(json) else {
            return damaged(format!("its metadata `{KEY}` is not what this program writes"));
        };
        (weights.names, weights.meta) = (stated.names, stated.meta);
    } else if let Some(names) = stated.and_then(|stated| stated.get("names")) {
        weights.names = serde_json::from_str(names).ok();
    }
    weights.normalise();
    Ok(weights)
}

/// The bytes of a `.safetensors` file; the same for the same weights.
///
/// # Errors
/// When a tensor's shape does not fit its bytes.
pub fn write(weights: &Weights) -> Result<Vec<u8>, Fault> {
    let broken = |error: &dyn std::fmt::Display| Fault::Damaged(format!("the weights cannot be written ({error})"));
    let stated = Stated { names: weights.names.clone(), meta: weights.meta.clone() };
    let stated = serde_json::to_string(&stated).map_err(|error| broken(&error))?;
    let mut views = Vec::with_capacity(weights.tensors.len());
    for (name, tensor) in &weights.tensors {
        let view = TensorView::new(to_safe(tensor.dtype), tensor.shape.clone(), &tensor.bytes);
        views.push((name, view.map_err(|error| broken(&error))?));
    }
    // One key only: the crate writes metadata in the order of a hash map, and the bytes must be repeatable.
    let metadata = HashMap::from([(KEY.to_owned(), stated)]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| broken(&error))
}

fn from_safe(dtype: SafeDtype) -> Option<Dtype> {
    Some(match dtype {
        SafeDtype::BOOL => Dtype::Bool,
        SafeDtype::U8 => Dtype::U8,
        SafeDtype::I8 => Dtype::I8,
        SafeDtype::I16 => Dtype::I16,
        SafeDtype::I32 => Dtype::I32,
        SafeDtype::I64 => Dtype::I64,
        SafeDtype::F16 => Dtype::F16,
        SafeDtype::BF16 => Dtype::BF16,
        SafeDtype::F32 => Dtype::F32,
        SafeDtype::F64 => Dtype::F64,
        _ => return None,
    })
}

fn to_safe(dtype: Dtype) -> SafeDtype {
    match dtype {
        Dtype::Bool => SafeDtype::BOOL,
        Dtype::U8 => SafeDtype::U8,
        Dtype::I8 => SafeDtype::I8,
        Dtype::I16 => SafeDtype::I16,
        Dtype::I32 => SafeDtype::I32,
        Dtype::I64 => SafeDtype::I64,
        Dtype::F16 => SafeDtype::F16,
        Dtype::BF16 => SafeDtype::BF16,
        Dtype::F32 => SafeDtype::F32,
        Dtype::F64 => SafeDtype::F64,
    }
}
