//! The `journal` group.

use std::path::Path;

use super::arguments::Journal;
use super::output::{Out, when};
use super::session::{Own, Session};
use super::{CliError, Ended, Outcome};
use crate::config::Config;
use crate::domain::Entry;
use crate::domain::view::{JournalVerified, SignedCheckpoint, Status, Trusted};
use crate::engine::{EngineError, verify_journal};
use crate::files;

/// A key or a checkpoint of more bytes is none.
const LARGEST: u64 = 1 << 20;

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Journal) -> Ended {
    if let Journal::Verify { key, checkpoint } = command {
        return verify(out, workspace, trusted(key.as_deref(), checkpoint.as_deref())?);
    }
    let session = Session::open(workspace, Own::Answers)?;
    let ended = match command {
        Journal::Tail { n } => tail(out, &session, *n),
        Journal::Show { sequence } => show(out, &session, *sequence),
        Journal::Checkpoint => checkpoint(out, &session),
        Journal::Verify { .. } | Journal::Export { .. } => export(out, &session),
    };
    session.close();
    ended
}

fn describe(entry: &Entry) -> String {
    let reason = entry.reason.as_ref().map_or_else(String::new, |reason| format!("  \"{reason}\""));
    format!(
        "{:>8}  {}  {:<10} {:<20} {}{reason}",
        entry.sequence,
        when(entry.wall_ms),
        entry.actor,
        entry.action,
        entry.subject
    )
}

fn tail(out: &mut Out, session: &Session, n: usize) -> Ended {
    let mut entries: Vec<Entry> = Vec::new();
    while entries.len() < n {
        let before = entries.last().map_or_else(String::new, |entry| format!("&before={}", entry.sequence));
        let page: Vec<Entry> = session
            .ask(session.client.get(&format!("/v1/journal/entries?limit={}{before}", (n - entries.len()).min(1000))))?;
        if page.is_empty() {
            break;
        }
        entries.extend(page);
    }
    for entry in entries.iter().rev() {
        if out.json { out.value(entry)? } else { out.line(describe(entry))? }
    }
    Ok(if entries.is_empty() { Outcome::Nothing } else { Outcome::Done })
}

fn show(out: &mut Out, session: &Session, sequence: u64) -> Ended {
    let entry: Entry = session.ask(session.client.get(&format!("/v1/journal/entries/{sequence}")))?;
    if out.json {
        out.value(&entry)?;
    } else {
        out.line(describe(&entry))?;
        for (name, value) in [("before", &entry.before), ("after", &entry.after)] {
            if let Some(value) = value {
                let text = serde_json::to_string_pretty(value).map_err(CliError::failed)?;
                out.line(format!("{name}:"))?;
                text.lines().try_for_each(|line| out.line(format!("  {line}")))?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// What was kept elsewhere, read from its files. A key may also be given as text.
fn trusted(key: Option<&str>, checkpoint: Option<&Path>) -> Result<Trusted, CliError> {
    let read = |path: &Path| {
        files::text_within(path, LARGEST).map_err(|error| {
            CliError::Usage(format!(
                "cannot read {}: {error}; name a copy of key.pub, or what `journal checkpoint` wrote",
                path.display()
            ))
        })
    };
    let key = key.map(|key| if Path::new(key).is_file() { read(Path::new(key)) } else { Ok(key.to_owned()) });
    let key = key.transpose()?;
    if key.as_ref().is_some_and(|key| !key.contains('+')) {
        let said = "--key takes a copy of database/journal/key.pub, or its text; this is neither a file nor a key";
        return Err(CliError::Usage(said.into()));
    }
    // As `journal checkpoint` wrote it, for people or for programs.
    let note = |text: String| match serde_json::from_str::<SignedCheckpoint>(&text) {
        Ok(signed) => signed.note,
        Err(_) => text,
    };
    Ok(Trusted { key, checkpoint: checkpoint.map(read).transpose()?.map(note) })
}

fn checkpoint(out: &mut Out, session: &Session) -> Ended {
    let signed: SignedCheckpoint = session.ask(session.client.get("/v1/journal/checkpoint"))?;
    if out.json {
        out.value(&signed)?;
    } else {
        signed.note.trim_end().lines().try_for_each(|line| out.line(line))?;
    }
    Ok(Outcome::Done)
}

/// By the engine that runs; where none does, by reading the files: a damaged journal may keep an engine from starting,
/// and that is when a proof is wanted most.
fn verify(out: &mut Out, workspace: &Path, trusted: Trusted) -> Ended {
    let verified: JournalVerified = match Session::open(workspace, Own::Answers) {
        Ok(session) => {
            let verified = session.ask(session.client.post("/v1/journal/verify", &trusted));
            session.close();
            verified?
        }
        Err(CliError::Failed(_)) => {
            verify_journal(&Config::load(workspace)?, &trusted).map_err(|error| match error {
                EngineError::BadRequest(why) => CliError::Usage(why),
                error => CliError::Failed(error.to_string()),
            })?
        }
        Err(error) => return Err(error),
    };
    if out.json {
        out.value(&verified)?;
    } else {
        out.line(if verified.ok { "the journal is whole" } else { "the journal is NOT whole" })?;
        out.line(format!(
            "{} entries; {} proven by the last checkpoint, {} after it",
            verified.entries, verified.checkpoint, verified.unanchored
        ))?;
        out.line(format!("root {}", verified.root))?;
        out.line(format!("key  {}", verified.key))?;
        verified.problems.iter().try_for_each(|problem| out.line(format!("problem: {problem}")))?;
        verified.cannot_prove.iter().try_for_each(|what| out.line(format!("cannot be proven from here: {what}")))?;
    }
    Ok(if verified.ok { Outcome::Done } else { Outcome::NotOk })
}

/// Every entry up to the moment of asking, oldest first.
fn export(out: &mut Out, session: &Session) -> Ended {
    let status: Status = session.ask(session.client.get("/v1/status"))?;
    let mut next = 0;
    while next < status.entries {
        // `before` is exclusive and answers come newest first: ask for the window that ends at the next thousand.
        let end = (next + 500).min(status.entries);
        let page: Vec<Entry> =
            session.ask(session.client.get(&format!("/v1/journal/entries?before={end}&limit={}", end - next)))?;
        page.iter().rev().try_for_each(|entry| out.value(entry))?;
        next = end;
    }
    Ok(if status.entries == 0 { Outcome::Nothing } else { Outcome::Done })
}
