//! What operators do to files that were set aside, and acts that are sent twice.

use std::fs;

use sightline::api::client::intent;
use sightline::domain::view::{Ingest, Nothing, Relabel, Which};
use sightline::domain::{ImageId, ItemState, Label, RawPath};
use sightline::engine::EngineError;

use super::{Yard, pack, png, reasoned};

fn blank() -> Vec<u8> {
    png(&image::RgbImage::from_pixel(64, 64, image::Rgb([200, 200, 200])))
}

#[test]
fn a_released_doubt_goes_through_and_a_released_damage_comes_back() {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    let doubtful = engine.queue(&yard.write("blank.png", &blank()), None);
    let damaged = engine.queue(&yard.write("cut.png", &png(&pack(1))[..200]), None);
    assert_eq!((doubtful.state, damaged.state), (ItemState::Quarantined, ItemState::Quarantined));
    for item in [&doubtful, &damaged] {
        engine.release("anna", &item.id, &reasoned(Nothing {})).unwrap();
    }
    engine.wait(2);
    assert_eq!(engine.item(&doubtful.id).unwrap().item.state, ItemState::Done);
    assert_eq!(engine.item(&damaged.id).unwrap().item.state, ItemState::Quarantined);
    assert!(yard.path(format!("database/quarantine/{}.data", damaged.id)).exists());
    let again = engine.release("anna", &doubtful.id, &reasoned(Nothing {}));
    assert!(matches!(&again, Err(EngineError::Refused(why)) if why.contains("done")), "{again:?}");
    engine.prove();
}

#[test]
fn a_discarded_file_is_gone_and_named_in_the_journal() {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    let item = engine.queue(&yard.write("text.png", b"text"), None);
    let other = ImageId([9; 32]);
    let mut unseen = reasoned(Nothing {});
    unseen.seen = Some(other);
    let refused = engine.discard("anna", &item.id, &unseen);
    assert!(matches!(refused, Err(EngineError::Refused(_))), "not the picture that was seen: {refused:?}");
    let gone = engine.discard("anna", &item.id, &reasoned(Nothing {})).unwrap();
    assert_eq!(gone.state, ItemState::Discarded);
    assert_eq!(fs::read_dir(yard.path("database/quarantine")).unwrap().count(), 0);
    let entry = engine.journal().into_iter().find(|entry| entry.action == "queue.discarded").unwrap();
    assert_eq!((entry.actor.as_str(), entry.subject), ("anna", item.id.0.clone()));
    let missing = engine.discard("anna", &sightline::domain::ItemId::new(1, 1), &reasoned(Nothing {}));
    assert!(matches!(missing, Err(EngineError::NotFound(_))));
}

#[test]
fn an_intent_sent_twice_is_done_once() {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    let path = yard.write("a.png", &png(&pack(1)));
    let act = intent(Ingest { paths: vec![RawPath(path)], label: Some(Label::new("A").unwrap()) }, "");
    let first = engine.ingest("anna", &act).unwrap();
    assert_eq!(engine.ingest("anna", &act).unwrap(), first);
    engine.wait(1);

    let aside = engine.queue(&yard.write("blank.png", &blank()), None);
    let release = reasoned(Nothing {});
    engine.release("anna", &aside.id, &release).unwrap();
    engine.wait(2);
    engine.release("anna", &aside.id, &release).unwrap();
    engine.wait(2);
    let relabel = reasoned(Relabel { which: Which::Label(Label::new("A").unwrap()), to: Label::new("B").unwrap() });
    assert_eq!(engine.relabel("anna", &relabel).unwrap(), engine.relabel("anna", &relabel).unwrap());
    let mut misused = relabel.clone();
    misused.act.to = Label::new("C").unwrap();
    assert!(matches!(engine.relabel("anna", &misused), Err(EngineError::BadRequest(_))));
    let count = |action: &str| engine.journal().iter().filter(|entry| entry.action == action).count();
    assert_eq!((count("queue.released"), count("gallery.relabelled"), count("image.done")), (1, 1, 2));
}

#[test]
fn queueing_says_what_it_could_not_take() {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    yard.write("folder/deep/a.png", &png(&pack(1)));
    std::os::unix::fs::symlink("/etc/hostname", yard.path("folder/link")).unwrap();
    let paths = ["folder", "nowhere"].map(|name| RawPath(yard.path(name))).to_vec();
    let ingested = engine.ingest("anna", &intent(Ingest { paths, label: None }, "")).unwrap();
    assert_eq!((ingested.items.len(), ingested.problems.len()), (1, 2), "{ingested:?}");
    engine.wait(1);
    assert!(yard.path("folder/deep/a.png").exists(), "what an operator names is copied, not taken");
    let nothing = Ingest { paths: vec![RawPath(yard.path("nowhere"))], label: None };
    assert!(matches!(engine.ingest("anna", &intent(nothing, "")), Err(EngineError::NotFound(_))));
}

#[test]
fn what_waits_in_quarantine_can_be_looked_at_unless_it_is_damaged() {
    let yard = Yard::new(&[]);
    let engine = yard.start();
    let grey = png(&image::RgbImage::from_pixel(64, 64, image::Rgb([9, 9, 9])));
    let doubt = engine.queue(&yard.write("grey.png", &grey), None);
    assert_eq!(engine.original(doubt.sha256.unwrap()).unwrap(), (grey, "png".to_owned()));
    assert!(engine.picture(doubt.sha256.unwrap(), (None, None), true).is_ok());
    let cut = png(&pack(1))[..200].to_vec();
    let damage = engine.queue(&yard.write("cut.png", &cut), None);
    assert_eq!(engine.original(damage.sha256.unwrap()).unwrap().0, cut);
    assert!(matches!(engine.picture(damage.sha256.unwrap(), (None, None), true), Err(EngineError::Refused(_))));
}
