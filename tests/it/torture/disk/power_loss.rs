//! The power fails at any moment: whatever the disk may hold then, the engine opens it and has what it acknowledged.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::life::{Life, prepare};
use super::op::{Op, numbered};
use super::replay::{Before, Luck, after, lay_out};
use super::sound::{Told, sound};
use super::trace::Tracer;
use super::{OUT, REFUSED, SEED, worker};
use crate::torture::{Campaign, scratch};

/// States that are made from one life.
const A_LIFE: u64 = 100;

/// What a traced life leaves: first this, then a line for each operation.
#[derive(Serialize, Deserialize)]
struct Head {
    home: PathBuf,
    root: u64,
    folders: Vec<(u64, String, u64)>,
    shown: Vec<String>,
}

/// A life on a disk, as it was traced.
struct Traced {
    home: PathBuf,
    before: Before,
    shown: Vec<String>,
    ops: Vec<Op>,
}

impl Traced {
    fn read(path: &Path) -> Self {
        let mut lines = BufReader::new(fs::File::open(path).unwrap()).lines().map(Result::unwrap);
        let head: Head = serde_json::from_str(&lines.next().unwrap()).unwrap();
        let ops = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
        Self { home: head.home, before: Before::from_parts(head.root, head.folders), shown: head.shown, ops }
    }
}

#[test]
#[ignore = "the power_loss campaign runs it in a process of its own, whose calls are traced to its end"]
fn a_traced_life() {
    let Some(out) = std::env::var_os(OUT) else { return };
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let dir = scratch();
    prepare(dir.path());
    let before = Before::of(dir.path());
    let tracer = Tracer::start();
    let shown = std::thread::scope(|scope| {
        let life = scope.spawn(|| {
            tracer.enter().ok()?;
            let mut random = SmallRng::seed_from_u64(seed);
            let mut life = Life::new(dir.path(), &tracer, &mut random);
            tracer.watch(dir.path());
            life.live();
            assert!(life.told.is_empty(), "{:?}", life.told);
            Some(life.shown)
        });
        life.join().unwrap()
    });
    let Some(shown) = shown else { return println!("{REFUSED}") };
    let (root, folders) = before.parts();
    let head = Head { home: dir.path().to_owned(), root, folders: folders.to_vec(), shown };
    let (ops, _) = tracer.take();
    let mut file = BufWriter::new(fs::File::create(out).unwrap());
    writeln!(file, "{}", serde_json::to_string(&head).unwrap()).unwrap();
    for op in numbered(ops) {
        writeln!(file, "{}", serde_json::to_string(&op).unwrap()).unwrap();
    }
    file.flush().unwrap();
}

/// Makes one state of a life, opens it, and looks.
fn one_state(traced: &Traced, random: &mut SmallRng) -> Result<&'static str, String> {
    let end = random.random_range(1..=traced.ops.len());
    let (luck, name) = match random.random_range(0..10) {
        0..3 => (Luck::None, "only what was synced"),
        3 => (Luck::All, "everything"),
        4 => (Luck::NamesOnly, "names without their bytes"),
        5 => (Luck::Some(0.95), "nearly everything"),
        _ => (Luck::Some(random.random()), "some of what was not synced"),
    };
    let ops = &traced.ops[..end];
    let mut told = Told::default();
    ops.iter()
        .filter_map(|op| if let Op::Note(note) = op { Some(note) } else { None })
        .for_each(|note| told.note(note));
    let dir = scratch();
    lay_out(&after(&traced.before, ops, luck, random), dir.path());
    let ended = sound(dir.path(), &[&traced.home, dir.path()], &told, &traced.shown);
    ended.map(|()| name).map_err(|why| {
        // Kept for who looks into it.
        if let Some(keep) = std::env::var_os("SIGHTLINE_TORTURE_KEEP") {
            lay_out(&after(&traced.before, ops, luck, random), Path::new(&keep));
        }
        format!("after {end} of {} operations, {luck:?}: {why}", traced.ops.len())
    })
}

#[test]
fn a_power_loss_loses_nothing_that_was_acknowledged() {
    let mut campaign = Campaign::new(
        "power_loss",
        "whatever a power loss leaves of what was not synced, it opens and has everything that was acknowledged",
        60,
        5000,
    );
    let lives = campaign.runs.div_ceil(A_LIFE);
    let (next, told) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let traced = Mutex::new(true);
    std::thread::scope(|scope| {
        // More than there are cores: an engine that stops waits more than it works.
        for _ in 0..lives.min(4) {
            scope.spawn(|| {
                loop {
                    let life = next.fetch_add(1, Ordering::Relaxed);
                    if life >= lives {
                        return;
                    }
                    let out = scratch();
                    let path = out.path().join("life");
                    let seed = campaign.random(1 << 40 | life).random::<u32>();
                    if !worker("power_loss::a_traced_life", &path, &[(SEED, seed.to_string())]) {
                        *traced.lock().unwrap() = false;
                        return;
                    }
                    let life_traced = Traced::read(&path);
                    for run in life * A_LIFE..((life + 1) * A_LIFE).min(campaign.runs) {
                        let ended = one_state(&life_traced, &mut campaign.random(run));
                        told.lock().unwrap().push((run, ended));
                    }
                }
            });
        }
    });
    if !traced.into_inner().unwrap() {
        return println!("skipped: {REFUSED}");
    }
    for (run, ended) in told.into_inner().unwrap() {
        match ended {
            Ok(name) => campaign.count(name),
            Err(why) => campaign.fail(run, why),
        }
    }
    campaign.end();
}
