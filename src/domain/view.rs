//! What the engine shows and takes: the records of its interface, JSON over HTTP on the workspace's socket.

mod gallery;

use serde::{Deserialize, Serialize};

pub use gallery::{GalleryStats, IndexHealth, IndexRow, IndexState, LabelRow, Reading, SightingRow};

use super::{
    AbstainReason, Decision, Detection, ImageId, ItemId, ItemState, Label, Neighbour, QuarantineCode, RawPath,
    Sighting, SightingId,
};

/// An answer that is not 2xx carries this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs: `not_found`, `refused`, `bad_request`, `unavailable`, `failed`.
    pub code: String,
    /// For people: what happened, to what, and what to do next.
    pub error: String,
}

/// What somebody may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look and ask.
    Viewer,
    /// Change the queue and the gallery.
    Operator,
    /// Approve.
    Approver,
}

/// Who runs the workspace and how it is doing: `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The engine's process.
    pub pid: u32,
    /// The workspace's folder.
    pub workspace: RawPath,
    /// Whether it watches folders (a command's own engine does not).
    pub watching: bool,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// The name the engine knows the asker by.
    pub you: String,
    /// What the asker may do.
    pub role: Role,
    /// The processor that runs the models, once they are loaded.
    pub device: Option<String>,
    /// The detector.
    pub detector: ModelStatus,
    /// The embedder.
    pub embedder: ModelStatus,
    /// Everything an operator should know now, the gravest first.
    pub warnings: Vec<String>,
    /// Set once the engine has stopped taking work (a full disk, a damaged journal): why, and what to do.
    pub halted: Option<String>,
    /// Where the journal's last checkpoint stands.
    pub checkpoint: u64,
    /// Entries in the journal.
    pub entries: u64,
}

/// A model as configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// The weights' file.
    pub path: RawPath,
    /// `loaded`, `idle` (not needed yet), `missing`, or `failed`.
    pub state: String,
    /// What it is, or what is wrong with it.
    pub detail: String,
    /// Whether its card says that it was never trained.
    pub untrained: bool,
}

/// Counts by state: `GET /v1/queue/stats`. The first six are the contract of `sightline queue stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// Claimed, not begun.
    pub waiting: u64,
    /// On its way.
    pub working: u64,
    /// Identified or enrolled.
    pub done: u64,
    /// Duplicates.
    pub duplicate: u64,
    /// Set aside.
    pub quarantined: u64,
    /// Given up on.
    pub failed: u64,
    /// Dropped by an operator.
    #[serde(default)]
    pub discarded: u64,
}

/// A row of the queue: `GET /v1/queue/items`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: ItemId,
    /// Where it was dropped.
    pub path: RawPath,
    /// Where it stands.
    pub state: ItemState,
    /// Why, where there is a reason.
    pub reason: Option<String>,
    /// The reason for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<QuarantineCode>,
    /// Its bytes' hash, once known.
    pub sha256: Option<ImageId>,
    /// How many objects were seen.
    pub sightings: Option<u32>,
    /// `identify`, or the label it is enrolled under, or `unlabelled`.
    pub mode: String,
    /// The answer in short, for probes that are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Milliseconds since 1970.
    pub arrived_ms: i64,
    /// Milliseconds since 1970.
    pub updated_ms: i64,
    /// Time spent on it, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<f32>,
    /// The journal entry with everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

/// The answer for a picture in short: that of its most confident object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The label, where one was given.
    pub label: Option<Label>,
    /// Why not, where none was given.
    pub reason: Option<AbstainReason>,
    /// Similarity of the nearest label.
    pub similarity: Option<f32>,
    /// Lead over the next label.
    pub margin: Option<f32>,
}

/// Everything about one file: `GET /v1/queue/items/ID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemDetail {
    /// The row.
    pub item: Item,
    /// The objects, from the journal.
    pub sightings: Vec<Sighting>,
    /// Pixels of the upright picture.
    pub size: Option<[u32; 2]>,
    /// What it duplicates.
    pub duplicate_of: Option<ImageId>,
}

/// Live figures: `GET /v1/stats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Pictures a second over the last 10 seconds.
    pub rate_10s: f32,
    /// Pictures a second over the last minute.
    pub rate_60s: f32,
    /// Pictures finished in each of the last 120 seconds, oldest first.
    pub history: Vec<u32>,
    /// Milliseconds by stage over the last 1024 pictures: archive, decode, detect, embed, search, commit.
    pub stages: Vec<StageStats>,
    /// How often each batch size occurred: (size, count).
    pub batches: Vec<(u32, u64)>,
    /// Sightings accepted since the engine started.
    pub accepted: u64,
    /// Sightings abstained on, by reason, since the engine started.
    pub abstained: Vec<(AbstainReason, u64)>,
    /// Sightings enrolled since the engine started.
    pub enrolled: u64,
    /// Share of accepted among the answers in each of the last 120 seconds; -1 where there was none.
    pub accept_history: Vec<f32>,
    /// Age of the oldest waiting file, seconds.
    pub oldest_waiting_seconds: Option<u64>,
    /// Seconds until nothing waits, at the rate of the last minute.
    pub eta_seconds: Option<u64>,
    /// Long work under way.
    pub jobs: Vec<Job>,
    /// Resident memory of the engine, bytes.
    pub memory_bytes: u64,
    /// Processor time of the engine over the last second, in cores.
    pub cpu_cores: f32,
    /// Free bytes on the database's disk.
    pub disk_free_bytes: u64,
    /// Names of the processors and libraries in use.
    pub device: Option<String>,
}

