//! Everything that can become true, as the journal records it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Decision, Detection, Fingerprint, ImageId, ItemId, Label, RawPath, Rotation, SightingId};

/// What a watched folder is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Pictures are probes.
    Identify,
    /// Pictures are enrolled under this label.
    Enroll(Label),
    /// Dropped for enrolment, but no label could be told from the folder: an operator must decide.
    Unlabelled,
}

/// Where a file in the queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// Claimed, not begun.
    Waiting,
    /// On its way through the pipeline.
    Working,
    /// Identified or enrolled.
    Done,
    /// The same bytes, or by policy nearly the same picture, had been there before.
    Duplicate,
    /// Set aside with a reason; waits for an operator.
    Quarantined,
    /// The engine could not process it after its retries; the file is kept.
    Failed,
    /// Dropped by an operator.
    Discarded,
}

impl ItemState {
    /// All states, in the order of a file's way.
    pub const ALL: [Self; 7] =
        [Self::Waiting, Self::Working, Self::Done, Self::Duplicate, Self::Quarantined, Self::Failed, Self::Discarded];

    /// The name used on the command line and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Done => "done",
            Self::Duplicate => "duplicate",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
            Self::Discarded => "discarded",
        }
    }
}

/// Why a file was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineCode {
    /// No bytes at all.
    Empty,
    /// Not one of the formats that are read.
    NotAnImage,
    /// The file ends before the picture does.
    Truncated,
    /// The picture's data is damaged.
    Corrupt,
    /// More than one frame; which one would be meant?
    Animated,
    /// More pixels than `intake.max_pixels`, or more memory than `intake.max_decode_mb`.
    TooManyPixels,
    /// More bytes than `intake.max_file_mb`.
    TooManyBytes,
    /// A side shorter than `intake.min_side`.
    TooSmall,
    /// Hardly any contrast: `intake.min_contrast`.
    Blank,
    /// A near duplicate, and the policy is to ask.
    NearDuplicate,
    /// An enrolment without exactly what it takes (a label, an object).
    NotEnrollable,
    /// The pipeline failed on it again and again.
    ProcessingFailed,
}

/// What is known of the file itself, whatever becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Its way through the queue.
    pub item: ItemId,
    /// Where it was dropped: the whole path, as bytes.
    pub path: RawPath,
    /// The watched folder it came from, or `command` for one named by an operator.
    pub source: RawPath,
    /// What it was dropped for.
    pub mode: Mode,
    /// Bytes.
    pub bytes: u64,
    /// The file's own time, milliseconds since 1970.
    pub modified_ms: i64,
    /// When it was claimed, milliseconds since 1970.
    pub arrived_ms: i64,
}

/// How long each stage took, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTimes {
    /// Copying and hashing.
    pub archive: f32,
    /// Decoding and checking.
    pub decode: f32,
    /// Detection and masks.
    pub detect: f32,
    /// Cropping and embedding.
    pub embed: f32,
    /// Searching the gallery.
    pub search: f32,
}

/// Where a vector lies in the gallery's segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorRef {
    /// The segment's number.
    pub segment: u32,
    /// The row in it, from 0.
    pub row: u32,
    /// The rotation that was embedded.
    pub rotation: Rotation,
    /// CRC-32 of the row's vector bytes.
    pub crc: u32,
}

/// What enrolment adds to a sighting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Under which label.
    pub label: Label,
    /// Which weights made the vectors.
    pub fingerprint: Fingerprint,
    /// The vectors, one a rotation.
    pub vectors: Vec<VectorRef>,
}

/// One object seen in one image, and what was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Its place in the image's list, from 0.
    pub index: u32,
    /// What the detector said.
    pub detection: Detection,
    /// The answer, for probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The gallery's part, for enrolments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<Enrolled>,
}

/// A picture went all the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageDone {
    /// The file.
    pub file: FileFacts,
    /// Its bytes' hash.
    pub image: ImageId,
    /// The archive's extension for it: `jpg`, `png`, …
    pub format: String,
    /// Pixels, upright.
    pub width: u32,
    /// Pixels, upright.
    pub height: u32,
    /// EXIF orientation, 1 to 8.
    pub orientation: u8,
    /// The perceptual hash, hex.
    pub perceptual: String,
    /// An earlier image that looks nearly the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_duplicate_of: Option<ImageId>,
    /// The detector's weights (SHA-256 of the file); none where whole pictures are embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector: Option<ImageId>,
    /// The embedder's fingerprint.
    pub embedder: Fingerprint,
    /// Every object, most confident first.
    pub sightings: Vec<Sighting>,
    /// Time spent.
    pub ms: StageTimes,
}

/// Exact or near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateKind {
    /// The same bytes.
    Exact,
    /// Nearly the same picture.
    Near,
}

