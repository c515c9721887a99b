//! Versions of sets: as dvc keeps them, all or nothing, and nothing lost in silence.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use serde_json::Value;
use sightline::learn::dataset::versions::{Change, Kept, Versions};

fn fill(dir: &Path) {
    let every_byte: Vec<u8> = (0..=255).collect();
    for (name, content) in [
        ("a.txt", b"hello\n".as_slice()),
        ("empty", b""),
        ("images/train/pill \u{e9}\u{4e2d}.jpg", b"\xff\xd8not really\xff\xd9"),
        ("images/train/\u{1f48a}.jpg", b"hello\n"),
        ("labels/\"quoted\" name.txt", b"0 0.5 0.5 0.2 0.2\n"),
        ("labels/deep/er/z~.txt", &every_byte),
    ] {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Every file below a folder by its path.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

fn keep(set: &Path, message: &str) -> Kept {
    Versions::open(set, true).unwrap().keep(message).unwrap()
}

#[test]
fn a_version_is_to_the_byte_what_dvc_makes() {
    let golden: Value =
        serde_json::from_str(include_str!("../../golden/dvc.json")).expect("what tests/golden/dvc.py wrote");
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("packs"));
    assert!(matches!(keep(&dir.path().join("packs"), ""), Kept::New(_)));
    assert_eq!(fs::read_to_string(dir.path().join("packs.dvc")).unwrap(), golden["pointer"].as_str().unwrap());
    let decode = |value: &Value| base64::prelude::BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
    let theirs: BTreeMap<String, Vec<u8>> =
        golden["cache"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), decode(value))).collect();
    assert_eq!(files(&dir.path().join(".dvc/cache/files/md5")), theirs);
}

#[test]
fn any_state_comes_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("packs");
    fill(&set);
    let first = files(&set);
    keep(&set, "first");
    fs::write(set.join("a.txt"), "changed").unwrap();
    fs::rename(set.join("empty"), set.join("still empty")).unwrap();
    fs::remove_file(set.join("labels/deep/er/z~.txt")).unwrap();
    fs::write(set.join("new.txt"), "new").unwrap();
    let second = files(&set);
    assert!(matches!(keep(&set, "second"), Kept::New(_)));
    assert!(matches!(keep(&set, "again"), Kept::Same(version) if version.number == 2));

    let versions = Versions::open(&set, false).unwrap();
    let all = versions.list().unwrap();
    assert_eq!(all.iter().map(|v| (v.number, v.message.as_str())).collect::<Vec<_>>(), [(1, "first"), (2, "second")]);
    let changes = versions.tree(&all[0]).unwrap().changes(&versions.tree(&all[1]).unwrap());
    let expected = [
        Change::Changed { path: "a.txt".into() },
        Change::Added { path: "new.txt".into() },
        Change::Moved { from: "empty".into(), path: "still empty".into() },
        Change::Removed { path: "labels/deep/er/z~.txt".into() },
    ];
    assert_eq!(changes, expected);
    for (version, state) in [(&all[0], &first), (&all[1], &second), (&all[0], &first)] {
        assert!(versions.loss(version).unwrap().0.is_empty());
        versions.restore(version).unwrap();
        assert_eq!(&files(&set), state);
        assert_eq!(versions.current().as_ref(), Some(&version.md5));
    }
    fs::remove_dir_all(&set).unwrap();
    versions.restore(&versions.find("2").unwrap()).unwrap();
    assert_eq!(files(&set), second);
    let prefix = &all[0].md5[..8];
    assert_eq!(versions.find(prefix).unwrap().number, 1);
    assert!(versions.find("7").unwrap_err().to_string().contains("it has no version `7`"));
    let left: Vec<String> =
        fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| [".dvc", "packs", "packs.dvc"].contains(&name.as_str())), "{left:?}");
}

