//! Proving the journal: every byte is read again, every root computed again.

use std::io::Read as _;
use std::path::Path;

use super::checkpoint::Log;
use super::merkle::{Hash, Tree, leaf_hash};
use super::{Checkpoint, JournalError, PublicKey, scan};
use crate::domain::Entry;
use crate::files;

/// The action of the entry that an engine writes last.
pub(super) const STOPPED: &str = "engine.stopped";

/// Evidence from outside the journal's folder, which whoever can write there cannot change.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The key that must have signed, from a copy of `key.pub` kept elsewhere.
    pub key: Option<PublicKey>,
    /// A checkpoint that must lie on the journal's way, from a copy kept elsewhere.
    pub checkpoint: Option<Checkpoint>,
}

/// What was proved, what is wrong, and what cannot be known.
#[derive(Clone, Debug, serde::Serialize)]
pub struct VerifyReport {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Sound entries.
    pub entries: u64,
    /// Entries under the last checkpoint that holds.
    pub checkpoint: Option<u64>,
    /// Checkpoints that hold: signed by the key, over exactly these entries.
    pub checkpoints: u64,
    /// Sound entries past the last checkpoint that holds.
    pub unanchored: u64,
    /// The root over all sound entries, hex.
    pub root: String,
    /// The name of the key the signatures were checked with.
    pub key: Option<String>,
    /// Everything that is wrong, one sentence each.
    pub problems: Vec<String>,
    /// What this cannot prove, one sentence each.
    pub cannot_prove: Vec<String>,
}

/// How far to read while a writer is at work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub segment: u32,
    pub end: u64,
    pub checkpoint_bytes: u64,
}

/// Reads the journal in `dir` whole: framing, checksums, numbering, JSON, the root at every checkpoint, signatures.
///
/// Changes nothing. A journal that is being written should be verified by [`super::Reader::verify`].
///
/// # Errors
/// I/O only; what is wrong with the journal is in the report.
pub fn verify(dir: &Path, trust: &Trust) -> Result<VerifyReport, JournalError> {
    run(dir, trust, None)
}

pub(super) fn run(dir: &Path, trust: &Trust, bounds: Option<Bounds>) -> Result<VerifyReport, JournalError> {
    let log = Log::read(dir, bounds.map(|b| b.checkpoint_bytes))?;
    let mut problems = Vec::new();
    let key = key(dir, trust, &mut problems)?;
    for (offset, detail) in log.damaged.iter().chain(&log.torn) {
        problems.push(format!("{}: the checkpoint at byte {offset} cannot be read: {detail}", log.path.display()));
    }

    let mut proof = Proof {
        tree: Tree::default(),
        stopped: 0,
        stopping: None,
        open_from: 0,
        roots: Vec::new(),
        wanted: wanted(&log, trust),
    };
    proof.note_root();
    let whole = read_entries(dir, bounds, &mut proof, &mut problems)?;
    let entries = proof.tree.size();

    let (mut held, mut anchored, mut previous) = (0, None, 0);
    for (offset, checkpoint) in &log.notes {
        let place =
            format!("{}: the checkpoint at byte {offset} (over {} entries)", log.path.display(), checkpoint.size);
        match fault(checkpoint, key.as_ref(), &proof, previous) {
            Some(fault) => problems.push(format!("{place} {fault}")),
            None => {
                held += 1;
                anchored = Some(checkpoint.size);
            }
        }
        previous = checkpoint.size;
    }
    if proof.open_from > previous {
        problems.push(format!(
            "{}: checkpoints are missing: entry {} is in a closed segment, and every closed segment was signed for",
            log.path.display(),
            proof.open_from - 1
        ));
    }
    if proof.stopped > previous {
        problems.push(format!(
            "{}: checkpoints are missing: entry {} records a stop in good order, and every such stop was signed for",
            log.path.display(),
            proof.stopped - 1
        ));
    }
    if let Some(outside) = &trust.checkpoint {
        let fault = fault(outside, key.as_ref(), &proof, 0);
        problems.extend(fault.map(|f| format!("the checkpoint you gave (over {} entries) {f}", outside.size)));
    }
    if !whole && problems.is_empty() {
        problems.push("not every entry could be read".into());
    }
    let unanchored = entries - anchored.unwrap_or(0).min(entries);
    Ok(VerifyReport {
        ok: problems.is_empty(),
        entries,
        checkpoint: anchored,
        checkpoints: held,
        unanchored,
        root: hex::encode(proof.tree.root()),
        key: key.map(|k| k.name().to_owned()),
        problems,
        cannot_prove: cannot_prove(trust, unanchored),
    })
}

/// The key to check with: the trusted one if given, which the folder's must equal.
fn key(dir: &Path, trust: &Trust, problems: &mut Vec<String>) -> Result<Option<PublicKey>, JournalError> {
    let path = dir.join("key.pub");
    let found = match files::read_to_string(&path) {
        Ok(text) => match text.parse::<PublicKey>() {
            Ok(key) => Some(key),
            Err(why) => {
                problems.push(format!("{}: {why}", path.display()));
                None
            }
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            problems.push(format!("{} is missing; any start of the engine writes it again", path.display()));
            None
        }
        Err(e) => return Err(JournalError::io("read", &path)(e)),
    };
    match (&trust.key, &found) {
        (Some(trusted), Some(found)) if trusted != found => {
            problems.push(format!("the journal's key is {}, not the trusted {}", found.name(), trusted.name()));
        }
        _ => {}
    }
    Ok(trust.key.clone().or(found))
}

