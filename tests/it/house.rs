//! The house rules, read from the source: imports point one way, crates stay in their rooms, files stay short.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may import of ours, besides itself. `main` and `lib` are not rooms.
const EDGES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("files", &[]),
    ("config", &["domain", "files"]),
    ("intake", &["domain", "files", "config"]),
    ("archive", &["domain", "files", "config"]),
    ("vision", &["domain", "files", "config"]),
    ("gallery", &["domain", "files", "config"]),
    ("journal", &["domain", "files", "config"]),
    ("store", &["domain", "files", "config"]),
    ("monitor", &["domain", "config"]),
    ("release", &["domain", "config"]),
    // Learning runs the same networks.
    ("learn", &["domain", "files", "config", "vision"]),
    (
        "engine",
        &[
            "domain", "files", "config", "intake", "archive", "vision", "gallery", "journal", "store", "monitor",
            "release", "learn",
        ],
    ),
    ("api", &["domain", "engine"]),
    // Of the interface only its client.
    ("console", &["domain", "config", "api::client"]),
    (
        "cli",
        &[
            "domain", "files", "config", "intake", "archive", "vision", "gallery", "journal", "store", "monitor",
            "release", "learn", "engine", "api", "console",
        ],
    ),
];

/// Where a crate may be named.
const CRATES: &[(&str, &[&str])] = &[
    ("tch", &["src/vision", "src/learn"]),
    ("sled", &["src/store"]),
    ("notify", &["src/intake/watch.rs"]),
    ("usearch", &["src/gallery/build.rs"]),
    ("ratatui", &["src/console"]),
    ("crossterm", &["src/console"]),
    ("clap", &["src/cli", "src/main.rs"]),
    ("axum", &["src/api"]),
    ("hyper", &["src/api"]),
    ("aws_sdk_s3", &["src/release/s3.rs"]),
];

const LONGEST: usize = 500;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every source file: its path from the project's folder, and its text without comments and strings.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        (name, bare(&fs::read_to_string(&path).unwrap()))
    };
    sources(&root.join("src")).into_iter().map(read).collect()
}

/// Rust without its comments and string literals, so that words in them are no imports. Line breaks stay.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if c == '"' || rest.starts_with("r#\"") || rest.starts_with("r\"") {
            let raw = c == 'r';
            let hashes = usize::from(rest.starts_with("r#"));
            let open = usize::from(raw) + hashes + 1;
            let end = if raw {
                let close = format!("\"{}", "#".repeat(hashes));
                rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
            } else {
                let mut escaped = false;
                let end = rest[open..].char_indices().find(|(_, c)| {
                    let ends = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |(at, _)| open + at + 1)
            };
            out.extend(rest[..end].chars().filter(|c| *c == '\n'));
            rest = &rest[end..];
        } else if rest.starts_with("'\"'") {
            rest = &rest[3..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The room of a file: `src/vision/…` and `src/vision.rs` are `vision`; none for `main.rs` and `lib.rs`.
fn room(file: &str) -> Option<String> {
    let name = file.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (name != "main" && name != "lib").then(|| name.to_owned())
}

/// The paths below `crate::` that a text names, two segments deep; `use crate::{a, b::c}` counts as each.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        // `$crate::` and `some_crate::` are other things.
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => drop(found.insert(path(rest))),
            Some(list) => {
                let (mut depth, mut start) = (0, true);
                for (at, c) in list.char_indices() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            found.insert(path(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn path(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    text[..end].split("::").filter(|part| !part.is_empty()).take(2).collect::<Vec<_>>().join("::")
}

fn names_crate(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = &text[..at];
        // `crate::notify::` and `self.notify::` are ours.
        !before.ends_with(word) && !before.ends_with("crate::") && !before.ends_with("super::")
    }) || text.contains(&format!("use {name};"))
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let Some(room) = room(&file) else { continue };
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{file}: the room `{room}` has no place in the house; give it one here"));
            continue;
        };
        for import in imports(&text) {
            let target = import.split("::").next().unwrap_or_default();
            if target != room && !allowed.contains(&target) && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{file}: {room} may not import crate::{import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (file, text) in files() {
        for (name, places) in CRATES.iter().filter(|(name, _)| names_crate(&text, name)) {
            used.insert(*name);
            if !places.iter().any(|place| file == *place || file.starts_with(&format!("{place}/"))) {
                // A room's root file belongs to the room.
                if !places.iter().any(|place| file == format!("{place}.rs")) {
                    wrong.push(format!("{file}: names {name}, which belongs to {}", places.join(", ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The reader of this test would notice nothing if it found no crate anywhere.
    for name in ["tch", "sled", "notify", "clap", "axum"] {
        assert!(used.contains(name), "{name} is used nowhere: does this test still see anything?");
    }
}

#[test]
fn files_stay_short() {
    let long: Vec<String> = files()
        .into_iter()
        .map(|(file, text)| (text.lines().count(), file))
        .filter(|(lines, _)| *lines > LONGEST)
        .map(|(lines, file)| format!("{file} has {lines} lines; past {LONGEST} it has a second subject: find it"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_reader_of_imports_reads() {
    let text = bare(
        "// use crate::nothing;\nuse crate::{domain::{A, B}, config, api::client::C};\nlet x = crate::store::Y; let s = \"crate::engine\";",
    );
    let found: Vec<String> = imports(&text).into_iter().collect();
    assert_eq!(found, ["api::client", "config", "domain", "store::Y"]);
    assert!(names_crate("use tch::Tensor;", "tch") && !names_crate("use crate::watch::X;", "tch"));
    assert_eq!(room("src/engine/core.rs").as_deref(), Some("engine"));
}
