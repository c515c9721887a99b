//! `ingest`, `enroll`, and the `queue` group.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::arguments::{Aside, Enroll, Ingest, Queue};
use super::output::{Out, when};
use super::session::{Own, Session};
use super::{CliError, Ended, Outcome};
use crate::api::client::intent;
use crate::domain::view::{Ingest as IngestAct, Ingested, Item, ItemDetail, Nothing, QueueStats, Status};
use crate::domain::{ItemState, Label, RawPath};

/// `ingest PATH… [--wait] [--label L]`
pub(super) fn ingest(out: &mut Out, workspace: &Path, arguments: &Ingest) -> Ended {
    send(out, workspace, &arguments.paths, arguments.label.clone(), arguments.wait)
}

/// `enroll LABEL PATH…`: always waits, so that what follows finds it in the gallery.
pub(super) fn enroll(out: &mut Out, workspace: &Path, arguments: &Enroll) -> Ended {
    send(out, workspace, &arguments.paths, Some(arguments.label.clone()), true)
}

fn send(out: &mut Out, workspace: &Path, paths: &[PathBuf], label: Option<Label>, wait: bool) -> Ended {
    let mut absolute = Vec::with_capacity(paths.len());
    for path in paths {
        absolute.push(RawPath(std::path::absolute(path).map_err(CliError::failed)?));
    }
    let session = Session::open(workspace, if wait { Own::Works } else { Own::Answers })?;
    let ended = send_by(out, &session, absolute, label, wait);
    session.close();
    ended
}

fn send_by(out: &mut Out, session: &Session, paths: Vec<RawPath>, label: Option<Label>, wait: bool) -> Ended {
    let asked = intent(IngestAct { paths, label }, "");
    let ingested: Ingested = session.ask(session.client.post("/v1/queue/ingest", &asked))?;
    if !wait {
        if out.json {
            out.value(&ingested)?;
        } else {
            let hint = if session.is_own() { "; no engine is running: `sightline serve` works on them" } else { "" };
            out.line(format!("{} files queued{hint}", ingested.items.len()))?;
            ingested.problems.iter().try_for_each(|problem| out.line(format!("not queued: {problem}")))?;
        }
        return Ok(if ingested.problems.is_empty() { Outcome::Done } else { Outcome::NotOk });
    }
    let rows = wait_for(session, &ingested)?;
    let mut good = ingested.problems.is_empty();
    for row in &rows {
        good &= matches!(row.state, ItemState::Done | ItemState::Duplicate);
        if out.json {
            out.value(&contract(row))?;
        } else {
            out.line(describe(row))?;
        }
    }
    ingested.problems.iter().for_each(|problem| super::complain(&CliError::Failed(format!("not queued: {problem}"))));
    Ok(if good { Outcome::Done } else { Outcome::NotOk })
}

