//! A full disk stops the engine cleanly: it opens again, nothing acknowledged is lost, and the operator is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use image::{ImageFormat, RgbImage};
use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::{Desk, Served, ask, text};
use crate::support::encoded;
use crate::torture::{Campaign, load};

/// A small disk, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    /// None where this user may not mount.
    fn new(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }

    fn free(&self) -> u64 {
        let stats = rustix::fs::statvfs(self.0.path()).unwrap();
        stats.f_bavail * stats.f_frsize
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// Leaves so many bytes free, whoever else uses the disk.
    fn fill(&self, leave: u64) {
        let taken = fs::metadata(self.filler()).map_or(0, |meta| meta.len());
        let length = (taken + self.free()).saturating_sub(leave);
        let file = fs::File::options().create(true).append(true).open(self.filler()).unwrap();
        // Somebody else may have taken the room meanwhile: then it is full all the same.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length.max(1)).ok();
    }

    fn make_room(&self) {
        drop(fs::remove_file(self.filler()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).output());
    }
}

/// About 70 KB that no compression makes smaller.
fn noise(random: &mut SmallRng) -> Vec<u8> {
    let image = RgbImage::from_fn(150, 150, |_, _| image::Rgb(random.random()));
    encoded(&image, ImageFormat::Png)
}

/// What was dropped whole, and what was acknowledged.
#[derive(Default)]
struct Log {
    dropped: BTreeMap<PathBuf, Vec<u8>>,
    /// Reasons of acts, and how many sightings each is said to have changed.
    acknowledged: Vec<(String, u64)>,
    next: u32,
}

impl Log {
    /// A producer that can write its file drops it; one that cannot drops nothing.
    fn drop_one(&mut self, desk: &Desk, random: &mut SmallRng) {
        self.next += 1;
        let (making, path) = (desk.path("making"), desk.path(format!("watch/inbox/{}.png", self.next)));
        let bytes = noise(random);
        let made = fs::create_dir_all(desk.path("watch/inbox")).and_then(|()| fs::write(&making, &bytes));
        if made.and_then(|()| fs::rename(&making, &path)).is_ok() {
            self.dropped.insert(path, bytes);
        } else {
            drop(fs::remove_file(&making));
        }
    }

    /// An act with a reason of its own; remembered if it was acknowledged.
    fn act(&mut self, engine: &Served, from: u32) {
        self.next += 1;
        let reason = format!("reason {}", self.next);
        let act = json!({ "intent": reason, "reason": reason, "which": { "label": format!("l{from}") }, "to": format!("l{}", 1 - from) });
        if let Some((200, done)) = engine.post("/v1/gallery/relabel", &act)
            && done["sightings"] != json!(0)
        {
            self.acknowledged.push((reason, done["sightings"].as_u64().unwrap()));
        }
    }
}

/// What the engine says about itself, if it answers.
fn said(engine: &Served) -> String {
    let status = ask(&engine.socket, "GET", "/v1/status", b"").map(|(_, body)| text(&body)).unwrap_or_default();
    let status: Value = serde_json::from_str(&status).unwrap_or_default();
    format!("{} {}", status["halted"], status["warnings"])
}

