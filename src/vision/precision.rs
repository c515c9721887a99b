//! Which precision a network runs in when `precision` is `auto`, and why.
//!
//! A faster precision than fp32 is taken only where somebody compared it on these very weights, at this input size
//! and on this kind of machine, and it agreed (`sightline model inspect FILE --compare-precision IMAGES…`). What was
//! found stands in the model's card. No card, other weights, another size or another kind of machine: fp32.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::Device;

use super::checkpoint::card;
use super::compare::Figures;
use super::device::{Precision, Runtime, instructions};
use crate::domain::ImageId;

/// What a comparison of a faster precision with fp32 found. Kept in the model's card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The SHA-256 of the weights' file.
    pub weights: ImageId,
    /// The precision that was compared with fp32.
    pub candidate: Precision,
    /// What computed it: `avx512_bf16`, `amx_bf16` or `cuda`.
    pub machine: String,
    /// The longer side of the network's input, pixels.
    pub input_size: u32,
    /// When, as RFC 3339 has it.
    pub date: String,
    /// Whether it may stand in for fp32.
    pub agreed: bool,
    /// Why not, one sentence each.
    pub objections: Vec<String>,
    /// What was measured, and against which limits.
    pub figures: Figures,
}

/// The precision a network runs in.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// Where and how precisely.
    pub runtime: Runtime,
    /// Why so: one sentence without a full stop.
    pub why: String,
}

impl Settled {
    /// For people: `bf16: agreed with fp32 on …`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{}: {}", self.runtime.precision(), self.why)
    }
}

/// The precision that could be faster than fp32 on a device, and what would compute it; none where nothing would.
#[must_use]
pub fn candidate(device: Device) -> Option<(Precision, &'static str)> {
    match device {
        // fp16 rather than bf16: as fast on the tensor cores, and three bits more precise.
        Device::Cuda(_) => Some((Precision::Fp16, "cuda")),
        _ => instructions().map(|instructions| (Precision::Bf16, instructions)),
    }
}

/// Settles what a model's network runs in.
///
/// `runtime` tells the device, `weights` and `input_size` what will run. An explicit precision is taken as it is.
#[must_use]
pub fn settle(asked: Precision, runtime: Runtime, path: &Path, weights: ImageId, input_size: u32) -> Settled {
    if asked != Precision::Auto {
        return Settled { runtime: runtime.with(asked), why: "as set in config.yaml".into() };
    }
    let card = card(path);
    let compared = card.as_ref().map_or(&[][..], |card| &card.precision);
    decide(candidate(runtime.device), runtime, compared, weights, input_size)
}

/// The rule of `auto`.
fn decide(
    candidate: Option<(Precision, &str)>,
    runtime: Runtime,
    compared: &[Comparison],
    weights: ImageId,
    input_size: u32,
) -> Settled {
    let fp32 = |why: String| Settled { runtime: runtime.with(Precision::Fp32), why };
    let Some((precision, machine)) = candidate else {
        return fp32("auto: this CPU has neither avx512_bf16 nor amx_bf16".into());
    };
    let of_it: Vec<&Comparison> = compared.iter().filter(|one| one.candidate == precision).collect();
    let Some(last) = of_it.last() else {
        return fp32(format!(
            "auto: {precision} was never compared on these weights (`sightline model inspect FILE --compare-precision IMAGES…`)"
        ));
    };
    let same = |one: &&&Comparison| one.weights == weights && one.machine == machine && one.input_size == input_size;
    let Some(found) = of_it.iter().rev().find(same) else {
        let why = if last.weights != weights {
            format!("it was compared on other weights ({})", last.weights.short())
        } else if last.machine != machine {
            format!("it was compared on {}, this machine has {machine}", last.machine)
        } else {
            format!("it was compared at {} pixels, {input_size} are in use", last.input_size)
        };
        return fp32(format!("auto: {precision} is not proven here, {why}; compare again"));
    };
    if !found.agreed {
        return fp32(format!("auto: {precision} disagreed with fp32: {}", found.objections.join("; ")));
    }
    Settled {
        runtime: runtime.with(precision),
        why: format!("auto: agreed with fp32 on {} ({})", found.figures.counted(), found.date),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::compare::EmbedderFigures;

    const HERE: Option<(Precision, &str)> = Some((Precision::Bf16, "avx512_bf16"));

    fn compared(agreed: bool) -> Comparison {
        let figures = EmbedderFigures { pictures: 40, vectors: 160, ..EmbedderFigures::default() };
        Comparison {
            weights: ImageId([1; 32]),
            candidate: Precision::Bf16,
            machine: "avx512_bf16".into(),
            input_size: 224,
            date: "2026-11-21T12:00:00Z".into(),
            agreed,
            objections: if agreed { Vec::new() } else { vec!["a similarity moved by 0.1".into()] },
            figures: Figures::Embedder(figures),
        }
    }

    fn taken(candidate: Option<(Precision, &str)>, compared: &[Comparison]) -> (Precision, String) {
        let settled = decide(candidate, Runtime::cpu(), compared, ImageId([1; 32]), 224);
        (settled.runtime.precision(), settled.why)
    }

    #[test]
    fn only_an_agreement_on_these_very_terms_is_taken() {
        let (precision, why) = taken(HERE, &[compared(true)]);
        assert_eq!(precision, Precision::Bf16);
        assert!(why.contains("160 vectors of 40 pictures") && why.contains("2026-11-21"), "{why}");
        let cases = [
            (HERE, vec![], "never compared"),
            (HERE, vec![compared(false)], "a similarity moved"),
            (HERE, vec![Comparison { weights: ImageId([2; 32]), ..compared(true) }], "other weights"),
            (HERE, vec![Comparison { machine: "amx_bf16".into(), ..compared(true) }], "compared on amx_bf16"),
            (HERE, vec![Comparison { input_size: 518, ..compared(true) }], "at 518 pixels"),
            (HERE, vec![Comparison { candidate: Precision::Fp16, ..compared(true) }], "never compared"),
            // The newest word counts.
            (HERE, vec![compared(true), compared(false)], "disagreed"),
            (None, vec![compared(true)], "neither avx512_bf16 nor amx_bf16"),
        ];
        for (candidate, compared, reason) in cases {
            let (precision, why) = taken(candidate, &compared);
            assert_eq!(precision, Precision::Fp32, "{reason}");
            assert!(why.contains(reason), "{why} does not say: {reason}");
        }
        // A comparison of other weights beside it takes nothing away.
        let both = [compared(true), Comparison { weights: ImageId([2; 32]), ..compared(false) }];
        assert_eq!(taken(HERE, &both).0, Precision::Bf16);
    }

    #[test]
    fn what_is_asked_for_is_taken() {
        for precision in [Precision::Fp32, Precision::Bf16, Precision::Fp16] {
            let settled = settle(precision, Runtime::cpu(), Path::new("/nowhere"), ImageId([1; 32]), 224);
            assert_eq!(settled.runtime.precision(), precision);
        }
        let auto = settle(Precision::Auto, Runtime::cpu(), Path::new("/nowhere"), ImageId([1; 32]), 224);
        assert_eq!(auto.runtime.precision(), Precision::Fp32, "no card, no haste");
    }
}
