//! The gallery as the engine shows it.

use serde::{Deserialize, Serialize};

use crate::domain::{Fingerprint, Label, RawPath, Rotation, SightingId};

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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GalleryStats {
    /// Labels.
    pub labels: u64,
    /// Sightings that are searched.
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
    /// How the index of each set of weights stands, wanted or not, open or not.
    #[serde(default)]
    pub index_health: Vec<IndexHealth>,
    /// Enrolled sightings that cannot be searched, for their vectors are damaged: while there are any, no answer is given.
    #[serde(default)]
    pub damaged: u64,
    /// Files of vectors that cannot be read, each with the reason.
    #[serde(default)]
    pub unreadable: Vec<String>,
    /// Set while the gallery is still being read after a start: the counts are those so far, and answers wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
}

/// How far the gallery has been read after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Records of sightings read.
    pub done: u64,
    /// Of so many, with those that were removed.
    pub of: u64,
}

/// How the approximate index of a set of weights stands. Exact search decides in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexHealth {
    /// The weights.
    pub weights: Fingerprint,
    /// In a word.
    pub state: IndexState,
    /// In a sentence, with what to do where something is to be done.
    pub detail: String,
    /// A damaged file of it that was set aside and is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<RawPath>,
}

/// How an approximate index stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexState {
    /// There are too few vectors for one, or `gallery.ann_above` is 0.
    Unneeded,
    /// In use.
    Open,
    /// Being made.
    Building,
    /// To be opened or made; the last try may have failed.
    Waiting,
    /// Its file is there; a command's own engine does not open it.
    Closed,
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
