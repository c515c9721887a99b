//! Journal, store and gallery together: what is acknowledged is there after any restart, whichever of them was lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use sightline::domain::{
    Draft, Embedding, Enrolled, Fact, Fingerprint, ImageId, Label, Neighbour, Rotation, SightingId,
};
use sightline::gallery::{self, Gallery};
use sightline::journal::{self, Journal};
use sightline::store::{SightingRecord, Store};

const WEIGHTS: Fingerprint = Fingerprint(ImageId([7; 32]));

fn vector(n: u32) -> Embedding {
    Embedding::normalised((0..16).map(|i| ((n * 31 + i * 7) as f32).sin()).collect()).unwrap()
}

struct Rooms {
    journal: Journal,
    store: Store,
    gallery: Gallery,
}

/// As the engine starts: open all, replay what the store lacks, admit what is enrolled.
fn start(dir: &Path) -> Rooms {
    let (journal, _) = Journal::open(&dir.join("journal"), journal::Options::default()).unwrap();
    let (store, _) = Store::open(&dir.join("store")).unwrap();
    loop {
        let entries = journal.read_range(store.applied(), 3).unwrap();
        if entries.is_empty() {
            break;
        }
        store.apply(&entries).unwrap();
    }
    let mut gallery = Gallery::open(&dir.join("gallery"), gallery::Options::default()).unwrap();
    let admit = |sighting: Option<_>| {
        if let Some((id, s)) = sighting {
            let s: SightingRecord = s;
            gallery.admit(id, s.label, s.fingerprint, &s.vectors).unwrap();
        }
        ControlFlow::Continue(())
    };
    store.for_each_sighting(admit).unwrap();
    Rooms { journal, store, gallery }
}

impl Rooms {
    fn record(&mut self, fact: Fact) {
        let entries = self.journal.append(vec![Draft::engine(fact)]).unwrap();
        self.store.apply(&entries).unwrap();
    }

    fn enrol(&mut self, n: u32) {
        let sighting = SightingId { image: ImageId([n as u8; 32]), index: 0 };
        let label = Label::new(&format!("pack {}", n % 4)).unwrap();
        let vectors = self.gallery.append(WEIGHTS, sighting, &[(Rotation::R0, vector(n))]).unwrap();
        self.gallery.sync().unwrap();
        let enrolled = Enrolled { label, fingerprint: WEIGHTS, vectors };
        self.record(Fact::GalleryImported { sighting, enrolled: enrolled.clone(), source: "packs.pkl".into() });
        self.gallery.admit(sighting, enrolled.label, WEIGHTS, &enrolled.vectors).unwrap();
    }

    fn neighbours(&self) -> Vec<Neighbour> {
        self.gallery.search(WEIGHTS, &vector(3), 5).unwrap()
    }
}

#[test]
fn what_is_acknowledged_survives_whatever_is_lost_beside_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut rooms = start(dir.path());
    for n in 0..20 {
        rooms.enrol(n);
    }
    rooms.record(Fact::GalleryRemoved { sighting: SightingId { image: ImageId([3; 32]), index: 0 } });
    let moved = SightingId { image: ImageId([4; 32]), index: 0 };
    rooms.record(Fact::GalleryRelabelled { sighting: moved, label: Label::new("other").unwrap() });
    // A crash: vectors on disk that no entry names.
    rooms.gallery.append(WEIGHTS, moved, &[(Rotation::R0, vector(3))]).unwrap();
    let digest = rooms.store.digest().unwrap();
    drop(rooms);

    let rooms = start(dir.path());
    let neighbours = rooms.neighbours();
    assert_eq!(rooms.store.digest().unwrap(), digest);
    assert_eq!(rooms.gallery.stats().sightings, 19);
    assert!(neighbours.iter().all(|n| n.sighting.image != ImageId([3; 32])), "what was removed is not found");
    drop(rooms);

    fs::remove_dir_all(dir.path().join("store")).unwrap();
    let rooms = start(dir.path());
    assert_eq!((rooms.store.digest().unwrap(), rooms.neighbours()), (digest, neighbours));
    let reader = rooms.journal.reader();
    drop(rooms.store);
    let entries = (0..reader.len()).map(|n| reader.entry(n));
    let rebuilt = Store::rebuild_from(&dir.path().join("store"), entries).unwrap();
    assert_eq!(rebuilt.digest().unwrap(), digest);
    let proof = journal::verify(&dir.path().join("journal"), &journal::Trust::default()).unwrap();
    assert!(proof.ok && proof.entries == 22 && proof.unanchored == 22, "{proof:?}");
}
