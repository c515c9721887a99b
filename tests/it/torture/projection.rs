//! sled can always be rebuilt: its folder is deleted, cut, hurt, left as a crash would, and the state is the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::SmallRng;
use sightline::engine::Options;
use sightline::journal::{self, Journal};
use sightline::store::Store;

use super::damage::lived_in;
use super::disk::start_without_room_for_snapshots;
use super::{Campaign, hurt, scratch, unload};
use crate::engine::{Yard, standard};

/// Does something to the projection's folder; says what.
fn harm(files: &mut BTreeMap<PathBuf, Vec<u8>>, random: &mut SmallRng) -> String {
    let inside = |name: &PathBuf| name.starts_with("database/store");
    let names: Vec<PathBuf> = files.keys().filter(|name| inside(name)).cloned().collect();
    let name = names[random.random_range(0..names.len())].clone();
    match random.random_range(0..4) {
        0 => {
            files.retain(|name, _| !inside(name));
            "folder deleted".into()
        }
        1 => {
            files.remove(&name);
            "file deleted".into()
        }
        2 => {
            // sled leaves this behind when a crash or a full disk comes in the middle of a snapshot.
            let snapshot = format!("database/store/snap.{:016X}.generating", random.random_range(1..1_u64 << 40));
            files.insert(snapshot.into(), (0..random.random_range(0..4096)).map(|_| random.random()).collect());
            "snapshot left unfinished".into()
        }
        _ => format!("file {}", hurt(files.get_mut(&name).unwrap(), random)),
    }
}

fn rebuilt_is_same(dir: &Path) -> Result<(), String> {
    let yard = Yard::at(dir, &[]);
    let options = Options { watch: false, work: false, loader: standard("weights") };
    let engine = yard.try_start(options).map_err(|error| error.to_string())?;
    let proof = engine.db_verify().map_err(|error| error.to_string())?;
    engine.stop();
    if !proof.ok {
        return Err(format!("{:?}", proof.problems));
    }
    // The same, made from the journal alone.
    let (journal, _) =
        Journal::open(&dir.join("database/journal"), journal::Options::default()).map_err(|e| e.to_string())?;
    let reader = journal.reader();
    let entries = (0..proof.applied).map(|n| reader.entry(n));
    let made = Store::rebuild_from(&dir.join("made"), entries).map_err(|error| error.to_string())?;
    let digest = hex::encode(made.digest().map_err(|error| error.to_string())?);
    if digest == proof.digest { Ok(()) } else { Err(format!("{} instead of {digest}", proof.digest)) }
}

#[test]
fn the_projection_is_made_anew_from_the_journal_whatever_befell_it() {
    let mut campaign =
        Campaign::new("projection", "whatever befalls the projection, the next start has the same state", 12, 200);
    let template = lived_in();
    for run in 0..campaign.runs {
        let (mut files, mut random) = (template.clone(), campaign.random(run));
        let mut how = "disk full during a snapshot".to_owned();
        let full = random.random_bool(0.2);
        if !full {
            how = harm(&mut files, &mut random);
        }
        let dir = scratch();
        unload(&files, dir.path());
        let mut same = Ok(());
        if full {
            match start_without_room_for_snapshots(dir.path()) {
                Some(started) => same = started,
                None => how = "disk full during a snapshot: skipped, this system lets nobody trace".into(),
            }
        }
        match same.and_then(|()| rebuilt_is_same(dir.path())) {
            Ok(()) => campaign.count(how),
            Err(why) => campaign.fail(run, format!("{how}: {why}")),
        }
    }
    campaign.end();
}
