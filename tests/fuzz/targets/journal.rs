//! A segment of the journal, its entries, and the checkpoints.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    sightline::journal::fuzzing::read(data);
});
