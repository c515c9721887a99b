//! A PyTorch file: a ZIP archive as it comes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline::vision::checkpoint;

fuzz_target!(|data: &[u8]| {
    drop(checkpoint::from_bytes(data));
});
