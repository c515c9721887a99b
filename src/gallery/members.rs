//! Which vectors are enrolled, as what: told by the journal's entries, checked against the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::approximate::Index;
use super::filter::Filter;
use super::segment::Scratch;
use super::{Dtype, Gallery, GalleryError};
use crate::domain::{Embedding, Fingerprint, Label, Rotation, SightingId, VectorRef};

/// A row that is enrolled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub segment: u32,
    pub row: u32,
    /// The vector's checksum, as the journal names it.
    pub crc: u32,
    pub rotation: Rotation,
}

/// An enrolled sighting.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub sighting: SightingId,
    pub label: Label,
    pub places: Vec<Place>,
    /// Where its vectors' copies begin in the filter, in the order of its places.
    pub slot: u32,
}

/// The enrolled sightings of one set of weights.
pub(super) struct Set {
    pub members: Vec<Member>,
    pub filter: Filter,
    pub index: Option<Index>,
}

/// All enrolled sightings, apart by weights.
#[derive(Default)]
pub(super) struct Members {
    pub sets: BTreeMap<Fingerprint, Set>,
    /// Under which weights a sighting is enrolled, and its place among them.
    places: HashMap<SightingId, (Fingerprint, usize)>,
    /// Enrolled by the journal, but with a row that cannot be read.
    damaged: BTreeSet<SightingId>,
}

impl Members {
    fn get_mut(&mut self, sighting: &SightingId) -> Option<&mut Member> {
        let (fingerprint, at) = self.places.get(sighting)?;
        self.sets.get_mut(fingerprint)?.members.get_mut(*at)
    }

    /// Enrols a sighting; `vectors` are those of its places.
    fn insert(&mut self, fingerprint: Fingerprint, mut member: Member, vectors: &[Vec<f32>]) -> std::io::Result<()> {
        let dimension = vectors.first().map_or(0, Vec::len);
        let set = self.sets.entry(fingerprint);
        let set = set.or_insert_with(|| Set { members: Vec::new(), filter: Filter::new(dimension), index: None });
        let taken = set.filter.take(vectors.len());
        if taken.is_err() {
            self.sets.retain(|_, set| !set.members.is_empty());
        }
        member.slot = taken?;
        // Only now, when nothing can fail any more, is what was there before taken out.
        self.take_out(&member.sighting);
        self.sets.retain(|weights, set| *weights == fingerprint || !set.members.is_empty());
        let Some(set) = self.sets.get_mut(&fingerprint) else { return Ok(()) };
        for (slot, vector) in (member.slot..).zip(vectors) {
            set.filter.write(slot, vector);
        }
        set.filter.own(member.slot, vectors.len(), set.members.len());
        if let Some(index) = &mut set.index {
            index.written(member.slot, vectors.len());
        }
        self.places.insert(member.sighting, (fingerprint, set.members.len()));
        set.members.push(member);
        Ok(())
    }

    fn remove(&mut self, sighting: &SightingId) -> bool {
        let removed = self.take_out(sighting);
        self.sets.retain(|_, set| !set.members.is_empty());
        removed
    }

    fn take_out(&mut self, sighting: &SightingId) -> bool {
        if self.damaged.remove(sighting) {
            return true;
        }
        let Some((fingerprint, at)) = self.places.remove(sighting) else {
            return false;
        };
        if let Some(set) = self.sets.get_mut(&fingerprint) {
            let gone = set.members.swap_remove(at);
            set.filter.give_back(gone.slot, gone.places.len());
            if let Some(index) = &mut set.index {
                index.given_back(gone.slot, gone.places.len());
            }
            if let Some(moved) = set.members.get(at) {
                set.filter.own(moved.slot, moved.places.len(), at);
                self.places.insert(moved.sighting, (fingerprint, at));
            }
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Member> {
        self.sets.values().flat_map(|set| &set.members)
    }
}

/// A segment in numbers.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SegmentStats {
    /// The number in its name.
    pub number: u32,
    /// Rows, enrolled or not.
    pub rows: u32,
    /// Components of a vector.
    pub dimension: usize,
    /// How they are kept.
    pub dtype: Dtype,
    /// Which weights made them.
    pub fingerprint: Fingerprint,
    /// Bytes of the whole rows.
    pub bytes: u64,
    /// Bytes behind them that a crash left.
    pub torn: u64,
}

/// The gallery in numbers.
#[derive(Clone, Debug, serde::Serialize)]
pub struct GalleryStats {
    /// Enrolled sightings.
    pub sightings: usize,
    /// Enrolled vectors.
    pub vectors: usize,
    /// Enrolled sightings by weights; more than one means that some are not compared with a probe.
    pub by_weights: BTreeMap<String, usize>,
    /// The files.
    pub segments: Vec<SegmentStats>,
    /// Files that cannot be read, and why.
    pub unreadable: BTreeMap<u32, String>,
    /// Enrolled sightings whose vectors are damaged.
    pub damaged: usize,
}

impl Gallery {
    /// Enrols a sighting with the rows that its journal entry names; each row's checksum is checked. A sighting that
    /// is enrolled already is replaced: so it is done after embedding anew.
    ///
    /// # Errors
    /// A row that is missing, damaged, of another sighting or of other weights; nothing is changed then.
    pub fn admit(
        &mut self,
        sighting: SightingId,
        label: Label,
        fingerprint: Fingerprint,
        vectors: &[VectorRef],
    ) -> Result<(), GalleryError> {
        let (mut places, mut copies) = (Vec::with_capacity(vectors.len()), Vec::with_capacity(vectors.len()));
        let mut dimension = self.members.sets.get(&fingerprint).map(|set| set.filter.dimension());
        for reference in vectors {
            let copy = self.sound_row(reference, sighting, fingerprint)?;
            if *dimension.get_or_insert(copy.len()) != copy.len() {
                return Err(self.bad_row(
                    reference,
                    Some(sighting),
                    "has another dimension than others of its weights",
                ));
            }
            copies.push(copy);
            let VectorRef { segment, row, rotation, crc } = *reference;
            places.push(Place { segment, row, crc, rotation });
        }
        let member = Member { sighting, label, places, slot: 0 };
        self.members.insert(fingerprint, member, &copies).map_err(GalleryError::Memory)
    }

