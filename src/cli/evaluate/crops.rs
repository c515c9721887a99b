//! Judging classifiers and embedders: by folders with whole pictures of a class each.

use std::path::Path;

use serde_json::json;

use super::Set;
use crate::cli::output::Out;
use crate::cli::{CliError, Ended, Outcome};
use crate::learn::dataset::Kind;
use crate::learn::embed::crops::{Crops, Source};
use crate::learn::embed::judge::{Aim, Figures, NEIGHBOURS, judge, recall};
use crate::learn::embed::results::draw;
use crate::learn::evaluate::classes::Report;
use crate::learn::metrics::classification::Quality;
use crate::learn::metrics::retrieval::{Labelled, Ranking, confusable};
use crate::vision::Runtime;
use crate::vision::checkpoint::Checkpoint;
use crate::vision::dino::trained_with;

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
    dir: Option<&Path>,
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
    let source = Source::Files { items: items.collect(), read: &read };
    let crops = Crops::new(source, names.len(), policy, 0);
    let judged = judge(&checkpoint.weights, aim, &crops, policy, runtime, &mut |_| {})?;
    if let Some(dir) = dir {
        draw(dir, &judged, &crops, &names)?;
    }
    match &judged.figures {
        Figures::Classify(report) => classes(out, set, report),
        Figures::Embed(ranking) => {
            let all = Labelled { vectors: &judged.vectors, labels: crops.labels() };
            neighbours(out, set, ranking, &confusable(all, PAIRS))
        }
    }
}

fn classes(out: &mut Out, set: &Set, report: &Report) -> Ended {
    if out.json {
        out.value(&json!({ "split": set.split, "classes": set.data.names, "classification": report }))?;
        return Ok(Outcome::Done);
    }
    out.line(format!("classes, {} pictures of `{}`", report.pictures, set.split.name()))?;
    out.line("  class                         pictures       P       R      F1 ROC-AUC  PR-AUC")?;
    let some = |value: Option<f64>| value.map_or("      -".to_owned(), |value| format!("{value:7.4}"));
    let line = |name: &str, count: Option<u64>, quality: &Quality, areas: [Option<f64>; 2]| {
        let Quality { precision, recall, f1 } = quality;
        let count = count.map(|count| count.to_string()).unwrap_or_default();
        let areas = areas.map(some).join(" ");
        format!("  {name:<28} {count:>9} {precision:7.4} {recall:7.4} {f1:7.4} {areas}")
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
    Ok(Outcome::Done)
}

fn neighbours(
    out: &mut Out,
    set: &Set,
    ranking: &Ranking,
    pairs: &[crate::learn::metrics::retrieval::Confusable],
) -> Ended {
    let name = |label: u32| set.data.names.get(label as usize).map_or("", String::as_str);
    if out.json {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|pair| json!({ "labels": pair.labels.map(name), "similarity": pair.similarity }))
            .collect();
        out.value(&json!({
            "split": set.split, "labels": set.data.names, "retrieval": ranking, "confusable": pairs,
        }))?;
        return Ok(Outcome::Done);
    }
    out.line(format!("neighbours, {} probes of `{}`, each against all others", ranking.probes, set.split.name()))?;
    let recalls = NEIGHBOURS.map(|at| format!("recall@{at} {:.4}", recall(ranking, at)));
    out.line(format!("  {} mAP {:.4}", recalls.join(" "), ranking.mean_average_precision))?;
    out.line("  labels that are hardest to tell apart, by their nearest vectors' similarity")?;
    for pair in pairs {
        let [a, b] = pair.labels.map(name);
        out.line(format!("  {:.4} {a} / {b}", pair.similarity))?;
    }
    Ok(Outcome::Done)
}
