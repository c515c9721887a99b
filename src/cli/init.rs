//! `init`: a workspace to start from.

use std::fs;
use std::path::Path;

use super::arguments::Init;
use super::output::Out;
use super::{CliError, Ended, Outcome};
use crate::config::{Config, documented_yaml};

/// Writes `config.yaml` and the folders; what is there is left alone.
pub(super) fn run(out: &mut Out, workspace: &Path, arguments: &Init) -> Ended {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| CliError::Failed(format!("cannot make {}: {error}", path.display()))
    };
    fs::create_dir_all(workspace).map_err(failed(workspace))?;
    let path = workspace.join("config.yaml");
    if path.exists() {
        return Err(CliError::Refused(format!(
            "{} is there already; edit it, or move it away to have a new one written",
            path.display()
        )));
    }
    let mut overrides = Vec::new();
    for (key, weights) in [("models.detector", &arguments.detector), ("models.embedder", &arguments.embedder)] {
        if let Some(weights) = weights {
            let weights = std::path::absolute(weights).map_err(CliError::failed)?;
            let shown = weights.strip_prefix(workspace).unwrap_or(&weights);
            overrides.push((key, serde_json::to_string(&shown.to_string_lossy()).map_err(CliError::failed)?));
        }
    }
    let text = documented_yaml(&overrides);
    let config = Config::parse(&text, workspace)?;
    fs::write(&path, text).map_err(failed(&path))?;
    let folders = ["models", "database"].map(|name| workspace.join(name));
    for folder in folders.iter().chain(config.watch.iter().map(|watch| &watch.path)) {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    if out.json {
        out.value(&serde_json::json!({ "config": path, "workspace": workspace }))?;
        return Ok(Outcome::Done);
    }
    out.line(format!("made {}", path.display()))?;
    for model in [&config.models.detector, &config.models.embedder] {
        if !model.is_file() {
            let name = model.file_stem().unwrap_or_default().to_string_lossy();
            out.line(format!("no weights yet at {}: `sightline model import FILE --name {name}`", model.display()))?;
        }
    }
    Ok(Outcome::Done)
}
