//! Campaigns: each promise of `docs/reliability.md` tried many times. Short here; `make torture` runs them whole.
//!
//! `SIGHTLINE_TORTURE=full` takes the full sizes, `SIGHTLINE_TORTURE_<CAMPAIGN>=n` a size of one's own. Each campaign
//! prints one JSON line, and appends it to the file named by `SIGHTLINE_TORTURE_OUT`.

mod churn;
mod damage;
mod disk;
mod pictures;
mod projection;
mod simulation;
mod tampering;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;

/// A campaign under way.
pub(crate) struct Campaign {
    name: &'static str,
    promise: &'static str,
    pub(crate) runs: u64,
    seed: u64,
    began: Instant,
    /// What became of the runs.
    tally: BTreeMap<String, u64>,
    failures: Vec<String>,
}

impl Campaign {
    /// So many runs in the short form and in the full one.
    pub(crate) fn new(name: &'static str, promise: &'static str, short: u64, full: u64) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let whole = variable("SIGHTLINE_TORTURE").is_some_and(|size| size == "full");
        let own = variable(&format!("SIGHTLINE_TORTURE_{}", name.to_uppercase())).and_then(|n| n.parse().ok());
        let runs = own.unwrap_or(if whole { full } else { short });
        let seed = variable("SIGHTLINE_SEED").and_then(|seed| seed.parse().ok()).unwrap_or(1);
        println!("{name}: {runs} runs, SIGHTLINE_SEED={seed}");
        Self { name, promise, runs, seed, began: Instant::now(), tally: BTreeMap::new(), failures: Vec::new() }
    }

    /// The random numbers of one run: it can be repeated without those before it.
    pub(crate) fn random(&self, run: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ run)
    }

    pub(crate) fn count(&mut self, what: impl Into<String>) {
        *self.tally.entry(what.into()).or_default() += 1;
    }

    /// How long something may take: as promised in the full form, which has the machine to itself; the short form runs
    /// beside other tests, on machines of any speed, and only a standstill counts there.
    pub(crate) fn patience(&self, promised: Duration) -> Duration {
        let whole = std::env::var("SIGHTLINE_TORTURE").is_ok_and(|size| size == "full");
        if whole { promised } else { promised.max(Duration::from_secs(60)) }
    }

    fn tally(&self, what: &str) -> u64 {
        self.tally.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn fail(&mut self, run: u64, why: impl std::fmt::Display) {
        println!("{}: run {run} FAILED: {why}", self.name);
        self.failures.push(format!("run {run}: {why}"));
    }

    /// Says how it went, and fails if anything did.
    pub(crate) fn end(self) {
        let line = json!({
            "campaign": self.name,
            "promise": self.promise,
            "runs": self.runs,
            "failed": self.failures.len(),
            "outcomes": self.tally,
            "seed": self.seed,
            "seconds": (self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            "date": chrono::Utc::now().format("%Y-%m-%d").to_string(),
        });
        println!("{line}");
        if let Some(path) = std::env::var_os("SIGHTLINE_TORTURE_OUT") {
            let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
            writeln!(file, "{line}").unwrap();
        }
        let first: Vec<_> = self.failures.iter().take(5).collect();
        assert!(self.failures.is_empty(), "{}: {} of {} failed: {first:#?}", self.name, self.failures.len(), self.runs);
    }
}

/// What a caught panic says.
pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// A folder in memory where there is one: a campaign copies a workspace thousands of times.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Every file below a folder with its bytes; sockets and the like are left out.
pub(crate) fn load(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(dir: &Path, top: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                walk(&path, top, files);
            } else if kind.is_file() {
                files.insert(path.strip_prefix(top).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(dir, dir, &mut files);
    files
}

/// Writes files below a folder.
fn unload(files: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path) {
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        // As everything in `database/`, and the signing key must be: its owner's alone.
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
}

/// One bit flipped, a stretch zeroed, or the end cut off; says which. An empty file grows a byte.
fn hurt(bytes: &mut Vec<u8>, random: &mut SmallRng) -> &'static str {
    use rand::Rng;
    if bytes.is_empty() {
        bytes.push(0xA5);
        return "grown";
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..3) {
        0 => {
            bytes[at] ^= 1 << random.random_range(0..8);
            "flipped"
        }
        1 => {
            let end = (at + random.random_range(1..=512)).min(bytes.len());
            if bytes[at..end].iter().all(|byte| *byte == 0) {
                bytes[at] = 0xFF;
            } else {
                bytes[at..end].fill(0);
            }
            "zeroed"
        }
        _ => {
            bytes.truncate(at);
            "truncated"
        }
    }
}
