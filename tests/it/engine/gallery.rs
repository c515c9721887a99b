//! The gallery through the engine: found with its rotation, changed by operators, embedded anew.

use image::imageops::{rotate90, rotate180, rotate270};
use sightline::domain::view::{Export, Import, Intent, Nothing, Relabel, Remove, Which};
use sightline::domain::{Decision, Label, RawPath, Rotation, SightingId};
use sightline::engine::EngineError;

use super::{Yard, Yarded, pack, png, reasoned, standard, until};

const PACKS: u32 = 6;

fn enrolled() -> (Yard, Yarded) {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    for n in 0..PACKS {
        yard.write(format!("watch/enroll/pack {n}/a.png"), &png(&pack(n)));
    }
    engine.wait(u64::from(PACKS));
    (yard, engine)
}

fn answer(engine: &Yarded, n: u32) -> Result<Decision, EngineError> {
    engine.identify(&png(&pack(n))).map(|identified| identified.answers[0].decision.clone())
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn found(decision: &Decision) -> Option<(&str, Rotation)> {
    match decision {
        Decision::Accept { label, rotation, .. } => Some((label.as_str(), *rotation)),
        Decision::Abstain { .. } => None,
    }
}

#[test]
fn an_enrolled_picture_is_found_however_it_lies() {
    let (_yard, engine) = enrolled();
    for n in 0..PACKS {
        let upright = pack(n);
        let lying = [
            (Rotation::R0, upright.clone()),
            (Rotation::R90, rotate90(&upright)),
            (Rotation::R180, rotate180(&upright)),
            (Rotation::R270, rotate270(&upright)),
        ];
        for (rotation, picture) in lying {
            let identified = engine.identify(&png(&picture)).unwrap();
            let answer = &identified.answers[0];
            assert_eq!(found(&answer.decision), Some((format!("pack {n}").as_str(), rotation)), "{answer:?}");
            assert!(answer.neighbours.len() > 1, "the runner-up is shown, too");
        }
    }
    assert!(found(&answer(&engine, 99).unwrap()).is_none());
}

#[test]
fn relabelled_and_removed_holds_over_a_restart_and_a_rebuild() {
    let (yard, engine) = enrolled();
    let of = |name: &str| Which::Label(label(name));
    let changed = engine.relabel("anna", &reasoned(Relabel { which: of("pack 0"), to: label("pack x") })).unwrap();
    assert_eq!(changed.sightings, 1);
    let one = engine.sightings(&label("pack 1"), None, 10).unwrap()[0].sighting;
    engine.remove("anna", &reasoned(Remove { which: Which::Sighting(one) })).unwrap();
    assert!(matches!(engine.sighting(one), Err(EngineError::NotFound(_))));
    assert!(matches!(engine.remove("anna", &reasoned(Remove { which: of("nobody") })), Err(EngineError::NotFound(_))));
    let silent = Intent { intent: "s".into(), reason: " ".into(), seen: None, act: Remove { which: of("pack 2") } };
    assert!(matches!(engine.remove("anna", &silent), Err(EngineError::BadRequest(_))), "an act needs a reason");
    let said = engine.journal();
    let entry = said.iter().find(|entry| entry.action == "gallery.relabelled").unwrap();
    assert_eq!((entry.actor.as_str(), entry.reason.as_deref()), ("anna", Some("the test wants it")));
    assert_eq!(entry.before.as_ref().unwrap()["label"], "pack 0");

    let check = |engine: &Yarded| {
        assert_eq!(found(&answer(engine, 0).unwrap()), Some(("pack x", Rotation::R0)));
        assert_eq!(found(&answer(engine, 1).unwrap()), None);
        engine.prove();
        engine.db_verify().unwrap().digest
    };
    check(&engine);
    engine.stop();
    let engine = yard.start();
    check(&engine);
    engine.stop();
    std::fs::remove_dir_all(yard.path("database/store")).unwrap();
    check(&yard.start());
}

#[test]
fn an_export_is_imported_elsewhere_and_only_once() {
    let (yard, engine) = enrolled();
    let file = RawPath(yard.path("packs.safetensors"));
    assert_eq!(engine.export("anna", &reasoned(Export { path: file.clone() })).unwrap().sightings, u64::from(PACKS));

    let elsewhere = Yard::new(&[]);
    let other = elsewhere.start();
    let import = || other.import("ben", &reasoned(Import { path: file.clone() }));
    assert_eq!(import().unwrap().sightings, u64::from(PACKS));
    assert_eq!(import().unwrap().sightings, 0, "the same file again adds nothing");
    assert_eq!(found(&answer(&other, 3).unwrap()), Some(("pack 3", Rotation::R0)));
    let row = other.sightings(&label("pack 3"), None, 10).unwrap().remove(0);
    assert!(!row.has_image);
    assert!(matches!(other.crop(row.sighting, (None, None)), Err(EngineError::NotFound(_))));
    // Relabelled and taken out stays so for the live ones; only what is missing comes back.
    other.relabel("ben", &reasoned(Relabel { which: Which::Sighting(row.sighting), to: label("renamed") })).unwrap();
    let gone = SightingId { index: 0, ..row.sighting };
    other.remove("ben", &reasoned(Remove { which: Which::Sighting(gone) })).unwrap();
    assert_eq!(import().unwrap().sightings, 1);
    assert_eq!(found(&answer(&other, 3).unwrap()), Some(("renamed", Rotation::R0)));
    other.prove();
}

#[test]
fn other_weights_give_no_answer_until_everything_is_embedded_anew() {
    let (yard, engine) = enrolled();
    let file = RawPath(yard.path("old.safetensors"));
    engine.export("anna", &reasoned(Export { path: file.clone() })).unwrap();
    engine.stop();

    let engine = yard.start_with(standard("other weights"));
    let refused = answer(&engine, 2).unwrap_err();
    assert!(matches!(&refused, EngineError::Refused(why) if why.contains("reembed")), "{refused}");
    // A picture that arrives now waits: answering from a part of the gallery could name the next of kin.
    yard.write("watch/inbox/late.png", &png(&rotate90(&pack(2))));
    // One enrolled with the new weights does not make the others comparable.
    yard.write("watch/enroll/new/a.png", &png(&pack(50)));
    engine.wait_for_done(PACKS as u64 + 1);
    assert!(matches!(answer(&engine, 2), Err(EngineError::Refused(_))));
    until("a warning", || if engine.warned("pictures wait") { Ok(()) } else { Err("none".into()) });
    let old = engine.import("anna", &reasoned(Import { path: file }));
    assert!(matches!(old, Err(EngineError::Refused(_))), "vectors of other weights are not let in: {old:?}");

    assert_eq!(engine.reembed("anna", &reasoned(Nothing {})).unwrap().sightings, u64::from(PACKS));
    assert_eq!(found(&answer(&engine, 2).unwrap()), Some(("pack 2", Rotation::R0)));
    assert_eq!(engine.gallery_stats().unwrap().fingerprints.len(), 1);
    engine.wait(u64::from(PACKS) + 2);
    assert_eq!(engine.queue_stats().unwrap().failed, 0);
    engine.prove();
    engine.stop();
    let engine = yard.start_with(standard("other weights"));
    assert_eq!(found(&answer(&engine, 5).unwrap()), Some(("pack 5", Rotation::R0)));
}

#[test]
fn a_damaged_vector_stops_the_answers_not_the_engine_and_is_made_anew() {
    let (yard, engine) = enrolled();
    let file = RawPath(yard.path("packs.safetensors"));
    engine.export("anna", &reasoned(Export { path: file.clone() })).unwrap();
    engine.stop();
    let elsewhere = Yard::new(&[]);
    let other = elsewhere.start();
    other.import("ben", &reasoned(Import { path: file.clone() })).unwrap();
    let renamed = Relabel { which: Which::Label(label("pack 3")), to: label("renamed") };
    other.relabel("ben", &reasoned(renamed)).unwrap();
    other.stop();
    for yard in [&yard, &elsewhere] {
        // The last bytes of the segment are those of a row.
        let segment = yard.path("database/gallery/00000000.vec");
        let mut bytes = std::fs::read(&segment).unwrap();
        *bytes.last_mut().unwrap() ^= 0x10;
        std::fs::write(&segment, bytes).unwrap();
    }

    let engine = yard.start();
    assert!(engine.warned("gallery reembed"), "{:?}", engine.look().warnings);
    let refused = answer(&engine, 2).unwrap_err();
    assert!(
        matches!(&refused, EngineError::Refused(why) if why.contains("1 enrolled sightings are damaged")),
        "{refused}"
    );
    yard.write("watch/inbox/late.png", &png(&rotate90(&pack(2))));
    until("a warning", || if engine.warned("pictures wait") { Ok(()) } else { Err("none".into()) });
    assert_eq!(engine.reembed("anna", &reasoned(Nothing {})).unwrap().sightings, 1);
    engine.wait(u64::from(PACKS) + 1);
    for n in 0..PACKS {
        assert_eq!(found(&answer(&engine, n).unwrap()), Some((format!("pack {n}").as_str(), Rotation::R0)));
    }
    engine.prove();

    // What was imported has no original: its file makes it good, or it is removed.
    let other = elsewhere.start();
    assert!(matches!(answer(&other, 2), Err(EngineError::Refused(_))));
    assert_eq!(other.reembed("ben", &reasoned(Nothing {})).unwrap().sightings, 0);
    assert!(other.warned("import their file again"));
    assert_eq!(other.import("ben", &reasoned(Import { path: file })).unwrap().sightings, 1);
    assert_eq!(found(&answer(&other, 3).unwrap()), Some(("renamed", Rotation::R0)));
    other.prove();
}

impl Yarded {
    fn wait_for_done(&self, done: u64) {
        until("enough done", || {
            let stats = self.queue_stats().unwrap();
            if stats.done >= done { Ok(()) } else { Err(format!("{stats:?}")) }
        });
    }
}
