//! A segment of vectors: opened, mapped, every row read and verified. The header's checksum is mended, and the rows'.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    sightline::gallery::fuzzing::segment(data);
});
