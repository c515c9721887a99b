//! Versions of a set: `snapshot`, `list`, `diff`, `restore`.

use std::path::Path;

use serde_json::json;

use super::super::output::{Out, tell};
use super::super::{CliError, Ended, Outcome};
use super::SHOWN;
use crate::learn::dataset::DatasetError;
use crate::learn::dataset::versions::{Change, Kept, Tree, Versions};

/// The state of the folder as it is.
const NOW: &str = "now";

pub(super) fn snapshot(out: &mut Out, set: &Path, message: &str) -> Ended {
    let (version, new) = match Versions::open(set, true)?.keep(message)? {
        Kept::New(version) => (version, true),
        Kept::Same(version) => (version, false),
    };
    if out.json {
        out.value(&json!({"new": new, "version": version}))?;
    } else {
        let what = if new { "kept as" } else { "is the same as" };
        let (number, files, bytes) = (version.number, version.files, version.bytes);
        out.line(format!(
            "{}: {what} version {number} ({files} files, {bytes} bytes, {})",
            set.display(),
            version.md5
        ))?;
    }
    Ok(Outcome::Done)
}

pub(super) fn list(out: &mut Out, set: &Path) -> Ended {
    let versions = Versions::open(set, false)?;
    let (all, current) = (versions.list()?, versions.current());
    // The latest of those with the content that the folder was last brought to.
    let present = all.iter().rev().find(|version| Some(&version.md5) == current.as_ref()).map(|version| version.number);
    for version in &all {
        let here = present == Some(version.number);
        if out.json {
            let mut value = serde_json::to_value(version).map_err(CliError::failed)?;
            value["current"] = here.into();
            out.value(&value)?;
        } else {
            let mark = if here { '*' } else { ' ' };
            out.line(format!(
                "{mark} {:>4}  {}  {:>8} files  {:>14} bytes  {}  {}",
                version.number,
                version.taken,
                version.files,
                version.bytes,
                version.md5.get(..10).unwrap_or(&version.md5),
                crate::domain::display_safe(&version.message)
            ))?;
        }
    }
    if all.is_empty() {
        tell(&format!("{}: no version of it is kept; `sightline dataset snapshot` keeps one", set.display()));
        return Ok(Outcome::Nothing);
    }
    Ok(Outcome::Done)
}

pub(super) fn diff(out: &mut Out, set: &Path, from: &str, to: &str) -> Ended {
    let versions = Versions::open(set, false)?;
    let tree = |which: &str| -> Result<Tree, DatasetError> {
        if which == NOW { versions.now() } else { versions.tree(&versions.find(which)?) }
    };
    let changes = tree(from)?.changes(&tree(to)?);
    if out.json {
        let count = |wanted: fn(&Change) -> bool| changes.iter().filter(|change| wanted(change)).count();
        out.value(&json!({
            "from": from, "to": to, "changes": changes,
            "added": count(|c| matches!(c, Change::Added { .. })),
            "removed": count(|c| matches!(c, Change::Removed { .. })),
            "changed": count(|c| matches!(c, Change::Changed { .. })),
            "moved": count(|c| matches!(c, Change::Moved { .. })),
        }))?;
        return Ok(Outcome::Done);
    }
    let safe = crate::domain::display_safe;
    for change in &changes {
        out.line(match change {
            Change::Added { path } => format!("added    {}", safe(path)),
            Change::Removed { path } => format!("removed  {}", safe(path)),
            Change::Changed { path } => format!("changed  {}", safe(path)),
            Change::Moved { from, path } => format!("moved    {} -> {}", safe(from), safe(path)),
        })?;
    }
    out.line(format!("{} differences between {from} and {to}", changes.len()))?;
    Ok(Outcome::Done)
}

pub(super) fn restore(out: &mut Out, set: &Path, which: &str, force: bool) -> Ended {
    let versions = Versions::open(set, false)?;
    let version = versions.find(which)?;
    if !force {
        let lost = versions.loss(&version)?.0;
        if !lost.is_empty() {
            let mut named: Vec<String> =
                lost.iter().take(SHOWN).map(|path| crate::domain::display_safe(path)).collect();
            if lost.len() > SHOWN {
                named.push(format!("and {} more", lost.len() - SHOWN));
            }
            return Err(CliError::Refused(format!(
                "{} has {} files that no version holds and that would be lost: {}; keep them with `sightline dataset \
                 snapshot`, or lose them with --force",
                set.display(),
                lost.len(),
                named.join(", ")
            )));
        }
    }
    versions.restore(&version)?;
    if out.json {
        out.value(&json!({"restored": version}))?;
    } else {
        out.line(format!("{}: is version {} again ({} files)", set.display(), version.number, version.files))?;
    }
    Ok(Outcome::Done)
}
