//! The contract of the command line: answers, shapes, exit codes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sightline::config::{KEYS, Kind};

use super::{Desk, program, text};

/// A workspace with two packs enrolled, a probe answered, a duplicate and a text in quarantine.
fn lived_in() -> Desk {
    let desk = Desk::new(&[("decision.min_similarity", "0.9"), ("decision.min_margin", "0.0001")]);
    let [a, b, c] = [1, 2, 1].map(|n| desk.picture(format!("in/{n}.png"), n));
    desk.json("enroll A", &[&a], 0);
    desk.json("enroll B", &[&b], 0);
    desk.json("ingest --wait", &[&c], 0);
    let text = desk.write("in/text.png", b"a text");
    desk.json("ingest --wait", &[&text], 1);
    desk
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn has(value: &Value, wanted: &[&str]) {
    for key in wanted {
        assert!(keys(value).contains(key), "no `{key}` in {value}");
    }
}

#[test]
fn every_command_answers_the_same_with_and_without_a_running_engine() {
    let desk = lived_in();
    let probe = desk.picture("in/1.png", 1);
    let other = desk.picture("in/50.png", 50);
    let ask = |code| {
        let words = [
            ("queue stats", vec![], 0),
            ("queue list", vec![], 0),
            ("queue list --state done", vec![], 0),
            ("queue list --state failed", vec![], 4),
            ("queue quarantine", vec![], 0),
            ("gallery list", vec![], 0),
            ("gallery show A", vec![], 0),
            ("gallery show nobody", vec![], 4),
            ("gallery search", vec![probe.as_path()], 0),
            ("identify", vec![probe.as_path()], 0),
            ("identify", vec![other.as_path()], code),
            ("journal show 2", vec![], 0),
            ("journal show 100000", vec![], 4),
            ("queue release 0000000000000000000 --reason x", vec![], 4),
            ("queue release nonsense --reason x", vec![], 2),
            ("gallery remove nobody --reason x", vec![], 4),
        ];
        words.map(|(words, files, code)| {
            let output = desk.run(&format!("--json {words}"), &files);
            assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output.stderr));
            (words, text(&output.stdout))
        })
    };
    let without = ask(4);
    let engine = desk.serve();
    assert_eq!(ask(4), without);
    let (code, took) = engine.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    desk.prove();
}

#[test]
fn json_has_the_shapes_of_the_contract() {
    let desk = lived_in();
    let stats = &desk.json("queue stats", &[], 0)[0];
    has(stats, &["waiting", "working", "done", "duplicate", "quarantined", "failed"]);
    assert_eq!((&stats["done"], &stats["duplicate"], &stats["quarantined"]), (&2.into(), &1.into(), &1.into()));
    let rows = desk.json("queue list", &[], 0);
    assert_eq!(rows.len(), 4);
    rows.iter().for_each(|row| has(row, &["id", "path", "state", "reason", "sha256", "sightings"]));
    let probe = desk.picture("in/1.png", 1);
    let identified = &desk.json("identify", &[&probe], 0)[0];
    has(identified, &["image", "decision", "label", "similarity", "margin", "rotation", "reason", "neighbours"]);
    assert_eq!((&identified["decision"], &identified["label"]), (&"accept".into(), &"A".into()));
    has(&identified["neighbours"][0], &["label", "similarity", "rotation"]);
    let journal = &desk.json("journal verify", &[], 0)[0];
    has(journal, &["ok", "entries", "checkpoint", "unanchored"]);
    has(&desk.json("db verify", &[], 0)[0], &["ok", "digest"]);
    let entries = desk.json("journal export", &[], 0);
    assert_eq!(entries.len() as u64, journal["entries"].as_u64().unwrap());
    entries.iter().enumerate().for_each(|(n, entry)| assert_eq!(entry["sequence"], n));
    assert_eq!(desk.json("journal tail -n 2", &[], 0).len(), 2);
    let embed = &desk.json("embed", &[&probe], 0)[0];
    assert_eq!(embed["embedding"].as_array().unwrap().len(), 384);
    let digest = desk.json("db verify", &[], 0)[0]["digest"].clone();
    assert_eq!(desk.json("db rebuild", &[], 0)[0]["digest"], digest);
    desk.json("db stats", &[], 0);
}

