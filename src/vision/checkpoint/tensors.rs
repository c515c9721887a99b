//! From weights to tensors.

use tch::{Device, Kind, Tensor};

use super::weights::{Dtype, TensorData};
use crate::vision::VisionError;

/// Makes a tensor of weights, on a device and in a precision.
///
/// # Errors
/// When libtorch cannot (most often: no memory left on the device).
pub fn to_tensor(data: &TensorData, device: Device, kind: Kind) -> Result<Tensor, VisionError> {
    let shape: Vec<i64> = data.shape.iter().map(|size| *size as i64).collect();
    let source = match data.dtype {
        Dtype::Bool => Kind::Bool,
        Dtype::U8 => Kind::Uint8,
        Dtype::I8 => Kind::Int8,
        Dtype::I16 => Kind::Int16,
        Dtype::I32 => Kind::Int,
        Dtype::I64 => Kind::Int64,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
    };
    let tensor = Tensor::f_from_data_size(&data.bytes, &shape, source)?;
    Ok(tensor.f_to_kind(kind)?.f_to_device(device)?)
}
