//! Judging classifiers and embedders: by folders with whole pictures of a class each.

use std::path::Path;

use serde_json::json;

use super::gate::ended;
use super::{Asked, Set, embedders};
use crate::cli::output::Out;
use crate::cli::{CliError, Ended};
use crate::learn::dataset::Kind;
use crate::learn::embed::crops::Crops;
use crate::learn::embed::judge::{Aim, Figures, judge};
use crate::learn::embed::results::draw;
use crate::learn::evaluate::classes::Report;
use crate::learn::evaluate::gate::{Verdict, of_classifier, of_embedder};
use crate::learn::evaluate::identification::identify;
use crate::learn::metrics::classification::Quality;
use crate::learn::metrics::retrieval::{Labelled, confusable};
use crate::vision::checkpoint::Checkpoint;
use crate::vision::dino::trained_with;
use crate::vision::{Embedder, Runtime};

/// Pairs of labels that are named as hard to tell apart.
const PAIRS: usize = 10;

/// The names of the classes that a set's classes have in the model, by the set's numbers.
fn same_classes(set: &Set, known: &[String]) -> Result<Vec<u32>, CliError> {
    let place = |name: &String| {
        known.iter().position(|other| other == name).map(|place| place as u32).ok_or_else(|| {
            CliError::Usage(format!(
                "the model knows no class `{name}` of {}; judge it by a set of its own classes: {}",
                set.path.display(),
                known.join(", ")
            ))
        })
    };
    set.data.names.iter().map(place).collect()
}

pub(super) fn run(
    out: &mut Out,
    set: &Set,
    checkpoint: &Checkpoint,
    aim: Aim,
    runtime: Runtime,
    asked: &Asked,
) -> Ended {
    if set.data.kind != Kind::Classify {
        return Err(CliError::Usage(format!(
            "{}: its labels lie in pictures, but {} is made for whole ones; judge it by a folder a class",
            set.path.display(),
            checkpoint.info.architecture
        )));
    }
    let names = match (aim, &checkpoint.info.names) {
        (Aim::Classify, Some(names)) => names.clone(),
        _ => set.data.names.clone(),
    };
    let numbers = same_classes(set, &names)?;
    let items = set.items().into_iter().filter_map(|item| {
        let class = item.objects.first()?.class as usize;
        Some((item.image.clone(), *numbers.get(class)?))
    });
    let read = |path: &Path| set.reader.read(path).map(|(_, clean)| clean.image);
    let policy = trained_with(&checkpoint.weights);
    let crops = Crops::new(items.collect(), &read, names.len(), policy, 0);
    let judged = judge(&checkpoint.weights, aim, &crops, policy, runtime, &mut |_| {})?;
    if let Some(dir) = asked.dir {
        draw(dir, &judged, &crops, &names, set.split)?;
    }
    match &judged.figures {
        Figures::Classify(report) => {
            let verdict = asked.held(set, checkpoint, &of_classifier(report))?;
            classes(out, set, report, verdict.as_ref())?;
            ended(out, verdict)
        }
        Figures::Embed(ranking) => {
            let embedder = Embedder::new(&checkpoint.weights, policy, runtime).map_err(CliError::failed)?;
            let found = identify(&embedder, &crops, &judged.vectors, asked.terms)?;
            if ranking.probes == 0 && found.is_none() {
                let (path, split) = (set.path.display(), set.split.name());
                return Err(CliError::NotFound(format!(
                    "{path}: no label has two pictures in `{split}`, so that one could find the other: there is nothing to \
                     judge by; add pictures, or choose another part (--split)"
                )));
            }
            if let (Some(dir), Some(report)) = (asked.dir, &found) {
                embedders::draw(dir, report)?;
            }
            let verdict = asked.held(set, checkpoint, &of_embedder(ranking, found.as_ref(), &names))?;
            let all = Labelled { vectors: &judged.vectors, labels: crops.labels() };
            let report = embedders::Report { ranking, pairs: &confusable(all, PAIRS), found: found.as_ref() };
            embedders::show(out, set, &report, verdict.as_ref())?;
            ended(out, verdict)
        }
    }
}

fn classes(out: &mut Out, set: &Set, report: &Report, verdict: Option<&Verdict>) -> Result<(), CliError> {
    if out.json {
        return out.value(&json!({
            "split": set.split, "classes": set.data.names, "classification": report, "gate": verdict,
        }));
    }
    out.line(format!("classes, {} pictures of `{}`", report.pictures, set.split.name()))?;
    out.line("  class                         pictures       P       R      F1 ROC-AUC  PR-AUC")?;
    let some = |value: Option<f64>| value.map_or("      -".to_owned(), |value| format!("{value:7.4}"));
    let line = |name: &str, count: Option<u64>, quality: &Quality, areas: [Option<f64>; 2]| {
        let Quality { precision, recall, f1 } = quality;
        // Of a class without pictures nothing can be found.
        let [recall, f1] = [*recall, *f1].map(|value| some((count != Some(0)).then_some(value)));
        let count = count.map(|count| count.to_string()).unwrap_or_default();
        let areas = areas.map(some).join(" ");
        format!("  {name:<28} {count:>9} {precision:7.4} {recall} {f1} {areas}")
    };
    for class in &report.classes {
        out.line(line(&class.name, Some(class.pictures), &class.quality, [class.roc_auc, class.pr_auc]))?;
    }
    out.line(line("macro mean", None, &report.macro_mean, [report.roc_auc, report.pr_auc]))?;
    out.line(line("micro mean", None, &report.micro_mean, [None, None]))?;
    out.line(line("weighted mean", None, &report.weighted_mean, [None, None]))?;
    out.line(format!(
        "  accuracy {:.4} (top 5 {:.4}), worst class's recall {:.4}, calibration error {:.4}, loss {:.4}",
        report.accuracy, report.accuracy_top5, report.worst_recall, report.calibration_error, report.loss
    ))?;
    out.line("  confusion: what is there, then as what it was answered")?;
    for (class, row) in report.classes.iter().zip(&report.confusion.counts) {
        let answered = row.iter().zip(&report.classes).filter(|(count, _)| **count > 0);
        let parts: Vec<String> = answered.map(|(count, as_class)| format!("{} {count}", as_class.name)).collect();
        out.line(format!("  {:<28} {}", class.name, parts.join(", ")))?;
    }
    Ok(())
}
