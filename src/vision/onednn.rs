//! oneDNN's fused layers on the CPU, over weights that are laid out for it once.
//!
//! libtorch's own operators take weights as they were saved and bring them into oneDNN's layout at every call, and run
//! an activation as a pass of its own over memory. The operators here, made for compiled models, take weights that
//! were laid out beforehand and apply the activation before a value leaves the registers; in bf16
//! that also rounds once instead of twice. tch does not offer them; libtorch exports them with a C interface
//! (`torch/csrc/inductor/aoti_torch/c/shim_cpu.h`), whose handles are the tensor pointers that tch has.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use tch::{Device, Kind, TchError, Tensor};

use super::device::{Runtime, instructions};

/// A pointer to an `at::Tensor`.
type Handle = *mut c_void;

unsafe extern "C" {
    fn aoti_torch_cpu_mkldnn__convolution_pointwise(
        x: Handle,
        weight: Handle,
        bias: *const Handle,
        padding: *const i64,
        padding_len: i64,
        stride: *const i64,
        stride_len: i64,
        dilation: *const i64,
        dilation_len: i64,
        groups: i64,
        then: *const c_char,
        scalars: *const *const f64,
        scalars_len: i64,
        algorithm: *const *const c_char,
        result: *mut Handle,
    ) -> i32;

    fn aoti_torch_cpu__linear_pointwise(
        x: Handle,
        weight: Handle,
        bias: *const Handle,
        then: *const c_char,
        scalars: *const *const f64,
        scalars_len: i64,
        algorithm: *const *const c_char,
        result: *mut Handle,
    ) -> i32;

    fn aoti_torch_call_dispatcher(operator: *const c_char, overload: *const c_char, stack: *mut u64) -> i32;

    fn aoti_torch_new_tensor_handle(of: Handle, result: *mut Handle) -> i32;
}

/// What is done with each value of a layer before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * normal cdf(x)`, exact, not its tanh approximation.
    Gelu,
}

impl Then {
    fn name(self) -> &'static CStr {
        match self {
            Self::Nothing => c"none",
            Self::Silu => c"swish",
            Self::Gelu => c"gelu",
        }
    }
}

/// Whether networks of this runtime run on these layers: on the CPU, at a precision that it computes in.
#[must_use]
pub fn serves(runtime: Runtime) -> bool {
    let computes = match runtime.kind {
        Kind::Float => true,
        Kind::BFloat16 => instructions().is_some(),
        _ => false,
    };
    runtime.device == Device::Cpu && cfg!(target_arch = "x86_64") && tch::utils::has_mkldnn() && computes
}

/// Lays a convolution's weight `[out, in, height, width]` out for inputs of about this shape `[batch, in, h, w]`. Other shapes
/// work too, with a copy at each call where oneDNN would choose another layout for them.
///
/// # Errors
/// When libtorch fails.
pub fn pack_convolution(weight: &Tensor, stride: i64, padding: i64, input: [i64; 4]) -> Result<Tensor, TchError> {
    let plain = weight.f_contiguous()?.f_to_mkldnn(None)?;
    plain.f_mkldnn_reorder_conv2d_weight([padding; 2], [stride; 2], [1, 1], 1, &input[..])
}

/// A convolution over a picture with its channels last, and what follows it. The result has its channels last.
///
/// # Errors
/// When libtorch fails.
pub fn convolve(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    stride: i64,
    padding: i64,
    then: Then,
) -> Result<Tensor, TchError> {
    let (stride, padding, dilation) = ([stride; 2], [padding; 2], [1i64; 2]);
    let bias = handle(bias);
    receive("convolution", |result| {
        // SAFETY: the handles are live tensors for the length of the call, which takes no ownership of them; the arrays
        // have the lengths given; an activation without parameters has no scalars and no algorithm.
        unsafe {
            aoti_torch_cpu_mkldnn__convolution_pointwise(
                handle(x),
                handle(weight),
                &bias,
                padding.as_ptr(),
                2,
                stride.as_ptr(),
                2,
                dilation.as_ptr(),
                2,
                1,
                then.name().as_ptr(),
                ptr::null(),
                0,
                ptr::null(),
                result,
            )
        }
    })
}

/// Lays a linear layer's weight `[out, in]` out for about so many rows.
///
/// # Errors
/// When libtorch fails.
pub fn pack_linear(weight: &Tensor, rows: i64) -> Result<Tensor, TchError> {
    let plain = weight.f_contiguous()?;
    let rows = optional(rows)?;
    // The callee takes this handle over, and frees it.
    let owned = receive_raw("the copy of a handle", |result| {
        // SAFETY: `plain` is a live tensor.
        unsafe { aoti_torch_new_tensor_handle(handle(&plain), result) }
    })?;
    let mut stack = [owned as u64, rows];
    receive("reordering of a weight", |result| {
        // SAFETY: the operator's schema is `(Tensor, int?) -> Tensor`; the stack holds both arguments, owned, and has
        // room for the one result.
        let status = unsafe {
            aoti_torch_call_dispatcher(c"mkldnn::_reorder_linear_weight".as_ptr(), c"".as_ptr(), stack.as_mut_ptr())
        };
        // SAFETY: `result` points to the caller's handle.
        unsafe { *result = stack[0] as Handle };
        status
    })
}

