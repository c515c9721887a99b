//! A COCO file's text, as far as it is read and written.

use std::collections::BTreeSet;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::mask::Runs;
use super::super::{DatasetError, Problem, walk};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) images: Vec<Image>,
    #[serde(default)]
    pub(super) annotations: Vec<Annotation>,
    #[serde(default)]
    pub(super) categories: Vec<Category>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Image {
    pub(super) id: i64,
    pub(super) file_name: String,
    pub(super) width: u32,
    pub(super) height: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Category {
    pub(super) id: i64,
    pub(super) name: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Annotation {
    pub(super) id: i64,
    pub(super) image_id: i64,
    pub(super) category_id: i64,
    #[serde(default)]
    pub(super) bbox: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) segmentation: Option<Segmentation>,
    #[serde(default)]
    pub(super) area: f64,
    #[serde(default)]
    pub(super) iscrowd: u8,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs(Runs),
    /// What is neither costs its own annotation, not the file.
    Other(Value),
}

/// What of a file cannot be used.
#[derive(Debug, Default)]
pub(super) struct Odd {
    /// The entries that are left out, each with its reason.
    pub(super) problems: Vec<Problem>,
    /// The pictures whose annotations are among them.
    pub(super) pictures: BTreeSet<i64>,
}

/// Reads a file; pictures and annotations that are none are left out.
///
/// # Errors
/// It cannot be read, is no JSON, has no list of pictures, or a category that is none: classes go by their places.
pub(super) fn read(path: &Path) -> Result<(File, Odd), DatasetError> {
    let bytes = walk::needed(path, walk::COCO)?;
    let text = text(&bytes);
    // All at once, and only where that fails entry by entry: files of gigabytes come.
    if let Ok(file) = serde_json::from_slice(text) {
        return Ok((file, Odd::default()));
    }
    let wrong = |detail: String| DatasetError::description(path, format!("it is no COCO file: {detail}"));
    let mut parts: Map<String, Value> = serde_json::from_slice(text).map_err(|error| {
        wrong(format!("{error}; write it anew as JSON (numbers that are none, as NaN and Infinity, are not JSON)"))
    })?;
    let mut list = |key: &str| match parts.remove(key) {
        Some(Value::Array(entries)) => Ok(entries),
        None if key != "images" => Ok(Vec::new()),
        None => Err(wrong(format!("`{key}` is missing"))),
        Some(_) => Err(wrong(format!("`{key}` is no list"))),
    };
    let (images, annotations, categories) = (list("images")?, list("annotations")?, list("categories")?);
    let (mut odd, count) = (Odd::default(), categories.len());
    let file = File {
        categories: entries(path, "category", categories, &mut odd),
        images: entries(path, "picture", images, &mut odd),
        annotations: entries(path, "annotation", annotations, &mut odd),
    };
    match odd.problems.first() {
        // Categories are read first.
        Some(first) if file.categories.len() < count => Err(wrong(first.reason.clone())),
        _ => Ok((file, odd)),
    }
}

/// A file's text without the mark that some editors put before it.
pub(super) fn text(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

fn entries<T: DeserializeOwned>(path: &Path, what: &str, list: Vec<Value>, odd: &mut Odd) -> Vec<T> {
    let one = |(number, entry): (usize, Value)| {
        let called = match entry.get("id") {
            Some(id) => format!("{what} {}", crate::domain::display_safe(&id.to_string())),
            None => format!("the {what} in place {number} (from 0)"),
        };
        let picture = entry.get("image_id").and_then(Value::as_i64);
        let read = serde_json::from_value(entry);
        read.map_err(|error| {
            odd.problems.push(Problem::rejected(path, None, format!("{called}: {error}")));
            odd.pictures.extend(picture);
        })
        .ok()
    };
    list.into_iter().enumerate().filter_map(one).collect()
}
