//! `demo`: a workspace with drawn packs arriving, to see sightline at work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use image::{ImageFormat, RgbImage, imageops};
use serde::Serialize;
use serde_json::json;

use super::arguments::Demo;
use super::output::Out;
use super::serve::{log_to_files, needs_terminal, run_console};
use super::session::{Own, Session};
use super::{CliError, Ended, Outcome};
use crate::config::{Config, Models, documented_yaml};
use crate::domain::view::{DbVerified, GalleryStats, JournalVerified, QueueStats, Stats, Status};
use crate::learn::synth::Pack;
use crate::vision::{checkpoint, random};

/// The file by which a demo knows its own workspace.
const MARK: &str = "DEMO";

/// The first design: the shipped weights have learnt from none of those that follow.
const FIRST: u32 = 200_000;
/// The designs that are enrolled, counted from the first: five that look like no other, and a pair that differs in its strength
/// alone. Those from [`UNKNOWN`] on are unknown packs.
const ENROLLED: [u32; 7] = [0, 2, 4, 6, 8, 10, 11];
/// The first of the unknown ones.
const UNKNOWN: u32 = 100;
/// Photographs of each design that are enrolled.
const PICTURES: u32 = 3;

/// Makes the workspace, lets packs arrive, and shows or sums up what becomes of them.
pub(super) fn run(out: &mut Out, demo: &Demo) -> Ended {
    if !demo.headless {
        needs_terminal()?;
    }
    let (workspace, temporary) = match &demo.dir {
        Some(dir) => (std::path::absolute(dir).map_err(CliError::failed)?, None),
        None => {
            let dir = tempfile::Builder::new().prefix("sightline-demo-").tempdir().map_err(CliError::failed)?;
            (dir.path().to_owned(), Some(dir))
        }
    };
    let (config, weights) = make(&workspace)?;
    let _logs = log_to_files(&config)?;
    let session = Session::with(config, Own::Watches, None)?;
    let stop = Arc::new(AtomicBool::new(false));
    let drip = Drip {
        workspace: workspace.clone(),
        seed: demo.seed,
        stop: Arc::clone(&stop),
        pause: Duration::from_millis(if demo.headless { 300 } else { 1500 }),
    };
    let dripping = std::thread::spawn(move || drip.run());
    let ended = if demo.headless { headless(out, &session, demo.time, weights) } else { run_console(&session) };
    stop.store(true, Ordering::Relaxed);
    let dropped = dripping.join().map_err(|_| CliError::Failed("the demo's camera failed".into()))?;
    session.close();
    drop(temporary);
    dropped?;
    ended
}

/// Writes the demo's config and puts weights in place; says what kind they are.
fn make(workspace: &Path) -> Result<(Config, &'static str), CliError> {
    let failed =
        |error: std::io::Error| CliError::Failed(format!("cannot make the demo in {}: {error}", workspace.display()));
    let models = workspace.join("models");
    let (path, mark) = (workspace.join("config.yaml"), workspace.join(MARK));
    let empty = fs::read_dir(workspace).map_or(true, |mut entries| entries.next().is_none());
    if !empty && !mark.exists() {
        return Err(CliError::Refused(format!(
            "{} is no demo's folder: drawn packs would be enrolled into what is there; name a new or empty folder",
            workspace.display()
        )));
    }
    fs::create_dir_all(&models).map_err(failed)?;
    fs::write(&mark, "Made by `sightline demo`; everything here is drawn.\n").map_err(failed)?;
    if !path.exists() {
        fs::write(&path, documented_yaml(&settings()?)).map_err(failed)?;
    }
    let config = Config::load(workspace)?;
    if !config.models.embedder.is_file() {
        let weights =
            random::dinov2("dinov2_vits14", 1).ok_or_else(|| CliError::Failed("no such architecture".into()))?;
        checkpoint::save(&weights, &models, "pack-embed")?;
    }
    let weights = if checkpoint::is_untrained(&config.models.embedder) { "untrained" } else { "trained" };
    Ok((config, weights))
}

/// What the demo's config says other than the defaults: the weights and thresholds of the folder that it is started in, where both
/// weights are there and trained.
fn settings() -> Result<Vec<(&'static str, String)>, CliError> {
    let here = Config::load(Path::new(".")).ok();
    if let Some(Config { models: Models { detector, embedder }, decision, .. }) = &here
        && [detector, embedder].into_iter().all(|weights| weights.is_file() && !checkpoint::is_untrained(weights))
    {
        let quoted = |path: &Path| std::path::absolute(path).map(|p| json!(p).to_string()).map_err(CliError::failed);
        return Ok(vec![
            ("models.detector", quoted(detector)?),
            ("models.embedder", quoted(embedder)?),
            ("decision.min_similarity", decision.min_similarity.to_string()),
            ("decision.min_margin", decision.min_margin.to_string()),
        ]);
    }
    Ok(vec![
        ("detect.objects", "whole".into()),
        ("intake.settle_ms", "200".into()),
        ("decision.min_similarity", "0.97".into()),
        ("decision.min_margin", "0.002".into()),
    ])
}

