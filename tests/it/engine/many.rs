//! A gallery so large that the engine answers before it has read it: no probe is decided before all of it is there.

use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sightline::domain::view::{Import, Relabel, Which};
use sightline::domain::{Decision, Embedding, ImageId, ItemState, Label, RawPath, Rotation, SightingId};
use sightline::engine::EngineError;
use sightline::gallery::{Gallery, Options};
use sightline::vision::Embed as _;
use sightline::vision::fake::TestEmbedder;

use super::{Yard, Yarded, pack, png, reasoned, until};

/// More than are read by the start itself.
const MANY: u32 = 20_500;

/// A file of vectors of the stand-in's weights that are near nothing.
fn strangers(path: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = Gallery::open(dir.path(), Options::default()).unwrap();
    let weights = TestEmbedder::named("weights").fingerprint();
    let mut rng = SmallRng::seed_from_u64(8);
    for index in 0..MANY {
        let sighting = SightingId { image: ImageId([9; 32]), index };
        let vector = Embedding::normalised((0..193).map(|_| rng.random_range(-1.0..1.0)).collect()).unwrap();
        let places = gallery.append(weights, sighting, &[(Rotation::R0, vector)]).unwrap();
        gallery.admit(sighting, Label::new(&format!("stranger {}", index % 700)).unwrap(), weights, &places).unwrap();
    }
    gallery.export(path, weights).unwrap();
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn accepted(engine: &Yarded) -> Option<Label> {
    match &engine.identify(&png(&pack(3))).unwrap().answers[0].decision {
        Decision::Accept { label, .. } => Some(label.clone()),
        Decision::Abstain { .. } => None,
    }
}

#[test]
fn whoever_asks_waits_until_the_whole_gallery_is_read() {
    let yard = Yard::new(&[("gallery.ann_above", "0")]);
    let file = yard.path("strangers.safetensors");
    strangers(&file);
    let engine = yard.start();
    engine.queue(&yard.write("a.png", &png(&pack(3))), Some("pack three"));
    let imported = engine.import("anna", &reasoned(Import { path: RawPath(file) })).unwrap();
    assert_eq!(imported.sightings, u64::from(MANY));
    engine.stop();

    // The first question after each start gets the answer of the whole gallery, whoever asks.
    for _ in 0..3 {
        let engine = yard.start();
        assert!(engine.look().halted.is_none(), "it answers");
        assert_eq!(accepted(&engine), Some(label("pack three")));
        let stats = engine.gallery_stats().unwrap();
        assert_eq!((stats.reading, stats.sightings, stats.damaged), (None, u64::from(MANY) + 1, 0));
        engine.stop();
    }
    // A probe that waited in its folder, too.
    let mut probe = pack(3);
    probe.get_pixel_mut(50, 50).0[0] ^= 1;
    yard.write("watch/inbox/probe.png", &png(&probe));
    let engine = yard.start();
    engine.wait(2);
    let answers = engine.in_state(ItemState::Done).into_iter().filter_map(|item| item.answer?.label);
    assert_eq!(answers.collect::<Vec<_>>(), [label("pack three")]);
    engine.stop();

    // Acts wait as well: what is read meanwhile cannot bring back what they changed.
    let engine = yard.start();
    let act = Relabel { which: Which::Label(label("pack three")), to: label("pack 3") };
    assert_eq!(engine.relabel("anna", &reasoned(act)).unwrap().sightings, 1);
    assert_eq!(accepted(&engine), Some(label("pack 3")));
    engine.stop();

    // A stop does not wait for it, and neither does who asks meanwhile.
    for _ in 0..5 {
        let engine = yard.start();
        let asked = std::sync::Arc::clone(&engine);
        let asker = std::thread::spawn(move || asked.identify(&png(&pack(3))));
        engine.stop();
        match asker.join().unwrap() {
            Err(EngineError::Unavailable(_)) => {}
            Ok(answer) => assert!(answer.answers[0].decision.is_accept(), "half a gallery has answered: {answer:?}"),
            Err(other) => panic!("{other}"),
        }
    }
    let engine = yard.start();
    engine.prove();
    assert_eq!(accepted(&engine), Some(label("pack 3")));
    engine.stop();

    // A damaged row among them is told, and no answer is given.
    let segment = yard.path("database/gallery/00000000.vec");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let engine = yard.start();
    let refused = engine.identify(&png(&pack(3))).unwrap_err();
    assert!(
        matches!(&refused, EngineError::Refused(why) if why.contains("1 enrolled sightings are damaged")),
        "{refused}"
    );
    until(
        "a warning",
        || if engine.warned("00000000.vec: row") { Ok(()) } else { Err(format!("{:?}", engine.look())) },
    );
    assert_eq!(engine.gallery_stats().unwrap().damaged, 1);
}
