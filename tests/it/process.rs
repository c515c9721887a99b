//! The program itself: commands, the engine as a process, its socket, and SIGKILL.

mod bombs;
mod commands;
mod datasets;
mod detectors;
mod endings;
mod flood;
mod full_disk;
mod hands;
mod index;
mod inputs;
mod kills;
mod learning;
mod shipped;
mod socket;

use std::fs;
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use image::ImageFormat;
use serde_json::Value;
use sightline::config::documented_yaml;

use crate::support::{encoded, picture};

/// How long a test waits for what should happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sightline"));
    command.stdin(Stdio::null()).env_remove("SIGHTLINE_LOG");
    command
}

/// Untrained DINOv2 weights, made once for all tests.
pub fn weights() -> &'static Path {
    static WEIGHTS: OnceLock<PathBuf> = OnceLock::new();
    WEIGHTS.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("weights-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let made = program()
            .args(["model", "untrained", "dinov2_vits14", "--name", "pack-embed", "--workspace"])
            .arg(&dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // One copy for the next run to replace, not one a run.
        let lasting = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
        fs::create_dir_all(&lasting).unwrap();
        for entry in fs::read_dir(dir.join("models")).unwrap().flatten() {
            fs::rename(entry.path(), lasting.join(entry.file_name())).unwrap();
        }
        fs::remove_dir_all(&dir).unwrap();
        lasting.join("pack-embed.safetensors")
    })
}

/// A workspace for the program, in a temporary folder.
pub struct Desk {
    pub dir: tempfile::TempDir,
}

impl Desk {
    /// Whole pictures through a small DINOv2, and these settings.
    pub fn new(settings: &[(&str, &str)]) -> Self {
        Self::within(&std::env::temp_dir(), settings)
    }

    /// The same below a folder of one's own.
    pub fn within(parent: &Path, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let mut overrides = vec![
            ("models.embedder", format!("{:?}", weights())),
            ("device", "cpu".to_owned()),
            ("detect.objects", "whole".to_owned()),
            ("crop.image_size", "28".to_owned()),
            ("intake.settle_ms", "50".to_owned()),
            ("intake.rescan_seconds", "1".to_owned()),
            ("engine.model_threads", "1".to_owned()),
            ("engine.ballast_mb", "0".to_owned()),
        ];
        for (key, value) in settings {
            overrides.retain(|(known, _)| known != key);
            overrides.push((key, (*value).to_owned()));
        }
        fs::write(dir.path().join("config.yaml"), documented_yaml(&overrides)).unwrap();
        Self { dir }
    }

    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn write(&self, below: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Files without an outcome: those below the watched folders, then those in the queue's folder, which is the way they go.
    /// Whoever asks the queue how many it has before looking at the folders misses a file that is claimed in between.
    pub fn under_way(&self, watched: &[&str]) -> usize {
        watched.iter().chain(&["database/queue"]).map(|dir| files_below(&self.path(dir))).sum()
    }

    /// Writes the nth drawn picture.
    pub fn picture(&self, below: impl AsRef<Path>, n: u32) -> PathBuf {
        self.write(below, &drawn(n))
    }

    /// Runs a command in the workspace; words are split at spaces, paths go into `files`.
    pub fn run(&self, words: &str, files: &[&Path]) -> Output {
        self.command(words, files).output().unwrap()
    }

    pub fn command(&self, words: &str, files: &[&Path]) -> Command {
        let mut command = program();
        command.arg("--workspace").arg(self.dir.path()).args(words.split_whitespace()).args(files);
        command
    }

    /// Runs a command with `--json`, which must end with this code; gives the values, one a line.
    pub fn json(&self, words: &str, files: &[&Path], code: i32) -> Vec<Value> {
        let output = self.run(&format!("--json {words}"), files);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{words}: {stdout}\n{stderr}");
        stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{words}: {e}: {line}")))
            .collect()
    }

    pub fn socket(&self) -> PathBuf {
        self.path("database/sightline.sock")
    }

    /// Starts the engine and waits until it answers.
    pub fn serve(&self) -> Served {
        self.serve_with("serve")
    }

    /// Starts the engine by this command and waits until it answers.
    pub fn serve_with(&self, words: &str) -> Served {
        let log = fs::File::options().create(true).append(true).open(self.path("stderr")).unwrap();
        let child = self.command(words, &[]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut served = Served { child, socket: self.socket() };
        let began = Instant::now();
        while ask(&served.socket, "GET", "/v1/status", b"").is_none_or(|(status, _)| status != 200) {
            let ended = served.child.try_wait().unwrap();
            let said = || fs::read_to_string(self.path("stderr")).unwrap_or_default();
            assert!(ended.is_none(), "the engine ended: {ended:?} {}", said());
            assert!(began.elapsed() < PATIENCE, "the engine does not answer: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        served
    }

    /// Proves the journal and the projection by the command line.
    pub fn prove(&self) {
        for words in ["journal verify", "db verify"] {
            let proof = self.json(words, &[], 0);
            assert_eq!(proof[0]["ok"], true, "{words}: {proof:?}");
        }
    }
}

/// A running `sightline serve`, killed when dropped.
pub struct Served {
    pub child: Child,
    socket: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Served {
    /// SIGKILL.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM; gives the exit code and how long it took.
    pub fn stop(mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) }, 0);
        let status = self.child.wait().unwrap();
        (status.code(), began.elapsed())
    }

    /// Asks and expects JSON under 200.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = ask(&self.socket, "GET", path, b"").unwrap();
        assert_eq!(status, 200, "{path}: {}", text(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Sends an act; the answer if it was acknowledged.
    pub fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let (status, answer) = ask(&self.socket, "POST", path, body.to_string().as_bytes())?;
        Some((status, serde_json::from_slice(&answer).ok()?))
    }

    /// Waits until so many files have an outcome and nothing is on its way.
    pub fn wait(&self, outcomes: u64) -> Value {
        let began = Instant::now();
        loop {
            let stats = self.get("/v1/queue/stats");
            let count = |names: &[&str]| names.iter().map(|name| stats[name].as_u64().unwrap()).sum::<u64>();
            let ended = count(&["done", "duplicate", "quarantined", "failed", "discarded"]);
            if ended == outcomes && count(&["waiting", "working"]) == 0 {
                return stats;
            }
            let patience = PATIENCE + Duration::from_secs(outcomes * 4);
            assert!(
                began.elapsed() < patience,
                "{outcomes} outcomes did not come: {stats} {}",
                self.get("/v1/status")["warnings"]
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// How many files lie below a folder, at any depth.
fn files_below(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// One request on a connection of its own; none where the connection broke before the answer was whole.
pub fn ask(socket: &Path, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    // A refusal may come before the whole body has gone.
    drop(stream.write_all(body));
    answer(stream)
}

fn answer(mut stream: UnixStream) -> Option<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&all[..end]).to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = all[end + 4..].to_vec();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let whole = length.map_or(read.is_ok(), |length| body.len() >= length);
    whole.then_some((status, body))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A drawn picture as a file.
pub fn drawn(n: u32) -> Vec<u8> {
    encoded(&picture(n, 64, 64), ImageFormat::Png)
}

impl Deref for Served {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.child
    }
}
