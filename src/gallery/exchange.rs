//! Taking vectors out and in: a safetensors file with what each vector is.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype as TensorType, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::segment::Scratch;
use super::{Gallery, GalleryError};
use crate::domain::{Embedding, Enrolled, Fingerprint, ImageId, Label, Rotation, SightingId};
use crate::files;

/// The tensor's name: `[vectors, dimension]`, f32.
const TENSOR: &str = "vectors";
/// The key of our metadata in the file: one JSON text, so that equal galleries make equal files.
const METADATA: &str = "sightline";

/// A row of an exported file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    label: Label,
    sighting: SightingId,
    rotation: Rotation,
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    version: u32,
    fingerprint: Fingerprint,
    rows: Vec<Line>,
}

/// What was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Sightings in the file.
    pub sightings: usize,
    /// Vectors in the file.
    pub vectors: usize,
    /// Components of each.
    pub dimension: usize,
}

/// The vectors of one sighting from outside, and what it is to be enrolled as.
pub type NamedVectors = (Label, Vec<(Rotation, Vec<f32>)>);

/// A file of vectors, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The file's SHA-256: what sightings from it are named after.
    pub file: ImageId,
    /// Which weights made the vectors.
    pub fingerprint: Fingerprint,
    /// What each sighting was called where the file was made, in the file's order.
    pub originals: Vec<SightingId>,
    /// Each sighting's label and vectors, in the file's order; for [`Gallery::import`].
    pub sightings: Vec<NamedVectors>,
}

impl Gallery {
    /// Writes everything that is enrolled with these weights to a new or replaced file, whole or not at all.
    ///
    /// # Errors
    /// The file system refuses; the vectors have more than one dimension; one of them is no longer what was enrolled.
    pub fn export(&self, path: &Path, fingerprint: Fingerprint) -> Result<Exported, GalleryError> {
        let mut members: Vec<_> =
            self.members.sets.get(&fingerprint).into_iter().flat_map(|set| &set.members).collect();
        members.sort_by(|a, b| (&a.label, a.sighting).cmp(&(&b.label, b.sighting)));
        let (mut rows, mut bytes, mut scratch, mut dimension) = (Vec::new(), Vec::new(), Scratch::default(), 0);
        for member in &members {
            for place in &member.places {
                let Some(segment) = self.segments.get(&place.segment) else {
                    continue;
                };
                if !rows.is_empty() && segment.dimension != dimension {
                    let (expected, given) = (dimension, segment.dimension);
                    return Err(GalleryError::Dimension { fingerprint, expected, given });
                }
                dimension = segment.dimension;
                let components = self.enrolled(member.sighting, place, &mut scratch)?;
                bytes.extend(components.iter().flat_map(|v| v.to_le_bytes()));
                rows.push(Line { label: member.label.clone(), sighting: member.sighting, rotation: place.rotation });
            }
        }
        let exported = Exported { sightings: members.len(), vectors: rows.len(), dimension };
        let refuse = |detail: String| GalleryError::Exchange { what: path.display().to_string(), detail };
        let metadata = serde_json::to_string(&Metadata { version: 1, fingerprint, rows });
        let metadata = HashMap::from([(METADATA.to_owned(), metadata.map_err(|e| refuse(e.to_string()))?)]);
        let view = TensorView::new(TensorType::F32, vec![exported.vectors, dimension], &bytes);
        let view = view.map_err(|e| refuse(e.to_string()))?;
        let file = safetensors::serialize([(TENSOR, view)], Some(metadata)).map_err(|e| refuse(e.to_string()))?;
        write_whole(path, &file)?;
        Ok(exported)
    }

    /// Adds vectors from a file to the segments and makes them last. Returns each sighting's name, which is the file's
    /// SHA-256 and its number, and what to journal about it; nothing is enrolled before [`Gallery::admit`].
    ///
    /// The vectors are scaled to unit length.
    ///
    /// # Errors
    /// A vector that cannot be scaled or has another dimension (nothing counts then); the file system refuses.
    pub fn import(
        &mut self,
        fingerprint: Fingerprint,
        file: ImageId,
        sightings: Vec<NamedVectors>,
    ) -> Result<Vec<(SightingId, Enrolled)>, GalleryError> {
        let mut named = Vec::with_capacity(sightings.len());
        for (index, (label, vectors)) in (0..).zip(sightings) {
            let scaled = vectors.into_iter().map(|(rotation, v)| Embedding::normalised(v).map(|v| (rotation, v)));
            let Some(scaled) = scaled.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty()) else {
                return Err(GalleryError::Exchange {
                    what: format!("number {index}, `{label}`"),
                    detail: "it has no vector, or one that is empty, zero or not finite; take it out of the file"
                        .into(),
                });
            };
            named.push((SightingId { image: file, index }, label, scaled));
        }
        let mut enrolled = Vec::with_capacity(named.len());
        for (sighting, label, scaled) in named {
            let vectors = self.append(fingerprint, sighting, &scaled)?;
            enrolled.push((sighting, Enrolled { label, fingerprint, vectors }));
        }
        self.sync()?;
        Ok(enrolled)
    }
}

/// Reads the bytes of a file that [`Gallery::export`] wrote; `name` is for the messages.
///
/// # Errors
/// It is no such file.
pub fn read_export(name: &str, bytes: &[u8]) -> Result<Imported, GalleryError> {
    let refuse = |detail: &dyn std::fmt::Display| GalleryError::Exchange {
        what: name.to_owned(),
        detail: format!("this is no exported gallery: {detail}; name a file that `sightline gallery export` wrote"),
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| refuse(&e))?;
    let text = header.metadata().as_ref().and_then(|m| m.get(METADATA)).ok_or_else(|| refuse(&"it does not say so"))?;
    let metadata: Metadata = serde_json::from_str(text).map_err(|e| refuse(&e))?;
    if metadata.version != 1 {
        return Err(refuse(&format!("its version is {}, this program reads 1", metadata.version)));
    }
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| refuse(&e))?;
    let tensor = tensors.tensor(TENSOR).map_err(|e| refuse(&e))?;
    let (TensorType::F32, [rows, dimension]) = (tensor.dtype(), tensor.shape()) else {
        return Err(refuse(&"its vectors are not a table of f32"));
    };
    if *rows != metadata.rows.len() {
        return Err(refuse(&format!("it has {rows} vectors, but says what {} are", metadata.rows.len())));
    }
    let vector = |row: usize| {
        let bytes = tensor.data().chunks_exact(4).skip(row * dimension).take(*dimension);
        bytes.map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect::<Vec<_>>()
    };
    let (mut sightings, mut originals) = (Vec::<NamedVectors>::new(), Vec::new());
    let mut before = None;
    for (row, line) in metadata.rows.into_iter().enumerate() {
        if before != Some(line.sighting) {
            sightings.push((line.label, Vec::new()));
            originals.push(line.sighting);
            before = Some(line.sighting);
        }
        if let Some((_, vectors)) = sightings.last_mut() {
            vectors.push((line.rotation, vector(row)));
        }
    }
    let file = ImageId(Sha256::digest(bytes).into());
    Ok(Imported { file, fingerprint: metadata.fingerprint, originals, sightings })
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), GalleryError> {
    files::put(path, bytes).map_err(GalleryError::io("write", path))
}
