//! The records, and how they are laid out under their keys.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::StoreError;
use super::kv::{Bytes, MAX_BODY};
use super::ledger::kind;
use crate::domain::{
    Decision, DuplicateKind, Fingerprint, ImageId, ItemId, ItemState, Label, Mode, QuarantineCode, RawPath, Rotation,
    SightingId, VectorRef, display_safe,
};

/// The most bytes of a path that are kept here; the journal has it whole.
const PATH_BYTES: usize = 1024;
/// The most bytes of a sentence that are kept here.
const SENTENCE_BYTES: usize = 400;

/// A path, or the end of one that is too long for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTail {
    /// The path; its last bytes only if `cut`.
    pub path: RawPath,
    /// Whether the beginning is missing. The entry in the journal has it.
    pub cut: bool,
}

impl PathTail {
    /// Keeps at most `most` bytes of the path's end.
    fn of(path: &RawPath, most: usize) -> Self {
        let bytes = path.as_path().as_os_str().as_bytes();
        let from = bytes.len().saturating_sub(most);
        Self { path: RawPath(OsString::from_vec(bytes[from..].to_vec()).into()), cut: from > 0 }
    }
}

/// As base64 always: escapes in JSON could make six bytes of one.
impl Serialize for PathTail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (BASE64.encode(self.path.as_path().as_os_str().as_bytes()), self.cut).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PathTail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, cut) = <(String, bool)>::deserialize(deserializer)?;
        let bytes = BASE64.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self { path: RawPath(OsString::from_vec(bytes).into()), cut })
    }
}

/// What became of a file in the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// Its name in the queue.
    pub id: ItemId,
    /// The journal's last entry about it.
    pub sequence: u64,
    /// The journal's last entry that described the file; the whole path is there.
    pub described: u64,
    /// Where it stands.
    pub state: ItemState,
    /// Where it was dropped.
    pub path: PathTail,
    /// The watched folder it came from.
    pub source: PathTail,
    /// What it was dropped for.
    pub mode: Mode,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its bytes, where they were read.
    pub image: Option<ImageId>,
    /// Why it was set aside, for programs.
    pub code: Option<QuarantineCode>,
    /// Why it was set aside or failed, for people; shown safely, at most 400 bytes.
    pub reason: Option<String>,
    /// What it duplicates, and how.
    pub duplicate_of: Option<(ImageId, DuplicateKind)>,
    /// Objects seen.
    pub sightings: u32,
    /// Of those, enrolled.
    pub enrolled: u32,
    /// Of those, answered with a label.
    pub accepted: u32,
    /// The answer for the most confident object.
    pub decision: Option<ItemDecision>,
    /// When it was claimed, milliseconds since 1970.
    pub arrived_ms: i64,
    /// The wall time of the last entry, milliseconds since 1970.
    pub updated_ms: i64,
    /// Time spent on it in all stages, milliseconds.
    pub total_ms: Option<f32>,
    /// How often it was tried, if it failed.
    pub attempts: u32,
    /// Sent through again by an operator, and not there yet.
    pub released: bool,
}

/// An item's answer in short.
pub type ItemDecision = Decision;

/// An image that went all the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its `image.done` entry: everything about it is there.
    pub sequence: u64,
    /// The file it came as.
    pub item: ItemId,
    /// The archive's extension for it.
    pub format: String,
    /// Pixels, upright.
    pub width: u32,
    /// Pixels, upright.
    pub height: u32,
    /// The perceptual hash, hex.
    pub perceptual: String,
    /// The detector's weights.
    pub detector: Option<ImageId>,
    /// The embedder's fingerprint.
    pub embedder: Fingerprint,
    /// Objects seen.
    pub sightings: u32,
}

/// An enrolled sighting.
#[derive(Clone, Debug, PartialEq)]
pub struct SightingRecord {
    /// What it is enrolled as.
    pub label: Label,
    /// Which weights made its vectors.
    pub fingerprint: Fingerprint,
    /// Where they lie in the gallery.
    pub vectors: Vec<VectorRef>,
    /// The entry that enrolled it.
    pub sequence: u64,
    /// Whether it left the gallery; kept as a tombstone.
    pub removed: bool,
    /// Whether it came from a file of vectors: then there is no picture.
    pub imported: bool,
}

/// A label in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRecord {
    /// Sightings enrolled under it now.
    pub sightings: u64,
}

/// The last time something happened to the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFact {
    /// The entry.
    pub sequence: u64,
    /// Its wall time, milliseconds since 1970.
    pub wall_ms: i64,
    /// The program's version, or the cause of a rebuild.
    pub detail: String,
}

/// A sighting as stored; vectors that do not fit follow in records of their own.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredSighting {
    pub label: Label,
    pub fingerprint: Fingerprint,
    pub vectors: String,
    pub more: u16,
    pub sequence: u64,
    pub removed: bool,
    pub imported: bool,
}

/// Vectors named in the sighting's own record; four are usual.
pub(super) const VECTORS_INSIDE: usize = 64;
/// Vectors named in each further record.
pub(super) const VECTORS_MORE: usize = 256;
const VECTOR_BYTES: usize = 14;

/// Packs vector references: segment, row, rotation, CRC, little-endian.
pub(super) fn pack(vectors: &[VectorRef]) -> Bytes {
    let mut packed = Vec::with_capacity(vectors.len() * VECTOR_BYTES);
    for v in vectors {
        packed.extend_from_slice(&v.segment.to_le_bytes());
        packed.extend_from_slice(&v.row.to_le_bytes());
        packed.extend_from_slice(&v.rotation.degrees().to_le_bytes());
        packed.extend_from_slice(&v.crc.to_le_bytes());
    }
    packed
}

