//! `model inspect FILE --compare-precision IMAGE…`: may `auto` use the faster precision with these weights?

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::Out;
use super::see::read;
use super::{CliError, Ended, Outcome};
use crate::config::Config;
use crate::engine::{crop_policy, detect_options, runtime};
use crate::intake::clean::Limits;
use crate::vision::compare::{
    BORDER, DetectorFigures, EmbedderFigures, Figures, LEAST_BOX_IOU, LEAST_COSINE, LEAST_MASK_IOU, MOST_CHANGE,
    MOST_CONFIDENCE, MOST_PIXELS, Trial,
};
use crate::vision::precision::Comparison;
use crate::vision::{VisionError, checkpoint};

/// The line of `--json`.
#[derive(Serialize)]
struct Compared<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    /// Whether the card beside the file holds it now.
    recorded: bool,
}

/// Runs the pictures through both, says what was found, and records it in the model's card.
pub(super) fn run(out: &mut Out, workspace: &Path, file: &Path, pictures: &[PathBuf]) -> Ended {
    let config = Config::load(workspace)?;
    let listed = super::pictures::find(pictures)?;
    let runtime = runtime(&config).map_err(CliError::failed)?;
    let said = |error: VisionError| match error {
        VisionError::Setting(text) => CliError::Refused(text),
        other => CliError::failed(other),
    };
    let info = checkpoint::inspect(file)?;
    let policy = crop_policy(&config.crop, &info);
    let options = detect_options(&config.detect, info.input_size);
    let mut trial = Trial::open(file, runtime, options, policy).map_err(said)?;
    let limits = Limits::from(&config.intake);
    let mut good = listed.unread == 0;
    for path in listed.files {
        match read(&path, config.intake.max_file_bytes, &limits) {
            Some((_, clean)) => trial.add(&clean.image).map_err(said)?,
            None => good = false,
        }
    }
    let comparison = trial.finish(chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    let recorded = checkpoint::record(file, &comparison)?;
    if out.json {
        out.value(&Compared { comparison: &comparison, recorded })?;
    } else {
        describe(out, file, &comparison, recorded)?;
    }
    Ok(if good && comparison.agreed { Outcome::Done } else { Outcome::NotOk })
}

fn describe(out: &mut Out, file: &Path, found: &Comparison, recorded: bool) -> Result<(), CliError> {
    out.line(format!("{}: {} on {} against fp32", file.display(), found.candidate, found.machine))?;
    let rows = match &found.figures {
        Figures::Detector(figures) => detector_rows(figures),
        Figures::Embedder(figures) => embedder_rows(figures),
    };
    for (what, value, allowed) in rows {
        out.line(format!("  {what:<42} {value:>10}  {allowed}"))?;
    }
    for objection in &found.objections {
        out.line(format!("  objection: {objection}"))?;
    }
    let (agreed, precision) = (found.agreed, found.candidate);
    out.line(match (agreed, recorded) {
        (true, true) => format!("agreed; `precision: auto` takes {precision} with these weights from the next start"),
        (true, false) => "agreed, but there is no card beside the file to record it in; `sightline model import` makes one, then compare there".into(),
        (false, _) => format!("not agreed; `precision: auto` stays at fp32 with these weights, {precision} would not"),
    })?;
    if agreed && recorded && matches!(found.figures, Figures::Embedder(_)) {
        out.line("vectors of fp32 in the gallery must then be made anew (`sightline gallery reembed`), or set `precision: fp32`")?;
    }
    Ok(())
}

type Row = (&'static str, String, String);

fn detector_rows(figures: &DetectorFigures) -> Vec<Row> {
    let mut rows = vec![
        ("pictures", figures.pictures.to_string(), String::new()),
        ("detections of both", figures.matched.to_string(), String::new()),
        ("of one alone", figures.unmatched.to_string(), "0 allowed".into()),
        (
            "of one alone at the least confidence",
            figures.at_the_border.to_string(),
            format!("up to {:.2}, allowed", figures.confidence + BORDER),
        ),
        ("worst box IoU", format!("{:.4}", figures.least_box_iou), format!("{LEAST_BOX_IOU} needed, or")),
        ("worst corner, pixels", format!("{:.2}", figures.most_pixels), format!("{MOST_PIXELS} allowed")),
        (
            "worst change of a confidence",
            format!("{:.4}", figures.most_confidence),
            format!("{MOST_CONFIDENCE} allowed"),
        ),
    ];
    if let Some(iou) = figures.least_mask_iou {
        rows.push(("worst mask IoU", format!("{iou:.4}"), format!("{LEAST_MASK_IOU} needed")));
    }
    rows
}

fn embedder_rows(figures: &EmbedderFigures) -> Vec<Row> {
    vec![
        ("pictures, each in four rotations", figures.pictures.to_string(), String::new()),
        (
            "worst cosine of a picture's two vectors",
            format!("{:.6}", figures.least_cosine),
            format!("{LEAST_COSINE} needed"),
        ),
        ("worst change of a similarity", format!("{:.5}", figures.most_change), format!("{MOST_CHANGE} allowed")),
        ("the same, fp32 against the other", format!("{:.5}", figures.most_mixed_change), "never mixed".into()),
        ("nearest picture changed", figures.nearest_changed.to_string(), String::new()),
        ("the most it had led by", format!("{:.5}", figures.most_lead_lost), String::new()),
    ]
}
