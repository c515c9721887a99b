//! Signed tree heads, in the form of C2SP `tlog-checkpoint`, one after the other in `checkpoints.log`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::key::Signer;
use super::merkle::{Hash, Tree};
use super::{JournalError, PublicKey};
use crate::files;

/// The file's name in the journal's folder.
pub(super) const FILE: &str = "checkpoints.log";
/// Ends every note in the file.
const END: &str = "\n\n";

/// A statement, signed with the journal's key: so many entries, under this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The key's name: whose journal it is.
    pub origin: String,
    /// Entries under the root.
    pub size: u64,
    /// The root of the RFC 6962 tree over them.
    pub root: Hash,
    /// When it was signed, milliseconds since 1970 UTC.
    pub wall_ms: i64,
    frontier: Vec<Hash>,
    key_id: [u8; 4],
    signature: Vec<u8>,
}

impl Checkpoint {
    pub(super) fn sign(signer: &Signer, tree: &Tree, wall_ms: i64) -> Self {
        let mut checkpoint = Self {
            origin: signer.public().name().to_owned(),
            size: tree.size(),
            root: tree.root(),
            wall_ms,
            frontier: tree.frontier().to_vec(),
            key_id: signer.public().id(),
            signature: Vec::new(),
        };
        checkpoint.signature = signer.sign(&checkpoint.text()).to_vec();
        checkpoint
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let signature = <&[u8; 64]>::try_from(self.signature.as_slice());
        self.origin == key.name() && self.key_id == key.id() && signature.is_ok_and(|s| key.verifies(&self.text(), s))
    }

    /// The tree at this point; `None` if the stored frontier does not lead to the signed root.
    pub(super) fn tree(&self) -> Option<Tree> {
        Tree::from_frontier(self.size, self.frontier.clone()).filter(|tree| tree.root() == self.root)
    }

    /// The signed part of the note.
    fn text(&self) -> String {
        let frontier: String = self.frontier.iter().map(|hash| format!(" {}", BASE64.encode(hash))).collect();
        let root = BASE64.encode(self.root);
        format!("{}\n{}\n{root}\ntime {}\nfrontier{frontier}\n", self.origin, self.size, self.wall_ms)
    }

    /// The whole note, as `checkpoints.log` has it and as it may be kept elsewhere as evidence.
    #[must_use]
    pub fn note(&self) -> String {
        let mut signature = self.key_id.to_vec();
        signature.extend_from_slice(&self.signature);
        format!("{}\n\u{2014} {} {}{END}", self.text(), self.origin, BASE64.encode(signature))
    }

    /// Reads one note. The signature is not checked here.
    ///
    /// # Errors
    /// A sentence saying what is wrong with the text.
    pub fn parse(note: &str) -> Result<Self, String> {
        let mut lines = note.trim_end_matches('\n').split('\n');
        let mut line = |what: &str| lines.next().ok_or_else(|| format!("the note ends before its {what}"));
        let origin = line("origin")?.to_owned();
        let size = line("size")?.parse().map_err(|_| "the size is not a number".to_owned())?;
        let root = hash(line("root")?)?;
        let wall_ms =
            line("time")?.strip_prefix("time ").and_then(|t| t.parse().ok()).ok_or("the time is not a time")?;
        let frontier = line("frontier")?.strip_prefix("frontier").ok_or("the frontier is missing")?;
        let frontier = frontier.split_terminator(' ').skip(1).map(hash).collect::<Result<_, _>>()?;
        if !line("signature")?.is_empty() {
            return Err("an empty line must divide text and signature".into());
        }
        let signature = line("signature")?.strip_prefix(&format!("\u{2014} {origin} ")).ok_or("it is not signed")?;
        let signature = BASE64.decode(signature).map_err(|_| "the signature is not base64".to_owned())?;
        let (key_id, signature) = signature.split_first_chunk().ok_or("the signature is too short")?;
        let checkpoint = Self { origin, size, root, wall_ms, frontier, key_id: *key_id, signature: signature.to_vec() };
        // What is not exactly the canonical text was changed by someone, even where it means the same.
        if checkpoint.note().trim_end_matches('\n') != note.trim_end_matches('\n') {
            return Err("the note is not in its canonical form".into());
        }
        Ok(checkpoint)
    }
}

fn hash(text: &str) -> Result<Hash, String> {
    let bytes = BASE64.decode(text).map_err(|_| "a hash is not base64".to_owned())?;
    bytes.try_into().map_err(|_| "a hash has 32 bytes".to_owned())
}