/// Waits until every item has an outcome, showing progress to people.
fn wait_for(session: &Session, ingested: &Ingested) -> Result<Vec<Item>, CliError> {
    let bar = ProgressBar::new(ingested.items.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    let mut rows = Vec::with_capacity(ingested.items.len());
    let began = Instant::now();
    for id in &ingested.items {
        loop {
            let detail: ItemDetail = session.ask(session.client.get(&format!("/v1/queue/items/{id}")))?;
            if !matches!(detail.item.state, ItemState::Waiting | ItemState::Working) {
                rows.push(detail.item);
                bar.inc(1);
                break;
            }
            let status: Status = session.ask(session.client.get("/v1/status"))?;
            if let Some(why) = status.halted {
                return Err(CliError::Failed(why));
            }
            let models = [&status.detector, &status.embedder];
            if began.elapsed() > Duration::from_secs(2)
                && let Some(model) = models
                    .into_iter()
                    .find(|model| model.state == "failed" || model.state == "missing" && model.detail != "no such file")
            {
                return Err(CliError::Failed(format!(
                    "the files wait in the queue, but the models cannot be loaded: {}",
                    model.detail
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    bar.finish_and_clear();
    Ok(rows)
}

/// The fields that `queue list --json` promises, and what else there is.
fn contract(row: &Item) -> serde_json::Value {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    for key in ["reason", "sha256", "sightings"] {
        if let Some(map) = value.as_object_mut() {
            map.entry(key).or_insert(serde_json::Value::Null);
        }
    }
    value
}

fn describe(row: &Item) -> String {
    let mut text = format!("{}  {:<11} {}", row.id, row.state.name(), row.path);
    if let Some(answer) = &row.answer {
        match (&answer.label, answer.reason) {
            (Some(label), _) => text.push_str(&format!("  -> {label}")),
            (None, Some(reason)) => text.push_str(&format!("  abstained: {}", reason.sentence())),
            (None, None) => {}
        }
    }
    if let Some(reason) = &row.reason {
        text.push_str(&format!("  ({reason})"));
    }
    text
}

/// `queue …`
pub(super) fn run(out: &mut Out, workspace: &Path, command: &Queue) -> Ended {
    let session = Session::open(workspace, Own::Answers)?;
    let ended = match command {
        Queue::Stats => stats(out, &session),
        Queue::List { state, limit } => list(out, &session, *state, *limit),
        Queue::Quarantine => quarantine(out, &session),
        Queue::Release(aside) => act(out, &session, aside, "release"),
        Queue::Discard(aside) => act(out, &session, aside, "discard"),
    };
    session.close();
    ended
}

fn stats(out: &mut Out, session: &Session) -> Ended {
    let stats: QueueStats = session.ask(session.client.get("/v1/queue/stats"))?;
    if out.json {
        out.value(&stats)?;
    } else {
        let rows = [
            ("waiting", stats.waiting),
            ("working", stats.working),
            ("done", stats.done),
            ("duplicate", stats.duplicate),
            ("quarantined", stats.quarantined),
            ("failed", stats.failed),
            ("discarded", stats.discarded),
        ];
        rows.iter().try_for_each(|(name, count)| out.line(format!("{name:<12}{count:>9}")))?;
    }
    Ok(Outcome::Done)
}

/// Every row of a state, fetched in windows.
fn each(
    session: &Session,
    state: Option<ItemState>,
    limit: usize,
    mut row: impl FnMut(Item) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let states = match state {
        Some(state) => vec![state],
        None => ItemState::ALL.to_vec(),
    };
    let mut count = 0;
    for state in states {
        let mut after = String::new();
        while (count as usize) < limit {
            let size = (limit - count as usize).min(500);
            let path = format!("/v1/queue/items?state={}&limit={size}{after}", state.name());
            let rows: Vec<Item> = session.ask(session.client.get(&path))?;
            let Some(last) = rows.last() else { break };
            after = format!("&after={}", last.id);
            count += rows.len() as u64;
            rows.into_iter().try_for_each(&mut row)?;
        }
    }
    Ok(count)
}

fn list(out: &mut Out, session: &Session, state: Option<ItemState>, limit: usize) -> Ended {
    let json = out.json;
    let count =
        each(session, state, limit, |row| if json { out.value(&contract(&row)) } else { out.line(describe(&row)) })?;
    Ok(if count == 0 { Outcome::Nothing } else { Outcome::Done })
}

fn quarantine(out: &mut Out, session: &Session) -> Ended {
    let mut count = 0;
    for state in [ItemState::Quarantined, ItemState::Failed] {
        count += each(session, Some(state), usize::MAX, |row| {
            if out.json {
                return out.value(&contract(&row));
            }
            let code =
                row.code.and_then(|code| serde_json::to_value(code).ok()).and_then(|v| v.as_str().map(str::to_owned));
            out.line(format!(
                "{}  {}  {:<16} {}",
                row.id,
                when(row.updated_ms),
                code.unwrap_or_else(|| "failed".into()),
                row.path
            ))?;
            out.line(format!("    {}", row.reason.unwrap_or_default()))
        })?;
    }
    if count == 0 && !out.json {
        out.line("nothing is in quarantine")?;
    }
    Ok(if count == 0 { Outcome::Nothing } else { Outcome::Done })
}

fn act(out: &mut Out, session: &Session, aside: &Aside, verb: &str) -> Ended {
    let item = crate::domain::ItemId(aside.id.clone());
    if !item.is_well_formed() {
        return Err(CliError::Usage(format!("`{}` is no id; `sightline queue quarantine` shows them", aside.id)));
    }
    let path = format!("/v1/queue/items/{item}/{verb}");
    let row: Item = session.ask(session.client.post(&path, &intent(Nothing {}, aside.reason.clone())))?;
    if out.json {
        out.value(&contract(&row))?
    } else {
        out.line(describe(&row))?
    }
    Ok(Outcome::Done)
}
