//! The disk under the engine: what a power loss may leave of it, and each of its calls failed once.
//!
//! The engine lives a short, mixed life in a process of its own, where every file operation is traced (see `trace`);
//! its client is on the same disk and writes down, between the operations, what it was told.

mod failpoints;
mod life;
mod op;
mod power_loss;
mod replay;
mod snapshots;
mod sound;
mod trace;

pub(super) use snapshots::start_without_room_for_snapshots;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What a client of the engine did or was told, at its place among the file operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Note {
    /// A file was dropped below the workspace, by a producer who synced it and its name, or by one who did not.
    Dropped { below: PathBuf, image: String, synced: bool },
    /// A request to take a file in was acknowledged.
    Queued { below: PathBuf },
    /// So many entries of the journal were shown.
    Entries(u64),
}

/// What makes the worker below work rather than pass: where to write what it finds.
const OUT: &str = "SIGHTLINE_TRACED_OUT";
/// The seed of its work.
const SEED: &str = "SIGHTLINE_TRACED_SEED";

/// Runs one of the workers of this room in a process of its own; false where this system lets nobody trace.
fn worker(name: &str, out: &Path, variables: &[(&str, String)]) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "--test-threads", "1"])
        .arg(format!("torture::disk::{name}"))
        .env(OUT, out)
        .envs(variables.iter().map(|(key, value)| (*key, value.as_str())))
        .env_remove("SIGHTLINE_TORTURE_OUT")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if said.contains(REFUSED) {
        return false;
    }
    assert!(output.status.success() && said.contains("1 passed"), "{name} {variables:?}: {said}");
    true
}

/// What a worker says where the system refuses it.
const REFUSED: &str = "this system lets no process trace its own calls";