/// What `checkpoints.log` holds.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub path: PathBuf,
    /// Readable notes with the byte where each begins.
    pub notes: Vec<(u64, Checkpoint)>,
    /// Unreadable notes that have their end, or have others behind them: never the work of a crash.
    pub damaged: Vec<(u64, String)>,
    /// Where an unfinished last note begins.
    pub torn: Option<(u64, String)>,
    /// The file's length in bytes.
    pub bytes: u64,
}

impl Log {
    /// Reads the file up to `limit`; one that is missing is empty.
    pub(super) fn read(dir: &Path, limit: Option<u64>) -> Result<Self, JournalError> {
        let path = dir.join(FILE);
        let mut bytes = match files::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(JournalError::io("read", &path)(e)),
        };
        if let Some(limit) = limit {
            bytes.truncate(limit as usize);
        }
        Ok(Self::parse(path, &bytes))
    }

    pub(super) fn last(&self) -> Option<&Checkpoint> {
        self.notes.last().map(|(_, checkpoint)| checkpoint)
    }

    pub(super) fn parse(path: PathBuf, bytes: &[u8]) -> Self {
        let mut log = Self { path, bytes: bytes.len() as u64, ..Self::default() };
        let mut at = 0;
        while at < bytes.len() {
            let end = end_of_note(&bytes[at..]);
            let size = end.unwrap_or(bytes.len() - at);
            let read = match end {
                None => Err("the note is unfinished".to_owned()),
                Some(_) => std::str::from_utf8(&bytes[at..at + size])
                    .map_err(|_| "the note is not text".to_owned())
                    .and_then(Checkpoint::parse),
            };
            if let Some(torn) = log.torn.take() {
                // Something follows, so what looked like the unfinished end is damage.
                log.damaged.push(torn);
            }
            match read {
                Ok(checkpoint) => log.notes.push((at as u64, checkpoint)),
                // A crash leaves a note without its end, or with pages that were never written.
                Err(why) if end.is_none() || bytes[at..].contains(&0) => log.torn = Some((at as u64, why)),
                Err(why) => log.damaged.push((at as u64, why)),
            }
            at += size;
        }
        log
    }
}

/// The length of the first note: to the empty line behind the line that begins with a dash.
fn end_of_note(bytes: &[u8]) -> Option<usize> {
    let dash = find(bytes, "\n\n\u{2014} ".as_bytes())? + 2;
    Some(dash + find(&bytes[dash..], END.as_bytes())? + END.len())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::journal::merkle::leaf_hash;

    fn log_of(sizes: std::ops::RangeInclusive<u64>) -> (Signer, Vec<Checkpoint>, String) {
        let (signer, mut tree) = (Signer::for_tests(), Tree::default());
        let checkpoints: Vec<Checkpoint> = sizes
            .map(|size| {
                tree.push(leaf_hash(&size.to_le_bytes()));
                Checkpoint::sign(&signer, &tree, 1_700_000_000_000 + size as i64)
            })
            .collect();
        let text = checkpoints.iter().map(Checkpoint::note).collect();
        (signer, checkpoints, text)
    }

    #[test]
    fn the_note_is_frozen() {
        let (signer, checkpoints, _) = log_of(1..=3);
        insta::assert_snapshot!(checkpoints[2].note());
        insta::assert_snapshot!(signer.public().to_string());
        assert_eq!(signer.public().to_string().parse().as_ref(), Ok(signer.public()));
        assert!(checkpoints[2].is_signed_by(signer.public()));
    }

    #[test]
    fn notes_survive_and_lead_on_to_the_tree() {
        let (signer, checkpoints, text) = log_of(1..=9);
        let log = Log::parse(PathBuf::new(), text.as_bytes());
        assert!(log.damaged.is_empty() && log.torn.is_none());
        assert_eq!(log.notes.into_iter().map(|(_, c)| c).collect::<Vec<_>>(), checkpoints);
        for checkpoint in checkpoints {
            assert!(checkpoint.is_signed_by(signer.public()));
            assert_eq!(checkpoint.tree().unwrap().root(), checkpoint.root);
        }
    }

    #[test]
    fn a_cut_is_a_torn_end_and_a_flip_is_noticed() {
        let (signer, checkpoints, text) = log_of(1..=3);
        let last = text.len() - checkpoints[2].note().len();
        for cut in last..text.len() {
            let log = Log::parse(PathBuf::new(), &text.as_bytes()[..cut]);
            assert_eq!((log.notes.len(), log.damaged.len(), log.torn.is_some()), (2, 0, cut > last), "cut at {cut}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let log = Log::parse(PathBuf::new(), &bytes);
            let sound = log.notes.iter().all(|(_, c)| c.is_signed_by(signer.public()) && c.tree().is_some());
            let whole = log.damaged.is_empty() && log.torn.is_none() && log.notes.len() == 3;
            assert!(!(sound && whole), "flip at {at}");
        }
    }
}
