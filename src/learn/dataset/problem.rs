//! What is wrong with a set: errors that end the reading, and doubts about single labels that do not.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::files::Unread;

/// The largest list of pictures or labels of one picture, and description, bytes.
pub(super) const LARGEST_LIST: u64 = 64 << 20;
/// The largest COCO file, bytes: LVIS has a little more than 1 GB.
pub(super) const LARGEST_COCO: u64 = 2 << 30;

/// Why a set cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Nothing there.
    #[error("there is no {0}; name a data.yaml, a COCO .json, or a folder")]
    Missing(PathBuf),
    /// No format that is known.
    #[error(
        "{0} is no data set that is known: not a YOLO data.yaml, a COCO .json, a folder of Pascal VOC .xml files or a folder with a folder a class"
    )]
    Unknown(PathBuf),
    /// The description is wrong.
    #[error("{path}: {detail}")]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// There are no pictures.
    #[error("{0} has no pictures; are the paths in it right?")]
    Empty(PathBuf),
    /// The file system refuses.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl DatasetError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// A file that is not read: no regular one, too large, or the file system refuses.
    pub(super) fn unread(path: &Path) -> impl FnOnce(Unread) -> Self {
        let path = path.to_owned();
        move |unread| match unread {
            Unread::Io(source) => Self::Io { doing: "read", path, source },
            other => Self::Description { path, detail: format!("{other}; is it what you meant to name?") },
        }
    }

    pub(super) fn description(path: &Path, detail: impl Into<String>) -> Self {
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
}

/// A label, or all labels of a file, with a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; none where it is about the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What became of it.
    pub fate: Fate,
    /// What is wrong.
    pub reason: String,
}

impl Problem {
    pub(super) fn rejected(file: &Path, line: Option<usize>, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, fate: Fate::LeftOut, reason: reason.into() }
    }

    pub(super) fn doubtful(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, fate: Fate::Kept, reason: reason.into() }
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
        };
        write!(f, ": {} ({fate})", self.reason)
    }
}