    /// Remembers a sighting that is enrolled but cannot be admitted, for a row of its vectors is damaged. It is not
    /// searched; it counts as damaged until it is admitted with new rows, or removed.
    pub fn miss(&mut self, sighting: SightingId) {
        self.members.remove(&sighting);
        self.members.damaged.insert(sighting);
    }

    /// Enrolled sightings that cannot be searched, for their vectors are damaged. While there are any, an answer
    /// could be the next of kin instead of the pack itself.
    #[must_use]
    pub fn damaged(&self) -> &BTreeSet<SightingId> {
        &self.members.damaged
    }

    /// Gives an enrolled sighting another label.
    ///
    /// # Errors
    /// It is not enrolled.
    pub fn relabel(&mut self, sighting: &SightingId, label: Label) -> Result<(), GalleryError> {
        if self.members.damaged.contains(sighting) {
            return Ok(());
        }
        let member = self.members.get_mut(sighting).ok_or(GalleryError::Unknown(*sighting))?;
        member.label = label;
        Ok(())
    }

    /// Takes a sighting out of the search. Its rows stay on disk.
    ///
    /// # Errors
    /// It is not enrolled.
    pub fn remove(&mut self, sighting: &SightingId) -> Result<(), GalleryError> {
        if self.members.remove(sighting) { Ok(()) } else { Err(GalleryError::Unknown(*sighting)) }
    }

    /// A vector by its reference, its checksum checked.
    ///
    /// # Errors
    /// The row is missing or damaged.
    pub fn vector(&self, reference: &VectorRef) -> Result<Embedding, GalleryError> {
        let segment = self.segments.get(&reference.segment);
        let sighting = segment.and_then(|s| Some(s.row(reference.row, &mut Scratch::default()).ok()?.sighting));
        let known = segment.zip(sighting).ok_or_else(|| self.bad_row(reference, None, "cannot be read"));
        let (segment, sighting) = known?;
        Embedding::normalised(self.sound_row(reference, sighting, segment.fingerprint)?)
            .ok_or_else(|| self.bad_row(reference, Some(sighting), "is no direction (its length is zero)"))
    }

    /// Enrolled sightings under each label.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<&Label, usize> {
        let mut labels = BTreeMap::new();
        for member in self.members.all() {
            *labels.entry(&member.label).or_default() += 1;
        }
        labels
    }

    /// How many enrolled sightings were made with other weights, so that a search with these does not see them.
    #[must_use]
    pub fn made_with_others(&self, fingerprint: Fingerprint) -> usize {
        self.members.len() - self.members.sets.get(&fingerprint).map_or(0, |set| set.members.len())
    }

    /// Sizes and counts.
    #[must_use]
    pub fn stats(&self) -> GalleryStats {
        let segment = |s: &super::segment::Segment| SegmentStats {
            number: s.number,
            rows: s.rows,
            dimension: s.dimension,
            dtype: s.dtype,
            fingerprint: s.fingerprint,
            bytes: s.bytes(),
            torn: s.torn,
        };
        GalleryStats {
            sightings: self.members.len(),
            vectors: self.members.all().map(|m| m.places.len()).sum(),
            by_weights: self.members.sets.iter().map(|(f, set)| (f.to_string(), set.members.len())).collect(),
            segments: self.segments.values().map(segment).collect(),
            unreadable: self.unreadable.clone(),
            damaged: self.members.damaged.len(),
        }
    }

    /// The vector that the reference names, its row checked against everything that is known of it.
    fn sound_row(
        &self,
        reference: &VectorRef,
        sighting: SightingId,
        fingerprint: Fingerprint,
    ) -> Result<Vec<f32>, GalleryError> {
        let bad = |detail: &str| Err(self.bad_row(reference, Some(sighting), detail));
        let Some(segment) = self.segments.get(&reference.segment) else {
            let why = self.unreadable.get(&reference.segment).map_or("it is missing", String::as_str);
            return bad(&format!("cannot be read, for the segment cannot: {why}"));
        };
        let mut scratch = Scratch::default();
        match segment.row(reference.row, &mut scratch) {
            Err(wrong) => bad(&wrong),
            Ok(row) if row.sighting != sighting => bad(&format!("belongs to {}", row.sighting)),
            Ok(row) if row.rotation != reference.rotation => bad("has another rotation than the journal says"),
            Ok(row) if row.crc != reference.crc => bad("is not the vector that the journal names"),
            Ok(row) => match row.is_sound() {
                Err(wrong) => bad(&wrong),
                Ok(()) if segment.fingerprint != fingerprint => {
                    bad(&format!("was made with weights {}, not {fingerprint}", segment.fingerprint))
                }
                Ok(()) => Ok(segment.dtype.decoded(row.bytes)),
            },
        }
    }

    fn bad_row(&self, reference: &VectorRef, sighting: Option<SightingId>, detail: &str) -> GalleryError {
        GalleryError::Row {
            path: self.segment_path(reference.segment),
            row: reference.row,
            sighting,
            detail: detail.into(),
        }
    }
}
