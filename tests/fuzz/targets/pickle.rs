//! A pickle of vectors (`gallery import`), and the same bytes as the pickle within a PyTorch file (`model import`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline::vision::checkpoint;

fuzz_target!(|data: &[u8]| {
    drop(checkpoint::vectors::parse(data));
    // The first byte says how long the one storage is that tensors may lie in.
    let storage = vec![0x3C; usize::from(data.first().copied().unwrap_or(0))];
    let file = sightline_fuzz::zip(&[("m/data.pkl", data), ("m/version", b"3\n"), ("m/data/0", &storage)]);
    drop(checkpoint::from_bytes(&file));
});