#[test]
fn exit_codes_say_how_it_ended() {
    let desk = Desk::new(&[]);
    let code = |words: &str| {
        let output = desk.run(words, &[]);
        let stderr = text(&output.stderr);
        assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{words}: {stderr}");
        output.status.code()
    };
    assert_eq!(code("queue stats"), Some(0));
    assert_eq!(code("queue list"), Some(4));
    assert_eq!(code("gallery export out.safetensors"), Some(4));
    assert_eq!(code("frobnicate"), Some(2));
    assert_eq!(code("queue list --state nowhere"), Some(2));
    assert_eq!(code("ingest /nowhere/at/all"), Some(4));
    assert_eq!(code("init"), Some(3), "a config that is there is not overwritten");
    assert_eq!(code("model inspect /etc/hostname"), Some(1));
    let nowhere = program().args(["--workspace", "/nowhere/at/all", "queue", "stats"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{}", text(&nowhere.stderr));
    let path = desk.write("in/text.png", b"a text");
    assert_eq!(desk.run("identify", &[&path]).status.code(), Some(1));
    assert_eq!(program().output().unwrap().status.code(), Some(2), "the console without a terminal");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let desk = lived_in();
    for words in ["journal export", "queue list", "--json queue list", "journal tail"] {
        let mut child = desk.command(words, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{words}");
    }
    desk.prove();
}

#[test]
fn commands_at_once_without_an_engine_wait_for_one_another() {
    let desk = lived_in();
    let picture = desk.picture("in/9.png", 9);
    let run = |words: &str, files: &[&Path]| {
        let child = desk.command(words, files).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        (words.to_owned(), child.unwrap())
    };
    let children = [
        run("--json queue stats", &[]),
        run("--json queue list", &[]),
        run("--json enroll C", &[&picture]),
        run("--json journal verify", &[]),
        run("--json gallery list", &[]),
        run("--json queue stats", &[]),
    ];
    for (words, child) in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
    }
    assert_eq!(desk.json("gallery show C", &[], 0).len(), 1);
}

#[test]
fn a_second_engine_is_refused_and_told_whose_the_first_is() {
    let desk = Desk::new(&[]);
    let engine = desk.serve();
    let second = desk.run("serve", &[]);
    assert_eq!(second.status.code(), Some(3));
    let said = text(&second.stderr);
    assert!(said.contains(&format!("process {}", engine.id())), "{said}");
    let rebuilt = desk.run("db rebuild", &[]);
    assert_eq!(rebuilt.status.code(), Some(3), "no rebuilding under a running engine");
    assert!(text(&rebuilt.stderr).contains("stop it first"), "{}", text(&rebuilt.stderr));
    assert_eq!(engine.stop().0, Some(0));
    assert!(!desk.socket().exists());
}

#[test]
fn each_wrong_key_of_the_config_is_one_line() {
    let desk = Desk::new(&[]);
    for key in KEYS {
        // Out of range, or of another kind; the config's own tests try more values.
        let wrong: &[&str] = match key.kind {
            Kind::Number(..) | Kind::Whole(..) | Kind::AutoOrMultiple(..) => &["99999999999"],
            Kind::Word(_) | Kind::Device | Kind::AutoOrFlag => &["nonsense"],
            Kind::Path => &["[7]"],
            Kind::Names => &["7"],
            Kind::Watches => &["[bad]", "[ { path: a } ]", "[ { path: a, mode: eat } ]"],
        };
        for value in wrong.iter().copied() {
            let yaml = match key.path.split_once('.') {
                Some((group, name)) => format!("{group}:\n  {name}: {value}\n"),
                None => format!("{}: {value}\n", key.path),
            };
            std::fs::write(desk.path("config.yaml"), &yaml).unwrap();
            let output = desk.run("queue stats", &[]);
            let said = text(&output.stderr);
            assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{yaml}{said}");
            assert!(said.contains(key.path), "{yaml}{said}");
            if value != "[ { path: a } ]" {
                let shown = value.trim_matches(['[', ']', '\'']).split(' ').next().unwrap_or_default();
                assert!(said.contains("allowed") && said.contains(shown), "{yaml}{said}");
            }
        }
    }
    assert!(!desk.path("database").exists(), "a wrong config touches nothing");
}

#[test]
fn a_comparison_of_precisions_is_recorded_and_said() {
    let desk = Desk::new(&[]);
    desk.json("model untrained dinov2_vits14 --name pack-embed --seed 3", &[], 0);
    let file = desk.path("models/pack-embed.safetensors");
    let pictures: Vec<_> = (0..20).map(|n| desk.picture(format!("compare/{n}.png"), n)).collect();
    let ask = |files: &[&Path]| {
        let mut command = desk.command("--json model inspect", &[&file]);
        command.arg("--compare-precision").args(files).output().unwrap()
    };
    let said = ask(&[&desk.path("compare")]);
    if sightline::vision::device::instructions().is_none() {
        assert_eq!(said.status.code(), Some(3), "nothing to compare: {}", text(&said.stderr));
        return;
    }
    let found: Value = serde_json::from_str(&text(&said.stdout)).unwrap();
    has(
        &found,
        &["weights", "candidate", "machine", "input_size", "date", "agreed", "objections", "figures", "recorded"],
    );
    assert_eq!(
        (&found["candidate"], &found["recorded"], &found["input_size"]),
        (&"bf16".into(), &true.into(), &28.into())
    );
    assert_eq!(found["figures"]["pictures"], pictures.len());
    assert_eq!(said.status.code(), Some(i32::from(found["agreed"] != true)), "{found}");
    // Too few pictures never agree, and the newest word is the card's.
    let few = ask(&[&pictures[0]]);
    assert_eq!(few.status.code(), Some(1), "{}", text(&few.stdout));
    let card: Value =
        serde_json::from_slice(&std::fs::read(desk.path("models/pack-embed.card.json")).unwrap()).unwrap();
    assert_eq!((card["precision"].as_array().unwrap().len(), &card["precision"][0]["agreed"]), (1, &false.into()));
    // Asked without pictures, the command says what the file is.
    assert_eq!(desk.json("model inspect", &[&file], 0)[0]["architecture"], "dinov2_vits14");
}

#[test]
fn a_checkpoint_kept_elsewhere_proves_what_the_workspace_alone_cannot() {
    let desk = lived_in();
    let signed = desk.json("journal checkpoint", &[], 0).remove(0);
    // As the README says: what the command prints is kept.
    let kept = desk.write("elsewhere/checkpoint", &desk.run("journal checkpoint", &[]).stdout);
    let key = desk.write("elsewhere/key.pub", &std::fs::read(desk.path("database/journal/key.pub")).unwrap());
    let with = format!("journal verify --key {} --checkpoint {}", key.display(), kept.display());
    let proof = &desk.json(&with, &[], 0)[0];
    assert!(proof["entries"].as_u64() >= signed["entries"].as_u64());
    assert!(!proof["cannot_prove"].to_string().contains("kept elsewhere"), "{proof}");
    assert_eq!(desk.run("journal verify --checkpoint /nowhere", &[]).status.code(), Some(2));
    let nonsense = desk.write("elsewhere/nonsense", b"nonsense");
    assert_eq!(desk.run(&format!("journal verify --checkpoint {}", nonsense.display()), &[]).status.code(), Some(2));

    let as_json = desk.write("elsewhere/checkpoint.json", signed.to_string().as_bytes());
    assert_eq!(desk.json(&format!("journal verify --checkpoint {}", as_json.display()), &[], 0)[0]["ok"], true);
    assert_eq!(desk.run("journal verify --key /nowhere/key.pub", &[]).status.code(), Some(2));
    // A stop in good order was signed for: that nothing is signed any more is noticed.
    desk.serve().stop();
    desk.serve().stop();
    let checkpoints = desk.path("database/journal/checkpoints.log");
    let log = std::fs::read(&checkpoints).unwrap();
    std::fs::remove_file(&checkpoints).unwrap();
    let without = desk.json("journal verify", &[], 1).remove(0);
    assert!(without["problems"].to_string().contains("checkpoints are missing"), "{without}");
    std::fs::remove_file(&checkpoints).ok();
    std::fs::write(&checkpoints, log).unwrap();

    // Another journal in its place, whole in itself, is found out.
    let other = lived_in();
    std::fs::remove_dir_all(desk.path("database/journal")).unwrap();
    std::fs::rename(other.path("database/journal"), desk.path("database/journal")).unwrap();
    assert_eq!(desk.json(&with, &[], 1)[0]["ok"], false);

    // Damage that keeps every engine from starting is shown all the same, and nothing is changed by looking.
    let log = desk.path("database/journal/00000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    assert_eq!(desk.run("queue stats", &[]).status.code(), Some(1));
    let proof = desk.json("journal verify", &[], 1).remove(0);
    assert!(proof["problems"].to_string().contains("00000000.log: damaged at byte 0"), "{proof}");
    assert_eq!(std::fs::read(&log).unwrap(), bytes);
}

#[test]
fn a_start_that_mended_something_says_so_whatever_the_command() {
    let desk = lived_in();
    for entry in
        std::fs::read_dir(desk.path("database/store")).unwrap().flatten().filter(|entry| entry.path().is_file())
    {
        let length = entry.metadata().unwrap().len() as usize;
        std::fs::write(entry.path(), vec![0xA5; length]).unwrap();
    }
    let output = desk.run("queue stats", &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("made anew"), "{}", text(&output.stderr));
    assert_eq!(text(&desk.run("queue stats", &[]).stderr), "", "it is said once");
}

#[test]
fn nothing_of_an_operators_is_written_over_unasked() {
    let desk = lived_in();
    let config = std::fs::read(desk.path("config.yaml")).unwrap();
    let over = desk.run("gallery export", &[&desk.path("config.yaml")]);
    assert_eq!(over.status.code(), Some(3), "{}", text(&over.stderr));
    assert_eq!(std::fs::read(desk.path("config.yaml")).unwrap(), config);
    // A backup may have any name, and read back where it was made it adds only what is missing there.
    let backup = desk.path("backup");
    desk.json("gallery export", &[&backup], 0);
    assert_eq!(desk.json("gallery import", &[&backup], 0)[0]["sightings"], 0);
    desk.json("gallery remove B --reason x", &[], 0);
    assert_eq!(desk.json("gallery import", &[&backup], 0)[0]["sightings"], 1);
    assert_eq!(desk.json("gallery list", &[], 0).len(), 2);
    // A workspace in use is no place for a demo.
    let demo = program().args(["demo", "--headless", "--for", "1s", "--dir"]).arg(desk.dir.path()).output().unwrap();
    assert_eq!(demo.status.code(), Some(3), "{}", text(&demo.stderr));
    // Vectors of another length than the weights make cannot be theirs.
    let fresh = Desk::new(&[]);
    let pickle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vectors.4.pkl");
    let unfit = fresh.run("gallery import", &[&pickle]);
    assert_eq!(unfit.status.code(), Some(2), "{}", text(&unfit.stderr));
    assert!(text(&unfit.stderr).contains("384"), "{}", text(&unfit.stderr));
    assert_eq!(fresh.json("gallery list", &[], 4).len(), 0);
}

#[test]
fn a_forced_import_keeps_what_it_replaces() {
    let desk = Desk::new(&[]);
    let models = desk.path("models");
    let names = || {
        let mut names: Vec<String> =
            std::fs::read_dir(&models).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    desk.json("model untrained dinov2_vits14 --name one --seed 1", &[], 0);
    desk.json("model untrained dinov2_vits14 --name two --seed 2", &[], 0);
    let (one, two) = (models.join("one.safetensors"), models.join("two.safetensors"));
    assert_eq!(desk.run("model import --name one", &[&two]).status.code(), Some(3));
    // Its own file, forced: nothing is lost.
    desk.json("model import --name one --force", &[&one], 0);
    assert_eq!(names().len(), 4);
    desk.json("model import --name one --force", &[&two], 0);
    assert_eq!(names().iter().filter(|name| name.starts_with("one.replaced-")).count(), 2, "{:?}", names());
    let victim = desk.write("victim.safetensors", b"mine");
    assert_eq!(desk.run("model import --name ../victim --force", &[&two]).status.code(), Some(2));
    assert_eq!(std::fs::read(victim).unwrap(), b"mine");
}
