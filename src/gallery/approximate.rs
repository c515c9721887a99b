//! Approximate search: candidates from an index over most of the vectors, everything enrolled since beside it, and each
//! compared as it was enrolled. It may miss one of the nearest; it never shows a similarity that is not the true one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::filter::{Filter, Probe, Sieve};
use super::graph::{self, Coded, Graph, IndexFault, NONE};
use super::search::nearest;
use super::{Gallery, GalleryError};
use crate::domain::{Embedding, Fingerprint, Neighbour};

/// How often the beam is doubled for a list that is too short, before the exact search is asked instead.
const WIDER: u32 = 4;

/// An index in use, and what has changed since it was made.
pub(super) struct Index {
    graph: Graph,
    /// Where each node's vector is by now; none where it is no longer enrolled.
    slots: Vec<u32>,
    /// The node of each slot; none where the vector is not in the index.
    nodes: Vec<u32>,
    /// Vectors that are not in it.
    outside: usize,
    /// Blocks of slots with such vectors.
    blocks: BTreeSet<u32>,
    /// Nodes whose vectors are no longer enrolled.
    gone: usize,
}

/// A proven index file, not yet in use.
pub struct Opened {
    graph: Graph,
}

/// An index in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Vectors that it finds.
    pub vectors: usize,
    /// Vectors enrolled since, which are searched beside it.
    pub outside: usize,
    /// Vectors in it that are no longer enrolled.
    pub gone: usize,
    /// Bytes of its file.
    pub bytes: usize,
}

impl Index {
    /// Takes note of slots that have been written.
    pub(super) fn written(&mut self, slot: u32, rows: usize) {
        for slot in slot..slot + rows as u32 {
            self.outside += 1;
            self.blocks.insert(slot / super::kernel::ROWS as u32);
        }
    }

    /// Takes note of slots that have been given back.
    pub(super) fn given_back(&mut self, slot: u32, rows: usize) {
        for slot in slot..slot + rows as u32 {
            let node = self.nodes.get_mut(slot as usize).map_or(NONE, |node| std::mem::replace(node, NONE));
            match self.slots.get_mut(node as usize) {
                Some(slot) => {
                    *slot = NONE;
                    self.gone += 1;
                }
                None => self.outside = self.outside.saturating_sub(1),
            }
        }
    }

    /// Slots with what their similarities do not exceed; `beside` are those outside of which that is known.
    fn bounded(
        &self,
        filter: &Filter,
        coded: &Coded,
        ready: &Probe,
        slots: &[u32],
        beside: &[(u32, f32)],
    ) -> Vec<(u32, f32)> {
        let node = |slot: &u32| self.nodes.get(*slot as usize).copied().unwrap_or(NONE);
        let nodes: Vec<u32> = slots.iter().map(node).filter(|node| *node != NONE).collect();
        let mut middles = self.graph.by_codes(coded, &nodes).into_iter();
        let bound = |slot: &u32| {
            let known = || beside.binary_search_by_key(slot, |(slot, _)| *slot).ok().map(|at| beside[at].1);
            let upper = match node(slot) {
                NONE => known(),
                _ => middles.next().map(|middle| filter.upper(ready, *slot, middle)),
            };
            (*slot, upper.unwrap_or(f32::INFINITY))
        };
        slots.iter().map(bound).collect()
    }

    fn holds(&self, slot: u32) -> bool {
        self.nodes.get(slot as usize).is_some_and(|node| *node != NONE)
    }
}

/// Opens an index file; it takes part once it is given to [`Gallery::use_index`].
///
/// # Errors
/// [`IndexFault`] says whether it is to be set aside, and made anew.
pub fn open_index(path: &Path) -> Result<Opened, IndexFault> {
    Graph::open(path).map(|graph| Opened { graph })
}

/// Whether an index file is what was written; nothing is kept of it.
///
/// # Errors
/// The sentence says what is wrong with it.
pub fn prove_index(path: &Path) -> Result<(), String> {
    graph::prove(path)
}