/// The sizes at which the root is needed, ascending.
fn wanted(log: &Log, trust: &Trust) -> Vec<u64> {
    let mut sizes: Vec<u64> = log.notes.iter().map(|(_, c)| c.size).collect();
    sizes.extend(trust.checkpoint.as_ref().map(|c| c.size));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

struct Proof {
    tree: Tree,
    /// The place behind the last entry that records a stop in good order and has others behind it: such a stop ends
    /// with a checkpoint.
    stopped: u64,
    /// The place behind a stop whose next entry was not read yet.
    stopping: Option<u64>,
    /// The first entry of the last segment.
    open_from: u64,
    /// Sizes and the roots there.
    roots: Vec<(u64, Hash)>,
    wanted: Vec<u64>,
}

impl Proof {
    fn note_root(&mut self) {
        if self.wanted.get(self.roots.len()) == Some(&self.tree.size()) {
            self.roots.push((self.tree.size(), self.tree.root()));
        }
    }
}

/// Reads all segments; whether they were sound to the end.
fn read_entries(
    dir: &Path,
    bounds: Option<Bounds>,
    proof: &mut Proof,
    problems: &mut Vec<String>,
) -> Result<bool, JournalError> {
    let (mut bytes, mut whole) = (Vec::new(), true);
    let numbers = scan::segments(dir)?;
    let numbers = numbers.into_iter().filter(|n| bounds.is_none_or(|b| *n <= b.segment));
    for (expected, number) in (0..).zip(numbers) {
        if number != expected {
            problems.push(format!("{} is missing", scan::path(dir, expected).display()));
            return Ok(false);
        }
        let path = scan::path(dir, number);
        bytes.clear();
        let limit = bounds.filter(|b| b.segment == number).map_or(u64::MAX, |b| b.end);
        files::open(&path)
            .and_then(|f| f.take(limit).read_to_end(&mut bytes))
            .map_err(JournalError::io("read", &path))?;
        let (mut from, mut next) = (0, proof.tree.size());
        proof.open_from = next;
        // Behind a damaged place the entries are still read, so that every damaged place is named, but they prove
        // nothing: the tree stops growing.
        loop {
            let (_, after, broken) = scan::walk(&bytes, from, next, |offset, frame| {
                match serde_json::from_slice::<Entry>(frame.entry) {
                    Ok(entry) => {
                        // Only what follows shows that the stop came to its end.
                        proof.stopped = proof.stopping.take().unwrap_or(proof.stopped);
                        proof.stopping = (entry.action == STOPPED).then_some(frame.sequence + 1);
                    }
                    Err(e) => problems.push(format!(
                        "{}: entry {} at byte {offset} is no entry: {e}",
                        path.display(),
                        frame.sequence
                    )),
                }
                if whole {
                    proof.tree.push(leaf_hash(frame.entry));
                    proof.note_root();
                }
            });
            let Some(broken) = broken else {
                break;
            };
            whole = false;
            let tail = if broken.resumes.is_some() {
                "; readable entries follow"
            } else {
                "; nothing readable follows in this file. If it is past the last checkpoint, the next start of the \
                 engine keeps these bytes aside and goes on"
            };
            problems.push(format!(
                "{}: damaged at byte {} (entry {after}): {}{tail}",
                path.display(),
                broken.offset,
                broken.detail
            ));
            let Some(resumes) = broken.resumes else {
                break;
            };
            from = resumes;
            next = super::frame::decode(&bytes[resumes as usize..]).map_or(after, |f| f.sequence);
        }
        if !whole {
            problems.push(format!("what follows {} proves nothing while it is damaged", path.display()));
            return Ok(false);
        }
    }
    Ok(whole)
}

/// Why a checkpoint does not hold.
fn fault(checkpoint: &Checkpoint, key: Option<&PublicKey>, proof: &Proof, previous: u64) -> Option<String> {
    let Some(key) = key else {
        return Some("cannot be checked without a public key".into());
    };
    if !checkpoint.is_signed_by(key) {
        return Some(format!("is not signed by {}", key.name()));
    }
    if checkpoint.size <= previous {
        return Some(format!("does not go beyond the one before it (over {previous} entries)"));
    }
    let Ok(at) = proof.roots.binary_search_by_key(&checkpoint.size, |(size, _)| *size) else {
        return Some(format!("counts more entries than can be read ({})", proof.tree.size()));
    };
    if proof.roots[at].1 != checkpoint.root {
        return Some("does not fit the entries: at least one of them was changed".into());
    }
    checkpoint.tree().is_none().then(|| "has a frontier that does not lead to its root".into())
}

fn cannot_prove(trust: &Trust, unanchored: u64) -> Vec<String> {
    let mut list = Vec::new();
    if unanchored > 0 {
        list.push(format!(
            "that the last {unanchored} entries are the ones that were written: no checkpoint covers them yet"
        ));
    }
    if trust.key.is_none() {
        list.push(
            "that the key itself was not replaced, and everything signed anew: give the public key kept elsewhere"
                .into(),
        );
    }
    if trust.checkpoint.is_none() {
        list.push(
            "that the journal was not cut back to an earlier checkpoint, together with the later ones: give a \
             checkpoint kept elsewhere"
                .into(),
        );
    }
    list
}