/// Unpacks what [`pack`] packed.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<VectorRef>, StoreError> {
    let odd = || StoreError::Odd("a sighting's list of vectors cannot be read".into());
    if !packed.len().is_multiple_of(VECTOR_BYTES) {
        return Err(odd());
    }
    let rows = packed.chunks_exact(VECTOR_BYTES).map(|c| {
        let number = |at: usize| u32::from_le_bytes([c[at], c[at + 1], c[at + 2], c[at + 3]]);
        let rotation = Rotation::try_from(u16::from_le_bytes([c[8], c[9]])).map_err(|_| odd())?;
        Ok(VectorRef { segment: number(0), row: number(4), rotation, crc: number(10) })
    });
    rows.collect()
}

/// The part of a sentence that fits, shown safely.
pub(super) fn sentence(text: &str) -> String {
    let mut safe = display_safe(text);
    if safe.len() > SENTENCE_BYTES {
        safe.truncate(begin(&safe, SENTENCE_BYTES - '…'.len_utf8()).len());
        safe.push('…');
    }
    safe
}

/// The beginning of a text: at most so many bytes, whole characters.
fn begin(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// Path and source as they fit into an item's record.
pub(super) fn paths(path: &RawPath, source: &RawPath) -> (PathTail, PathTail) {
    (PathTail::of(path, PATH_BYTES), PathTail::of(source, PATH_BYTES))
}

/// An item's body: with less of the paths where all the rest is at its longest.
pub(super) fn encode_item(item: &ItemRecord) -> Result<Bytes, StoreError> {
    let mut body = encode(item)?;
    let (mut item, mut most) = (item.clone(), PATH_BYTES);
    while body.len() > MAX_BODY && most > 64 {
        most /= 2;
        for tail in [&mut item.path, &mut item.source] {
            let shorter = PathTail::of(&tail.path, most);
            *tail = PathTail { cut: tail.cut || shorter.cut, ..shorter };
        }
        body = encode(&item)?;
    }
    Ok(body)
}

pub(super) fn encode(record: &impl Serialize) -> Result<Bytes, StoreError> {
    serde_json::to_vec(record).map_err(|e| StoreError::Odd(format!("a record cannot be written: {e}")))
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(body).map_err(|e| StoreError::Odd(format!("a record cannot be read: {e}")))
}

pub(super) fn item_key(id: &ItemId) -> Bytes {
    [&[kind::ITEM], id.0.as_bytes()].concat()
}

pub(super) fn state_key(state: ItemState, id: &str) -> Bytes {
    [&[kind::ITEM_BY_STATE, state_byte(state)], id.as_bytes()].concat()
}

fn state_byte(state: ItemState) -> u8 {
    match state {
        ItemState::Waiting => b'w',
        ItemState::Working => b'k',
        ItemState::Done => b'd',
        ItemState::Duplicate => b'u',
        ItemState::Quarantined => b'q',
        ItemState::Failed => b'f',
        ItemState::Discarded => b'x',
    }
}

pub(super) fn state_count_key(state: ItemState) -> Bytes {
    vec![kind::COUNT, b's', state_byte(state)]
}

pub(super) fn action_count_key(action: &str) -> Bytes {
    // Actions of ours are short; what a newer program may have written must still fit a key.
    let action = begin(action, 100);
    [&[kind::COUNT, b'a'], action.as_bytes()].concat()
}

pub(super) fn image_key(id: &ImageId) -> Bytes {
    [&[kind::IMAGE][..], &id.0].concat()
}

fn sighting_bytes(id: &SightingId) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..32].copy_from_slice(&id.image.0);
    bytes[32..].copy_from_slice(&id.index.to_be_bytes());
    bytes
}

pub(super) fn sighting_key(id: &SightingId) -> Bytes {
    [&[kind::SIGHTING][..], &sighting_bytes(id)].concat()
}

/// The sighting whose 36 bytes end the key.
pub(super) fn sighting_of(key: &[u8]) -> Result<SightingId, StoreError> {
    let odd = || StoreError::Odd(format!("{} is no sighting's key", key.escape_ascii()));
    let (image, index) = key.last_chunk::<36>().ok_or_else(odd)?.split_at(32);
    let image = image.try_into().map_err(|_| odd())?;
    let index = index.try_into().map_err(|_| odd())?;
    Ok(SightingId { image: ImageId(image), index: u32::from_be_bytes(index) })
}

pub(super) fn vectors_key(id: &SightingId, part: u16) -> Bytes {
    [&[kind::VECTORS][..], &sighting_bytes(id), &part.to_be_bytes()].concat()
}

pub(super) fn label_key(label: &str) -> Bytes {
    [&[kind::LABEL], label.as_bytes()].concat()
}

/// A label's sightings; a label has no NUL in it, so none is the beginning of another here.
pub(super) fn label_index_prefix(label: &Label) -> Bytes {
    [&[kind::SIGHTING_BY_LABEL], label.as_str().as_bytes(), &[0]].concat()
}

pub(super) fn label_index_key(label: &Label, id: &SightingId) -> Bytes {
    [label_index_prefix(label), sighting_bytes(id).to_vec()].concat()
}

pub(super) fn engine_key(name: &str) -> Bytes {
    [&[kind::ENGINE], name.as_bytes()].concat()
}
