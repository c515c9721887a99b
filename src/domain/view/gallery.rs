//! The gallery as the engine shows it.

use serde::{Deserialize, Serialize};

use crate::domain::{Fingerprint, Label, Rotation, SightingId};

/// A label of the gallery: `GET /v1/gallery/labels`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRow {
    /// The label.
    pub label: Label,
    /// Sightings enrolled under it.
    pub sightings: u64,
}

/// An enrolled sighting: `GET /v1/gallery/sightings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SightingRow {
    /// Which.
    pub sighting: SightingId,
    /// Its label.
    pub label: Label,
    /// The weights that embedded it.
    pub fingerprint: Fingerprint,
    /// The rotations that are kept.
    pub rotations: Vec<Rotation>,
    /// The journal entry that enrolled it.
    pub sequence: u64,
    /// Whether the original is in the archive (imported vectors have none).
    pub has_image: bool,
}

/// The gallery in numbers: `GET /v1/gallery/stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GalleryStats {
    /// Labels.
    pub labels: u64,
    /// Live sightings.
    pub sightings: u64,
    /// Vectors that are searched.
    pub vectors: u64,
    /// Rows on disk, with those of removed sightings.
    pub rows_on_disk: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Vectors by the weights that made them; more than one means that `gallery reembed` is due.
    pub fingerprints: Vec<(Fingerprint, u64)>,
    /// The weights in use, once loaded.
    pub in_use: Option<Fingerprint>,
    /// The approximate indexes that are open; none below `gallery.ann_above`.
    #[serde(default)]
    pub indexes: Vec<IndexRow>,
}

/// An approximate index of the gallery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexRow {
    /// The weights whose vectors it holds.
    pub weights: Fingerprint,
    /// Vectors that it finds.
    pub vectors: u64,
    /// Vectors enrolled since it was made; they are searched exactly beside it.
    pub outside: u64,
    /// Vectors in it that have been removed since; they are left out.
    pub gone: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Share of the nearest that it found, 0 to 1, on the last probes that were asked both ways; none while there are none.
    pub recall: Option<f64>,
    /// How many probes those are.
    pub measured: u64,
    /// Answers that it would have accepted and that the exact search has changed, since the engine started.
    pub overruled: u64,
    /// Whether lists are taken from it; false while its recall is below 0.99.
    pub in_use: bool,
}
