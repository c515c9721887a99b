//! What is wrong with a set: errors that end the reading, and doubts about single labels that do not.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::domain::RawPath;

/// Why a set cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Nothing there.
    #[error("there is no {}; name a data.yaml, a COCO .json, or a folder", shown(.0))]
    Missing(PathBuf),
    /// No version of it is kept.
    #[error("{}: no version of it is kept; `sightline dataset snapshot` keeps one", shown(.0))]
    NoVersion(PathBuf),
    /// No format that is known.
    #[error(
        "{} is no data set that is known: not a YOLO data.yaml, a COCO .json, a folder of Pascal VOC .xml files or a folder with a folder a class",
        shown(.0)
    )]
    Unknown(PathBuf),
    /// The description is wrong.
    #[error("{}: {detail}", shown(path))]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// What is asked for cannot be made.
    #[error("{detail}")]
    Order {
        /// Which value is wrong, and what it may be.
        detail: String,
    },
    /// There are no pictures, or none that can be used.
    #[error("{} has no pictures{}", shown(path), why.as_deref().unwrap_or("; are the paths in it right?"))]
    Empty {
        /// The set.
        path: PathBuf,
        /// What is wrong with those that were named.
        why: Option<String>,
    },
    /// The file system refuses.
    #[error("cannot {doing} {}: {source}{}", shown(path), remedy(doing, source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// A path in a message: on one line, whatever it is called.
fn shown(path: &Path) -> String {
    RawPath(path.to_owned()).to_string()
}

/// What to do about a cause, where that is known.
fn remedy(doing: &str, cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "; make room there and run it again",
        std::io::ErrorKind::PermissionDenied => "; ask its owner for the right, or name another place",
        std::io::ErrorKind::ReadOnlyFilesystem => "; name another place",
        _ if doing.starts_with("make") => "; name another place",
        _ => "",
    }
}

impl DatasetError {
    pub(in crate::learn) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// No picture is left of a set with these problems.
    #[must_use]
    pub fn empty(path: &Path, problems: &[Problem]) -> Self {
        let left_out: Vec<&Problem> = problems.iter().filter(|problem| problem.fate == Fate::LeftOut).collect();
        let why = left_out.first().map(|first| match left_out.len() - 1 {
            0 => format!(" that can be used: {first}"),
            more => format!(" that can be used: {first}; and {more} more like it"),
        });
        Self::Empty { path: path.to_owned(), why }
    }

    pub(in crate::learn) fn description(path: &Path, detail: impl Into<String>) -> Self {
        Self::Description { path: path.to_owned(), detail: detail.into() }
    }
}

/// What becomes of a label with a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is not in the set.
    LeftOut,
    /// It is in the set, changed.
    Mended,
    /// It is in the set as it is: somebody should look at it.
    Kept,
    /// It is in one part of the set and was given for others, too: those would judge by what was learnt from.
    Leak,
}

/// A label, or all labels of a file, with a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    #[serde(serialize_with = "raw")]
    pub file: PathBuf,
    /// Its line, from 1; none where it is about the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What became of it.
    pub fate: Fate,
    /// What is wrong.
    pub reason: String,
}

/// A path as programs get it: whatever bytes it has.
fn raw<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    RawPath::from(path).serialize(serializer)
}

impl Problem {
    pub(super) fn rejected(file: &Path, line: Option<usize>, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, fate: Fate::LeftOut, reason: reason.into() }
    }

    pub(super) fn doubtful(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, fate: Fate::Kept, reason: reason.into() }
    }

    pub(super) fn leak(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, fate: Fate::Leak, reason: reason.into() }
    }

    pub(super) fn mended(file: &Path, line: Option<usize>, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, fate: Fate::Mended, reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let fate = match self.fate {
            Fate::LeftOut => "left out",
            Fate::Mended => "mended",
            Fate::Kept => "kept",
            Fate::Leak => "leak",
        };
        write!(f, ": {} ({fate})", self.reason)
    }
}
