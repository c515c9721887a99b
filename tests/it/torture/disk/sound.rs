//! Whether a workspace has everything that it was said to have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sightline::domain::view::Trusted;
use sightline::domain::{Entry, Fact};

use super::Note;
use super::life::{files_below, is_drained, options, yard};
use crate::engine::Yarded;

/// What a client was told up to some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Entries that were shown.
    entries: usize,
    /// Files that were dropped: the picture, and whether the producer synced it.
    dropped: BTreeMap<PathBuf, (String, bool)>,
    queued: BTreeSet<PathBuf>,
}

impl Told {
    pub(super) fn note(&mut self, note: &Note) {
        match note {
            Note::Dropped { below, image, synced } => {
                self.dropped.insert(below.clone(), (image.clone(), *synced));
            }
            Note::Queued { below } => drop(self.queued.insert(below.clone())),
            Note::Entries(entries) => self.entries = *entries as usize,
        }
    }
}

/// The file of an outcome, with the picture where one is named.
fn outcome(entry: &Entry) -> Option<(PathBuf, String, Option<String>)> {
    let (file, image) = match entry.fact().ok()? {
        Fact::ImageDone(done) => (done.file, Some(done.image)),
        Fact::ImageDuplicate(duplicate) => (duplicate.file, Some(duplicate.image)),
        Fact::ImageQuarantined(quarantined) => (quarantined.file, Some(quarantined.image)),
        Fact::ImageFailed(failed) => (failed.file, None),
        _ => return None,
    };
    Some((file.path.0, file.item.to_string(), image.map(|image| image.to_string())))
}

/// Starts the engine on a workspace, lets it work off what is there, and looks whether all that its clients were told
/// holds. `homes` are the folders in which it has lain; `shown` is the journal as it was shown to the end.
///
/// # Errors
/// What is missing, doubled or wrong.
pub(super) fn sound(dir: &Path, homes: &[&Path], told: &Told, shown: &[String]) -> Result<(), String> {
    let yard = yard(dir);
    let engine = yard.try_start(options()).map_err(|error| format!("it does not start: {error}"))?;
    let began = Instant::now();
    while !is_drained(dir, &engine) {
        let looked = engine.look();
        let late = began.elapsed() > Duration::from_secs(40);
        if late || looked.halted.is_some() {
            let left = [files_below(&dir.join("watch")), files_below(&dir.join("database/queue"))].concat();
            return Err(format!("it does not get done: {:?} {:?} {left:?}", looked.halted, looked.warnings));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let proven = proofs(&engine);
    let entries = engine.journal();
    engine.stop();
    proven?;
    let texts: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    if texts.len() < told.entries {
        return Err(format!("{} entries were shown, {} are there", told.entries, texts.len()));
    }
    if let Some(at) = (0..told.entries).find(|at| texts[*at] != shown[*at]) {
        return Err(format!("entry {at} was {} and is {}", shown[at], texts[at]));
    }
    one_place_each(&entries, homes, told)
}

/// The proofs of journal and database, and the originals by what the journal says of them.
fn proofs(engine: &Yarded) -> Result<(), String> {
    let journal = engine.journal_verify(&Trusted::default()).map_err(|error| error.to_string())?;
    if !journal.ok {
        return Err(format!("journal verify: {:?}", journal.problems));
    }
    let db = engine.db_verify().map_err(|error| error.to_string())?;
    if !db.ok {
        return Err(format!("db verify: {:?}", db.problems));
    }
    for entry in engine.journal() {
        let original = match entry.fact().map_err(|error| error.to_string())? {
            Fact::ImageDone(done) => Some(done.image),
            Fact::ImageDuplicate(duplicate) => Some(duplicate.of),
            _ => None,
        };
        if let Some(image) = original {
            engine.original(image).map_err(|error| format!("entry {}: {error}", entry.sequence))?;
        }
    }
    let warnings = engine.look().warnings;
    if warnings.iter().any(|warning| warning.contains("damaged")) {
        return Err(format!("{warnings:?}"));
    }
    Ok(())
}

/// Each file has one outcome, or, where it was sent through again, one more each time.
fn one_place_each(entries: &[Entry], homes: &[&Path], told: &Told) -> Result<(), String> {
    let mut outcomes: BTreeMap<PathBuf, Vec<(String, Option<String>)>> = BTreeMap::new();
    let mut released: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        if let Ok(Fact::QueueReleased { item }) = entry.fact() {
            *released.entry(item.to_string()).or_default() += 1;
        }
        if let Some((path, item, image)) = outcome(entry) {
            let below = homes.iter().find_map(|home| path.strip_prefix(home).ok());
            let below = below.ok_or_else(|| format!("{} was never dropped", path.display()))?;
            outcomes.entry(below.to_owned()).or_default().push((item, image));
        }
    }
    for (below, found) in &outcomes {
        let item = &found[0].0;
        let most = 1 + released.get(item).copied().unwrap_or(0);
        if found.len() > most || found.iter().any(|(other, _)| other != item) {
            return Err(format!("{} was taken twice: {found:?}", below.display()));
        }
    }
    for (below, (image, synced)) in &told.dropped {
        let found = outcomes.get(below);
        if *synced && found.is_none() {
            return Err(format!("{} is lost", below.display()));
        }
        let other = |(_, seen): &(String, Option<String>)| seen.as_ref().is_some_and(|seen| seen != image);
        if *synced && found.is_some_and(|found| found.iter().any(other)) {
            return Err(format!("{} has other bytes: {found:?} instead of {image}", below.display()));
        }
    }
    match told.queued.iter().find(|below| !outcomes.contains_key(*below)) {
        Some(lost) => Err(format!("{} was acknowledged and is lost", lost.display())),
        None => Ok(()),
    }
}
