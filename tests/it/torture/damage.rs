//! Damage is never silent: each file under `database/` is hurt, one at a time, and the engine started on it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use image::imageops::rotate90;
use rand::Rng;
use sightline::domain::view::{Item, LabelRow, Nothing, QueueStats, Relabel, Trusted, Which};
use sightline::domain::{Decision, ImageId, Label};
use sightline::engine::{EngineError, Options};

use super::{Campaign, hurt, load, scratch, unload};
use crate::engine::{Yard, Yarded, pack, png, reasoned, standard};

const PACKS: u32 = 6;
/// Longer than this and it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an undamaged workspace answers.
#[derive(Clone, Debug, PartialEq)]
struct State {
    stats: QueueStats,
    labels: Vec<LabelRow>,
    items: Vec<Item>,
    answers: Vec<Decision>,
    originals: Vec<(ImageId, ImageId)>,
}

fn answer(engine: &Yarded, n: u32) -> Result<Decision, EngineError> {
    engine.identify(&png(&rotate90(&pack(n)))).map(|identified| identified.answers[0].decision.clone())
}

impl State {
    fn of(engine: &Yarded) -> Result<Self, EngineError> {
        let items = engine.items(None, None, 1000, false)?;
        let images = items.iter().filter(|item| item.state.name() == "done").filter_map(|item| item.sha256);
        let mut originals = Vec::new();
        for image in images {
            originals.push((image, sightline::archive::image_id(&engine.original(image)?.0)));
        }
        Ok(Self {
            stats: engine.queue_stats()?,
            labels: engine.labels(None, None, 1000)?,
            items,
            answers: (0..PACKS + 2).map(|n| answer(engine, n)).collect::<Result<_, _>>()?,
            originals,
        })
    }
}

/// A workspace with something of everything, stopped in good order.
pub(super) fn lived_in() -> BTreeMap<PathBuf, Vec<u8>> {
    let dir = scratch();
    let yard = Yard::at(dir.path(), &[("engine.checkpoint_every", "8")]);
    let engine = yard.start();
    for n in 0..PACKS {
        yard.write(format!("watch/enroll/pack {n}/a.png"), &png(&pack(n)));
    }
    engine.wait(u64::from(PACKS));
    for n in 0..12 {
        yard.write(format!("watch/inbox/{n}.png"), &png(&rotate90(&pack(n))));
    }
    for n in 0..3_u32 {
        yard.write(format!("watch/inbox/copy {n}.png"), &png(&rotate90(&pack(n))));
        yard.write(format!("watch/inbox/broken {n}.png"), &png(&pack(n))[..100 + n as usize]);
    }
    engine.wait(u64::from(PACKS) + 18);
    let label = |text: &str| Label::new(text).unwrap();
    let moved = Relabel { which: Which::Label(label("pack 1")), to: label("renamed") };
    engine.relabel("anna", &reasoned(moved)).unwrap();
    let aside = engine.in_state(sightline::domain::ItemState::Quarantined);
    engine.discard("anna", &aside[0].id, &reasoned(Nothing {})).unwrap();
    engine.stop();
    load(dir.path())
}

/// How a damaged workspace took it.
enum Taken {
    /// Somebody was told.
    Said(&'static str),
    /// Nothing was said, and nothing is missing.
    Harmless,
    Wrong(String),
}

fn try_one(files: &BTreeMap<PathBuf, Vec<u8>>, sound: &State) -> Taken {
    let dir = scratch();
    unload(files, dir.path());
    let yard = Yard::at(dir.path(), &[("engine.checkpoint_every", "8")]);
    let options = Options { watch: true, work: true, loader: standard("weights") };
    let engine = match yard.try_start(options) {
        Ok(engine) => engine,
        Err(error) => {
            let said = error.to_string();
            // It names a file and gives no debris of ours.
            let clear = said.contains('/') && !said.contains("panicked") && !said.contains("unwrap");
            return if clear { Taken::Said("refused to start") } else { Taken::Wrong(format!("unclear: {said}")) };
        }
    };
    let looked = engine.look();
    if let Some(halted) = looked.halted {
        return Taken::Wrong(format!("it halted: {halted}"));
    }
    let state = State::of(&engine);
    // Whatever else was damaged: an answer is right, or it is none.
    for (n, right) in sound.answers.iter().enumerate() {
        match answer(&engine, n as u32) {
            Ok(given) if given != *right => {
                return Taken::Wrong(format!("a wrong answer: {given:?} instead of {right:?}"));
            }
            _ => {}
        }
    }
    let journal = engine.journal_verify(&Trusted::default());
    let db = engine.db_verify();
    if !looked.warnings.is_empty() {
        return Taken::Said("a warning at the start");
    }
    if !matches!(journal, Ok(proof) if proof.ok) {
        return Taken::Said("journal verify");
    }
    if !matches!(db, Ok(proof) if proof.ok) {
        return Taken::Said("db verify");
    }
    match state {
        Ok(state) if state == *sound => Taken::Harmless,
        Ok(state) => Taken::Wrong(format!("silently other: {state:?}")),
        Err(error) => Taken::Wrong(format!("silently broken: {error}")),
    }
}

#[test]
fn damage_is_never_silent() {
    let mut campaign = Campaign::new(
        "damage",
        "damage to any file under database/ is reported or harmlessly rebuilt; never a wrong answer, a panic or a hang",
        30,
        1000,
    );
    let template = lived_in();
    let sound = {
        let dir = scratch();
        unload(&template, dir.path());
        let yard = Yard::at(dir.path(), &[("engine.checkpoint_every", "8")]);
        let engine = yard.start();
        State::of(&engine).unwrap()
    };
    // Logs are for people; the lock says only who has it.
    let names: Vec<&PathBuf> = template
        .keys()
        .filter(|name| name.starts_with("database"))
        .filter(|name| !name.starts_with("database/logs") && !name.ends_with("engine.lock"))
        .collect();
    for run in 0..campaign.runs {
        let mut random = campaign.random(run);
        let name = names[random.random_range(0..names.len())].clone();
        let mut files = template.clone();
        let how = hurt(files.get_mut(&name).unwrap(), &mut random);
        let (sender, receiver) = channel();
        let sound = sound.clone();
        let thread = std::thread::spawn(move || {
            let taken = try_one(&files, &sound);
            drop(sender.send(taken));
        });
        let taken = receiver.recv_timeout(campaign.patience(PATIENCE));
        let what = format!("{} {how}", name.display());
        let hangs = matches!(taken, Err(RecvTimeoutError::Timeout));
        match taken {
            Ok(Taken::Said(by)) => campaign.count(by),
            Ok(Taken::Harmless) => campaign.count("harmless"),
            Ok(Taken::Wrong(why)) => campaign.fail(run, format!("{what}: {why}")),
            Err(RecvTimeoutError::Timeout) => campaign.fail(run, format!("{what}: it hangs")),
            Err(RecvTimeoutError::Disconnected) => campaign.fail(run, format!("{what}: it panicked")),
        }
        if !hangs {
            drop(thread.join());
        }
    }
    campaign.end();
}
