//! What is enrolled nearest to a probe: by the exact search, or by the approximate one where nothing hangs on it.
//!
//! A list that misses the true runner-up shows too large a margin, and one that misses the nearest abstains where an
//! answer was due, with a wrong reason. Both would be recorded. So every decision is the exact search's; the approximate
//! one is asked beside it, which tells how much it misses (`engine::recall`), and serves lists that are only looked at.

use super::EngineError;
use super::core::{Engine, damaged_sentence};
use crate::domain::{Embedding, Fingerprint, Neighbour, decide};
use crate::gallery::{Gallery, GalleryError};

/// Neighbours that are kept with an answer.
pub(super) const NEIGHBOURS: usize = 10;

/// Whether all of them have one label, so that there is no runner-up among them.
fn one_label(neighbours: &[Neighbour]) -> bool {
    neighbours.iter().all(|n| n.label == neighbours[0].label)
}

impl Engine {
    /// Refuses where a part of the gallery cannot be compared: half a gallery would answer with the next of kin where
    /// the pack itself is in the other half.
    pub(super) fn comparable(&self, gallery: &Gallery, fingerprint: Fingerprint) -> Result<(), EngineError> {
        let damaged = gallery.damaged().len();
        if damaged > 0 {
            return Err(EngineError::Refused(damaged_sentence(damaged)));
        }
        let others = gallery.made_with_others(fingerprint);
        if others > 0 {
            return Err(EngineError::Refused(format!(
                "{others} enrolled sightings were made with other weights than those in use (or at another `precision`) and cannot be compared; `sightline gallery reembed` makes them anew (imported ones: remove them, or import vectors of these weights)"
            )));
        }
        Ok(())
    }

    pub(super) fn can_compare(&self, fingerprint: Fingerprint) -> Result<(), EngineError> {
        let gallery = self.read_gallery()?;
        self.comparable(&gallery, fingerprint)
    }

    /// The nearest enrolled sightings of each probe, far enough down the list to hold a second label.
    pub(super) fn nearest(
        &self,
        fingerprint: Fingerprint,
        probes: &[Embedding],
    ) -> Result<Vec<Vec<Neighbour>>, EngineError> {
        let gallery = self.read_gallery()?;
        self.comparable(&gallery, fingerprint)?;
        let exact = gallery.search_all(fingerprint, probes, NEIGHBOURS).map_err(|e| self.refused(e))?;
        let mut lists = Vec::with_capacity(probes.len());
        for (probe, exact) in probes.iter().zip(exact) {
            if gallery.index_stats(fingerprint).is_some() {
                self.measure(&gallery, fingerprint, probe, &exact)?;
            }
            let list = second_label(&gallery, fingerprint, probe, exact).map_err(|e| self.refused(e))?;
            lists.push(list);
        }
        Ok(lists)
    }

    /// Asks the approximate search what the exact one has answered, and counts what it misses.
    fn measure(
        &self,
        gallery: &Gallery,
        fingerprint: Fingerprint,
        probe: &Embedding,
        exact: &[Neighbour],
    ) -> Result<(), EngineError> {
        let beam = self.config.approximate.beam;
        let approximate = gallery.approximate(fingerprint, probe, NEIGHBOURS, beam).map_err(|e| self.refused(e))?;
        let Some(approximate) = approximate else { return Ok(()) };
        self.recall.measure(&approximate, exact);
        let label = |list: &[Neighbour]| list.first().map(|n| n.label.clone());
        let accepts = |list: &[Neighbour]| decide(list, self.config.decision).is_accept();
        if accepts(&approximate) != accepts(exact) || accepts(exact) && label(&approximate) != label(exact) {
            self.recall.overrule();
        }
        self.look_at_recall();
        Ok(())
    }

    /// What the approximate search says, and whether the exact one is to be asked, too, to measure it; none where it is not
    /// used.
    fn approximate(
        &self,
        gallery: &Gallery,
        fingerprint: Fingerprint,
        probe: &Embedding,
        k: usize,
    ) -> Result<Option<(Vec<Neighbour>, bool)>, EngineError> {
        let settings = self.config.approximate;
        if gallery.index_stats(fingerprint).is_none() {
            return Ok(None);
        }
        let due = self.recall.is_due(settings.sample);
        // While it is too low the exact search answers, and only what is measured is asked both ways.
        if !due && self.recall.is_low() {
            return Ok(None);
        }
        let list = gallery.approximate(fingerprint, probe, k, settings.beam).map_err(|e| self.refused(e))?;
        Ok(list.map(|list| (list, due)))
    }

    /// A list to look at, that decides nothing: by the approximate search where there is one.
    pub(super) fn listed(
        &self,
        gallery: &Gallery,
        fingerprint: Fingerprint,
        probe: &Embedding,
        k: usize,
    ) -> Result<Vec<Neighbour>, EngineError> {
        match self.approximate(gallery, fingerprint, probe, k)? {
            Some((list, false)) => Ok(list),
            Some((list, true)) => {
                let exact = gallery.search(fingerprint, probe, k).map_err(|e| self.refused(e))?;
                self.recall.measure(&list, &exact);
                self.look_at_recall();
                Ok(exact)
            }
            None => gallery.search(fingerprint, probe, k).map_err(|e| self.refused(e)),
        }
    }

    fn look_at_recall(&self) {
        if self.recall.is_low() {
            self.warn("the approximate index of the gallery finds less than 0.99 of what the exact search finds, so exact search answers everything; set gallery.ann_beam higher, or gallery.ann_above to 0 to do without the index".into());
        }
    }
}

/// The margin is to the next label: where one label fills the list, look further, exactly.
fn second_label(
    gallery: &Gallery,
    fingerprint: Fingerprint,
    probe: &Embedding,
    mut neighbours: Vec<Neighbour>,
) -> Result<Vec<Neighbour>, GalleryError> {
    let mut wanted = NEIGHBOURS;
    while one_label(&neighbours) && neighbours.len() >= wanted {
        wanted *= 4;
        neighbours = gallery.search(fingerprint, probe, wanted)?;
    }
    let second = neighbours.iter().find(|n| n.label != neighbours[0].label).cloned();
    let mut kept: Vec<Neighbour> = neighbours.into_iter().take(NEIGHBOURS).collect();
    if let Some(second) = second
        && !kept.contains(&second)
    {
        kept.push(second);
    }
    Ok(kept)
}
