//! `doctor`: what this machine and this workspace have, each problem with its remedy.

use std::fs;
use std::io::IsTerminal as _;
use std::path::Path;

use serde::Serialize;

use super::output::{Out, size};
use super::{Ended, Outcome};
use crate::config::{Config, Precision};
use crate::domain::view::Trusted;
use crate::engine::{detector_precision, embedder_precision, verify_journal};
use crate::vision::precision::Settled;
use crate::vision::{self, checkpoint};

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Note,
    Problem,
}

#[derive(Serialize)]
struct Finding {
    verdict: Verdict,
    subject: &'static str,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, subject: &'static str, found: impl Into<String>) {
        self.0.push(Finding { verdict: Verdict::Ok, subject, found: found.into(), remedy: None });
    }

    fn note(&mut self, subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { verdict: Verdict::Note, subject, found: found.into(), remedy: Some(remedy.into()) });
    }

    fn problem(&mut self, subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { verdict: Verdict::Problem, subject, found: found.into(), remedy: Some(remedy.into()) });
    }
}

/// Looks at everything; exits 1 where there is a problem.
pub(super) fn run(out: &mut Out, workspace: &Path) -> Ended {
    let mut findings = Findings::default();
    machine(&mut findings);
    match Config::load(workspace) {
        Ok(config) => {
            let file = workspace.join("config.yaml");
            if file.is_file() {
                findings.ok("config", format!("{} is sound", file.display()));
            } else {
                findings.note("config", "no config.yaml; the defaults hold", "sightline init writes a commented one");
            }
            let runtime = devices(&mut findings, &config);
            models(&mut findings, &config, runtime);
            folders(&mut findings, &config);
            journal(&mut findings, &config);
        }
        Err(error) => findings.problem("config", error.to_string(), "mend the lines named"),
    }
    inotify(&mut findings);
    terminal(&mut findings);
    let healthy = findings.0.iter().all(|finding| finding.verdict != Verdict::Problem);
    for finding in &findings.0 {
        if out.json {
            out.value(finding)?;
            continue;
        }
        let mark = match finding.verdict {
            Verdict::Ok => "ok     ",
            Verdict::Note => "note   ",
            Verdict::Problem => "PROBLEM",
        };
        let mut lines = finding.found.lines();
        out.line(format!("{mark}  {:<12} {}", finding.subject, lines.next().unwrap_or_default()))?;
        lines.try_for_each(|line| out.line(format!("{:22} {line}", "")))?;
        if let Some(remedy) = &finding.remedy {
            out.line(format!("{:22} -> {remedy}", ""))?;
        }
    }
    Ok(if healthy { Outcome::Done } else { Outcome::NotOk })
}

fn machine(findings: &mut Findings) {
    findings.ok("libtorch", format!("{} (built for 2.11.0)", vision::device::libtorch_version()));
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags: Vec<&str> = cpu
        .lines()
        .find(|line| line.starts_with("flags"))
        .map(|line| line.split_whitespace().collect())
        .unwrap_or_default();
    let known = ["avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8"];
    let present: Vec<&str> = known.into_iter().filter(|flag| flags.contains(flag)).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = format!(
        "{cores} cores; {}",
        if present.is_empty() { "no vector extensions known here".into() } else { present.join(", ") }
    );
    if present.contains(&"avx512_bf16") || present.contains(&"amx_bf16") {
        findings.ok("cpu", format!("{text}; precision: bf16 is fast here"));
    } else {
        findings.note("cpu", text, "precision: bf16 has no hardware here and would be slow; fp32 is right");
    }
}

/// Says where the networks run; nothing where that is a problem.
fn devices(findings: &mut Findings, config: &Config) -> Option<vision::Runtime> {
    let runtime = crate::engine::runtime(config);
    match &runtime {
        Ok(runtime) => findings.ok("device", format!("{} for device: {}", runtime.place(), config.device)),
        Err(error) => findings.problem("device", error.to_string(), "set device: auto or cpu in config.yaml"),
    }
    let driver = Path::new("/proc/driver/nvidia/version").exists();
    match (vision::device::load_cuda(), vision::device::cuda_devices(), driver) {
        (vision::device::CudaLibrary::Loaded, 0, _) => {
            findings.ok("cuda", "libtorch's CUDA library is loaded; no device is visible")
        }
        (vision::device::CudaLibrary::Loaded, devices, _) => findings.ok("cuda", format!("{devices} devices")),
        (vision::device::CudaLibrary::Missing(_), _, false) => {
            findings.ok("cuda", "no NVIDIA driver here; the CPU is used")
        }
        (vision::device::CudaLibrary::Missing(why), _, true) => {
            findings.note(
                "cuda",
                format!("an NVIDIA driver is here, libtorch's CUDA library is not: {why}"),
                "make setup CUDA=1",
            );
        }
    }
    runtime.ok()
}

/// Says which precision a model runs in, and how `auto` could be given a faster one.
fn precision(findings: &mut Findings, settled: &Settled, asked: Precision, path: &Path) {
    let fast = vision::precision::candidate(settled.runtime.device).is_some();
    if asked == Precision::Auto && settled.runtime.precision() == Precision::Fp32 && fast {
        let compare = format!("sightline model inspect {} --compare-precision PICTURES", path.display());
        findings.note("precision", settled.describe(), compare);
    } else {
        findings.ok("precision", settled.describe());
    }
}