/// The latency of a stage, milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageStats {
    /// Its name.
    pub stage: String,
    /// Median.
    pub p50: f32,
    /// 95th percentile.
    pub p95: f32,
    /// 99th percentile.
    pub p99: f32,
    /// The last 60 values, oldest first.
    pub recent: Vec<f32>,
}

/// Long work: ingesting a folder, embedding anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its number in this engine.
    pub id: u64,
    /// What is done.
    pub title: String,
    /// Pieces done.
    pub done: u64,
    /// Pieces in all.
    pub total: u64,
    /// Seconds since it began.
    pub seconds: u64,
    /// What went wrong, if it has ended badly.
    pub failed: Option<String>,
}

/// One object of a probe: the answer of `POST /v1/identify` (the body is the picture's bytes).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeAnswer {
    /// What was seen; none where nothing was.
    pub detection: Option<Detection>,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// The nearest enrolled sightings, nearest first.
    pub neighbours: Vec<Neighbour>,
}

/// The answer of `POST /v1/identify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identified {
    /// The picture's hash.
    pub sha256: ImageId,
    /// Pixels, upright.
    pub width: u32,
    /// Pixels, upright.
    pub height: u32,
    /// An answer for each object; a single abstention where nothing was seen.
    pub answers: Vec<ProbeAnswer>,
}

/// Every change is an intent: asked for once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent<T> {
    /// Made by the client; the same id twice is the same act.
    pub intent: String,
    /// Why, in the operator's words; goes into the journal.
    pub reason: String,
    /// What the operator saw when deciding (a picture's SHA-256); the act is refused if it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<ImageId>,
    /// The act.
    #[serde(flatten)]
    pub act: T,
}

/// `POST /v1/queue/ingest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ingest {
    /// Files and folders, absolute.
    pub paths: Vec<RawPath>,
    /// Enrol under this label; without it, identify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
}

/// The answer to [`Ingest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ingested {
    /// The files' ids.
    pub items: Vec<ItemId>,
    /// Files that could not be queued, with the reason.
    pub problems: Vec<String>,
}

/// `POST /v1/queue/items/ID/release` and `…/discard`: nothing but the intent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Nothing {}

/// `POST /v1/gallery/relabel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relabel {
    /// One sighting, or every sighting of a label.
    pub which: Which,
    /// The new label.
    pub to: Label,
}

/// `POST /v1/gallery/remove`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remove {
    /// One sighting, or every sighting of a label.
    pub which: Which,
}

/// Sightings of the gallery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// One sighting.
    Sighting(SightingId),
    /// All of a label.
    Label(Label),
}

/// How many sightings an act changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Sightings.
    pub sightings: u64,
}

/// `POST /v1/gallery/import`: a PillTrack `.pkl`, or a `.safetensors` of `gallery export`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Import {
    /// The file, absolute.
    pub path: RawPath,
}

/// `POST /v1/gallery/export`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The file to write, absolute.
    pub path: RawPath,
}

/// A filter on the journal: `GET /v1/journal/entries`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalQuery {
    /// Entries of this actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Entries whose action starts so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Entries whose subject holds this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Not before, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Not after, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
    /// Entries that hold this anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only entries before this sequence number; without it, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Most entries; newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Evidence from outside the workspace that a verification holds the journal against.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trusted {
    /// The public key that must have signed, from a copy of `key.pub` kept elsewhere.
    #[serde(default)]
    pub key: Option<String>,
    /// A signed checkpoint that must lie on the journal's way, from a copy kept elsewhere.
    #[serde(default)]
    pub checkpoint: Option<String>,
}

/// The journal's last signed checkpoint: `GET /v1/journal/checkpoint`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignedCheckpoint {
    /// Entries that it covers.
    pub entries: u64,
    /// The root of the tree over them, hex.
    pub root: String,
    /// The signed note (C2SP `tlog-checkpoint`), to be kept elsewhere.
    pub note: String,
}

/// What `journal verify` found: `POST /v1/journal/verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalVerified {
    /// Whether every entry up to the last checkpoint is proven.
    pub ok: bool,
    /// Entries read.
    pub entries: u64,
    /// Entries under the last checkpoint.
    pub checkpoint: u64,
    /// Entries after it: whole, but not yet anchored.
    pub unanchored: u64,
    /// The tree's root, hex.
    pub root: String,
    /// The key that signed, hex.
    pub key: String,
    /// What is wrong.
    pub problems: Vec<String>,
    /// What a journal alone cannot prove.
    pub cannot_prove: Vec<String>,
}

/// What `db verify` found: `POST /v1/db/verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DbVerified {
    /// Whether the projection, the gallery's vectors and the archive agree with the journal.
    pub ok: bool,
    /// The digest of the projected state, hex; equal after a rebuild.
    pub digest: String,
    /// Entries applied.
    pub applied: u64,
    /// Records by table.
    pub records: Vec<(String, u64)>,
    /// Vectors checked.
    pub vectors: u64,
    /// Originals checked.
    pub originals: u64,
    /// What is wrong and cannot be made anew from what there is without somebody's doing.
    pub problems: Vec<String>,
    /// What is damaged or missing and makes itself good: nothing hangs on it.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What the engine tells its consoles: `GET /v1/events` (server-sent events, one JSON a `data:` line).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Something was recorded; views may be fetched anew. Sent at most ten times a second.
    Changed {
        /// Entries in the journal.
        entries: u64,
        /// The queue.
        queue: QueueStats,
    },
    /// Something an operator should read now.
    Warning {
        /// The text.
        text: String,
    },
    /// The engine is going away.
    Stopping,
}
