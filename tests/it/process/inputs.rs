//! What is given to the commands that read pictures, and what happens to what they say.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use sightline::vision::{checkpoint, random};

use super::{Desk, program, text};

/// Runs a command that must end soon; one that reads for ever would not.
fn soon(desk: &Desk, words: &str, files: &[&Path]) -> Output {
    let mut child = desk.command(words, files).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{words} {files:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn only_regular_files_within_the_bound_are_read() {
    let desk = Desk::new(&[("intake.max_file_mb", "1")]);
    let good = desk.picture("in/good.png", 1);
    let fifo = desk.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let sparse = desk.path("sparse.jpg");
    File::create(&sparse).unwrap().set_len(3 << 30).unwrap();
    for words in ["--json embed", "--json identify"] {
        let began = Instant::now();
        let output = soon(&desk, words, &[&fifo, Path::new("/dev/zero"), &sparse, &good]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words}: {said}");
        assert_eq!(said.matches("not a regular file").count(), 2, "{said}");
        assert!(said.contains("sparse.jpg: 3072 MB is more than intake.max_file_mb allows (1 MB)"), "{said}");
        assert_eq!(text(&output.stdout).lines().count(), 1, "the good one is answered: {said}");
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn a_folder_is_read_once_and_an_empty_one_is_said() {
    let desk = Desk::new(&[]);
    desk.picture("in/deep/a.png", 1);
    symlink(desk.path("in"), desk.path("in/deep/around")).unwrap();
    let output = soon(&desk, "--json embed", &[&desk.path("in")]);
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(0), 1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("around: a link to a folder is not followed"));
    fs::create_dir(desk.path("empty")).unwrap();
    for words in ["see", "embed", "identify"] {
        let output = soon(&desk, words, &[&desk.path("empty")]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{words}: {said}");
        assert!(said.contains("there is no file in") && said.contains("empty"), "{words}: {said}");
    }
}

#[test]
fn each_picture_seen_is_saved_and_one_that_cannot_be_stops_no_other() {
    let desk = Desk::new(&[]);
    let made = desk.run("model untrained yolov8n-seg --name pack-seg", &[]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let long = format!("in/{}.png", "薬".repeat(83));
    let all = [
        desk.picture("in/a/exif6.png", 1),
        desk.picture("in/b/exif6.png", 2),
        desk.picture("in/c/exif6.png", 2),
        desk.picture(&long, 3),
    ];
    let all: Vec<&Path> = all.iter().map(|path| path.as_path()).collect();
    let words = "--json see --imgsz 64 --model models/pack-seg.safetensors --save";
    let model = desk.path("models/pack-seg.safetensors");
    let words = words.replace("models/pack-seg.safetensors", model.to_str().unwrap());
    let into = desk.path("seen");
    for _ in 0..2 {
        let output = soon(&desk, &format!("{words} {}", into.display()), &all);
        assert!(matches!(output.status.code(), Some(0 | 4)), "{}", text(&output.stderr));
        assert_eq!(fs::read_dir(&into).unwrap().count(), 4, "a second run replaces its own");
    }
    // A folder that cannot be made: said for each, and each is answered all the same.
    let inside = desk.write("file", b"").join("seen");
    let output = soon(&desk, &format!("{words} {}", inside.display()), &all);
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(1), 4));
    assert_eq!(text(&output.stderr).matches("cannot make").count(), 4, "{}", text(&output.stderr));
}

#[test]
fn an_input_size_the_network_cannot_have_is_bad_usage() {
    let desk = Desk::new(&[]);
    let good = desk.picture("in/good.png", 1);
    for size in ["100", "0", "33"] {
        let output = desk.run(&format!("see --imgsz {size}"), &[&good]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("multiple of 32"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_detector_sees_at_the_size_that_its_weights_state() {
    let desk = Desk::new(&[]);
    let good = desk.picture("in/good.png", 1);
    let mut weights = random::yolov8("yolov8n", 2, 7).unwrap();
    for (name, side) in [("silent", None), ("small", Some(64)), ("odd", Some(65))] {
        side.iter().for_each(|side| weights.state_input_size(*side));
        checkpoint::save(&weights, &desk.path("models"), name).unwrap();
    }
    let seen = |words: &str| {
        let words = format!("see --conf 0 --model {}", desk.path("models").join(words).display());
        let found = desk.json(&words, &[&good], 0).remove(0);
        assert!(!found["detections"].as_array().unwrap().is_empty(), "{words}");
        found["detections"].clone()
    };
    let [large, small] = ["", " --imgsz 64"].map(|size| seen(&format!("silent.safetensors{size}")));
    assert_ne!(large, small);
    assert_eq!(seen("small.safetensors"), small);
    assert_eq!(seen("small.safetensors --imgsz 640"), large);
    assert_eq!(seen("odd.safetensors"), large, "no network has such a side");
}

#[test]
fn where_nothing_can_be_said_the_exit_code_is_still_the_command_s() {
    let desk = Desk::new(&[]);
    let bad = desk.write("in/text.png", b"a text");
    for (words, files, code) in [
        ("identify", vec![bad.as_path()], 1),
        ("queue stats --nonsense", vec![], 2),
        ("embed /nowhere/at/all", vec![], 4),
        ("init", vec![], 3),
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let status = desk.command(words, &files).stdout(Stdio::null()).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(code), "{words} on a full device");
        let mut child = desk.command(words, &files).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{words} on a closed pipe");
    }
}

#[test]
fn no_error_reaches_the_terminal_raw() {
    let red = std::ffi::OsStr::from_bytes(b"empty\x1b[31m\xe2\x80\xae");
    for words in [vec!["queue", "stats"], vec!["identify"], vec!["frobnicate"]] {
        let mut command = program();
        command.arg("--workspace").arg(red).args(&words);
        if words[0] != "queue" {
            command.arg(red);
        }
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert_ne!(output.status.code(), Some(0));
        assert!(!said.contains('\x1b') && !said.contains('\u{202E}') && !said.is_empty(), "{said:?}");
    }
    let output = program().args(["queue", "stats", "--x\x1b[31m"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(!said.contains('\x1b') && said.contains("--x") && said.lines().count() > 2, "{said:?}");
}

#[test]
fn no_console_is_opened_where_there_is_no_terminal() {
    for words in [vec![], vec!["demo"]] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program();
        command.current_dir(dir.path()).args(&words);
        if words == ["demo"] {
            command.args(["--dir", "here"]);
        }
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{words:?}");
        let said = text(&output.stderr);
        assert!(said.contains("needs a terminal") && !said.contains('\x1b'), "{said:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
    }
}

#[test]
fn what_is_no_file_of_vectors_is_refused_soon_and_in_the_right_words() {
    let desk = Desk::new(&[]);
    let fifo = desk.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let sparse = desk.path("sparse.safetensors");
    File::create(&sparse).unwrap().set_len(5 << 30).unwrap();
    let junk = desk.write("notes.txt", b"these are notes, no vectors");
    let picture = desk.picture("a.png", 1);
    // The engine that reads them answers others meanwhile, and goes on after.
    let engine = desk.serve();
    for (path, said) in [
        (Path::new("/dev/zero"), "/dev/zero is a device, not a regular file"),
        (&fifo, "is a pipe, not a regular file"),
        (&desk.path("database"), "is a folder, not a regular file"),
        (&sparse, "has 5120 MB, and gallery.import_max_mb allows 1024"),
        (&junk, "is no file of vectors; name a .safetensors"),
        (&picture, "is no file of vectors; name a .safetensors"),
    ] {
        let output = soon(&desk, "gallery import", &[path]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{path:?}: {told}");
        assert!(told.contains(said), "{path:?}: {told}");
        assert!(!told.contains("model") && !told.contains("pickle"), "it is about vectors: {told}");
    }
    let resident = fs::read_to_string(format!("/proc/{}/status", engine.child.id())).unwrap();
    let peak = resident.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 1 << 20, "the engine held {peak} kB");
    assert_eq!(soon(&desk, "gallery import", &[&desk.path("none")]).status.code(), Some(4));
}

#[test]
fn every_command_that_reads_a_file_refuses_what_has_no_end() {
    let desk = Desk::new(&[]);
    let fifo = desk.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let zero = Path::new("/dev/zero");
    for path in [zero, &fifo] {
        for (words, code) in [
            ("gallery search", 2),
            ("journal verify --checkpoint", 2),
            ("model inspect", 1),
            ("model import --name other", 1),
            ("embed", 1),
        ] {
            let output = soon(&desk, words, &[path]);
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{words} {path:?}: {told}");
            assert!(told.contains("not a regular file"), "{words} {path:?}: {told}");
        }
        // The parts of a set, each in its turn.
        for part in ["data.yaml", "labels/a.txt", "coco.json", "classes.txt"] {
            let set = desk.path("set");
            drop(fs::remove_dir_all(&set));
            desk.picture("set/images/a.png", 1);
            desk.write("set/labels/a.txt", b"0 0.5 0.5 0.2 0.2\n");
            let odd = set.join(part);
            drop(fs::remove_file(&odd));
            symlink(path, &odd).unwrap();
            let named = if part.contains("json") { odd } else { set };
            let output = soon(&desk, "dataset check", &[&named]);
            drop(output);
        }
    }
    // The settings themselves.
    fs::remove_file(desk.path("config.yaml")).unwrap();
    fs::rename(&fifo, desk.path("config.yaml")).unwrap();
    let output = soon(&desk, "queue stats", &[]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("config.yaml") && told.contains("a pipe"), "{told}");
}
