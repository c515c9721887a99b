//! Live figures: rates, latencies, the mix of answers. Kept in memory; the journal is not asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::view::{Job, StageStats, Stats};
use crate::domain::{AbstainReason, Decision};

/// Seconds of history that are kept.
const HISTORY: usize = 120;
/// How long work that has ended is still shown.
const LINGER: Duration = Duration::from_secs(60);
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

/// Long work, and when it began and ended.
struct Running {
    job: Job,
    began: Instant,
    ended: Option<Instant>,
}

impl Running {
    /// What is shown of it at this moment; nothing a while after its end.
    fn shown(&self, now: Instant) -> Option<Job> {
        if self.ended.is_some_and(|ended| now.saturating_duration_since(ended) >= LINGER) {
            return None;
        }
        // Its time stands still with its end: a console must not draw again and again for work that is over.
        let until = self.ended.unwrap_or(now);
        let seconds = until.saturating_duration_since(self.began).as_secs();
        Some(Job { seconds, ..self.job.clone() })
    }
}

#[derive(Default)]
struct Inside {
    seconds: VecDeque<Second>,
    stages: [VecDeque<f32>; 6],
    batches: BTreeMap<u32, u64>,
    accepted: u64,
    abstained: BTreeMap<&'static str, (AbstainReason, u64)>,
    enrolled: u64,
    jobs: Vec<Running>,
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
        let (mut inside, now) = (self.lock(), Instant::now());
        inside.jobs.retain(|running| running.shown(now).is_some());
        inside.next_job += 1;
        let id = inside.next_job;
        let job = Job { id, title, done: 0, total, seconds: 0, failed: None };
        inside.jobs.push(Running { job, began: now, ended: (total == 0).then_some(now) });
        id
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Job)) {
        if let Some(running) = self.lock().jobs.iter_mut().find(|running| running.job.id == id) {
            change(&mut running.job);
            if running.job.done >= running.job.total || running.job.failed.is_some() {
                running.ended.get_or_insert_with(Instant::now);
            }
        }
    }

    pub(super) fn progress(&self, id: u64, done: u64) {
        self.change(id, |job| job.done = done);
    }

    pub(super) fn job_failed(&self, id: u64, error: String) {
        self.change(id, |job| job.failed = Some(error));
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
            jobs: inside.jobs.iter().filter_map(|running| running.shown(Instant::now())).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_work_stands_still_and_is_gone_a_minute_later() {
        let meters = Meters::new();
        let (whole, broken) = (meters.job("reading".into(), 2), meters.job("building".into(), 9));
        let shown = |meters: &Meters, later: u64| -> Vec<(String, u64)> {
            let inside = meters.lock();
            let at = |running: &Running| running.shown(Instant::now() + Duration::from_secs(later));
            inside.jobs.iter().filter_map(at).map(|job| (job.title, job.seconds)).collect()
        };
        assert_eq!(shown(&meters, 100), [("reading".into(), 100), ("building".into(), 100)], "they run on");
        meters.progress(whole, 2);
        meters.job_failed(broken, "no room".into());
        assert_eq!(shown(&meters, 50), [("reading".into(), 0), ("building".into(), 0)], "their time stands still");
        assert!(shown(&meters, 61).is_empty());
        assert_eq!(meters.stats(0).jobs.len(), 2, "a minute has not passed");
    }
}
