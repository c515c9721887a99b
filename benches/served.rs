//! `sightline serve` as a process of its own: started, asked, weighed, stopped.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BIN: &str = env!("CARGO_BIN_EXE_sightline");

pub struct Served {
    child: Child,
    socket: PathBuf,
}

impl Served {
    /// Starts it on a workspace; how long it took until it answered.
    pub fn start(workspace: &Path) -> (Self, Duration) {
        let began = Instant::now();
        let mut command = Command::new(BIN);
        command.args(["serve", "--workspace"]).arg(workspace).stdout(Stdio::null());
        let child = command.spawn().expect("the engine");
        let engine = Self { child, socket: workspace.join("database/sightline.sock") };
        while engine.get("/v1/queue/stats").is_none() {
            assert!(began.elapsed() < Duration::from_secs(600), "the engine does not answer");
            std::thread::sleep(Duration::from_millis(2));
        }
        (engine, began.elapsed())
    }

    /// The JSON at an address; none while nobody answers.
    pub fn get(&self, path: &str) -> Option<serde_json::Value> {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n");
        let (mut stream, mut answer) = (UnixStream::connect(&self.socket).ok()?, String::new());
        stream.write_all(ask.as_bytes()).ok()?;
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).ok()).flatten()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        assert!(self.child.wait().expect("its end").success(), "the engine ends in good order");
    }
}

/// The most memory that a process and its children have held, MB.
pub fn peak_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let own: f64 = most.and_then(|kb| kb.trim().parse::<f64>().ok()).unwrap_or(0.0) / 1024.0;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.flat_map(|thread| {
        let listed = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        listed.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>()
    });
    own + children.map(peak_mb).sum::<f64>()
}

/// Processor time that a process has used, seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its figures");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("ticks")).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}