/// A number where the interface wants an optional one: a pointer to it, which the callee frees.
fn optional(number: i64) -> Result<u64, TchError> {
    // SAFETY: plain allocation. libtorch frees it with C++'s `delete`, which on this platform is `free`.
    let place = unsafe { libc::malloc(size_of::<i64>()) }.cast::<i64>();
    if place.is_null() {
        return Err(TchError::Kind("no memory left for eight bytes".into()));
    }
    // SAFETY: it was just allocated with the size and alignment of an i64.
    unsafe { place.write(number) };
    Ok(place as u64)
}

/// A linear layer over the last dimension, and what follows it.
///
/// # Errors
/// When libtorch fails.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, then: Then) -> Result<Tensor, TchError> {
    let bias = handle(bias);
    let exact = c"none".as_ptr();
    let algorithm = if then == Then::Gelu { &raw const exact } else { ptr::null() };
    receive("linear layer", |result| {
        // SAFETY: as in `convolve`.
        unsafe {
            aoti_torch_cpu__linear_pointwise(
                handle(x),
                handle(weight),
                &bias,
                then.name().as_ptr(),
                ptr::null(),
                0,
                algorithm,
                result,
            )
        }
    })
}

fn handle(tensor: &Tensor) -> Handle {
    tensor.as_ptr().cast_mut().cast()
}

fn receive_raw(what: &str, call: impl FnOnce(*mut Handle) -> i32) -> Result<Handle, TchError> {
    let mut result: Handle = ptr::null_mut();
    let status = call(&raw mut result);
    if status != 0 || result.is_null() {
        return Err(TchError::Torch(format!("oneDNN's {what} failed (libtorch's message is on stderr)")));
    }
    Ok(result)
}

fn receive(what: &str, call: impl FnOnce(*mut Handle) -> i32) -> Result<Tensor, TchError> {
    let result = receive_raw(what, call)?;
    // SAFETY: on success the handle is a new `at::Tensor` on the C++ heap that belongs to the caller: what tch wraps.
    Ok(unsafe { Tensor::from_ptr(result.cast()) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail")]

    use super::*;

    fn values(shape: &[i64], seed: i64) -> Tensor {
        let count: i64 = shape.iter().product();
        ((Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.37 + seed).sin()).view(shape)
    }

    fn apart(a: &Tensor, b: &Tensor) -> f64 {
        let most = (a.contiguous() - b.contiguous()).abs().max();
        f64::try_from(most / b.abs().max()).unwrap()
    }

    #[test]
    fn fused_layers_say_what_separate_ones_say() {
        let x = values(&[2, 24, 20, 28], 1).permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        let bias = values(&[40], 2);
        for (kernel, stride) in [(1, 1), (3, 1), (3, 2)] {
            let weight = values(&[40, 24, kernel, kernel], 3);
            let packed = pack_convolution(&weight, stride, kernel / 2, [1, 24, 40, 40]).unwrap();
            let plain = x.conv2d(&weight, Some(&bias), [stride; 2], [kernel / 2; 2], [1, 1], 1);
            for (then, expected) in [(Then::Nothing, plain.shallow_clone()), (Then::Silu, plain.silu())] {
                let fused = convolve(&x, &packed, &bias, stride, kernel / 2, then).unwrap();
                assert!(apart(&fused, &expected) < 1e-5, "{kernel} {stride} {then:?}: {}", apart(&fused, &expected));
            }
        }
        let (x, weight) = (values(&[2, 9, 24], 4), values(&[40, 24], 5));
        let packed = pack_linear(&weight, 18).unwrap();
        let plain = x.linear(&weight, Some(&bias));
        for (then, expected) in [(Then::Nothing, plain.shallow_clone()), (Then::Gelu, plain.gelu("none"))] {
            let fused = linear(&x, &packed, &bias, then).unwrap();
            assert!(apart(&fused, &expected) < 1e-5, "{then:?}: {}", apart(&fused, &expected));
        }
    }

    #[test]
    fn a_layer_that_does_not_fit_is_an_error() {
        let (x, weight, bias) = (values(&[1, 8, 4, 4], 1), values(&[8, 16, 1, 1], 2), values(&[8], 3));
        let packed = pack_convolution(&weight, 1, 0, [1, 16, 4, 4]).unwrap();
        assert!(convolve(&x, &packed, &bias, 1, 0, Then::Nothing).is_err());
    }
}
