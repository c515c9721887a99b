//! The gallery's tab.

use std::path::PathBuf;

use super::window::{Row, Window};
use crate::console::picture::Picture;
use crate::domain::view::{GalleryStats, Identified, LabelRow, ProbeAnswer, SightingRow};
use crate::domain::{Label, Neighbour, SightingId};

/// What the gallery's tab shows.
#[derive(Debug)]
pub(in crate::console) struct Gallery {
    pub(in crate::console) pane: Pane,
    /// Only labels that hold this.
    pub(in crate::console) filter: String,
    pub(in crate::console) labels: Window<LabelRow>,
    /// Whose sightings are listed.
    pub(in crate::console) label: Option<Label>,
    pub(in crate::console) sightings: Window<SightingRow>,
    /// What is near a sighting, and which.
    pub(in crate::console) neighbours: Option<(SightingId, Vec<Neighbour>)>,
    /// The selected neighbour, of the sighting or of the probe.
    pub(in crate::console) neighbour: usize,
    pub(in crate::console) stats: Option<GalleryStats>,
    /// A picture that the gallery was asked about; covers the lists.
    pub(in crate::console) probe: Option<Probe>,
}

/// Where the keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::console) enum Pane {
    Labels,
    Sightings,
    Neighbours,
}

/// A picture that the gallery was asked about.
#[derive(Debug)]
pub(in crate::console) struct Probe {
    pub(in crate::console) path: PathBuf,
    /// None while the engine thinks.
    pub(in crate::console) answer: Option<Result<Identified, String>>,
    pub(in crate::console) picture: Option<Picture>,
    /// The object looked at.
    pub(in crate::console) object: usize,
}

impl Default for Gallery {
    fn default() -> Self {
        Self {
            pane: Pane::Labels,
            filter: String::new(),
            labels: Window::default(),
            label: None,
            sightings: Window::default(),
            neighbours: None,
            neighbour: 0,
            stats: None,
            probe: None,
        }
    }
}

impl Row for LabelRow {
    type Key = Label;
    const PAGE: usize = 200;

    fn key(&self) -> Label {
        self.label.clone()
    }
}

impl Row for SightingRow {
    type Key = SightingId;
    const PAGE: usize = 200;

    fn key(&self) -> SightingId {
        self.sighting
    }
}

impl Probe {
    /// The object looked at.
    pub(in crate::console) fn selected(&self) -> Option<&ProbeAnswer> {
        self.answer.as_ref()?.as_ref().ok()?.answers.get(self.object)
    }

    /// How many objects were seen.
    pub(in crate::console) fn objects(&self) -> usize {
        self.answer.as_ref().and_then(|answer| answer.as_ref().ok()).map_or(0, |answer| answer.answers.len())
    }
}

impl Gallery {
    /// The neighbours on the screen: those of the probe's object, or of the selected sighting once they are here.
    pub(in crate::console) fn shown_neighbours(&self) -> &[Neighbour] {
        if let Some(probe) = &self.probe {
            return probe.selected().map_or(&[], |answer| &answer.neighbours);
        }
        match (&self.neighbours, self.sightings.selected()) {
            (Some((of, neighbours)), Some(row)) if *of == row.sighting => neighbours,
            _ => &[],
        }
    }

    /// The enrolled sighting whose picture is shown.
    pub(in crate::console) fn pictured(&self) -> Option<SightingId> {
        if self.probe.is_some() || self.pane == Pane::Neighbours {
            return self.shown_neighbours().get(self.neighbour).map(|neighbour| neighbour.sighting);
        }
        self.sightings.selected().filter(|row| row.has_image).map(|row| row.sighting)
    }
}

/// By how much each neighbour leads over the nearest one of another label; negative where it trails.
pub(in crate::console) fn margins(neighbours: &[Neighbour]) -> Vec<Option<f32>> {
    let margin = |of: &Neighbour| {
        neighbours.iter().find(|other| other.label != of.label).map(|other| of.similarity - other.similarity)
    };
    neighbours.iter().map(margin).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::domain::{ImageId, Rotation};

    #[test]
    fn a_margin_is_the_lead_over_another_label() {
        let neighbour = |label: &str, similarity| Neighbour {
            label: Label::new(label).unwrap(),
            similarity,
            rotation: Rotation::R0,
            sighting: SightingId { image: ImageId([0; 32]), index: 0 },
        };
        let of = margins(&[neighbour("a", 0.75), neighbour("a", 0.5), neighbour("b", 0.25)]);
        assert_eq!(of, [Some(0.5), Some(0.25), Some(-0.5)]);
        assert_eq!(margins(&[neighbour("a", 0.75)]), [None]);
    }
}
