//! The disk stays bounded: what changes again and again does not pile up.

use rand::Rng;
use sightline::domain::{Draft, Enrolled, Fact, Fingerprint, ImageId, Label, Rotation, SightingId, VectorRef};
use sightline::journal::{Journal, Options};
use sightline::store::Store;

use super::Campaign;

const SIGHTINGS: u32 = 2000;
const BATCH: u64 = 500;

fn sighting(n: u32) -> SightingId {
    SightingId { image: sightline::archive::image_id(&n.to_le_bytes()), index: 0 }
}

fn size(dir: &std::path::Path) -> u64 {
    super::load(dir).values().map(|bytes| bytes.len() as u64).sum()
}

#[test]
fn the_disk_stays_bounded() {
    let mut campaign = Campaign::new(
        "churn",
        "after a million changes to the same records the projection takes at most 4 times its live data and 256 MB",
        20_000,
        1_000_000,
    );
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(&dir.path().join("journal"), Options::default()).unwrap();
    let (store, _) = Store::open(&dir.path().join("store")).unwrap();
    let fingerprint = Fingerprint(ImageId([7; 32]));
    let enrolled = |n: u32| {
        let vectors = vec![VectorRef { segment: 0, row: n, rotation: Rotation::R0, crc: n }];
        let enrolled = Enrolled { label: Label::new("first").unwrap(), fingerprint, vectors };
        Fact::GalleryImported { sighting: sighting(n), enrolled, source: "packs.pkl".into() }
    };
    let mut record = |facts: Vec<Fact>| {
        let entries = journal.append(facts.into_iter().map(Draft::engine).collect()).unwrap();
        store.apply(&entries).unwrap();
    };
    record((0..SIGHTINGS).map(enrolled).collect());
    store.flush().unwrap();
    let live = size(&dir.path().join("store"));
    let (mut done, mut largest) = (0, 0);
    while done < campaign.runs {
        let mut random = campaign.random(done);
        let relabel = |_| Fact::GalleryRelabelled {
            sighting: sighting(random.random_range(0..SIGHTINGS)),
            label: Label::new(&format!("label {}", random.random_range(0..300))).unwrap(),
        };
        record((0..BATCH).map(relabel).collect());
        done += BATCH;
        if done % 10_000 == 0 {
            largest = largest.max(size(&dir.path().join("store")));
        }
    }
    store.flush().unwrap();
    let after = size(&dir.path().join("store"));
    largest = largest.max(after);
    println!("live {live} bytes, largest {largest}, after {after}");
    let bound = 4 * live + (256 << 20);
    campaign.count(format!("largest {} MB, bound {} MB", largest >> 20, bound >> 20));
    if largest > bound {
        campaign.fail(done, format!("{largest} bytes, {bound} are allowed"));
    }
    let proof = store.verify();
    assert!(proof.ok, "{:?}", proof.problems);
    campaign.end();
}
