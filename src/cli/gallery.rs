//! The `gallery` group.

use std::path::Path;
use std::time::Duration;

use super::arguments::{Gallery, which};
use super::output::{Out, size};
use super::session::{Own, Session};
use super::{CliError, Ended, Outcome, pictures};
use crate::api::client::{escape, intent};
use crate::domain::view::{
    Changed, Export, GalleryStats, Identified, Import, IndexState, LabelRow, Nothing, Reading, Relabel, Remove,
    SightingRow,
};
use crate::domain::{Label, RawPath};

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Gallery) -> Ended {
    let session = Session::open(workspace, Own::Answers)?;
    let ended = run_by(out, &session, command);
    session.close();
    ended
}

fn run_by(out: &mut Out, session: &Session, command: &Gallery) -> Ended {
    let absolute = |path: &Path| std::path::absolute(path).map(RawPath).map_err(CliError::failed);
    let changed: Changed = match command {
        Gallery::List { filter } => return list(out, session, filter.as_deref().unwrap_or("")),
        Gallery::Show { label } => return show(out, session, label),
        Gallery::Search { image } => return search(out, session, image),
        Gallery::Stats => return stats(out, session),
        Gallery::Export { file } => {
            session.ask(session.client.post("/v1/gallery/export", &intent(Export { path: absolute(file)? }, "")))?
        }
        Gallery::Import { file, reason } => session.ask(
            session.client.post("/v1/gallery/import", &intent(Import { path: absolute(file)? }, reason.clone())),
        )?,
        Gallery::Relabel { what, to, reason } => {
            let act = Relabel { which: which(what).map_err(CliError::Usage)?, to: to.clone() };
            session.ask(session.client.post("/v1/gallery/relabel", &intent(act, reason.clone())))?
        }
        Gallery::Remove { what, reason } => {
            let act = Remove { which: which(what).map_err(CliError::Usage)? };
            session.ask(session.client.post("/v1/gallery/remove", &intent(act, reason.clone())))?
        }
        Gallery::Reembed { reason } => {
            session.ask(session.client.post("/v1/gallery/reembed", &intent(Nothing {}, reason.clone())))?
        }
    };
    if out.json {
        out.value(&changed)?
    } else {
        out.line(format!("{} sightings", changed.sightings))?
    }
    Ok(Outcome::Done)
}

fn list(out: &mut Out, session: &Session, filter: &str) -> Ended {
    let (mut after, mut none) = (String::new(), true);
    loop {
        let path = format!("/v1/gallery/labels?limit=500&filter={}{after}", escape(filter));
        let rows: Vec<LabelRow> = session.ask(session.client.get(&path))?;
        let Some(last) = rows.last() else { break };
        after = format!("&after={}", escape(last.label.as_str()));
        none = false;
        for row in &rows {
            if out.json { out.value(row)? } else { out.line(format!("{:>6}  {}", row.sightings, row.label))? }
        }
    }
    if none && !out.json {
        out.line("nothing is enrolled")?;
    }
    Ok(if none { Outcome::Nothing } else { Outcome::Done })
}

fn show(out: &mut Out, session: &Session, label: &Label) -> Ended {
    let (mut after, mut none) = (String::new(), true);
    loop {
        let path = format!("/v1/gallery/sightings?limit=500&label={}{after}", escape(label.as_str()));
        let rows: Vec<SightingRow> = session.ask(session.client.get(&path))?;
        let Some(last) = rows.last() else { break };
        after = format!("&after={}", escape(&last.sighting.to_string()));
        none = false;
        for row in &rows {
            let kind = if row.has_image { "" } else { "  imported" };
            let text = format!(
                "{}  {} rotations  weights {}{kind}",
                row.sighting,
                row.rotations.len(),
                row.fingerprint.0.short()
            );
            if out.json { out.value(row)? } else { out.line(text)? }
        }
    }
    if none {
        return Err(CliError::NotFound(format!("no label `{label}`; `sightline gallery list` shows them")));
    }
    Ok(Outcome::Done)
}

fn search(out: &mut Out, session: &Session, image: &Path) -> Ended {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", RawPath(image.to_owned()));
    if let Err(error) = std::fs::metadata(image) {
        return Err(CliError::NotFound(named(&error)));
    }
    let bytes =
        pictures::read(image, session.config.intake.max_file_bytes).map_err(|error| CliError::Usage(named(&error)))?;
    let identified: Identified = session.ask(session.client.post_bytes("/v1/identify", bytes))?;
    let mut none = true;
    for (index, answer) in identified.answers.iter().enumerate() {
        for neighbour in &answer.neighbours {
            none = false;
            if out.json {
                out.value(&serde_json::json!({ "object": index, "neighbour": neighbour }))?;
            } else {
                let turned = neighbour.rotation.degrees();
                out.line(format!(
                    "{index}  {:.4}  {turned:>3}°  {}  {}",
                    neighbour.similarity, neighbour.label, neighbour.sighting
                ))?;
            }
        }
    }
    Ok(if none { Outcome::Nothing } else { Outcome::Done })
}

fn stats(out: &mut Out, session: &Session) -> Ended {
    let mut stats: GalleryStats = session.ask(session.client.get("/v1/gallery/stats"))?;
    // The engine of this command would be gone before it has read a large gallery; the workspace's own says how far it is.
    while session.is_own() && stats.reading.is_some() {
        std::thread::sleep(Duration::from_millis(50));
        stats = session.ask(session.client.get("/v1/gallery/stats"))?;
    }
    if out.json {
        out.value(&stats)?;
        return Ok(Outcome::Done);
    }
    if let Some(Reading { done, of }) = stats.reading {
        out.line(format!("being read after the start: {done} of {of} sightings; answers wait until it is whole"))?;
    }
    out.line(format!("{} labels, {} sightings, {} vectors", stats.labels, stats.sightings, stats.vectors))?;
    if stats.damaged > 0 {
        out.line(format!(
            "DAMAGED: the vectors of {} enrolled sightings, so no answer is given; `sightline db verify` names them, `sightline gallery reembed` makes them anew",
            stats.damaged
        ))?;
    }
    stats.unreadable.iter().try_for_each(|file| out.line(format!("cannot be read: {file}")))?;
    out.line(format!("{} rows on disk, {}", stats.rows_on_disk, size(stats.bytes)))?;
    for (fingerprint, count) in &stats.fingerprints {
        let used = if stats.in_use == Some(*fingerprint) { " (in use)" } else { "" };
        out.line(format!("weights {}: {count} sightings{used}", fingerprint.0.short()))?;
    }
    for index in &stats.indexes {
        let recall = index.recall.map_or_else(
            || "recall not measured yet".to_owned(),
            |recall| format!("recall {recall:.4} over {} probes", index.measured),
        );
        let used = if index.in_use { "" } else { "; too low, exact search answers" };
        out.line(format!(
            "approximate index of weights {}: {} vectors, {} enrolled since, {} removed since, {}; {recall}{used}; {} answers changed by exact search",
            index.weights.0.short(),
            index.vectors,
            index.outside,
            index.gone,
            size(index.bytes),
            index.overruled
        ))?;
    }
    for health in &stats.index_health {
        // One that is open has its line above.
        if health.state != IndexState::Open {
            out.line(format!("approximate index of weights {}: {}", health.weights.0.short(), health.detail))?;
        }
        if let Some(aside) = &health.set_aside {
            out.line(format!("a damaged index was set aside: {aside}; delete it once you know what hurt it"))?;
        }
    }
    Ok(Outcome::Done)
}