#[test]
fn what_no_version_holds_is_named_before_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("packs");
    fill(&set);
    keep(&set, "");
    fs::write(set.join("a.txt"), "mine").unwrap();
    fs::write(set.join("mine.txt"), "mine, too").unwrap();
    // The same bytes as a kept file's are not lost.
    fs::write(set.join("copy.txt"), "hello\n").unwrap();
    let versions = Versions::open(&set, false).unwrap();
    let version = versions.find("1").unwrap();
    assert_eq!(versions.loss(&version).unwrap().0, ["a.txt", "mine.txt"]);

    // Damage in the cache is found before anything is touched.
    let before = files(&set);
    let digest = "b1946ac92492d2347c6235b4d2611184";
    let content = dir.path().join(".dvc/cache/files/md5").join(&digest[..2]).join(&digest[2..]);
    fs::remove_file(&content).unwrap();
    fs::write(&content, "hullo\n").unwrap();
    fs::remove_file(set.join("images/train/\u{1f48a}.jpg")).unwrap();
    let error = versions.restore(&version).unwrap_err().to_string();
    assert!(error.contains("its bytes are not those of its name"), "{error}");
    assert_eq!(files(&set).len(), before.len() - 1);
    // Keeping again mends it: the bytes are there, under copy.txt.
    drop(versions);
    assert!(matches!(keep(&set, "mended"), Kept::New(_)));
    Versions::open(&set, false).unwrap().restore(&version).unwrap();
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("packs");
    let error = |result: Result<Kept, _>| -> String {
        let result: Result<Kept, sightline::learn::dataset::DatasetError> = result;
        result.unwrap_err().to_string()
    };
    assert!(Versions::open(&set, true).err().unwrap().to_string().contains("there is no"));
    fs::create_dir_all(&set).unwrap();
    assert!(Versions::open(&set, false).err().unwrap().to_string().contains("no version of it is kept"));
    // Nothing is made for what is not kept: an empty folder, or one with a link in it.
    fs::create_dir(set.join("deeper")).unwrap();
    let refused = || Versions::open(&set, true).err().unwrap().to_string();
    assert!(refused().contains("there is nothing to keep"));
    std::os::unix::fs::symlink("a.txt", set.join("link")).unwrap();
    assert!(refused().contains("it is a link, which a version cannot hold"));
    fs::remove_file(set.join("link")).unwrap();
    fs::write(set.join("a.txt"), "a").unwrap();
    fs::write(dir.path().join("packs.dvc"), "outs: somebody's").unwrap();
    assert!(refused().contains("use dvc for this set"));
    fs::remove_file(dir.path().join("packs.dvc")).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no `.dvc` is left behind");
    let versions = Versions::open(&set, true).unwrap();
    std::os::unix::fs::symlink("a.txt", set.join("link")).unwrap();
    assert!(error(versions.keep("")).contains("it is a link, which a version cannot hold"));
    fs::remove_file(set.join("link")).unwrap();
    assert!(Versions::open(&set, true).err().unwrap().to_string().contains("another process is at work"));
    // Somebody else's record is not written over.
    let foreign = "deps:\n- path: raw\nouts:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: packs\n";
    fs::write(dir.path().join("packs.dvc"), foreign).unwrap();
    assert!(error(versions.keep("")).contains("use dvc for this set"));
    assert_eq!(fs::read_to_string(dir.path().join("packs.dvc")).unwrap(), foreign);
    assert!(versions.list().unwrap().is_empty());
}

#[test]
fn a_list_that_leads_outside_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("packs");
    fill(&set);
    keep(&set, "");
    // A version whose list, under its right digest, names a file above the folder.
    let body = r#"[{"md5": "b1946ac92492d2347c6235b4d2611184", "relpath": "../outside.txt"}]"#;
    let records = fs::read_dir(dir.path().join(".dvc/sightline")).unwrap().flatten().find(|e| e.path().is_dir());
    let record = records.unwrap().path().join("000001.json");
    let digest = md5_of(body).unwrap();
    let text = fs::read_to_string(&record).unwrap();
    let mut version: Value = serde_json::from_str(&text).unwrap();
    version["md5"] = format!("{digest}.dir").into();
    fs::write(&record, version.to_string()).unwrap();
    let at = dir.path().join(".dvc/cache/files/md5").join(&digest[..2]);
    fs::create_dir_all(&at).unwrap();
    fs::write(at.join(format!("{}.dir", &digest[2..])), body).unwrap();
    let versions = Versions::open(&set, false).unwrap();
    let error = versions.restore(&versions.find("1").unwrap()).unwrap_err().to_string();
    assert!(error.contains("is no path inside of it"), "{error}");
    assert!(!dir.path().join("outside.txt").exists());
}

/// A text's MD5 by the cache itself: keep a file of it, and see under which name it lies.
fn md5_of(text: &str) -> Option<String> {
    let dir = tempfile::tempdir().ok()?;
    fs::create_dir(dir.path().join("one")).ok()?;
    fs::write(dir.path().join("one/file"), text).ok()?;
    keep(&dir.path().join("one"), "");
    let all = files(&dir.path().join(".dvc/cache/files/md5"));
    all.into_iter().find(|(_, bytes)| bytes == text.as_bytes()).map(|(name, _)| name.replace('/', ""))
}
