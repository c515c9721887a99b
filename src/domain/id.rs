//! Identifiers, each its own type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The SHA-256 of an original's bytes: what an image is called everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(pub [u8; 32]);

impl ImageId {
    /// The first 12 hex digits: enough for a person, never used for look-ups.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageId({})", self.short())
    }
}

impl FromStr for ImageId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| format!("`{text}` is not a SHA-256 (64 hex digits)"))?;
        Ok(Self(bytes))
    }
}

/// One object seen in one image: the image and the object's place in its list of detections.
///
/// Written `IMAGE:INDEX`. Imported vectors have no image; theirs carry the imported file's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SightingId {
    /// The image it was seen in.
    pub image: ImageId,
    /// Its place among the image's detections, from 0, most confident first.
    pub index: u32,
}

impl fmt::Display for SightingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.image, self.index)
    }
}

impl FromStr for SightingId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (image, index) = text.split_once(':').ok_or_else(|| format!("`{text}` is not a sighting (IMAGE:INDEX)"))?;
        let index = index.parse().map_err(|_| format!("`{index}` in `{text}` is not a number"))?;
        Ok(Self { image: image.parse()?, index })
    }
}

/// One file's way through the queue. Time-ordered, so that listing by id is listing by arrival.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub String);

impl ItemId {
    /// Makes an id from a time in milliseconds and a number that is unique within that millisecond.
    #[must_use]
    pub fn new(millis: u64, unique: u32) -> Self {
        Self(format!("{millis:011x}{unique:08x}"))
    }

    /// Whether the text has the shape of an id (so that it is safe as a file name).
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.0.len() == 19 && self.0.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! serde_as_text {
    ($($id:ty),*) => {$(
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(ImageId, SightingId);