fn one_disaster(random: &mut SmallRng) -> Result<&'static str, String> {
    let disk = Disk::new(48).ok_or("cannot mount")?;
    let desk = Desk::within(disk.0.path(), &[("engine.ballast_mb", "4"), ("engine.attempts", "2")]);
    let mut log = Log::default();
    let mut engine = desk.serve();
    for n in 0..2 {
        desk.write(format!("watch/enroll/l{n}/a.png"), &noise(random));
    }
    (0..3).for_each(|_| log.drop_one(&desk, random));
    engine.wait(5);

    // It becomes full at one stage or another of what goes on, sometimes in several steps, to the last byte or nearly.
    let leave = if random.random_bool(0.4) { 0 } else { random.random_range(0..6_000_000) };
    let moment = random.random_range(0..12);
    for step in 0..16 {
        if step == moment {
            disk.fill(leave);
        }
        log.drop_one(&desk, random);
        log.act(&engine, step % 2);
        std::thread::sleep(Duration::from_millis(random.random_range(0..80)));
    }
    let began = Instant::now();
    let told = loop {
        let said = said(&engine);
        if said.contains("room") {
            break true;
        }
        if began.elapsed() > Duration::from_secs(5) {
            break false;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let low = disk.free() < 2 << 20;
    if low && !told {
        return Err(format!("{} bytes are free and nobody is told: {}", disk.free(), said(&engine)));
    }

    // It ends, in good order or not, and is started again while the disk is full.
    if random.random_bool(0.5) {
        engine.kill();
    } else {
        engine.stop();
    }
    disk.fill(leave.min(100_000));
    let while_full = desk.run("--json queue stats", &[]);
    let complaint = text(&while_full.stderr);
    let opened = while_full.status.code() == Some(0);
    if !opened && !["room", "space", "full"].iter().any(|word| complaint.contains(word)) {
        return Err(format!("a start on a full disk says: {complaint}"));
    }

    disk.make_room();
    let engine = desk.serve();
    let began = Instant::now();
    loop {
        let left = desk.under_way(&["watch"]);
        if left == 0 {
            break;
        }
        if began.elapsed() > Duration::from_secs(40) {
            let stats = engine.get("/v1/queue/stats");
            return Err(format!("{left} files are left, {stats}, {}", said(&engine)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    engine.stop();
    desk.prove();
    check(&log, &desk)?;
    Ok(if opened { "opened while full" } else { "opened when there was room" })
}

/// Every file that was dropped whole has one outcome with its bytes; every acknowledged act is in the journal once.
fn check(log: &Log, desk: &Desk) -> Result<(), String> {
    let entries = desk.json("journal export", &[], 0);
    for (path, bytes) in &log.dropped {
        let about = |entry: &&Value| entry["after"]["file"]["path"].as_str().map(Path::new) == Some(path.as_path());
        let outcomes: Vec<&Value> = entries.iter().filter(about).collect();
        let image = sightline::archive::image_id(bytes).to_string();
        match outcomes.as_slice() {
            [one] if one["action"] == "image.done" && one["after"]["image"] == json!(image) => {}
            other => {
                let files = load(desk.dir.path()).into_iter();
                let lies: Vec<PathBuf> = files.filter(|(_, found)| found == bytes).map(|(at, _)| at).collect();
                return Err(format!("{}: {other:?}; its bytes lie in {lies:?}", path.display()));
            }
        }
    }
    for (reason, changed) in &log.acknowledged {
        let count = entries.iter().filter(|entry| entry["reason"] == json!(reason)).count() as u64;
        if count != *changed {
            return Err(format!("{reason} was acknowledged for {changed} sightings, {count} are recorded"));
        }
    }
    Ok(())
}

#[test]
fn a_full_disk_stops_cleanly_and_opens_again() {
    if Disk::new(1).is_none() {
        return println!("skipped: this user may not mount a small disk");
    }
    let mut campaign = Campaign::new(
        "full_disk",
        "a disk that becomes full stops the engine cleanly: it opens again, nothing acknowledged is lost, the operator is told",
        2,
        100,
    );
    for run in 0..campaign.runs {
        let mut random = campaign.random(run);
        match one_disaster(&mut random) {
            Ok(how) => campaign.count(how),
            Err(why) => campaign.fail(run, why),
        }
    }
    campaign.end();
}

#[test]
fn a_full_disk_leaves_no_half_set_and_no_half_version() {
    let Some(disk) = Disk::new(4) else {
        eprintln!("skipped: this user may not mount a small disk");
        return;
    };
    let desk = Desk::new(&[]);
    let set = disk.0.path().join("set");
    let names = || {
        let entries = fs::read_dir(disk.0.path()).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let draw =
        |images: u32| desk.run(&format!("dataset synth --images {images} --packs 4 --out {}", set.display()), &[]);
    let full = draw(500);
    assert_eq!(full.status.code(), Some(1), "{}", text(&full.stderr));
    assert!(text(&full.stderr).contains("make room there and run it again"), "{}", text(&full.stderr));
    assert_eq!(names(), Vec::<String>::new());
    assert!(draw(4).status.success());

    disk.fill(30_000);
    let full = desk.run("dataset snapshot", &[&set]);
    assert_eq!(full.status.code(), Some(1), "{}", text(&full.stderr));
    assert!(text(&full.stderr).contains("make room there and run it again"), "{}", text(&full.stderr));
    disk.make_room();
    let none = desk.run("dataset list", &[&set]);
    assert_eq!((none.status.code(), text(&none.stdout)), (Some(4), String::new()), "{}", text(&none.stderr));
    desk.json("dataset snapshot", &[&set], 0);
    assert_eq!(desk.json("dataset list", &[&set], 0).len(), 1);
}
