//! The `db` group.

use std::path::Path;

use super::arguments::Db;
use super::output::Out;
use super::session::{Own, Session};
use super::{CliError, Ended, Outcome};
use crate::config::Config;
use crate::domain::view::DbVerified;

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Db) -> Ended {
    match command {
        Db::Verify => {
            let session = Session::open(workspace, Own::Answers)?;
            let asked = session.client.clone();
            let verified: DbVerified = session.ask_and_close(async move { asked.post("/v1/db/verify", &()).await })?;
            verify(out, &verified)
        }
        Db::Stats => {
            let session = Session::open(workspace, Own::Answers)?;
            let asked = session.client.clone();
            let stats: serde_json::Value = session.ask_and_close(async move { asked.get("/v1/db/stats").await })?;
            if out.json {
                out.value(&stats)?;
            } else {
                let text = serde_json::to_string_pretty(&stats).map_err(CliError::failed)?;
                text.lines().try_for_each(|line| out.line(line))?;
            }
            Ok(Outcome::Done)
        }
        Db::Rebuild => rebuild(out, workspace),
    }
}

fn verify(out: &mut Out, verified: &DbVerified) -> Ended {
    if out.json {
        out.value(verified)?;
    } else {
        out.line(if verified.ok { "the projection agrees with the journal" } else { "something does NOT agree" })?;
        out.line(format!(
            "{} entries applied, {} vectors and {} originals checked",
            verified.applied, verified.vectors, verified.originals
        ))?;
        out.line(format!("digest {}", verified.digest))?;
        verified.problems.iter().try_for_each(|problem| out.line(format!("problem: {problem}")))?;
        verified.notes.iter().try_for_each(|note| out.line(format!("note: {note}")))?;
    }
    Ok(if verified.ok { Outcome::Done } else { Outcome::NotOk })
}

/// The old projection is set aside, not deleted; the engine's start makes the new one.
fn rebuild(out: &mut Out, workspace: &Path) -> Ended {
    let config = Config::load(workspace)?;
    if let Some(status) = Session::running(&config)? {
        return Err(CliError::Refused(format!(
            "an engine is running, process {}; stop it first: it holds the projection open",
            status.pid
        )));
    }
    let kept = crate::engine::set_projection_aside(&config)?;
    let session = Session::with(config, Own::Answers, None)?;
    let asked = session.client.clone();
    let verified: DbVerified = session.ask_and_close(async move { asked.post("/v1/db/verify", &()).await })?;
    if !out.json {
        out.line("the projection was made anew from the journal")?;
        if let Some(kept) = kept {
            out.line(format!("the old one is kept in {}; delete it once you are content", kept.display()))?;
        }
    }
    verify(out, &verified)
}
