//! Rounds that alternate between us and a peer, and what is printed of them.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::served::peak_mb;

/// A line of the output.
#[derive(Serialize)]
struct Line<'a> {
    what: &'a str,
    machine: &'a str,
    /// Of our rounds.
    median: f64,
    /// Our slowest round less our fastest.
    spread: f64,
    unit: &'a str,
    rounds: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_spread: Option<f64>,
    /// Ours by the peer's: for times less is better, for rates more.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

/// How a run is to be made.
pub struct Bench {
    rounds: usize,
    only: String,
    python: Option<PathBuf>,
    machine: String,
    /// Where weights, pictures and workspaces are put.
    pub scratch: tempfile::TempDir,
}

impl Bench {
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let rounds = variable("ROUNDS").map_or(5, |text| text.parse().expect("ROUNDS is a number"));
        let python = variable("BENCH_PYTHON").map(PathBuf::from);
        if python.is_none() {
            eprintln!("BENCH_PYTHON is not set: no peers (`make bench` sets them up)");
        }
        Self {
            rounds,
            only: variable("ONLY").unwrap_or_default(),
            python,
            machine: machine(),
            scratch: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// Whether a measurement is asked for.
    pub fn wants(&self, what: &str) -> bool {
        what.contains(&self.only)
    }

    /// How many rounds are taken.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Starts a peer: a script of `benches/peers` and its arguments. None, said on stderr, where it cannot run.
    pub fn peer(&self, name: &str, script: &str, arguments: &[&str]) -> Option<Peer> {
        let python = self.python.as_ref()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(script);
        let mut command = Command::new(python);
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A peer runs as it is installed: without our settings of OpenMP.
        command.env_remove("GOMP_SPINCOUNT").env("YOLO_VERBOSE", "false").env("PYTHONWARNINGS", "ignore");
        let mut child = command.spawn().expect("the peer's python");
        let (stdin, stdout) = (child.stdin.take().expect("its stdin"), child.stdout.take().expect("its stdout"));
        let mut peer = Peer { name: name.to_owned(), child, stdin, stdout: BufReader::new(stdout) };
        match peer.line() {
            Some(ready) if ready.ready => Some(peer),
            _ => {
                eprintln!("{name}: the peer does not start; its message is above");
                None
            }
        }
    }

    /// Prints a figure of ours beside the peers' of the same kind.
    pub fn compare(&self, what: &str, unit: &str, ours: f64, peers: &[(&str, f64)]) {
        for (peer, theirs) in peers {
            let line = Line {
                what,
                machine: &self.machine,
                median: round(ours),
                spread: 0.0,
                unit,
                rounds: 1,
                peer: Some(peer),
                peer_median: Some(round(*theirs)),
                peer_spread: Some(0.0),
                ratio: Some(round(ours / theirs)),
            };
            println!("{}", serde_json::to_string(&line).expect("a line"));
        }
    }

    /// Measures once: what takes a minute by its nature.
    pub fn once(&self, what: &str, unit: &str, ours: &mut dyn FnMut() -> f64) {
        let once = Self {
            rounds: 1,
            only: String::new(),
            python: None,
            machine: self.machine.clone(),
            scratch: tempfile::tempdir().expect("a temporary folder"),
        };
        once.measure(what, unit, &mut [], ours);
    }

    /// Measures in rounds, ours and each peer's in turn, and prints a line for each peer (one alone without peers).
    /// `ours` gives one round's figure in `unit`. Gives our median.
    pub fn measure(&self, what: &str, unit: &str, peers: &mut [Peer], mut ours: impl FnMut() -> f64) -> f64 {
        let mut our_rounds = Vec::new();
        let mut their_rounds = vec![Vec::new(); peers.len()];
        for _ in 0..self.rounds {
            our_rounds.push(ours());
            for (peer, rounds) in peers.iter_mut().zip(&mut their_rounds) {
                rounds.push(peer.round());
            }
        }
        let mut line = Line {
            what,
            machine: &self.machine,
            median: median(&our_rounds),
            spread: spread(&our_rounds),
            unit,
            rounds: self.rounds,
            peer: None,
            peer_median: None,
            peer_spread: None,
            ratio: None,
        };
        let print = |line: &Line| println!("{}", serde_json::to_string(line).expect("a line"));
        if peers.is_empty() {
            print(&line);
        }
        for (peer, rounds) in peers.iter().zip(&their_rounds) {
            line.peer = Some(&peer.name);
            line.peer_median = Some(round(median(rounds)));
            line.peer_spread = Some(spread(rounds));
            line.ratio = Some(round(line.median / median(rounds)));
            print(&line);
        }
        line.median
    }
}

/// A child that answers one round a line.
pub struct Peer {
    name: String,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What a peer says: `{"ready": true}` once, then `{"value": 12.3}` for each round.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    value: f64,
}

impl Peer {
    /// The next line that is an answer; libraries print what they like in between.
    fn line(&mut self) -> Option<Said> {
        let mut text = String::new();
        loop {
            text.clear();
            if self.stdout.read_line(&mut text).expect("the peer's answer") == 0 {
                return None;
            }
            if let Ok(said) = serde_json::from_str(&text) {
                return Some(said);
            }
        }
    }

    /// What it is called in the results.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The most memory it has held, MB.
    pub fn peak_mb(&self) -> f64 {
        peak_mb(self.child.id())
    }

    fn round(&mut self) -> f64 {
        writeln!(self.stdin, "go").and_then(|()| self.stdin.flush()).expect("the peer listens");
        self.line().unwrap_or_else(|| panic!("{} ended in a round", self.name)).value
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The median time of `calls` calls, milliseconds.
pub fn milliseconds(calls: usize, mut call: impl FnMut()) -> f64 {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        call();
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    median(&times)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    round(if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) })
}

fn spread(values: &[f64]) -> f64 {
    let most = values.iter().copied().fold(f64::MIN, f64::max);
    round(most - values.iter().copied().fold(f64::MAX, f64::min))
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn machine() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let half = sightline::vision::device::instructions().unwrap_or("no bf16");
    format!("{}, {cores} cores, {half}", model.map_or("unknown", |(_, name)| name))
}
