//! What somebody does to the files of a workspace, under a running engine or before a start: it is named, with what to
//! do, nothing waits for ever, and no answer comes from it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::index::{SIGHTINGS, is_indexed, vectors};
use super::{Desk, PATIENCE, Served, ask, text};

/// Runs a command that must end soon; one that waits for ever would not.
fn soon(desk: &Desk, words: &str, files: &[&Path]) -> Output {
    let mut child = desk.command(words, files).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{words} {files:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn until(what: &str, engine: &Served, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "{what} did not come: {}", engine.get("/v1/status")["warnings"]);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for a warning that holds all of these.
fn warned(engine: &Served, parts: &[&str]) {
    until(&format!("a warning of {parts:?}"), engine, || {
        let status = engine.get("/v1/status");
        let warnings = status["warnings"].as_array().unwrap();
        warnings.iter().any(|warning| parts.iter().all(|part| warning.as_str().unwrap().contains(part)))
    });
}

fn running(engine: &mut Served) -> bool {
    engine.child.try_wait().unwrap().is_none()
}

#[test]
fn a_segment_that_is_cut_under_the_engine_gives_no_answer_and_is_made_good() {
    let desk = Desk::new(&[("decision.min_margin", "0")]);
    let (one, two) = (desk.picture("one.png", 1), desk.picture("two.png", 2));
    desk.json("enroll pack-one", &[&one], 0);
    desk.json("enroll pack-two", &[&two], 0);
    let segment = desk.path("database/gallery/00000000.vec");
    let mut engine = desk.serve();
    let known = desk.json("identify", &[&one], 0);
    assert_eq!(known[0]["label"], "pack-one");

    // Within the first vector: a mapped file would have shown zeros up to the end of its page, and then ended the engine.
    OpenOptions::new().write(true).open(&segment).unwrap().set_len(200).unwrap();
    let refused = soon(&desk, "identify", &[&one]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("gallery reembed"), "{said}");
    warned(&engine, &["00000000.vec", "somebody has cut it", "gallery reembed"]);
    assert!(running(&mut engine));

    let stats = engine.get("/v1/gallery/stats");
    assert_eq!((&stats["damaged"], &stats["sightings"]), (&2.into(), &0.into()), "{stats}");
    let shown = text(&soon(&desk, "gallery stats", &[]).stdout);
    assert!(shown.contains("DAMAGED: the vectors of 2 enrolled sightings"), "{shown}");
    let verified = desk.json("db verify", &[], 1);
    assert_eq!(verified[0]["ok"], false);
    let told = text(&soon(&desk, "db verify", &[]).stdout);
    assert!(told.contains("problem: ") && told.contains("00000000.vec"), "{told}");

    // As it says: made anew from the originals, into another file, and sound after a restart.
    desk.json("gallery reembed --reason cut", &[], 0);
    assert_eq!(desk.json("identify", &[&one], 0)[0]["label"], "pack-one");
    assert_eq!(engine.get("/v1/gallery/stats")["damaged"], 0);
    engine.stop();
    assert_eq!(desk.json("identify", &[&two], 0)[0]["label"], "pack-two");
    desk.prove();
}

#[test]
fn an_index_that_is_cut_under_the_engine_is_made_anew() {
    let desk = Desk::new(&[("models.embedder", "models/none.safetensors"), ("gallery.ann_above", "1000")]);
    desk.json("gallery import", &[&vectors(&desk)], 0);
    let mut engine = desk.serve();
    until("an index", &engine, || is_indexed(&engine));
    let health = engine.get("/v1/gallery/stats")["index_health"][0].clone();
    assert_eq!(health["state"], "open", "{health}");
    let dir = desk.path("database/gallery/ann");
    let file = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(5000).unwrap();
    warned(&engine, &[".ann", "made anew"]);
    // Made a second time, and in use.
    until("its file", &engine, || {
        let jobs = engine.get("/v1/stats")["jobs"].as_array().unwrap().clone();
        jobs.iter().any(|job| job["id"] == 2 && job["done"] == job["total"])
    });
    assert!(fs::metadata(&file).unwrap().len() > 100_000);
    assert!(running(&mut engine) && is_indexed(&engine));

    // Changed without a change of its length: `db verify` notes it, and it is made anew. Nothing that cannot be is hurt.
    let bytes = fs::read(&file).unwrap();
    OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&[bytes[9000] ^ 1], 9000).unwrap();
    let verified = desk.json("db verify", &[], 0);
    assert_eq!(verified[0]["ok"], true);
    let note = verified[0]["notes"][0].as_str().unwrap();
    assert!(note.contains(".ann") && note.contains("makes it anew"), "{note}");
    until("a sound file", &engine, || {
        let again = desk.json("db verify", &[], 0);
        again[0]["notes"].as_array().unwrap().is_empty()
    });
    engine.stop();

    // A damaged one is set aside on the start, and that it was is told on.
    fs::write(&file, &bytes[..9000]).unwrap();
    let engine = desk.serve();
    warned(&engine, &["damaged", "made anew"]);
    until("an index", &engine, || is_indexed(&engine));
    let stats = engine.get("/v1/gallery/stats");
    assert!(stats["index_health"][0]["set_aside"].as_str().unwrap().ends_with(".damaged"), "{stats}");
    let shown = text(&soon(&desk, "gallery stats", &[]).stdout);
    assert!(shown.contains("a damaged index was set aside"), "{shown}");
    engine.stop();

    // Something else in the place of its folder: exact search answers, and what to do is said.
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, b"a file").unwrap();
    let engine = desk.serve();
    warned(&engine, &["gallery/ann", "move it away"]);
    until("its health", &engine, || {
        let health = engine.get("/v1/gallery/stats")["index_health"][0].clone();
        health["state"] == "waiting" && health["detail"].as_str().unwrap().contains("move it away")
    });
    assert_eq!(engine.get("/v1/gallery/stats")["sightings"], SIGHTINGS);
}