/// Drops drawn pictures into the watched folders until told to stop.
struct Drip {
    workspace: PathBuf,
    seed: u64,
    stop: Arc<AtomicBool>,
    pause: Duration,
}

impl Drip {
    fn run(self) -> Result<(), CliError> {
        let mut enrolled = Vec::new();
        for number in ENROLLED {
            let pack = self.pack(number);
            for picture in 0..PICTURES {
                let photograph = pack.photograph(self.seed ^ u64::from(number * 100 + picture));
                self.put(
                    &format!("watch/enroll/{}", pack.label()),
                    &format!("{picture}.png"),
                    &encoded(&photograph, ImageFormat::Png)?,
                )?;
                enrolled.push(photograph);
            }
        }
        for number in 0.. {
            if self.wait() {
                return Ok(());
            }
            self.put("watch/inbox", &format!("{number:06}.jpg"), &self.probe(number, &enrolled)?)?;
        }
        Ok(())
    }

    fn pack(&self, number: u32) -> Pack {
        Pack::numbered(self.seed, FIRST + number)
    }

    /// By turns: a turned copy of an enrolled picture, a new photograph of a known pack, an unknown
    /// pack, the same bytes again, and now and then a file that was cut off.
    fn probe(&self, number: u32, enrolled: &[RgbImage]) -> Result<Vec<u8>, CliError> {
        let fresh = self.seed.wrapping_mul(1000) + u64::from(number);
        match number % 10 {
            0 | 2 | 5 | 8 => {
                let photograph = &enrolled[(number as usize * 7) % enrolled.len()];
                let turned = match number % 4 {
                    0 => imageops::rotate90(photograph),
                    1 => imageops::rotate180(photograph),
                    2 => imageops::rotate270(photograph),
                    _ => photograph.clone(),
                };
                encoded(&turned, ImageFormat::Jpeg)
            }
            3 | 7 => encoded(&self.pack(UNKNOWN + number).photograph(fresh), ImageFormat::Jpeg),
            6 => encoded(&self.pack(UNKNOWN + number - 3).photograph(fresh - 3), ImageFormat::Jpeg),
            9 => {
                let whole = encoded(&self.pack(0).photograph(fresh), ImageFormat::Jpeg)?;
                Ok(whole[..whole.len() / 2].to_vec())
            }
            _ => encoded(&self.pack(ENROLLED[number as usize % ENROLLED.len()]).photograph(fresh), ImageFormat::Jpeg),
        }
    }

    /// Written aside, then moved in: the way a careful camera does it.
    fn put(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        let failed =
            |error: std::io::Error| CliError::Failed(format!("the demo's camera cannot write to {folder}: {error}"));
        let folder_path = self.workspace.join(folder);
        fs::create_dir_all(&folder_path).map_err(failed)?;
        let aside = self.workspace.join(format!(".{name}.part"));
        fs::write(&aside, bytes).map_err(failed)?;
        fs::rename(&aside, folder_path.join(name)).map_err(failed)
    }

    /// Waits for the next picture; true once it is time to stop.
    fn wait(&self) -> bool {
        let until = Instant::now() + self.pause;
        while Instant::now() < until {
            if self.stop.load(Ordering::Relaxed) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.stop.load(Ordering::Relaxed)
    }
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Result<Vec<u8>, CliError> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).map_err(CliError::failed)?;
    Ok(bytes.into_inner())
}

/// What the demo did, in one JSON value.
#[derive(Serialize)]
struct Summary {
    workspace: PathBuf,
    seconds: u64,
    /// Whether answers mean anything: `untrained` weights see, but know nothing.
    weights: &'static str,
    device: Option<String>,
    queue: QueueStats,
    images_per_second: f32,
    accepted: u64,
    abstained: Vec<(crate::domain::AbstainReason, u64)>,
    gallery: GalleryStats,
    journal: JournalVerified,
    db: DbVerified,
    warnings: Vec<String>,
}

fn headless(out: &mut Out, session: &Session, time: Duration, weights: &'static str) -> Ended {
    std::thread::sleep(time);
    let stats: Stats = session.ask(session.client.get("/v1/stats"))?;
    let status: Status = session.ask(session.client.get("/v1/status"))?;
    let summary = Summary {
        workspace: session.config.workspace.clone(),
        seconds: time.as_secs(),
        weights,
        device: stats.device,
        queue: session.ask(session.client.get("/v1/queue/stats"))?,
        images_per_second: stats.rate_60s,
        accepted: stats.accepted,
        abstained: stats.abstained,
        gallery: session.ask(session.client.get("/v1/gallery/stats"))?,
        journal: session.ask(session.client.post("/v1/journal/verify", &json!({})))?,
        db: session.ask(session.client.post("/v1/db/verify", &()))?,
        warnings: status.warnings,
    };
    out.value(&summary)?;
    let healthy = summary.journal.ok && summary.db.ok && status.halted.is_none() && summary.queue.done > 0;
    Ok(if healthy { Outcome::Done } else { Outcome::NotOk })
}