/// A picture that had been there before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageDuplicate {
    /// The file.
    pub file: FileFacts,
    /// Its bytes' hash.
    pub image: ImageId,
    /// What it duplicates.
    pub of: ImageId,
    /// How.
    pub kind: DuplicateKind,
}

/// A file set aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageQuarantined {
    /// The file.
    pub file: FileFacts,
    /// Its bytes' hash.
    pub image: ImageId,
    /// Why, for programs.
    pub code: QuarantineCode,
    /// Why, for people.
    pub sentence: String,
}

/// A file the engine gave up on for now; it stays in the queue's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageFailed {
    /// The file.
    pub file: FileFacts,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last.
    pub error: String,
}

macro_rules! facts {
    ($($(#[$doc:meta])* $variant:ident $body:tt = $action:literal),* $(,)?) => {
        /// Something that became true. Its action names it in the journal; its fields are the entry's `after`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "action", content = "after")]
        pub enum Fact {
            $($(#[$doc])* #[serde(rename = $action)] $variant $body,)*
        }

        impl Fact {
            /// The name of the fact in the journal, for example `image.done`.
            #[must_use]
            pub fn action(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $action,)* }
            }

            /// Every action there is.
            pub const ACTIONS: &'static [&'static str] = &[$($action,)*];
        }
    };
}

facts! {
    /// An engine took the workspace.
    EngineStarted {
        /// The program's version.
        version: String,
        /// SHA-256 of the settings in force.
        config: ImageId,
    } = "engine.started",
    /// An engine gave the workspace back in good order.
    EngineStopped {
        /// Files still waiting.
        waiting: u64,
    } = "engine.stopped",
    /// A picture went all the way.
    ImageDone(Box<ImageDone>) = "image.done",
    /// A picture had been there before.
    ImageDuplicate(Box<ImageDuplicate>) = "image.duplicate",
    /// A file was set aside.
    ImageQuarantined(Box<ImageQuarantined>) = "image.quarantined",
    /// The engine gave up on a file.
    ImageFailed(Box<ImageFailed>) = "image.failed",
    /// An operator sent a quarantined or failed file through again.
    QueueReleased {
        /// The file.
        item: ItemId,
    } = "queue.released",
    /// An operator dropped a quarantined or failed file.
    QueueDiscarded {
        /// The file.
        item: ItemId,
        /// What was dropped.
        image: ImageId,
    } = "queue.discarded",
    /// A sighting got another label.
    GalleryRelabelled {
        /// Which.
        sighting: SightingId,
        /// The label from now on.
        label: Label,
    } = "gallery.relabelled",
    /// A sighting left the gallery. Its vectors stay on disk, unused.
    GalleryRemoved {
        /// Which.
        sighting: SightingId,
    } = "gallery.removed",
    /// A sighting came from a file of vectors.
    GalleryImported {
        /// Its name: the file's SHA-256 and a number.
        sighting: SightingId,
        /// Label, weights, vectors.
        enrolled: Enrolled,
        /// The file.
        source: RawPath,
    } = "gallery.imported",
    /// A sighting was embedded anew with other weights.
    GalleryReembedded {
        /// Which.
        sighting: SightingId,
        /// Label, weights, vectors.
        enrolled: Enrolled,
    } = "gallery.reembedded",
    /// The projection was set aside and made anew from the journal.
    StoreRebuilt {
        /// What was odd about the old one.
        cause: String,
    } = "store.rebuilt",
}

impl Fact {
    /// What the fact is about.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::EngineStarted { .. } | Self::EngineStopped { .. } => "engine".into(),
            Self::StoreRebuilt { .. } => "store".into(),
            Self::ImageDone(done) => done.file.item.to_string(),
            Self::ImageDuplicate(duplicate) => duplicate.file.item.to_string(),
            Self::ImageQuarantined(quarantined) => quarantined.file.item.to_string(),
            Self::ImageFailed(failed) => failed.file.item.to_string(),
            Self::QueueReleased { item } | Self::QueueDiscarded { item, .. } => item.to_string(),
            Self::GalleryRelabelled { sighting, .. }
            | Self::GalleryRemoved { sighting }
            | Self::GalleryImported { sighting, .. }
            | Self::GalleryReembedded { sighting, .. } => sighting.to_string(),
        }
    }

    /// The fact's fields, the entry's `after`.
    ///
    /// # Errors
    /// Only where a number is not finite.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        match serde_json::to_value(self)? {
            Value::Object(mut map) => Ok(map.remove("after").unwrap_or(Value::Null)),
            other => Ok(other),
        }
    }

    /// The fact of an entry.
    ///
    /// # Errors
    /// When the action is unknown or its fields do not fit.
    pub fn from_parts(action: &str, after: Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(serde_json::json!({ "action": action, "after": after }))
    }
}
