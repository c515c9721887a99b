//! The weights that ship, as the program uses them: packs that they never learnt from are told apart, unknown ones are not named.

use std::path::{Path, PathBuf};

use image::ImageFormat;
use sha2::Digest as _;
use sightline::config::Config;
use sightline::learn::synth::Pack;
use sightline::vision::checkpoint::card;

use super::Desk;
use crate::support::encoded;

/// Designs from here on were neither learnt from nor judged by; every other number, so that none has a look-alike.
const FIRST: u32 = 150_000;
const KNOWN: u32 = 8;
const UNKNOWN: u32 = 6;

/// A workspace with the shipped weights and the thresholds that the project's config has for them.
fn desk() -> Desk {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = Config::load(root).unwrap();
    let quoted = |path: &PathBuf| format!("{path:?}");
    Desk::new(&[
        ("models.detector", &quoted(&shipped.models.detector)),
        ("models.embedder", &quoted(&shipped.models.embedder)),
        ("detect.objects", "found"),
        ("crop.image_size", "auto"),
        ("decision.min_similarity", &shipped.decision.min_similarity.to_string()),
        ("decision.min_margin", &shipped.decision.min_margin.to_string()),
    ])
}

fn photograph(desk: &Desk, design: u32, seed: u64) -> PathBuf {
    let picture = Pack::numbered(1, FIRST + 2 * design).photograph(seed);
    desk.write(format!("photos/{design}-{seed}.png"), &encoded(&picture, ImageFormat::Png))
}

#[test]
fn packs_never_learnt_from_are_told_and_unknown_ones_abstained_on() {
    let desk = desk();
    let served = desk.serve();
    let label = |design: u32| Pack::numbered(1, FIRST + 2 * design).label();
    for design in 0..KNOWN {
        let photos = [1, 2, 3].map(|seed| photograph(&desk, design, seed));
        let mut enroll = desk.command("enroll", &[]);
        let done = enroll.arg(label(design)).args(&photos).output().unwrap();
        // A picture with several objects, or none, is refused; two of three are enough.
        assert!(matches!(done.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let (mut right, mut wrong, mut asked) = (0, Vec::new(), 0);
    for design in 0..KNOWN + UNKNOWN {
        for seed in [11, 12] {
            let answers = desk.command("--json identify", &[&photograph(&desk, design, seed)]).output().unwrap();
            let answers = String::from_utf8(answers.stdout).unwrap();
            let accepted: Vec<serde_json::Value> = answers
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .filter(|answer: &serde_json::Value| answer["decision"] == "accept")
                .collect();
            asked += u32::from(design < KNOWN);
            right += u32::from(design < KNOWN && accepted.iter().any(|answer| answer["label"] == label(design)));
            wrong.extend(accepted.into_iter().filter(|answer| design >= KNOWN || answer["label"] != label(design)));
        }
    }
    drop(served);
    println!("{right} of {asked} photographs of enrolled packs are told");
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Held out, they answer a good third of the probes and abstain on the rest.
    assert!(right * 4 >= asked, "{right} of {asked}");
}

#[test]
fn their_cards_say_how_they_were_made_and_how_good_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for (name, most, figure) in [("pack-seg", 8_000_000, "masks"), ("pack-embed", 25_000_000, "identification")] {
        let path = root.join(format!("{name}.safetensors"));
        let card = card(&path).unwrap_or_else(|| panic!("{name} has no card"));
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() < most, "{name}: {} bytes", bytes.len());
        assert_eq!(card.sha256.0[..], sha2::Sha256::digest(&bytes)[..], "{name}");
        assert!(card.origin.contains("drawn packs") && card.origin.contains("commit"), "{name}: {}", card.origin);
        assert_eq!(card.dtype, "fp16", "{name}");
        assert!(card.metrics.to_string().contains(figure), "{name}: {}", card.metrics);
    }
}
