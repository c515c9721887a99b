//! Holding everything that is enrolled against the disk: on demand, and when there is reason to doubt a file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::{Gallery, GalleryError};
use crate::domain::SightingId;

/// Problems that are told one by one.
const MOST: usize = 1000;

/// What reading every row found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct VerifyReport {
    /// Whether every enrolled row is sound.
    pub ok: bool,
    /// Rows read.
    pub rows: u64,
    /// Of those, enrolled.
    pub enrolled: u64,
    /// Rows that are damaged but that nothing enrolled needs.
    pub damaged_unused: u64,
    /// Bytes that crashes left behind whole rows.
    pub torn_bytes: u64,
    /// Everything that is wrong, one sentence each.
    pub problems: Vec<String>,
}

impl Gallery {
    /// Reads every row of every segment. Damage to rows that nothing enrolled needs is counted, not a problem. A sighting
    /// that turns out damaged is not searched any more.
    pub fn verify(&mut self) -> VerifyReport {
        let known: Vec<SightingId> = self.damaged().iter().copied().collect();
        let (mut problems, lost) = (Vec::new(), self.lost());
        let (mut rows, mut enrolled, mut damaged_unused, mut torn_bytes) = (0, 0, 0, 0);
        let numbers: Vec<u32> = self.segments.keys().copied().collect();
        for number in numbers {
            let Checked { read, sound, unused, torn, wrong } = self.check_segment(number);
            (rows, enrolled, damaged_unused, torn_bytes) =
                (rows + read, enrolled + sound, damaged_unused + unused, torn_bytes + torn);
            let path = self.segment_path(number);
            // One that holds nothing of use is nobody's loss; what is known as damaged may have been in it.
            if let Some(how) = lost.get(&number).filter(|_| sound > 0 || !wrong.is_empty() || !known.is_empty()) {
                problems.push(format!("{}: {how} while it was in use", path.display()));
            }
            for (sighting, (row, detail)) in wrong {
                problems.push(format!("{}: row {row}, which is enrolled, {detail}", path.display()));
                self.miss(sighting);
            }
        }
        // Those whose segment cannot be read at all, and why.
        problems.extend(self.unreadable.iter().filter(|_| !known.is_empty()).map(|(number, why)| {
            format!("{} cannot be read: {why}; restore it from a backup", self.segment_path(*number).display())
        }));
        problems.extend(known.iter().map(|sighting| format!("{sighting}: its vectors are damaged")));
        let more = problems.len().saturating_sub(MOST);
        if more > 0 {
            problems.truncate(MOST);
            problems.push(format!("and {more} more of the kind"));
        }
        VerifyReport { ok: problems.is_empty(), rows, enrolled, damaged_unused, torn_bytes, problems }
    }

    /// Segments that somebody has removed, replaced or cut since they were opened, and which of these.
    #[must_use]
    pub fn lost(&self) -> BTreeMap<u32, &'static str> {
        self.segments.iter().filter_map(|(number, segment)| Some((*number, segment.lost()?))).collect()
    }

    /// Reads through a segment, one of whose rows was found wrong. Sightings with damaged rows are not searched any more: see
    /// [`Gallery::miss`]. Gives what is wrong with the first of them.
    pub fn doubt(&mut self, path: &Path) -> Option<GalleryError> {
        let number = self.segments.values().find(|segment| segment.path == path)?.number;
        let mut first = None;
        for (sighting, (row, detail)) in self.check_segment(number).wrong {
            first.get_or_insert(GalleryError::Row { path: path.to_owned(), row, sighting: Some(sighting), detail });
            self.miss(sighting);
        }
        first
    }

    fn check_segment(&self, number: u32) -> Checked {
        let mut checked = Checked::default();
        let Some(segment) = self.segments.get(&number) else { return checked };
        checked.torn = segment.torn;
        let places = self.members.all().flat_map(|m| m.places.iter().map(|place| (m.sighting, place)));
        let needed: HashMap<u32, (SightingId, u32)> =
            places.filter(|(_, p)| p.segment == number).map(|(id, p)| (p.row, (id, p.crc))).collect();
        segment.each_row(|row, found| {
            checked.read += 1;
            match (found, needed.get(&row)) {
                (Ok(crc), Some((_, named))) if crc == *named => checked.sound += 1,
                (Ok(_), None) => {}
                (Ok(_), Some((sighting, _))) => {
                    let detail = "is not the vector that the journal names".to_owned();
                    checked.wrong.entry(*sighting).or_insert((row, detail));
                }
                (Err(detail), Some((sighting, _))) => {
                    checked.wrong.entry(*sighting).or_insert((row, detail));
                }
                (Err(_), None) => checked.unused += 1,
            }
        });
        checked
    }
}

/// A segment, read from beginning to end.
#[derive(Default)]
struct Checked {
    read: u64,
    /// Enrolled rows that are sound.
    sound: u64,
    /// Damaged rows that nothing enrolled needs.
    unused: u64,
    torn: u64,
    /// Sightings that are enrolled with a damaged row: the row, and what is wrong with it.
    wrong: BTreeMap<SightingId, (u32, String)>,
}
