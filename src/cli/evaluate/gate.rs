//! Holding what was judged against a gate.

use std::path::{Path, PathBuf};

use crate::cli::output::Out;
use crate::cli::{CliError, Ended, Outcome};
use crate::files;
use crate::learn::dataset::Kind;
use crate::learn::evaluate::gate::{Figure, Gate, Outcome as Held, Verdict, names};
use crate::vision::checkpoint::Task;

/// Bytes of a gate at most.
const LARGEST: u64 = 1 << 20;

/// A gate and where it stands.
pub(super) struct Named {
    path: PathBuf,
    gate: Gate,
}

impl Named {
    /// Reads it; before anything is judged, for that takes long.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let text = files::text_within(path, LARGEST)
            .map_err(|error| CliError::NotFound(format!("{}: {error}; name a gate (--gate)", path.display())))?;
        let gate = Gate::parse(&text).map_err(|why| CliError::Usage(format!("{}: {why}", path.display())))?;
        Ok(Self { path: path.to_owned(), gate })
    }

    /// Whether such a model, judged by such labels, has the figures that it asks for.
    pub(super) fn fits(&self, task: Task, kind: Kind) -> Result<(), CliError> {
        self.gate.fits(&names(task, kind)).map_err(|why| CliError::Usage(format!("{}: {why}", self.path.display())))
    }

    /// Holds figures against it.
    pub(super) fn judge(&self, figures: &[Figure]) -> Verdict {
        self.gate.judge(figures)
    }
}

/// Says what the gate said, and ends by it: a gate that was not passed is a refusal.
pub(super) fn ended(out: &mut Out, verdict: Option<Verdict>) -> Ended {
    let Some(verdict) = verdict else { return Ok(Outcome::Done) };
    let word = |outcome| match outcome {
        Held::Pass => "pass",
        Held::InsufficientEvidence => "insufficient evidence",
        Held::Fail => "fail",
    };
    if !out.json {
        out.line(format!("gate: {}", word(verdict.outcome)))?;
        for check in &verdict.checks {
            out.line(format!("  {:<21} {}: {}", word(check.outcome), check.figure, check.reason))?;
        }
    }
    if verdict.outcome == Held::Pass {
        return Ok(Outcome::Done);
    }
    let missed = verdict.checks.iter().filter(|check| check.outcome != Held::Pass).map(|check| check.figure.as_str());
    let missed: Vec<&str> = missed.collect();
    Err(CliError::Refused(format!("the gate is not passed: {} ({})", word(verdict.outcome), missed.join(", "))))
}
