//! The `journal` group.

use std::path::Path;

use super::arguments::Journal;
use super::output::{Out, when};
use super::session::{Own, Session};
use super::{CliError, Ended, Outcome};
use crate::domain::Entry;
use crate::domain::view::{JournalVerified, Status};

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Journal) -> Ended {
    let session = Session::open(workspace, Own::Answers)?;
    let ended = match command {
        Journal::Tail { n } => tail(out, &session, *n),
        Journal::Show { sequence } => show(out, &session, *sequence),
        Journal::Verify { key } => verify(out, &session, key.as_deref()),
        Journal::Export { .. } => export(out, &session),
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

fn verify(out: &mut Out, session: &Session, key: Option<&str>) -> Ended {
    let verified: JournalVerified =
        session.ask(session.client.post("/v1/journal/verify", &serde_json::json!({ "key": key })))?;
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
