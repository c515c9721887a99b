//! The `model` group.

use std::path::Path;

use super::arguments::Model;
use super::output::{Out, size};
use super::{CliError, Ended, Outcome, compare};
use crate::vision::checkpoint::{self, CheckpointError};
use crate::vision::random;

impl From<CheckpointError> for CliError {
    fn from(error: CheckpointError) -> Self {
        match &error {
            CheckpointError::Name(_) => Self::Usage(error.to_string()),
            CheckpointError::Taken { .. } => Self::Refused(error.to_string()),
            CheckpointError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Self::NotFound(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

pub(super) fn run(out: &mut Out, workspace: &Path, command: &Model) -> Ended {
    match command {
        Model::Inspect { file, compare_precision } if compare_precision.is_empty() => inspect(out, file),
        Model::Inspect { file, compare_precision } => compare::run(out, workspace, file, compare_precision),
        Model::Import { file, name, licence, force } => import(out, workspace, file, name, licence.as_deref(), *force),
        Model::Untrained { architecture, name, seed, classes } => {
            untrained(out, workspace, architecture, name, *seed, *classes)
        }
        Model::List => list(out, workspace),
    }
}

fn untrained(out: &mut Out, workspace: &Path, architecture: &str, name: &str, seed: u64, classes: u32) -> Ended {
    let weights = random::dinov2(architecture, seed).or_else(|| random::yolov8(architecture, classes, seed));
    let weights = weights.ok_or_else(|| {
        CliError::Usage(format!(
            "no architecture `{architecture}`; there are yolov8{{n,s,m,l,x}}[-seg] and dinov2_vit{{s,b,l,g}}14[_reg]"
        ))
    })?;
    let card = checkpoint::save(&weights, &workspace.join("models"), name)?;
    if out.json {
        out.value(&card)?
    } else {
        out.line(format!("models/{name}.safetensors: {}, {}", card.architecture, card.origin))?
    }
    Ok(Outcome::Done)
}

fn inspect(out: &mut Out, file: &Path) -> Ended {
    let info = checkpoint::inspect(file)?;
    if out.json {
        out.value(&info)?;
        return Ok(Outcome::Done);
    }
    out.line(format!("{}: {} ({})", file.display(), info.architecture, info.task))?;
    out.line(format!("parameters  {} ({}), {}", info.parameters, info.dtype, size(info.bytes)))?;
    if let Some(classes) = info.classes {
        let names = info.names.unwrap_or_default();
        let shown = names.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        let more = if names.len() > 8 { ", …" } else { "" };
        out.line(format!("classes     {classes}: {shown}{more}"))?;
    }
    if let Some(dimensions) = info.dimensions {
        out.line(format!("vectors     {dimensions} numbers"))?;
    }
    if let Some(side) = info.input_size {
        let crops = [
            (info.mask_background == Some(true), ", on grey"),
            (info.align == Some(true), ", lying level"),
            (info.square == Some(false), ", stretched to a square"),
        ];
        let crops: String = crops.into_iter().filter(|(is_so, _)| *is_so).map(|(_, words)| words).collect();
        out.line(format!("trained at  {side} pixels{crops}"))?;
    }
    if let Some(batch_norm) = info.batch_norm {
        out.line(format!("batch norm  {batch_norm}"))?;
    }
    out.line(format!("licence     {}", info.licence.unwrap_or_else(|| "not stated in the file".into())))?;
    out.line(format!("sha256      {}", info.sha256))?;
    Ok(Outcome::Done)
}

fn import(out: &mut Out, workspace: &Path, file: &Path, name: &str, licence: Option<&str>, force: bool) -> Ended {
    let models = workspace.join("models");
    let card = checkpoint::import(file, &models, name, licence, force)?;
    if out.json {
        out.value(&card)?;
    } else {
        out.line(format!(
            "models/{name}.safetensors: {} ({}), {} parameters",
            card.architecture, card.task, card.parameters
        ))?;
        out.line(format!("licence: {}", card.licence))?;
    }
    Ok(Outcome::Done)
}

fn list(out: &mut Out, workspace: &Path) -> Ended {
    let models = checkpoint::list(&workspace.join("models"))?;
    for model in &models {
        if out.json {
            out.value(model)?;
            continue;
        }
        match (&model.card, &model.problem) {
            (_, Some(problem)) => out.line(format!("{:<24} {problem}", model.name))?,
            (Some(card), None) => {
                out.line(format!("{:<24} {:<20} {}; {}", model.name, card.architecture, card.origin, card.licence))?
            }
            (None, None) => {
                out.line(format!("{:<24} no card; `sightline model inspect {}`", model.name, model.path.display()))?
            }
        }
    }
    if models.is_empty() && !out.json {
        out.line("no models yet; `sightline model import FILE --name NAME` adds one")?;
    }
    Ok(if models.is_empty() { Outcome::Nothing } else { Outcome::Done })
}