/// Every regular file below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !entry.file_type().unwrap().is_socket() {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_pipe_in_the_place_of_any_file_keeps_nothing_waiting() {
    let desk = Desk::new(&[("gallery.ann_above", "1"), ("engine.ballast_mb", "1"), ("engine.min_free_percent", "0")]);
    desk.json("enroll pack-one", &[&desk.picture("one.png", 1)], 0);
    desk.json("ingest --wait", &[&desk.write("broken.png", b"no picture")], 1);
    let engine = desk.serve();
    until("an index", &engine, || engine.get("/v1/gallery/stats")["indexes"][0]["vectors"] == 4);
    engine.stop();
    let all = files(&desk.path("database"));
    let named = |end: &str| assert!(all.iter().any(|path| path.to_str().unwrap().ends_with(end)), "no {end}: {all:?}");
    [
        "00000000.vec",
        ".ann",
        "00000000.log",
        "key",
        "key.pub",
        "ballast",
        "engine.lock",
        ".png",
        ".data",
        "store/db",
        ".log",
    ]
    .iter()
    .for_each(|end| named(end));
    for path in &all {
        // The projection was made anew since; not all of its files have the same names.
        if !path.exists() {
            continue;
        }
        let shown = path.display();
        let kept = desk.path("kept");
        fs::rename(path, &kept).unwrap();
        pipe(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut child = desk.command("serve", &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // It answers, or ends with a word about the file.
        let began = Instant::now();
        let refused = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            if ask(&desk.socket(), "GET", "/v1/status", b"").is_some() {
                break false;
            }
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("{shown}: the engine neither answers nor ends");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let name = path.file_name().unwrap().to_str().unwrap();
        if refused {
            let output = child.wait_with_output().unwrap();
            let said = text(&output.stderr);
            assert!(said.contains(name) && said.contains("pipe"), "{shown}: {said}");
            assert!(said.contains("move it away"), "{shown}: {said}");
        } else {
            // What is read only when it is asked for is named by the proof, which does not wait either.
            let verified = soon(&desk, "db verify", &[]);
            let status = ask(&desk.socket(), "GET", "/v1/status", b"").map(|(_, body)| text(&body)).unwrap_or_default();
            let said = format!("{}{}{status}", text(&verified.stdout), text(&verified.stderr));
            // Why a file is in quarantine is in the journal, too; the note beside it is for people.
            let note = path.starts_with(desk.path("database/quarantine")) && name.ends_with(".json");
            assert!(note || said.contains("pipe") || said.contains(name), "{shown}: {said}");
            // SAFETY: a signal to a child that has not been waited for.
            assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
            let began = Instant::now();
            while child.try_wait().unwrap().is_none() {
                assert!(began.elapsed() < PATIENCE, "{shown}: the engine does not stop");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // As it was, for the next one: what was made anew in its place, or set aside with it, is taken back.
        if path.symlink_metadata().is_ok_and(|about| about.file_type().is_fifo()) {
            fs::remove_file(path).unwrap();
        }
        if !path.starts_with(desk.path("database/store")) && !path.exists() {
            fs::rename(&kept, path).unwrap();
        } else {
            fs::remove_file(&kept).unwrap();
        }
    }
    desk.prove();
}

#[test]
fn a_socket_that_is_removed_is_made_again_and_a_strangers_is_left_alone() {
    let desk = Desk::new(&[]);
    let engine = desk.serve();
    fs::remove_file(desk.socket()).unwrap();
    let began = Instant::now();
    while ask(&desk.socket(), "GET", "/v1/status", b"").is_none() {
        assert!(began.elapsed() < PATIENCE, "the socket is not made again");
        std::thread::sleep(Duration::from_millis(50));
    }
    warned(&engine, &["sightline.sock", "made again"]);
    assert_eq!(fs::metadata(desk.socket()).unwrap().permissions().mode() & 0o777, 0o660);
    let said = || fs::read_to_string(desk.path("stderr")).unwrap();
    // Something else in its place is not the engine's to remove; once it is away, the socket is there again.
    fs::rename(desk.write("mine", b"mine"), desk.socket()).unwrap();
    let began = Instant::now();
    while !said().contains("is not the engine's any more") {
        assert!(began.elapsed() < PATIENCE, "{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(fs::read(desk.socket()).unwrap(), b"mine");
    fs::remove_file(desk.socket()).unwrap();
    let began = Instant::now();
    while ask(&desk.socket(), "GET", "/v1/status", b"").is_none() {
        assert!(began.elapsed() < PATIENCE, "the socket is not made again");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (code, _) = engine.stop();
    assert_eq!(code, Some(0));
    assert!(!desk.socket().exists());
}
