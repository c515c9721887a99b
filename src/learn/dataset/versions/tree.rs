//! The files of a folder by content.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::super::DatasetError;
use super::cache;

/// A file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) md5: String,
    /// Bytes; 0 where only a list was read.
    pub(super) size: u64,
}

/// Files by their path below the folder, `/` between names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Entry>);

/// A file that differs between two states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// It is only in the later.
    Added {
        /// The file.
        path: String,
    },
    /// It is only in the earlier.
    Removed {
        /// The file.
        path: String,
    },
    /// Its bytes differ.
    Changed {
        /// The file.
        path: String,
    },
    /// The same bytes under another name.
    Moved {
        /// Its name in the earlier.
        from: String,
        /// Its name in the later.
        path: String,
    },
}

/// What differs between two states.
pub type Changes = Vec<Change>;

impl Tree {
    /// The files below a folder; all of them, hidden ones, too.
    ///
    /// # Errors
    /// A link, a special file, a name that is not UTF-8: they cannot be kept, and must not be left out silently.
    pub(super) fn of(dir: &Path) -> Result<Self, DatasetError> {
        let mut files = BTreeMap::new();
        for (name, path) in paths(dir)? {
            let (md5, size) = cache::md5_of(&path)?;
            files.insert(name, Entry { md5, size });
        }
        Ok(Self(files))
    }

    /// Reads a list out of the cache.
    ///
    /// # Errors
    /// It is no such list, or names files outside of the folder.
    pub(super) fn parse(body: &[u8], set: &Path) -> Result<Self, DatasetError> {
        let wrong =
            |detail: &str| DatasetError::description(set, format!("the list of its files is damaged: {detail}"));
        let listed: Vec<Value> = serde_json::from_slice(body).map_err(|error| wrong(&error.to_string()))?;
        let mut files = BTreeMap::new();
        for value in &listed {
            let text = |key: &str| value.get(key).and_then(Value::as_str);
            let (Some(path), Some(md5)) = (text("relpath"), text("md5")) else {
                return Err(wrong("a file has no `relpath` or no `md5`"));
            };
            let inside = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !inside || path.contains('\0') {
                return Err(wrong(&format!("`{}` is no path inside of it", crate::domain::display_safe(path))));
            }
            if !cache::is_digest(md5) {
                return Err(wrong("an `md5` is none"));
            }
            files.insert(path.to_owned(), Entry { md5: md5.to_owned(), size: 0 });
        }
        Ok(Self(files))
    }

    /// The list as DVC writes it, to the byte: `json.dumps` with sorted keys.
    pub(super) fn body(&self) -> String {
        let entries: Vec<String> = self
            .0
            .iter()
            .map(|(path, entry)| format!("{{\"md5\": \"{}\", \"relpath\": \"{}\"}}", entry.md5, escaped(path)))
            .collect();
        format!("[{}]", entries.join(", "))
    }

    /// Whether there is no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All bytes together, where the files themselves were read.
    pub(super) fn bytes(&self) -> u64 {
        self.0.values().map(|entry| entry.size).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    pub(super) fn digests(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|entry| entry.md5.as_str())
    }

    /// The content of a file.
    pub(super) fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// What is different in a later state, by path.
    #[must_use]
    pub fn changes(&self, later: &Self) -> Changes {
        let gone: Vec<(&str, &Entry)> = self.iter().filter(|(path, _)| later.get(path).is_none()).collect();
        let mut by_content: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        gone.iter().rev().for_each(|(path, entry)| by_content.entry(&entry.md5).or_default().push(path));
        let mut moved: BTreeMap<&str, &str> = BTreeMap::new();
        let mut changes = Vec::new();
        for (path, entry) in later.iter() {
            match self.get(path) {
                Some(before) if before.md5 == entry.md5 => {}
                Some(_) => changes.push(Change::Changed { path: path.to_owned() }),
                None => match by_content.get_mut(entry.md5.as_str()).and_then(Vec::pop) {
                    Some(from) => {
                        moved.insert(from, path);
                        changes.push(Change::Moved { from: from.to_owned(), path: path.to_owned() });
                    }
                    None => changes.push(Change::Added { path: path.to_owned() }),
                },
            }
        }
        let removed = gone.into_iter().filter(|(path, _)| !moved.contains_key(path));
        changes.extend(removed.map(|(path, _)| Change::Removed { path: path.to_owned() }));
        changes
    }
}

/// The files below a folder, by their names in it; nothing is read.
///
/// # Errors
/// As for [`Tree::of`].
pub(super) fn paths(dir: &Path) -> Result<Vec<(String, PathBuf)>, DatasetError> {
    let (mut files, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(DatasetError::io("read", &folder))? {
            let entry = entry.map_err(DatasetError::io("read", &folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(DatasetError::io("look at", &path))?;
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            if !kind.is_file() {
                let what = if kind.is_symlink() { "a link" } else { "no ordinary file" };
                let detail = format!("it is {what}, which a version cannot hold; put a file there, or take it out");
                return Err(DatasetError::description(&path, detail));
            }
            let name = path.strip_prefix(dir).ok().and_then(Path::to_str).map(str::to_owned);
            let name = name.ok_or_else(|| {
                DatasetError::description(&path, "its name is not UTF-8, which a version cannot hold; rename it")
            })?;
            files.push((name, path));
        }
    }
    Ok(files)
}

/// A string as Python's `json` writes it: everything but printable ASCII escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_python_does() {
        assert_eq!(escaped("a b~\u{7f}\n\"\\é\u{1F48A}"), "a b~\\u007f\\n\\\"\\\\\\u00e9\\ud83d\\udc8a");
    }

    fn tree(files: &[(&str, &str)]) -> Tree {
        let entry = |(path, md5): &(&str, &str)| ((*path).to_owned(), Entry { md5: (*md5).to_owned(), size: 1 });
        Tree(files.iter().map(entry).collect())
    }

    #[test]
    fn changes_are_told_apart() {
        let before = tree(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "4")]);
        let after = tree(&[("a", "1"), ("b", "9"), ("f", "4"), ("g", "5"), ("e", "4")]);
        let expected = [
            Change::Changed { path: "b".into() },
            Change::Moved { from: "d".into(), path: "f".into() },
            Change::Added { path: "g".into() },
            Change::Removed { path: "c".into() },
        ];
        assert_eq!(before.changes(&after), expected);
        assert!(before.changes(&before).is_empty());
    }
}
