//! SIGKILL while the gallery's approximate index is being made.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sightline::domain::{Embedding, Fingerprint, ImageId, Label, Rotation, SightingId};
use sightline::gallery::{Gallery, Options};

use super::{Desk, PATIENCE, Served};

pub const SIGHTINGS: u32 = 4000;
const DIMENSION: usize = 64;

pub fn vectors(desk: &Desk) -> std::path::PathBuf {
    let dir = tempfile::tempdir().unwrap();
    let mut gallery = Gallery::open(dir.path(), Options::default()).unwrap();
    let mut rng = SmallRng::seed_from_u64(5);
    let weights = Fingerprint(ImageId([3; 32]));
    for index in 0..SIGHTINGS {
        let sighting = SightingId { image: ImageId([4; 32]), index };
        let vector = Embedding::normalised((0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect()).unwrap();
        let places = gallery.append(weights, sighting, &[(Rotation::R0, vector)]).unwrap();
        gallery.admit(sighting, Label::new(&format!("pack {}", index % 500)).unwrap(), weights, &places).unwrap();
    }
    let path = desk.path("vectors.safetensors");
    gallery.export(&path, weights).unwrap();
    path
}

fn unfinished(desk: &Desk) -> usize {
    let Ok(files) = std::fs::read_dir(desk.path("database/gallery/ann")) else { return 0 };
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "new")).count()
}

pub fn is_indexed(engine: &Served) -> bool {
    engine.get("/v1/gallery/stats")["indexes"][0]["vectors"] == SIGHTINGS
}

#[test]
fn an_index_that_a_kill_interrupts_is_made_after_the_restart() {
    // Without models: these vectors come from outside.
    let desk = Desk::new(&[("models.embedder", "models/none.safetensors"), ("gallery.ann_above", "1000")]);
    let file = vectors(&desk);
    desk.json("gallery import", &[&file], 0);
    let mut interrupted = 0;
    for kill in 0..5 {
        // One that was done is taken away: this machine may be quick.
        drop(std::fs::remove_dir_all(desk.path("database/gallery/ann")));
        let mut engine = desk.serve();
        std::thread::sleep(Duration::from_millis(kill * 60));
        interrupted += usize::from(!is_indexed(&engine));
        engine.kill();
    }
    assert!(interrupted > 0, "every index was done before its kill");
    let engine = desk.serve();
    let began = Instant::now();
    while !is_indexed(&engine) {
        assert!(
            began.elapsed() < PATIENCE,
            "{} {}",
            engine.get("/v1/gallery/stats"),
            engine.get("/v1/status")["warnings"]
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(unfinished(&desk), 0);
    assert_eq!(engine.get("/v1/gallery/stats")["sightings"], SIGHTINGS);
    let shown = desk.json("gallery stats", &[], 0);
    assert_eq!(shown[0]["indexes"][0]["vectors"], SIGHTINGS);
    drop(engine);
    desk.prove();
}
