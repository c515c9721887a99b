//! A `.safetensors` file: weights, or an exported gallery. The length of its header is mended.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sightline::vision::checkpoint;

fuzz_target!(|data: &[u8]| {
    drop(checkpoint::from_bytes(data));
    if let Some(header) = data.get(8..).filter(|header| !header.is_empty()) {
        // The header ends with the last brace; what follows is data.
        let end = header.iter().rposition(|byte| *byte == b'}').map_or(header.len(), |at| at + 1);
        let mended = [&(end as u64).to_le_bytes()[..], header].concat();
        drop(checkpoint::from_bytes(&mended));
        sightline::gallery::fuzzing::export(&mended);
    }
});