impl Gallery {
    /// Searches with an index from now on. Its rows are held against what is enrolled: those that are no longer, or are
    /// not the same, take no part.
    pub fn use_index(&mut self, opened: Opened) {
        let Opened { graph } = opened;
        let (segments, shape) = (&self.segments, graph.shape);
        let Some(set) = self.members.sets.get_mut(&shape.fingerprint) else { return };
        if set.filter.dimension() != shape.dimension {
            return;
        }
        // The node of each row of each segment.
        let mut nodes: BTreeMap<u32, Vec<u32>> =
            segments.iter().map(|(number, segment)| (*number, vec![NONE; segment.rows as usize])).collect();
        for node in 0..shape.nodes as u32 {
            let Some([segment, row, _]) = graph.row(node) else { continue };
            if let Some(at) = nodes.get_mut(&segment).and_then(|rows| rows.get_mut(row as usize)) {
                *at = node;
            }
        }
        let mut index = Index {
            slots: vec![NONE; shape.nodes],
            nodes: vec![NONE; set.filter.slots()],
            outside: 0,
            blocks: BTreeSet::new(),
            gone: 0,
            graph,
        };
        for member in &set.members {
            for (slot, place) in (member.slot..).zip(&member.places) {
                let node = nodes.get(&place.segment).and_then(|rows| rows.get(place.row as usize)).copied();
                let node = node.filter(|node| index.graph.row(*node).map(|row| row[2]) == Some(place.crc));
                match node.and_then(|node| index.slots.get_mut(node as usize).map(|slot| (node, slot))) {
                    Some((node, at)) => {
                        *at = slot;
                        index.nodes[slot as usize] = node;
                    }
                    None => index.written(slot, 1),
                }
            }
        }
        index.gone = index.slots.iter().filter(|slot| **slot == NONE).count();
        set.index = Some(index);
    }

    /// Searches without an index again.
    pub fn drop_index(&mut self, fingerprint: Fingerprint) {
        if let Some(set) = self.members.sets.get_mut(&fingerprint) {
            set.index = None;
        }
    }

    /// How the index of these weights stands; none where there is none.
    #[must_use]
    pub fn index_stats(&self, fingerprint: Fingerprint) -> Option<IndexStats> {
        let index = self.members.sets.get(&fingerprint)?.index.as_ref()?;
        let (outside, gone) = (index.outside, index.gone);
        Some(IndexStats { vectors: index.slots.len() - gone, outside, gone, bytes: index.graph.bytes() })
    }

    /// Weights with anything enrolled, and the vectors they made.
    #[must_use]
    pub fn sizes(&self) -> Vec<(Fingerprint, usize)> {
        self.members.sets.iter().map(|(fingerprint, set)| (*fingerprint, set.filter.rows())).collect()
    }

    /// About the `k` enrolled sightings nearest to a probe, as [`Gallery::search`] tells them: similarities are exact, but
    /// one of the nearest may be missing. `beam` (16 to some hundred) is how many vectors are kept on the way: the more,
    /// the surer and the slower. None where there is no index, or where it gives too few.
    ///
    /// # Errors
    /// As [`Gallery::search`].
    pub fn approximate(
        &self,
        fingerprint: Fingerprint,
        probe: &Embedding,
        k: usize,
        beam: usize,
    ) -> Result<Option<Vec<Neighbour>>, GalleryError> {
        let Some(set) = self.set(fingerprint, std::slice::from_ref(probe))? else { return Ok(None) };
        let Some(index) = &set.index else { return Ok(None) };
        let wanted = k.min(set.members.len());
        let ready = set.filter.probe(probe.as_slice());
        let beside = if index.outside == 0 {
            Vec::new()
        } else {
            let (ready, mut sieves) = (std::slice::from_ref(&ready), [Sieve::new(k.max(1))]);
            set.filter.sift_some(ready, &mut sieves, index.blocks.iter().copied(), |slot| !index.holds(slot));
            sieves.into_iter().flat_map(Sieve::left).collect()
        };
        // Several rotations of a sighting may be near, and only one of them counts.
        let each = (index.slots.len() + index.outside).div_ceil(set.members.len().max(1));
        let mut beam = beam.max(k * each);
        let coded = index.graph.coded(probe.as_slice());
        for _ in 0..WIDER {
            let nodes = index.graph.search(&coded, beam);
            let slots = nodes.iter().filter_map(|node| index.slots.get(*node as usize).filter(|s| **s != NONE));
            // Another rotation of a sighting than the one that was found may be its best.
            let owners = slots.copied().chain(beside.iter().map(|(slot, _)| *slot));
            let mut owners: Vec<usize> = owners.filter_map(|slot| set.filter.owner(slot)).collect();
            owners.sort_unstable();
            owners.dedup();
            let members = owners.iter().filter_map(|owner| set.members.get(*owner));
            let mut slots: Vec<u32> = members.flat_map(|m| m.slot..m.slot + m.places.len() as u32).collect();
            slots.sort_unstable();
            if owners.len() >= wanted {
                let candidates = index.bounded(&set.filter, &coded, &ready, &slots, &beside);
                return Ok(Some(nearest(self.compared(set, probe.as_slice(), k, &candidates)?, k)));
            }
            beam *= 2;
        }
        Ok(None)
    }

