//! SIGKILL at random moments of mixed work, against a log kept outside of what was acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::{Desk, Served, drawn};
use crate::torture::{Campaign, said};

/// What was done, and what was acknowledged of it.
#[derive(Default)]
struct Log {
    /// Files dropped into watched folders: each must have one outcome.
    dropped: Vec<String>,
    /// Files queued by a request: true where it was acknowledged.
    queued: BTreeMap<String, bool>,
    /// Acts by their reason, which is theirs alone: the action, and whether it was acknowledged.
    acts: BTreeMap<String, (&'static str, bool)>,
    next: u32,
}

impl Log {
    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// One random piece of work.
    fn work(&mut self, desk: &Desk, engine: &Served, random: &mut SmallRng) {
        let n = self.number();
        match random.random_range(0..10) {
            0..=2 => self.drop(desk, format!("watch/inbox/{}/{n}.png", n % 3), &drawn(n)),
            3..=4 => self.drop(desk, format!("watch/enroll/label {}/{n}.png", n % 4), &drawn(n)),
            5 => self.drop(desk, format!("watch/inbox/{n}.png"), &drawn(n - n % 3)),
            6 => self.drop(desk, format!("watch/inbox/{n}.jpg"), &drawn(n)[..100]),
            7 => {
                let path = desk.write(format!("named/{n}.png"), &drawn(n)).to_str().unwrap().to_owned();
                let act = json!({ "intent": format!("i{n}"), "reason": "", "paths": [path], "label": null });
                let acknowledged = engine.post("/v1/queue/ingest", &act).is_some_and(|(status, _)| status == 200);
                self.queued.insert(path, acknowledged);
            }
            8 => {
                let from = random.random_range(0..4);
                let act =
                    json!({ "which": { "label": format!("label {from}") }, "to": format!("label {}", (from + 1) % 4) });
                self.act(engine, "/v1/gallery/relabel", "gallery.relabelled", act, n);
            }
            _ => {
                let aside = engine.post_items("quarantined");
                let Some(id) = aside.first() else { return };
                let (verb, action) =
                    if n.is_multiple_of(2) { ("release", "queue.released") } else { ("discard", "queue.discarded") };
                self.act(engine, &format!("/v1/queue/items/{id}/{verb}"), action, json!({}), n);
            }
        }
    }

