//! Names from outside: bytes, not text, and never shown as they are.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Makes a name from outside safe to show: control characters, escape sequences, bidirectional
/// overrides and zero-width characters are written as `\u{…}`, so that what is read is what is there.
#[must_use]
pub fn display_safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    safe
}

/// Characters that change how their neighbours are shown, or that show as nothing.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// A path as the file system has it. In JSON it is a string, or `{"base64": …}` where it is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawPath(pub PathBuf);

impl RawPath {
    /// The path to open.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The last part of the path, safe to show.
    #[must_use]
    pub fn file_name_safe(&self) -> String {
        let name = self.0.file_name().unwrap_or(self.0.as_os_str());
        display_safe(&name.to_string_lossy())
    }
}

impl<P: Into<PathBuf>> From<P> for RawPath {
    fn from(path: P) -> Self {
        Self(path.into())
    }
}

/// Shown safely; never use this text to open a file.
impl fmt::Display for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display_safe(&self.0.to_string_lossy()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Bytes { base64: String },
}

impl Serialize for RawPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => Wire::Bytes { base64: BASE64.encode(self.0.as_os_str().as_bytes()) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Wire::deserialize(deserializer)? {
            Wire::Text(text) => Ok(Self(text.into())),
            Wire::Bytes { base64 } => {
                let bytes = BASE64.decode(base64).map_err(serde::de::Error::custom)?;
                Ok(Self(OsString::from_vec(bytes).into()))
            }
        }
    }
}

/// What a gallery entry is called: 1 to 200 bytes of text, shown safely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(String);

impl Label {
    /// The most bytes a label may have.
    pub const MAX_BYTES: usize = 200;

    /// Takes a label as an operator or a folder's name gives it; surrounding space is removed.
    ///
    /// # Errors
    /// A sentence saying why the text cannot be a label.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a label cannot be empty".into());
        }
        if text.len() > Self::MAX_BYTES {
            return Err(format!("a label has at most {} bytes; this one has {}", Self::MAX_BYTES, text.len()));
        }
        if text.chars().any(is_deceptive) {
            return Err(format!("the label `{}` has control or invisible characters", display_safe(text)));
        }
        Ok(Self(text.to_owned()))
    }

    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_overrides_become_visible() {
        assert_eq!(display_safe("a\x1b[2Jb\u{202E}c\u{200B}\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{200b}\\u{a}");
        assert_eq!(display_safe("Müsli 薬.jpg"), "Müsli 薬.jpg");
    }

    #[test]
    fn a_path_that_is_not_utf8_survives_json() {
        let raw = RawPath(OsString::from_vec(b"in\xff\x1b[31m.jpg".to_vec()).into());
        let json = serde_json::to_string(&raw).unwrap_or_default();
        assert!(json.starts_with("{\"base64\":"), "{json}");
        assert_eq!(serde_json::from_str::<RawPath>(&json).ok(), Some(raw));
    }

    #[test]
    fn labels_are_checked() {
        assert_eq!(Label::new(" Aspirin 500 mg ").map(|l| l.to_string()), Ok("Aspirin 500 mg".into()));
        assert!(Label::new("  ").is_err());
        assert!(Label::new("a\u{202E}b").is_err());
        assert!(Label::new(&"x".repeat(201)).is_err());
    }
}
