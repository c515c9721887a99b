//! The journal: entries a second in batches, each batch synced, and the proof of a million entries.

use std::time::Instant;

use sightline::domain::{Draft, Fact, ItemId};
use sightline::journal::{Journal, Options, Trust, verify};

use crate::harness::{Bench, milliseconds};

const BATCH: u32 = 500;
const BATCHES: u32 = 40;
const MANY: u32 = 1_000_000;

fn drafts(from: u32) -> Vec<Draft> {
    let draft = |n: u32| Draft::engine(Fact::QueueReleased { item: ItemId::new(u64::from(n), n) });
    (from..from + BATCH).map(draft).collect()
}

pub fn run(bench: &Bench) {
    let appended = "journal, entries appended in synced batches of 500";
    let (options, mut next) = (Options::default(), 0);
    if bench.wants(appended) {
        let dir = bench.scratch.path().join("appended");
        let (mut journal, _) = Journal::open(&dir, options).expect("a journal");
        bench.measure(appended, "entries/s", &mut [], || {
            let began = Instant::now();
            for _ in 0..BATCHES {
                journal.append(drafts(next)).expect("on the disk");
                next += BATCH;
            }
            f64::from(BATCH * BATCHES) / began.elapsed().as_secs_f64()
        });
    }
    let proven = "journal, proof of 1,000,000 entries";
    if bench.wants(proven) {
        let dir = bench.scratch.path().join("proven");
        let (mut journal, _) = Journal::open(&dir, options).expect("a journal");
        for from in (0..MANY).step_by(BATCH as usize) {
            journal.append(drafts(from)).expect("on the disk");
        }
        journal.checkpoint().expect("signed");
        bench.measure(proven, "ms", &mut [], || {
            milliseconds(1, || assert!(verify(&dir, &Trust::default()).expect("a report").ok))
        });
        let opened = "journal, opening 1,000,000 entries";
        drop(journal);
        bench.measure(opened, "ms", &mut [], || milliseconds(1, || drop(Journal::open(&dir, options).expect("open"))));
    }
}
