//! Tampering is found: up to the last checkpoint that was kept elsewhere, nobody who can write to the journal's
//! folder, not even with its key, changes what it says without being noticed.

use std::fs;
use std::path::Path;

use rand::Rng;
use rand::rngs::SmallRng;
use sightline::domain::{Draft, Fact, ItemId};
use sightline::journal::{Checkpoint, Journal, Options, Trust, verify};

use super::{Campaign, load, scratch, unload};

const OPTIONS: Options = Options { segment_bytes: 6000, checkpoint_every: 16 };
const ENTRIES: u32 = 120;

fn draft(n: u32, what: &str) -> Draft {
    let fact = Fact::QueueReleased { item: ItemId::new(u64::from(n), n) };
    Draft { actor: "anna".into(), fact, before: None, reason: Some(format!("{what} {n}")) }
}

fn append(dir: &Path, from: u32, to: u32, what: &str) {
    let (mut journal, _) = Journal::open(dir, OPTIONS).unwrap();
    for n in from..to {
        journal.append(vec![draft(n, what)]).unwrap();
    }
    journal.checkpoint().unwrap();
}

/// The entries of a segment, by the format that `journal.rs` documents: 16 bytes of header, then the entry.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        frames.push(bytes[at..at + 16 + length].to_vec());
        at += 16 + length;
    }
    frames
}

/// Gives a frame's changed entry a right length and checksum.
fn seal(frame: &mut [u8]) {
    let length = (frame.len() - 16) as u32;
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[4..12]);
    hasher.update(&frame[16..]);
    let checksum = hasher.finalize();
    frame[12..16].copy_from_slice(&checksum.to_le_bytes());
}

/// Gives entries the numbers of their places from `first` on.
fn renumber(frames: &mut [Vec<u8>], first: u64) {
    for (number, frame) in (first..).zip(frames) {
        let text = String::from_utf8(frame[16..].to_vec()).unwrap();
        let (_, rest) = text.split_once(',').unwrap();
        let text = format!("{{\"sequence\":{number},{rest}");
        frame.truncate(16);
        frame.extend_from_slice(text.as_bytes());
        seal(frame);
    }
}

fn number(frame: &[u8]) -> u64 {
    let text = std::str::from_utf8(&frame[16..]).unwrap();
    text["{\"sequence\":".len()..].split(',').next().unwrap().parse().unwrap()
}

/// Changes a journal; says how.
fn tamper(dir: &Path, random: &mut SmallRng) -> &'static str {
    let mut segments: Vec<_> = load(dir).into_iter().filter(|(name, _)| is_segment(name)).collect();
    let chosen = random.random_range(0..segments.len());
    let (name, bytes) = &mut segments[chosen];
    let mut frames = frames(bytes);
    let (first, at) = (number(&frames[0]), random.random_range(0..frames.len()));
    let again = random.random_range(1..ENTRIES - 1);
    let how = match random.random_range(0..9) {
        0 => {
            // One letter of the reason, with a checksum that is right again.
            let frame = &mut frames[at];
            let text = String::from_utf8(frame[16..].to_vec()).unwrap().replacen("told", "sold", 1);
            frame.splice(16.., text.into_bytes());
            seal(frame);
            "entry edited"
        }
        1 => {
            frames.remove(at);
            "entry deleted"
        }
        2 => {
            frames.remove(at);
            renumber(&mut frames, first);
            "entry deleted, the rest renumbered"
        }
        3 => {
            let other = (at + 1) % frames.len();
            frames.swap(at, other);
            renumber(&mut frames, first);
            "entries reordered"
        }
        4 => {
            let copy = String::from_utf8(frames[at][16..].to_vec()).unwrap().replacen("told", "sold", 1);
            let copy = [&frames[at][..16], copy.as_bytes()].concat();
            // Before the entry itself: behind the last one it would lie past the last checkpoint.
            frames.insert(at, copy);
            renumber(&mut frames, first);
            "entry inserted"
        }
        5 => {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
            fs::write(dir.join(name), bytes).unwrap();
            return "bit flipped";
        }
        6 => {
            // Whoever has the key goes back to an earlier day and goes on from there in good order.
            forge(dir, again, true, "told", "forged");
            return "tail cut off, then continued with the journal's own key";
        }
        7 => {
            forge(dir, 0, true, "sold", "sold");
            return "all entries written anew and signed with the journal's own key";
        }
        _ => {
            forge(dir, again, false, "told", "forged");
            return "forked and signed with another key";
        }
    };
    fs::write(dir.join(name), frames.concat()).unwrap();
    how
}

fn is_segment(name: &Path) -> bool {
    let name = name.to_string_lossy();
    name.ends_with(".log") && name != "checkpoints.log"
}

/// Puts another journal in the place of this one: `same` entries as before, then others, more of them than there were.
fn forge(dir: &Path, same: u32, own_key: bool, before: &str, after: &str) {
    let made = scratch();
    let journal = made.path().join("journal");
    fs::create_dir(&journal).unwrap();
    if own_key {
        for name in ["key", "key.pub"] {
            fs::copy(dir.join(name), journal.join(name)).unwrap();
        }
    }
    append(&journal, 0, same, before);
    append(&journal, same, ENTRIES + 20, after);
    fs::remove_dir_all(dir).unwrap();
    unload(&load(&journal), dir);
}

#[test]
fn tampering_is_found() {
    let mut campaign = Campaign::new(
        "tampering",
        "whatever is done to the journal before the last checkpoint kept elsewhere is found by `journal verify`",
        150,
        10_000,
    );
    let made = scratch();
    let template = made.path().join("journal");
    append(&template, 0, ENTRIES, "told");
    let files = load(&template);
    // Kept elsewhere: the key, and the last checkpoint.
    let key = fs::read_to_string(template.join("key.pub")).unwrap().trim().parse().unwrap();
    let (journal, _) = Journal::open(&template, OPTIONS).unwrap();
    let checkpoint: Checkpoint = journal.reader().checkpoint().unwrap().unwrap();
    assert_eq!(checkpoint.size, u64::from(ENTRIES));
    drop(journal);
    let trust = Trust { key: Some(key), checkpoint: Some(checkpoint) };
    assert!(verify(&template, &trust).unwrap().ok);
    for run in 0..campaign.runs {
        let dir = scratch();
        let journal = dir.path().join("journal");
        unload(&files, &journal);
        let how = tamper(&journal, &mut campaign.random(run));
        match verify(&journal, &trust) {
            Ok(report) if report.ok => campaign.fail(run, format!("{how}: {report:?}")),
            Ok(report) if report.problems.is_empty() => campaign.fail(run, format!("{how}: found, but not said")),
            Ok(_) => campaign.count(how),
            Err(error) => campaign.fail(run, format!("{how}: {error}")),
        }
    }
    campaign.end();
}