    /// Files appear whole, as a careful producer makes them.
    fn drop(&mut self, desk: &Desk, below: String, bytes: &[u8]) {
        let made = desk.write("making", bytes);
        let path = desk.path(&below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::rename(made, &path).unwrap();
        self.dropped.push(path.to_str().unwrap().to_owned());
    }

    fn act(&mut self, engine: &Served, path: &str, action: &'static str, mut act: Value, n: u32) {
        let reason = format!("reason {n}");
        act["intent"] = json!(format!("i{n}"));
        act["reason"] = json!(reason);
        let answer = engine.post(path, &act);
        // Refused (nothing of that label yet, set aside no more) is an answer, not an act.
        if answer.as_ref().is_none_or(|(status, _)| *status == 200) {
            let changed = answer.as_ref().is_some_and(|(_, done)| done["sightings"] != json!(0));
            self.acts.insert(reason, (action, answer.is_some() && changed));
        }
    }

    /// Compares with the journal: nothing acknowledged is missing, nothing is there twice.
    fn check(&self, entries: &[Value], finished: bool) {
        let mut outcomes: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        let mut released: BTreeMap<&str, usize> = BTreeMap::new();
        let mut acts: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
        for entry in entries {
            let action = entry["action"].as_str().unwrap();
            if action.starts_with("image.") {
                outcomes.entry(entry["after"]["file"]["path"].as_str().unwrap()).or_default().push(entry);
            }
            if action == "queue.released" {
                *released.entry(entry["subject"].as_str().unwrap()).or_default() += 1;
            }
            if let Some(reason) = entry["reason"].as_str() {
                *acts.entry((action, entry["subject"].as_str().unwrap(), reason)).or_default() += 1;
            }
        }
        for (path, entries) in &outcomes {
            // A release sends a file through once more.
            let subject = entries[0]["subject"].as_str().unwrap();
            let most = 1 + released.get(subject).copied().unwrap_or(0);
            assert!(entries.len() <= most, "{path} has {} outcomes, {most} at most: {entries:?}", entries.len());
            assert!(entries.iter().all(|entry| entry["subject"] == subject), "{path} was claimed twice");
        }
        if finished {
            for path in self.dropped.iter().chain(self.queued.iter().filter(|(_, acked)| **acked).map(|(path, _)| path))
            {
                assert!(outcomes.contains_key(path.as_str()), "{path} is lost");
            }
        }
        for (reason, (action, acknowledged)) in &self.acts {
            let found: Vec<_> = acts.iter().filter(|((_, _, r), _)| r == reason).collect();
            assert!(
                found.iter().all(|((a, _, _), count)| a == action && **count == 1),
                "{reason} was done twice: {found:?}"
            );
            assert!(!acknowledged || !found.is_empty(), "{reason} ({action}) was acknowledged and is lost");
        }
    }
}

impl Served {
    fn post_items(&self, state: &str) -> Vec<String> {
        let path = format!("/v1/queue/items?state={state}&limit=5");
        let Some((200, body)) = super::ask(&self.socket, "GET", &path, b"") else { return Vec::new() };
        let rows: Vec<Value> = serde_json::from_slice(&body).unwrap_or_default();
        rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect()
    }
}

/// Kills in one workspace; then a new one, so that reading its journal after the kills stays quick.
const A_WORKSPACE: u64 = 40;
/// Kills between two looks at everything; what is lost stays lost, so that no kill goes unwatched.
const A_LOOK: u64 = 8;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
    let mut campaign = Campaign::new(
        "kills",
        "an acknowledged action survives SIGKILL at any moment, and nothing is done twice",
        6,
        1000,
    );
    let workspaces = campaign.runs.div_ceil(A_WORKSPACE);
    let next = AtomicU64::new(0);
    let work = || {
        let mut told = Vec::new();
        loop {
            let first = next.fetch_add(1, Ordering::Relaxed) * A_WORKSPACE;
            if first >= campaign.runs {
                return told;
            }
            let kills = first..(first + A_WORKSPACE).min(campaign.runs);
            let ended = catch_unwind(AssertUnwindSafe(|| one_workspace(&campaign, kills.clone())));
            told.push((kills, ended.err().map(|panic| said(panic.as_ref()))));
        }
    };
    let told: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workspaces.min(2)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    for (kills, failed) in told {
        match failed {
            Some(why) => campaign.fail(kills.start, why),
            None => kills.for_each(|_| campaign.count("nothing lost, nothing twice")),
        }
    }
    campaign.end();
}

/// The kills of one workspace, which is then worked off to its end and looked through once more.
fn one_workspace(campaign: &Campaign, kills: Range<u64>) {
    let desk = Desk::new(&[("engine.checkpoint_every", "7")]);
    let mut log = Log { next: 2000, ..Log::default() };
    // Something to relabel, release and discard from the first moment on.
    for n in 0..28 {
        let below =
            if n < 8 { format!("watch/enroll/label {}/{n}.png", n % 4) } else { format!("watch/inbox/{n}.png") };
        let bytes = drawn(1000 + n);
        log.drop(&desk, below, if n < 8 { &bytes } else { &bytes[..100 + n as usize] });
    }
    let engine = desk.serve();
    engine.wait(28);
    engine.stop();
    for kill in kills.clone() {
        let mut random = campaign.random(kill);
        let mut engine = desk.serve();
        let moment = Duration::from_millis(random.random_range(0..600));
        std::thread::scope(|scope| {
            let child = engine.id() as i32;
            scope.spawn(move || {
                std::thread::sleep(moment);
                // SAFETY: the child is waited for only after this thread has ended.
                unsafe { libc::kill(child, libc::SIGKILL) };
            });
            let began = Instant::now();
            while began.elapsed() < moment + Duration::from_millis(20) {
                log.work(&desk, &engine, &mut random);
                // More work than the engine keeps up with, but not hours of it.
                std::thread::sleep(Duration::from_millis(random.random_range(0..40)));
            }
        });
        engine.kill();
        if (kill + 1 - kills.start).is_multiple_of(A_LOOK) {
            desk.prove();
            log.check(&desk.json("journal export", &[], 0), false);
        }
        println!(
            "kill {kill} after {moment:?}: {} files, {} acts",
            log.dropped.len() + log.queued.len(),
            log.acts.len()
        );
    }
    let engine = desk.serve();
    let began = Instant::now();
    loop {
        let left = desk.under_way(&["watch/inbox", "watch/enroll"]);
        let stats = engine.get("/v1/queue/stats");
        if left == 0 {
            println!("{stats}");
            assert_eq!(stats["failed"], 0);
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{left} files are left, {stats}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (code, took) = engine.stop();
    assert!(code == Some(0) && took < campaign.patience(Duration::from_secs(5)), "{code:?} {took:?}");
    desk.prove();
    log.check(&desk.json("journal export", &[], 0), true);
    let acked = log.acts.values().filter(|(_, acked)| *acked).count();
    println!(
        "kills {kills:?}: {} dropped, {} queued, {} acts ({acked} acknowledged)",
        log.dropped.len(),
        log.queued.len(),
        log.acts.len()
    );
}
