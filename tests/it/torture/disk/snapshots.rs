//! The disk becomes full while sled writes a snapshot.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sightline::engine::Options;

use super::trace::Tracer;
use super::{OUT, REFUSED, life, worker};
use crate::engine::standard;

/// How a start went that found no room for sled's snapshots.
#[derive(Debug, Serialize, Deserialize)]
struct Started {
    /// What found no room.
    failed: Option<String>,
    /// Why it did not start.
    error: Option<String>,
}

#[test]
#[ignore = "the projection campaign runs it in a process of its own, whose calls are traced to its end"]
fn a_start_without_room() {
    let Some(out) = std::env::var_os(OUT) else { return };
    let dir = Path::new(&out).parent().unwrap();
    let tracer = Tracer::start();
    let started = std::thread::scope(|scope| {
        let start = scope.spawn(|| {
            tracer.enter().ok()?;
            tracer.watch(&dir.join("database/store"));
            tracer.refuse("/snap.");
            let options = Options { watch: false, work: false, loader: standard("weights") };
            let error = match life::yard(dir).try_start(options) {
                Ok(engine) => {
                    engine.stop();
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            Some(Started { failed: tracer.disarm(), error })
        });
        start.join().unwrap()
    });
    let Some(started) = started else { return println!("{REFUSED}") };
    fs::write(out, serde_json::to_string(&started).unwrap()).unwrap();
}

/// Starts the engine on a workspace where sled's snapshots find no room; none where the system lets nobody trace.
///
/// # Errors
/// It came to no snapshot, or the engine does not say what is the matter.
pub(in crate::torture) fn start_without_room_for_snapshots(dir: &Path) -> Option<Result<(), String>> {
    let out = dir.join("started");
    if !worker("snapshots::a_start_without_room", &out, &[]) {
        return None;
    }
    let started: Started = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    fs::remove_file(out).unwrap();
    Some(match started {
        Started { failed: None, .. } => Err("it came to no snapshot".into()),
        Started { error: Some(error), .. } if !error.contains("space") && !error.contains("room") => {
            Err(format!("it does not say that the disk is full: {error}"))
        }
        _ => Ok(()),
    })
}
