//! `identify`: asks the gallery about pictures; nothing is recorded.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::Identify;
use super::output::Out;
use super::pictures::Found;
use super::session::{Own, Session};
use super::{CliError, Ended, Outcome, pictures};
use crate::domain::view::{Identified, ProbeAnswer, Status};
use crate::domain::{Decision, RawPath};

/// `identify IMAGE…`: a line for each object, or one where nothing was seen.
pub(super) fn run(out: &mut Out, workspace: &Path, arguments: &Identify) -> Ended {
    let found = pictures::find(&arguments.images)?;
    let session = Session::open(workspace, Own::Answers)?;
    let ended = run_by(out, &session, found);
    session.close();
    ended
}

fn run_by(out: &mut Out, session: &Session, found: Found) -> Ended {
    let (mut abstained, mut failed) = (false, (found.unread > 0).then_some(Outcome::NotOk));
    for path in found.files {
        let image = RawPath(path.clone());
        let asked = match pictures::read(&path, session.config.intake.max_file_bytes) {
            Ok(bytes) => session.ask(session.client.post_bytes::<Identified>("/v1/identify", bytes)),
            Err(error) => Err(CliError::Usage(error)),
        };
        let identified = match asked {
            Ok(identified) => identified,
            // A picture that is refused is no reason to leave the others unanswered; a missing model is.
            Err(CliError::Usage(why)) => {
                pictures::complain(&path, &why);
                failed = Some(Outcome::NotOk);
                continue;
            }
            Err(error) => return Err(CliError::Failed(format!("{image}: {error}"))),
        };
        for (index, answer) in identified.answers.iter().enumerate() {
            abstained |= !answer.decision.is_accept();
            if out.json {
                out.value(&contract(&image, index, &identified, answer))?
            } else {
                out.line(describe(&image, index, answer))?
            }
        }
    }
    let status: Status = session.ask(session.client.get("/v1/status"))?;
    if status.embedder.untrained || status.detector.untrained {
        super::warn("the weights in use were never trained: these answers mean nothing for real packs");
    }
    Ok(failed.unwrap_or(if abstained { Outcome::Nothing } else { Outcome::Done }))
}

/// The line that the command line promises, and which object it is about.
fn contract(image: &RawPath, index: usize, identified: &Identified, answer: &ProbeAnswer) -> Value {
    let (decision, label, similarity, margin, rotation, reason) = match &answer.decision {
        Decision::Accept { label, similarity, margin, rotation } => {
            ("accept", json!(label), json!(similarity), json!(margin), json!(rotation), Value::Null)
        }
        Decision::Abstain { reason, label, similarity, margin, rotation } => {
            ("abstain", json!(label), json!(similarity), json!(margin), json!(rotation), json!(reason))
        }
    };
    let neighbours: Vec<Value> = answer
        .neighbours
        .iter()
        .map(
            |n| json!({ "label": n.label, "similarity": n.similarity, "rotation": n.rotation, "sighting": n.sighting }),
        )
        .collect();
    json!({
        "image": image, "decision": decision, "label": label, "similarity": similarity, "margin": margin, "rotation": rotation,
        "reason": reason, "neighbours": neighbours, "object": index, "sha256": identified.sha256, "detection": answer.detection,
    })
}

fn describe(image: &RawPath, index: usize, answer: &ProbeAnswer) -> String {
    let head = if index == 0 { image.to_string() } else { format!("{image} (object {})", index + 1) };
    match &answer.decision {
        Decision::Accept { label, similarity, margin, rotation } => {
            format!(
                "{head}  {label}  similarity {similarity:.3}, margin {margin:.3}, turned {} degrees",
                rotation.degrees()
            )
        }
        Decision::Abstain { reason, label, similarity, .. } => {
            let nearest = match (label, similarity) {
                (Some(label), Some(similarity)) => format!(" (nearest: {label}, {similarity:.3})"),
                _ => String::new(),
            };
            format!("{head}  no answer: {}{nearest}", reason.sentence())
        }
    }
}
