//! Live figures: rates, latencies, the mix of answers. Kept in memory; the journal is not asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::domain::view::{Job, StageStats, Stats};
use crate::domain::{AbstainReason, Decision};

/// Seconds of history that are kept.
const HISTORY: usize = 120;
/// Latencies that are kept for each stage.
const WINDOW: usize = 1024;
/// The stages, in a picture's order.
pub(super) const STAGES: [&str; 6] = ["archive", "decode", "detect", "embed", "search", "commit"];

#[derive(Clone, Copy, Default)]
struct Second {
    at: u64,
    pictures: u32,
    accepted: u32,
    answers: u32,
}

#[derive(Default)]
struct Inside {
    seconds: VecDeque<Second>,
    stages: [VecDeque<f32>; 6],
    batches: BTreeMap<u32, u64>,
    accepted: u64,
    abstained: BTreeMap<&'static str, (AbstainReason, u64)>,
    enrolled: u64,
    jobs: Vec<(Job, Instant)>,
    next_job: u64,
    cpu: Option<(Instant, f64)>,
    cores: f32,
}

/// The engine's meters.
pub(super) struct Meters {
    started: Instant,
    inside: Mutex<Inside>,
}

impl Meters {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), inside: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Figures only: whatever a panic left is still a figure.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn second<'a>(&self, inside: &'a mut Inside) -> Option<&'a mut Second> {
        let at = self.started.elapsed().as_secs();
        if inside.seconds.back().is_none_or(|second| second.at != at) {
            inside.seconds.push_back(Second { at, ..Second::default() });
        }
        while inside.seconds.len() > HISTORY {
            inside.seconds.pop_front();
        }
        inside.seconds.back_mut()
    }

    /// A picture is finished, whatever became of it.
    pub(super) fn picture(&self) {
        let mut inside = self.lock();
        if let Some(second) = self.second(&mut inside) {
            second.pictures += 1;
        }
    }

    /// A sighting was answered.
    pub(super) fn decision(&self, decision: &Decision) {
        let mut inside = self.lock();
        if let Some(second) = self.second(&mut inside) {
            second.answers += 1;
            second.accepted += u32::from(decision.is_accept());
        }
        match decision {
            Decision::Accept { .. } => inside.accepted += 1,
            Decision::Abstain { reason, .. } => {
                inside.abstained.entry(reason.sentence()).or_insert((*reason, 0)).1 += 1
            }
        }
    }

    pub(super) fn enrolled(&self, sightings: u64) {
        self.lock().enrolled += sightings;
    }

    pub(super) fn batch(&self, size: usize) {
        *self.lock().batches.entry(size as u32).or_insert(0) += 1;
    }

    /// A latency in milliseconds of a stage, by its place in [`STAGES`].
    pub(super) fn latency(&self, stage: usize, ms: f32) {
        if let Some(window) = self.lock().stages.get_mut(stage) {
            window.push_back(ms);
            if window.len() > WINDOW {
                window.pop_front();
            }
        }
    }

    /// Begins long work; it shows in the stats until a minute after its end.
    pub(super) fn job(&self, title: String, total: u64) -> u64 {
        let mut inside = self.lock();
        inside
            .jobs
            .retain(|(job, since)| (job.done < job.total && job.failed.is_none()) || since.elapsed().as_secs() < 60);
        inside.next_job += 1;
        let id = inside.next_job;
        inside.jobs.push((Job { id, title, done: 0, total, seconds: 0, failed: None }, Instant::now()));
        id
    }

    pub(super) fn progress(&self, id: u64, done: u64) {
        if let Some((job, _)) = self.lock().jobs.iter_mut().find(|(job, _)| job.id == id) {
            job.done = done;
        }
    }

    pub(super) fn job_failed(&self, id: u64, error: String) {
        if let Some((job, _)) = self.lock().jobs.iter_mut().find(|(job, _)| job.id == id) {
            job.failed = Some(error);
        }
    }

    /// The figures as they stand; the caller adds what the meters do not know.
    pub(super) fn stats(&self, waiting: u64) -> Stats {
        let mut inside = self.lock();
        let now = self.started.elapsed().as_secs();
        let rate = |seconds: u64| {
            let span = seconds.min(now).max(1);
            let since = now.saturating_sub(span);
            let pictures: u32 = inside.seconds.iter().filter(|s| s.at >= since && s.at < now).map(|s| s.pictures).sum();
            pictures as f32 / span as f32
        };
        let (rate_10s, rate_60s) = (rate(10), rate(60));
        let mut history = vec![0; HISTORY];
        let mut accept_history = vec![-1.0; HISTORY];
        for second in &inside.seconds {
            let age = now.saturating_sub(second.at) as usize;
            if age < HISTORY {
                history[HISTORY - 1 - age] = second.pictures;
                if second.answers > 0 {
                    accept_history[HISTORY - 1 - age] = second.accepted as f32 / second.answers as f32;
                }
            }
        }
        Self::measure_cpu(&mut inside);
        Stats {
            rate_10s,
            rate_60s,
            history,
            stages: STAGES.iter().zip(&inside.stages).map(|(name, window)| stage(name, window)).collect(),
            batches: inside.batches.iter().map(|(size, count)| (*size, *count)).collect(),
            accepted: inside.accepted,
            abstained: inside.abstained.values().copied().collect(),
            enrolled: inside.enrolled,
            accept_history,
            oldest_waiting_seconds: None,
            eta_seconds: (waiting > 0 && rate_60s > 0.0).then(|| (waiting as f32 / rate_60s).ceil() as u64),
            jobs: inside
                .jobs
                .iter()
                .map(|(job, since)| Job { seconds: since.elapsed().as_secs(), ..job.clone() })
                .collect(),
            memory_bytes: resident_bytes(),
            cpu_cores: inside.cores,
            disk_free_bytes: 0,
            device: None,
        }
    }

    fn measure_cpu(inside: &mut Inside) {
        let Some(used) = cpu_seconds() else { return };
        match inside.cpu {
            Some((at, before)) if at.elapsed().as_secs_f64() >= 0.5 => {
                inside.cores = ((used - before) / at.elapsed().as_secs_f64()) as f32;
                inside.cpu = Some((Instant::now(), used));
            }
            Some(_) => {}
            None => inside.cpu = Some((Instant::now(), used)),
        }
    }
}

fn stage(name: &str, window: &VecDeque<f32>) -> StageStats {
    let mut sorted: Vec<f32> = window.iter().copied().collect();
    sorted.sort_by(f32::total_cmp);
    let at = |share: f32| {
        sorted.get(((sorted.len() as f32 * share) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    let recent = window.iter().skip(window.len().saturating_sub(60)).copied().collect();
    StageStats { stage: name.into(), p50: at(0.5), p95: at(0.95), p99: at(0.99), recent }
}

/// Resident memory of this process (proc(5), statm), 0 where the system does not say.
pub(super) fn resident_bytes() -> u64 {
    let pages =
        std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Processor time of this process (proc(5), stat), seconds.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
