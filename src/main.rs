//! Parse, run, map the error to an exit code.
fn main() {
    let _t = tch::Tensor::from_slice(&[1f32]);
}
