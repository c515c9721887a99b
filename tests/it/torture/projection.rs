//! sled can always be rebuilt: its folder is deleted, cut, hurt, left as a crash would, and the state is the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rand::Rng;
use rand::rngs::SmallRng;
use sightline::engine::Options;
use sightline::journal::{self, Journal};
use sightline::store::Store;

use super::damage::lived_in;
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

fn rebuilt_is_same(files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    let dir = scratch();
    unload(files, dir.path());
    let yard = Yard::at(dir.path(), &[]);
    let options = Options { watch: false, work: false, loader: standard("weights") };
    let engine = yard.try_start(options).map_err(|error| error.to_string())?;
    let proof = engine.db_verify().map_err(|error| error.to_string())?;
    engine.stop();
    if !proof.ok {
        return Err(format!("{:?}", proof.problems));
    }
    // The same, made from the journal alone.
    let (journal, _) =
        Journal::open(&dir.path().join("database/journal"), journal::Options::default()).map_err(|e| e.to_string())?;
    let reader = journal.reader();
    let entries = (0..proof.applied).map(|n| reader.entry(n));
    let made = Store::rebuild_from(&dir.path().join("made"), entries).map_err(|error| error.to_string())?;
    let digest = hex::encode(made.digest().map_err(|error| error.to_string())?);
    if digest == proof.digest { Ok(()) } else { Err(format!("{} instead of {digest}", proof.digest)) }
}

#[test]
fn the_projection_is_made_anew_from_the_journal_whatever_befell_it() {
    let mut campaign =
        Campaign::new("projection", "whatever befalls the projection, the next start has the same state", 12, 200);
    let template = lived_in();
    for run in 0..campaign.runs {
        let mut files = template.clone();
        let how = harm(&mut files, &mut campaign.random(run));
        match rebuilt_is_same(&files) {
            Ok(()) => campaign.count(how),
            Err(why) => campaign.fail(run, format!("{how}: {why}")),
        }
    }
    campaign.end();
}