fn models(findings: &mut Findings, config: &Config, runtime: Option<vision::Runtime>) {
    for (subject, path) in [("detector", &config.models.detector), ("embedder", &config.models.embedder)] {
        if !path.is_file() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            findings.problem(
                subject,
                format!("no weights at {}", path.display()),
                format!("sightline model import FILE --name {name}"),
            );
            continue;
        }
        match checkpoint::inspect(path) {
            Ok(info) => {
                let text = format!("{} ({}), {}, {}", info.architecture, info.task, info.dtype, path.display());
                let wanted = subject == "embedder";
                let fits = match info.task {
                    checkpoint::Task::Embed => wanted,
                    checkpoint::Task::Detect | checkpoint::Task::Segment => !wanted,
                    checkpoint::Task::Classify => false,
                };
                if fits {
                    card(findings, subject, path, info.sha256, text);
                    let settle = if wanted { embedder_precision } else { detector_precision };
                    if let Some(runtime) = runtime {
                        precision(findings, &settle(config, runtime, path, &info), config.precision, path);
                    }
                } else {
                    findings.problem(subject, text, "these weights are for another task; name others in config.yaml");
                }
            }
            Err(error) => findings.problem(subject, error.to_string(), "import the weights again"),
        }
    }
}

fn card(findings: &mut Findings, subject: &'static str, path: &Path, sha256: crate::domain::ImageId, text: String) {
    match checkpoint::card(path) {
        None => findings.note(subject, format!("{text}; no card"), "sightline model import writes one"),
        Some(card) if card.sha256 != sha256 => {
            findings.problem(
                subject,
                format!("{text}; its card is about other bytes ({})", card.sha256.short()),
                "import the weights again",
            );
        }
        Some(card) if card.origin.contains("untrained") => {
            findings.note(
                subject,
                format!("{text}; never trained"),
                "its answers mean nothing for real packs; import trained weights",
            );
        }
        Some(card) => findings.ok(subject, format!("{text}; licence: {}", card.licence)),
    }
}

/// Whether the journal is whole; read here unless an engine is at work on it.
fn journal(findings: &mut Findings, config: &Config) {
    if !config.database().join("journal").is_dir() {
        return;
    }
    match verify_journal(config, &Trusted::default()) {
        Ok(proof) if proof.ok => findings.ok("journal", format!("{} entries, all sound", proof.entries)),
        Ok(proof) => findings.problem(
            "journal",
            proof.problems.join("; "),
            "no engine starts on a journal damaged before its last checkpoint: restore database/journal from a backup",
        ),
        Err(error) => findings.ok("journal", format!("not looked at: {error}")),
    }
}

fn folders(findings: &mut Findings, config: &Config) {
    let database = config.database();
    let mut places = vec![("database", database.clone())];
    places.extend(config.watch.iter().map(|watch| ("watch", watch.path.clone())));
    for (subject, path) in places {
        let nearest = path.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
        match rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
            Ok(()) if nearest == path => findings.ok(subject, format!("{} can be written", path.display())),
            Ok(()) => findings.ok(subject, format!("{} is not there yet and can be made", path.display())),
            Err(error) => findings.problem(
                subject,
                format!("{} cannot be written: {error}", path.display()),
                format!("give this user the right to write {}", nearest.display()),
            ),
        }
        if crate::intake::scan::is_network(nearest) {
            findings.note(
                subject,
                format!("{} is on a network file system", path.display()),
                "it is polled every intake.poll_seconds, since it sends no events",
            );
        }
    }
    let nearest = database.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if let Ok(stats) = rustix::fs::statvfs(nearest) {
        let (free, whole) = (stats.f_bavail * stats.f_frsize, (stats.f_blocks * stats.f_frsize).max(1));
        let text = format!("{} free of {} at {}", size(free), size(whole), nearest.display());
        if free * 20 < whole {
            findings.problem("disk", text, "make room: below 5% a full disk is near")
        } else {
            findings.ok("disk", text)
        }
    }
}

fn inotify(findings: &mut Findings) {
    let limit = |name: &str| {
        fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok().and_then(|text| text.trim().parse::<u64>().ok())
    };
    match (limit("max_user_watches"), limit("max_user_instances")) {
        (Some(watches), Some(instances)) => {
            let text = format!("{watches} watches, {instances} instances");
            if watches < 8192 || instances < 16 {
                findings.note("inotify", text, "each folder takes a watch: sysctl fs.inotify.max_user_watches=524288");
            } else {
                findings.ok("inotify", text);
            }
        }
        _ => findings.note(
            "inotify",
            "the limits cannot be read",
            "folders are scanned every intake.rescan_seconds all the same",
        ),
    }
}

fn terminal(findings: &mut Findings) {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let term = variable("TERM");
    if !std::io::stdout().is_terminal() {
        findings.note("terminal", "the output is no terminal", "the console needs one; `sightline serve` does not");
        return;
    }
    let colours = match variable("COLORTERM").as_str() {
        "truecolor" | "24bit" => "16 million colours",
        _ if term.contains("256color") => "256 colours",
        _ => "16 colours",
    };
    let none =
        if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) { "; NO_COLOR is set" } else { "" };
    let utf8 =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().map(variable).find(|value| !value.is_empty()).unwrap_or_default();
    let dims = rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or_else(|_| String::new(), |size| format!(", {}x{}", size.ws_col, size.ws_row));
    let text = format!("{term}: {colours}{none}{dims}");
    if term.is_empty() || term == "dumb" {
        findings.problem("terminal", text, "set TERM, for example to xterm-256color");
    } else if !utf8.to_lowercase().replace('-', "").contains("utf8") {
        findings.note(
            "terminal",
            format!("{text}; the locale is not UTF-8"),
            "export LANG=C.UTF-8, or lines and bars may look broken",
        );
    } else {
        findings.ok("terminal", text);
    }
}
