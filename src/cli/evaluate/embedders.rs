//! What was found out about an embedder, for people and for programs.

use std::path::Path;

use serde_json::{Value, json};

use super::Set;
use crate::cli::CliError;
use crate::cli::output::Out;
use crate::domain::display_safe;
use crate::learn::embed::judge::{NEIGHBOURS, recall};
use crate::learn::evaluate::gate::Verdict;
use crate::learn::evaluate::identification::{self, Share};
use crate::learn::metrics::retrieval::{Confusable, Operating, Ranking};
use crate::learn::plots;
use crate::learn::train::pictures::save;

/// Labels that are named as told worst, and confusions that are named, for people; `--json` has all.
const SHOWN: usize = 10;

/// What was found out.
pub(super) struct Report<'a> {
    /// Each crop against all others.
    pub(super) ranking: &'a Ranking,
    /// Labels that lie near each other.
    pub(super) pairs: &'a [Confusable],
    /// As the engine would have answered.
    pub(super) found: Option<&'a identification::Report>,
}

/// Draws coverage against wrong answers.
pub(super) fn draw(dir: &Path, report: &identification::Report) -> Result<(), CliError> {
    let of = |name: &str, value| plots::Series { name: name.to_owned(), points: steps(&report.curve, value) };
    let series = [of("wrong answers, of all probes", |p| p.wrong_accept), of("coverage", |p| p.coverage)];
    let lead = report.terms.thresholds.min_margin;
    let title = format!("Answers by least similarity, at a least margin of {lead}");
    let picture = plots::curves(&title, ("least similarity", "share"), &series).map_err(CliError::failed)?;
    Ok(save(&dir.join("open_set_curve.png"), &picture)?)
}

/// A share by least similarity. Between the similarities of two answers nothing changes: a straight line would be read as what
/// is not so.
fn steps(curve: &[Operating], value: fn(&Operating) -> f64) -> Vec<(f64, f64)> {
    let mut points = Vec::with_capacity(curve.len() * 2);
    let mut before = 0.0;
    // From the most careful down: a threshold gives all answers from it upwards.
    for point in curve {
        points.extend([(point.threshold, before), (point.threshold, value(point))]);
        before = value(point);
    }
    points
}

/// What is to be said where so few probes, even with none wrong, cannot show with 95% certainty that wrong answers stay within a share.
fn too_few(probes: u64, most_wrong: f64) -> String {
    let needed = (0.05_f64.ln() / (-most_wrong).ln_1p()).ceil();
    if most_wrong > 0.0 && (probes as f64) < needed {
        format!("; {probes} probes are too few to rely on that, {needed} are needed")
    } else {
        String::new()
    }
}

pub(super) fn show(out: &mut Out, set: &Set, report: &Report, verdict: Option<&Verdict>) -> Result<(), CliError> {
    let name = |label: u32| set.data.names.get(label as usize).map_or("", String::as_str);
    let Report { ranking, pairs, found } = report;
    if out.json {
        let pairs: Vec<Value> = pairs
            .iter()
            .map(|pair| json!({ "labels": pair.labels.map(name), "similarity": pair.similarity }))
            .collect();
        return out.value(&json!({
            "split": set.split, "labels": set.data.names, "retrieval": ranking, "confusable": pairs,
            "identification": found, "gate": verdict,
        }));
    }
    out.line(format!("neighbours, {} probes of `{}`, each against all others", ranking.probes, set.split.name()))?;
    let recalls = NEIGHBOURS.map(|at| format!("recall@{at} {:.4}", recall(ranking, at)));
    out.line(format!("  {} mAP {:.4}", recalls.join(" "), ranking.mean_average_precision))?;
    out.line("  labels that are hardest to tell apart, by their nearest vectors' similarity")?;
    for pair in *pairs {
        let [a, b] = pair.labels.map(|label| display_safe(name(label)));
        out.line(format!("  {:.4} {a} / {b}", pair.similarity))?;
    }
    let Some(found) = found else {
        return out
            .line("identification is not judged: no enrolled label has a picture left to ask about (--enrolled)");
    };
    let terms = &found.terms;
    out.line(format!(
        "identification: {} labels enrolled by {} pictures each in four rotations, {} labels not enrolled",
        found.labels, terms.enrolled, found.strangers
    ))?;
    let line = |what: &str, share: &Share| {
        let Share { of, all, share, lower, upper } = share;
        format!("  {what:<42} {share:7.4} ({of} of {all}; 95% bounds {lower:.4}, {upper:.4})")
    };
    out.line(line("recall@1, before any threshold", &found.recall_at_1))?;
    out.line(line("recall@5", &found.recall_at_5))?;
    let thresholds = &terms.thresholds;
    out.line(format!(
        "  answered from a similarity of {} and a margin of {}:",
        thresholds.min_similarity, thresholds.min_margin
    ))?;
    out.line(line("coverage: enrolled probes answered", &found.coverage))?;
    out.line(line("wrong answers, of all probes", &found.wrong_accept))?;
    out.line(line("another label, of enrolled probes", &found.wrong_label))?;
    out.line(line("any label, of strangers", &found.wrong_stranger))?;
    match &found.suggestion {
        Some(told) => out.line(format!(
            "  with min_similarity {:.3} and min_margin {:.3} it would have been coverage {:.4} at {:.4} wrong \
             (most allowed {}){}",
            told.thresholds.min_similarity,
            told.thresholds.min_margin,
            told.coverage,
            told.wrong_accept,
            terms.most_wrong,
            too_few(found.wrong_accept.all, terms.most_wrong)
        ))?,
        None => out.line(format!("  no thresholds keep wrong answers within {}", terms.most_wrong))?,
    }
    out.line("  labels that are told worst: right answers, 95% lower bound, wrong answers")?;
    for of in found.by_label.iter().take(SHOWN) {
        let Share { of: right, all, lower, .. } = of.recall;
        out.line(format!("  {right:>5} of {all:<5} {lower:.4} {:>4}  {}", of.wrong, display_safe(name(of.label))))?;
    }
    if !found.confusions.is_empty() {
        out.line("  what was nearest instead: probes, of them answered")?;
    }
    for one in found.confusions.iter().take(SHOWN) {
        let (is, nearest) = (display_safe(name(one.label)), display_safe(name(one.nearest)));
        out.line(format!("  {:>5} {:>5}  {is} as {nearest}", one.probes, one.answered))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_stays_the_same_between_two_answers() {
        let point = |threshold, coverage| Operating { threshold, coverage, wrong_accept: 0.0 };
        let points = steps(&[point(0.95, 0.5), point(0.7, 1.0)], |point| point.coverage);
        assert_eq!(points, [(0.95, 0.0), (0.95, 0.5), (0.7, 0.5), (0.7, 1.0)]);
        assert!(steps(&[], |point| point.coverage).is_empty());
    }
}
