//! `<set>.dvc`: which state is the present one.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::DatasetError;
use super::{Version, cache};

/// The file as DVC 3 writes it.
pub(super) fn text(version: &Version, name: &str) -> String {
    let plain = name.chars().next().is_some_and(char::is_alphabetic)
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&name.to_lowercase().as_str());
    // A JSON string is a YAML string.
    let name = if plain { name.to_owned() } else { Value::from(name).to_string() };
    let Version { md5, bytes, files, .. } = version;
    format!("outs:\n- md5: {md5}\n  size: {bytes}\n  nfiles: {files}\n  hash: md5\n  path: {name}\n")
}

/// The state that the file names; none where there is no file.
///
/// # Errors
/// It is there and says more than where a folder's state is: somebody else's, not to be written over.
pub(super) fn read(path: &Path, name: &str) -> Result<Option<String>, DatasetError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DatasetError::io("read", path)(error)),
    };
    let foreign = || {
        let detail = "it is no plain record of this folder by dvc 3; take it away, or use dvc for this set";
        DatasetError::description(path, detail)
    };
    let value: Value = serde_saphyr::from_str(&text).map_err(|_| foreign())?;
    let outs = value.get("outs").and_then(Value::as_array).filter(|outs| outs.len() == 1).ok_or_else(foreign)?;
    let only = |value: &Value, keys: &[&str]| {
        value.as_object().is_some_and(|map| map.keys().all(|key| keys.contains(&key.as_str())))
    };
    if !only(&value, &["outs"]) || !only(&outs[0], &["md5", "size", "nfiles", "hash", "path"]) {
        return Err(foreign());
    }
    let md5 = outs[0].get("md5").and_then(Value::as_str).unwrap_or_default();
    let folder = md5.strip_suffix(".dir").is_some_and(cache::is_digest);
    if !folder || outs[0].get("path").and_then(Value::as_str) != Some(name) {
        return Err(foreign());
    }
    Ok(Some(md5.to_owned()))
}