    /// Puts a damaged index out of the way, under a name that tells so; gives that name.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn set_index_aside(&self, fingerprint: Fingerprint) -> Result<PathBuf, GalleryError> {
        let (path, aside) = (self.index_path(fingerprint), self.index_aside(fingerprint));
        fs::rename(&path, &aside).map_err(GalleryError::io("set aside", &path))?;
        Ok(aside)
    }

    /// Where a damaged index of these weights is kept, if there was one.
    #[must_use]
    pub fn index_aside(&self, fingerprint: Fingerprint) -> PathBuf {
        self.index_path(fingerprint).with_extension("ann.damaged")
    }

    /// Removes what a kill has left of unfinished indexes, and indexes of weights that nothing is enrolled with.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn tidy_indexes(&self) -> Result<(), GalleryError> {
        let dir = self.index_dir();
        let of_use: Vec<PathBuf> = self.members.sets.keys().map(|fingerprint| self.index_path(*fingerprint)).collect();
        let tidy = || -> std::io::Result<()> {
            for file in fs::read_dir(&dir)? {
                let path = file?.path();
                let unused = path.extension().is_some_and(|e| e == "ann") && !of_use.contains(&path);
                if unused || path.extension().is_some_and(|e| e == "new") {
                    fs::remove_file(&path)?;
                }
            }
            Ok(())
        };
        self.check_index_dir()?;
        match tidy() {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(GalleryError::io("tidy", &dir)(error)),
            _ => Ok(()),
        }
    }

    /// Whether the indexes' folder can be one.
    ///
    /// # Errors
    /// Something else stands there: the sentence says what to do.
    pub fn check_index_dir(&self) -> Result<(), GalleryError> {
        let dir = self.index_dir();
        if dir.is_dir() || dir.symlink_metadata().is_err() {
            return Ok(());
        }
        Err(GalleryError::Index {
            path: dir,
            detail: "a folder is needed here, and something else stands there: move it away, and the folder and the \
                     index in it are made anew"
                .into(),
        })
    }
}

#[cfg(test)]
impl Gallery {
    /// The nearest of everything enrolled by the bounds of the index alone, without its graph.
    pub(super) fn by_bounds(&self, fingerprint: Fingerprint, probe: &Embedding, k: usize) -> Vec<Neighbour> {
        let set = &self.members.sets[&fingerprint];
        let Some(index) = &set.index else { return Vec::new() };
        let slots: Vec<u32> = (0..set.filter.slots() as u32).collect();
        let (coded, ready) = (index.graph.coded(probe.as_slice()), set.filter.probe(probe.as_slice()));
        let candidates = index.bounded(&set.filter, &coded, &ready, &slots, &[]);
        nearest(self.compared(set, probe.as_slice(), k, &candidates).unwrap_or_default(), k)
    }
}
