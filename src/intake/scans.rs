//! Does a JPEG have all of its scans? Read from its markers (ITU-T T.81, annex B), before any pixel is decoded.
//!
//! libjpeg does not complain when a whole scan is missing: a progressive picture is then merely less sharp, and looks
//! like a sound one.

use super::clean::{Reject, corrupt, truncated};

/// More scans than any encoder makes: each costs a pass over the whole picture, however few bytes it has.
const MOST_SCANS: usize = 100;

const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;

/// What is known of a component's 64 coefficients: how many low bits of each are still to come.
struct Component {
    id: u8,
    /// None until a scan brought the coefficient.
    missing_bits: [Option<u8>; 64],
}

/// The components, once a frame header has named them.
#[derive(Default)]
struct Scans {
    components: Vec<Component>,
    progressive: bool,
    seen: usize,
}

/// Walks all segments and scans up to the end marker.
pub(super) fn check(bytes: &[u8]) -> Result<(), Reject> {
    let mut scans = Scans::default();
    let mut at = 2;
    loop {
        // Fill bytes may precede a marker.
        while bytes.get(at) == Some(&0xFF) && bytes.get(at + 1) == Some(&0xFF) {
            at += 1;
        }
        let marker = match (bytes.get(at), bytes.get(at + 1)) {
            (Some(0xFF), Some(marker)) => *marker,
            (Some(_), Some(_)) => return Err(corrupt("bytes between its segments")),
            _ => return Err(no_end()),
        };
        at += 2;
        match marker {
            END => return scans.are_complete(),
            0x01 | 0xD0..=0xD7 => continue,
            _ => {}
        }
        let (Some(high), Some(low)) = (bytes.get(at), bytes.get(at + 1)) else { return Err(no_end()) };
        let length = usize::from(*high) << 8 | usize::from(*low);
        let body = bytes.get(at + 2..at + length).ok_or_else(no_end)?;
        at += length;
        match marker {
            // Every start of frame but the tables that share its range: DHT, JPG, DAC.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => scans.frame(marker, body)?,
            SCAN => {
                scans.scan(body)?;
                at += data(bytes.get(at..).unwrap_or_default());
            }
            _ => {}
        }
    }
}

fn no_end() -> Reject {
    truncated("there is no end marker")
}

/// The length of a scan's coded data: to the next marker that is neither a stuffed byte nor a restart.
fn data(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0xFF)) {
        at += found;
        match bytes.get(at + 1) {
            Some(0x00 | 0xD0..=0xD7) => at += 2,
            Some(0xFF) => at += 1,
            _ => return at,
        }
    }
    bytes.len()
}

impl Scans {
    fn frame(&mut self, marker: u8, body: &[u8]) -> Result<(), Reject> {
        if !self.components.is_empty() {
            return Err(corrupt("it has two frame headers"));
        }
        let count = usize::from(*body.get(5).ok_or_else(|| corrupt("its frame header is too short"))?);
        let fields = body.get(6..6 + 3 * count).ok_or_else(|| corrupt("its frame header is too short"))?;
        self.components =
            fields.chunks_exact(3).map(|field| Component { id: field[0], missing_bits: [None; 64] }).collect();
        self.progressive = matches!(marker, 0xC2 | 0xC6 | 0xCA | 0xCE);
        Ok(())
    }

    fn scan(&mut self, body: &[u8]) -> Result<(), Reject> {
        let short = || corrupt("a scan header is too short");
        let count = usize::from(*body.first().ok_or_else(short)?);
        let fields = body.get(1..1 + 2 * count).ok_or_else(short)?;
        let [first, last, bits] = *body.get(1 + 2 * count..4 + 2 * count).ok_or_else(short)? else {
            return Err(short());
        };
        // In a sequential frame a scan brings everything, whatever these three bytes say.
        let (first, last, low) = if self.progressive { (first, last, bits & 15) } else { (0, 63, 0) };
        if first > last || last > 63 {
            return Err(corrupt("a scan header names coefficients that do not exist"));
        }
        self.seen += 1;
        if self.seen > MOST_SCANS {
            return Err(corrupt(format!("it has more than {MOST_SCANS} scans")));
        }
        for field in fields.chunks_exact(2) {
            let component = self.components.iter_mut().find(|component| component.id == field[0]);
            let component = component.ok_or_else(|| corrupt("a scan is of a component that does not exist"))?;
            component.missing_bits[usize::from(first)..=usize::from(last)].fill(Some(low));
        }
        Ok(())
    }

    fn are_complete(&self) -> Result<(), Reject> {
        if self.seen == 0 {
            return Err(corrupt("it ends before its first scan"));
        }
        let complete = |component: &Component| component.missing_bits.iter().all(|bits| *bits == Some(0));
        if self.components.iter().all(complete) { Ok(()) } else { Err(corrupt("a part of its scans is missing")) }
    }
}
