//! What becomes of a file: the facts, and the tidying after they are recorded.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::core::Engine;
use super::queue::Work;
use crate::domain::{
    Draft, DuplicateKind, Fact, ImageDuplicate, ImageFailed, ImageId, ImageQuarantined, ItemId, QuarantineCode,
};
use crate::files;
use crate::intake::clean::Reject;

/// From so many files on, several threads tidy them.
const MANY: usize = 32;
/// How many: removing a file is mostly waiting, above all where the disk is told of each block that became free.
const TIDIERS: usize = 4;

/// The file's place in quarantine.
pub(super) fn quarantined_data(dir: &Path, item: &ItemId) -> PathBuf {
    dir.join(format!("{item}.data"))
}

fn quarantined_reason(dir: &Path, item: &ItemId) -> PathBuf {
    dir.join(format!("{item}.json"))
}

/// A way that has ended: the fact, and the work to be tidied once it is recorded.
pub(super) struct Ended {
    pub(super) work: Work,
    pub(super) fact: Fact,
}

impl Engine {
    /// Puts a file's bytes into quarantine; the claim keeps its own until the fact is recorded.
    fn keep_aside(&self, work: &Work, sentence: &str, code: QuarantineCode) -> io::Result<()> {
        let item = &work.claim.facts.item;
        let to = quarantined_data(&self.quarantine, item);
        if !to.exists() && fs::hard_link(&work.claim.data, &to).is_err() {
            let part = to.with_extension("part");
            fs::copy(&work.claim.data, &part)?;
            fs::rename(&part, &to)?;
        }
        // Whoever dropped the file need not have synced it.
        files::open(&to)?.sync_all()?;
        let reason = serde_json::json!({ "file": work.claim.facts, "code": code, "sentence": sentence });
        let mut file = files::create(&quarantined_reason(&self.quarantine, item))?;
        file.write_all(reason.to_string().as_bytes())?;
        file.sync_all()?;
        File::open(&self.quarantine)?.sync_all()
    }

    /// Ends a file's way in quarantine.
    pub(super) fn quarantine(&self, work: Work, image: ImageId, reject: Reject) -> Result<Ended, (Work, String)> {
        if let Err(error) = self.keep_aside(&work, &reject.sentence, reject.code) {
            return Err((work, format!("cannot put it into quarantine: {error}")));
        }
        let file = work.claim.facts.clone();
        let fact = Fact::ImageQuarantined(Box::new(ImageQuarantined {
            file,
            image,
            code: reject.code,
            sentence: reject.sentence,
        }));
        Ok(Ended { work, fact })
    }

    /// Ends a file's way as a duplicate.
    pub(super) fn duplicate(work: Work, image: ImageId, of: ImageId, kind: DuplicateKind) -> Ended {
        let file = work.claim.facts.clone();
        Ended { work, fact: Fact::ImageDuplicate(Box::new(ImageDuplicate { file, image, of, kind })) }
    }

    /// A try failed: again later, or, after the last, set aside as failed.
    pub(super) fn try_again(&self, mut work: Work, error: String) {
        // No room is no fault of the file's: it waits until there is some.
        if self.space.is_full() {
            self.look_at_space();
            self.queue.put_back(work, Some(Duration::from_secs(2)));
            return;
        }
        work.attempts += 1;
        let (path, attempts) = (&work.claim.facts.path, work.attempts);
        if attempts < self.config.engine.attempts {
            self.warn(format!("{path}: {error}; try {attempts} of {}, again soon", self.config.engine.attempts));
            // 0.5 s, 1 s, 2 s, … at most a minute.
            let pause = Duration::from_millis(500 << (attempts - 1).min(7)).min(Duration::from_secs(60));
            self.queue.put_back(work, Some(pause));
            return;
        }
        self.warn(format!("{path}: given up after {attempts} tries: {error}"));
        if let Err(aside) = self.keep_aside(&work, &error, QuarantineCode::ProcessingFailed) {
            // The file stays in the queue's folder and is seen again on the next start.
            self.halt(format!(
                "{path}: it can neither be processed ({error}) nor set aside ({aside}); check the disk, then restart"
            ));
            self.queue.put_back(work, Some(Duration::from_secs(60)));
            return;
        }
        let file = work.claim.facts.clone();
        let fact = Fact::ImageFailed(Box::new(ImageFailed { file, attempts, error }));
        self.end(vec![Ended { work, fact }]);
    }

    /// Records how ways ended, and only then tidies their files.
    pub(super) fn end(&self, ended: Vec<Ended>) {
        if ended.is_empty() {
            return;
        }
        let drafts = ended.iter().map(|ended| Draft::engine(ended.fact.clone())).collect();
        if let Err(error) = self.commit(drafts) {
            // Nothing was acknowledged: the files are where they were, and wait.
            tracing::error!(%error, "a batch could not be recorded");
            for ended in ended {
                self.queue.put_back(ended.work, Some(Duration::from_secs(5)));
            }
            return;
        }
        let share = ended.len().div_ceil(if ended.len() < MANY { 1 } else { TIDIERS });
        std::thread::scope(|scope| {
            let mut shares = ended.chunks(share);
            let own = shares.next();
            for share in shares {
                let thread = std::thread::Builder::new().name("tidy".into());
                if thread.spawn_scoped(scope, || self.tidy(share)).is_err() {
                    self.tidy(share);
                }
            }
            own.into_iter().for_each(|share| self.tidy(share));
        });
    }

    /// Removes what lies in the queue's folder for ways whose end is recorded.
    fn tidy(&self, ended: &[Ended]) {
        for Ended { work, fact } in ended {
            let item = &work.claim.facts.item;
            if !matches!(fact, Fact::ImageQuarantined(_) | Fact::ImageFailed(_)) && work.claim.released {
                self.forget_aside(item);
            }
            if let Err(error) = self.claims.finish(item) {
                self.warn(format!("{error}; it is tidied on the next start"));
            }
            self.queue.finish(item);
            self.meters.picture();
        }
    }

    /// Removes a file from quarantine whose fate is recorded.
    pub(super) fn forget_aside(&self, item: &ItemId) {
        for path in [quarantined_data(&self.quarantine, item), quarantined_reason(&self.quarantine, item)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.warn(format!("cannot remove {}: {error}; it is tidied on the next start", path.display()));
                }
                _ => {}
            }
        }
    }
}
