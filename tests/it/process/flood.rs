//! No dropped file is lost: bursts of small files in folders made at that moment, with and without the kernel's events,
//! and an engine that is killed while it claims them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::Rng;

use super::{Desk, drawn};
use crate::torture::Campaign;

/// Unlike pictures; every other file is a copy of one of them.
const UNLIKE: u32 = 40;
/// Files between kills.
const BURST: u64 = 2500;

#[test]
fn no_dropped_file_is_lost_in_a_flood() {
    let mut campaign = Campaign::new(
        "flood",
        "of many small files dropped in bursts, under kills, into watched and polled folders, none is lost or taken twice",
        2500,
        100_000,
    );
    let desk = Desk::new(&[("intake.poll_seconds", "1"), ("engine.checkpoint_every", "1000")]);
    let config = fs::read_to_string(desk.path("config.yaml")).unwrap();
    let watch = "  - { path: watch/enroll, mode: enroll }\n";
    assert!(config.contains(watch));
    let polled = "  - { path: watch/polled, mode: identify, backend: poll }\n";
    fs::write(desk.path("config.yaml"), config.replace(watch, polled)).unwrap();
    let pictures: Vec<Vec<u8>> = (0..UNLIKE).map(drawn).collect();
    let mut dropped: BTreeSet<PathBuf> = BTreeSet::new();
    let began = Instant::now();
    let mut engine = desk.serve();
    while (dropped.len() as u64) < campaign.runs {
        let burst = BURST.min(campaign.runs - dropped.len() as u64);
        let mut random = campaign.random(dropped.len() as u64);
        for _ in 0..burst {
            let n = dropped.len();
            let top = if random.random_bool(0.2) { "watch/polled" } else { "watch/inbox" };
            let dir = desk.path(format!("{top}/{}/{}", n / 500, n / 40 % 7));
            fs::create_dir_all(&dir).unwrap();
            let path = dir.join(format!("{n}.png"));
            // Written whole beside and moved in, or written in place, as producers do.
            let bytes = &pictures[random.random_range(0..pictures.len())];
            if random.random_bool(0.5) {
                let making = desk.path("making");
                fs::write(&making, bytes).unwrap();
                fs::rename(&making, &path).unwrap();
            } else {
                fs::write(&path, bytes).unwrap();
            }
            dropped.insert(path);
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..1500)));
        engine.kill();
        engine = desk.serve();
    }
    let patience = Duration::from_secs(120 + campaign.runs / 20);
    loop {
        let left = desk.under_way(&["watch/inbox", "watch/polled"]);
        if left == 0 {
            break;
        }
        assert!(began.elapsed() < patience, "{left} files are left, {}", engine.get("/v1/queue/stats"));
        std::thread::sleep(Duration::from_millis(200));
    }
    let rate = dropped.len() as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} files/s over all");
    engine.stop();
    let tidied = fs::read_dir(desk.path("database/queue")).unwrap().count();
    assert_eq!(tidied, 0, "nothing stays behind in the queue's folder");
    desk.prove();
    let mut outcomes: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for entry in desk.json("journal export", &[], 0) {
        if let Some(path) = entry["after"]["file"]["path"].as_str() {
            outcomes.entry(path.into()).or_default().push(entry["action"].as_str().unwrap().to_owned());
        }
    }
    for path in &dropped {
        match outcomes.get(path).map(Vec::as_slice) {
            Some([one]) if one == "image.done" || one == "image.duplicate" => campaign.count(one.clone()),
            other => campaign.fail(0, format!("{}: {other:?}", path.display())),
        }
    }
    assert_eq!(outcomes.len(), dropped.len(), "nothing else was taken in");
    campaign.end();
}
