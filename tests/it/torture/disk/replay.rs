//! What a disk may hold after a power loss, made from a log of what was done to it.
//!
//! The model is stricter than any file system in use. A file's bytes and length last only after a sync of that file (or
//! of everything); until then each write may be there, be missing, or be there in part, by sectors of 512 bytes, with
//! zeroes where the file was made longer. A name lasts only after a sync of its folder: a file's own sync does not make
//! its name last. What was done to the names of one folder comes in its order, so that a prefix of it is there. A rename
//! is there whole or not at all, and, between two folders, lasts with the first sync of either.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::SmallRng;

use super::op::Op;

const SECTOR: u64 = 512;

/// Folders that were there, synced, before the log begins.
pub(super) struct Before {
    root: u64,
    folders: Vec<(u64, String, u64)>,
}

impl Before {
    /// The folders below a path; there must be no files.
    pub(super) fn of(root: &Path) -> Self {
        fn walk(dir: &Path, folders: &mut Vec<(u64, String, u64)>) {
            let parent = fs::metadata(dir).unwrap().ino();
            for entry in fs::read_dir(dir).unwrap().flatten() {
                assert!(entry.file_type().unwrap().is_dir(), "{} was there before", entry.path().display());
                folders.push((parent, entry.file_name().into_string().unwrap(), entry.metadata().unwrap().ino()));
                walk(&entry.path(), folders);
            }
        }
        let mut folders = Vec::new();
        walk(root, &mut folders);
        Self { root: fs::metadata(root).unwrap().ino(), folders }
    }

    pub(super) fn parts(&self) -> (u64, &[(u64, String, u64)]) {
        (self.root, &self.folders)
    }

    pub(super) fn from_parts(root: u64, folders: Vec<(u64, String, u64)>) -> Self {
        Self { root, folders }
    }
}

/// How much of what was not synced is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Luck {
    /// Nothing that need not be.
    None,
    /// Everything.
    All,
    /// Names to the last, bytes not at all: what file systems do that order their metadata only.
    NamesOnly,
    /// Each as chance has it.
    Some(f64),
}

/// A disk after a power loss: files with their bytes, and folders (none).
pub(super) type State = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// The folders whose names an operation changes.
fn folders(op: &Op) -> Vec<u64> {
    match op {
        Op::Create { dir, .. } | Op::Mkdir { dir, .. } | Op::Link { dir, .. } | Op::Unlink { dir, .. } => vec![*dir],
        Op::Rename { from, to } => vec![from.0, to.0],
        _ => Vec::new(),
    }
}

/// One state that the disk may be in when the power fails after these operations.
pub(super) fn after(before: &Before, ops: &[Op], luck: Luck, random: &mut SmallRng) -> State {
    let mut synced: HashMap<u64, usize> = HashMap::new();
    let mut all = 0;
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Sync { inode } => drop(synced.insert(*inode, at)),
            Op::SyncAll => all = at,
            _ => {}
        }
    }
    let lasts = |inode: u64, at: usize| at < all || synced.get(&inode).is_some_and(|sync| at < *sync);
    let names = names(before, ops, &lasts, luck, random);
    let mut below: HashMap<u64, Vec<(&str, u64)>> = HashMap::new();
    for ((dir, name), inode) in &names {
        below.entry(*dir).or_default().push((name, *inode));
    }
    let mut dirs: HashSet<u64> = before.folders.iter().map(|(_, _, inode)| *inode).collect();
    dirs.extend(ops.iter().filter_map(|op| if let Op::Mkdir { inode, .. } = op { Some(*inode) } else { None }));
    // A file that has two names is one file.
    let mut contents: HashMap<u64, Vec<u8>> = HashMap::new();
    let (mut state, mut open) = (State::new(), vec![(before.root, PathBuf::new())]);
    while let Some((dir, path)) = open.pop() {
        let mut entries = below.remove(&dir).unwrap_or_default();
        entries.sort_unstable();
        for (name, inode) in entries {
            let path = path.join(name);
            if dirs.contains(&inode) {
                state.insert(path.clone(), None);
                open.push((inode, path));
            } else {
                let bytes = contents.entry(inode).or_insert_with(|| content(inode, ops, &lasts, luck, random));
                state.insert(path, Some(bytes.clone()));
            }
        }
    }
    state
}

/// The names that are there.
fn names(
    before: &Before,
    ops: &[Op],
    lasts: &dyn Fn(u64, usize) -> bool,
    luck: Luck,
    random: &mut SmallRng,
) -> BTreeMap<(u64, String), u64> {
    // What lasts carries with it whatever came before it in the same folder.
    let (mut forced, mut carried) = (vec![false; ops.len()], HashSet::new());
    for (at, op) in ops.iter().enumerate().rev() {
        let dirs = folders(op);
        if dirs.iter().any(|dir| carried.contains(dir) || lasts(*dir, at)) {
            forced[at] = true;
            carried.extend(dirs);
        }
    }
    let mut names: BTreeMap<(u64, String), u64> =
        before.folders.iter().map(|(dir, name, inode)| ((*dir, name.clone()), *inode)).collect();
    let mut cut = HashSet::new();
    for (at, op) in ops.iter().enumerate() {
        let dirs = folders(op);
        if !forced[at] {
            let stays = match luck {
                Luck::None => false,
                Luck::All | Luck::NamesOnly => true,
                Luck::Some(chance) => random.random_bool(chance),
            };
            if !dirs.is_empty() && (!stays || dirs.iter().any(|dir| cut.contains(dir))) {
                cut.extend(dirs);
                continue;
            }
        }
        match op {
            Op::Create { dir, name, inode } | Op::Mkdir { dir, name, inode } | Op::Link { dir, name, inode } => {
                names.insert((*dir, name.clone()), *inode);
            }
            Op::Unlink { dir, name } => drop(names.remove(&(*dir, name.clone()))),
            Op::Rename { from, to } => {
                let inode =
                    names.remove(from).expect("what is renamed was there, for its folder's names keep their order");
                names.insert(to.clone(), inode);
            }
            _ => {}
        }
    }
    names
}

/// What is in a file.
fn content(inode: u64, ops: &[Op], lasts: &dyn Fn(u64, usize) -> bool, luck: Luck, random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Write { inode: of, offset, data } if *of == inode => {
                if lasts(inode, at) {
                    write(&mut bytes, *offset, data);
                    continue;
                }
                match luck {
                    Luck::None | Luck::NamesOnly => {}
                    Luck::All => write(&mut bytes, *offset, data),
                    Luck::Some(chance) => match random.random_range(0..4) {
                        0 => tear(&mut bytes, *offset, data, random),
                        _ if random.random_bool(chance) => write(&mut bytes, *offset, data),
                        _ => {}
                    },
                }
            }
            Op::Length { inode: of, length } if *of == inode => {
                let there = match luck {
                    Luck::None => false,
                    Luck::All | Luck::NamesOnly => true,
                    Luck::Some(chance) => random.random_bool(chance),
                };
                if there || lasts(inode, at) {
                    bytes.resize(*length as usize, 0);
                }
            }
            _ => {}
        }
    }
    bytes
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (begin, end) = (offset as usize, offset as usize + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[begin..end].copy_from_slice(data);
}

/// Some sectors of a write are there: the first ones, the last ones, or any; the file may be longer all the same.
fn tear(bytes: &mut Vec<u8>, offset: u64, data: &[u8], random: &mut SmallRng) {
    let end = offset + data.len() as u64;
    if random.random_bool(0.5) && (bytes.len() as u64) < end {
        bytes.resize(end as usize, 0);
    }
    let (first, last) = (offset / SECTOR, end.div_ceil(SECTOR));
    let (middle, how) = (random.random_range(first..=last), random.random_range(0..3));
    for sector in first..last {
        let there = match how {
            0 => sector < middle,
            1 => sector >= middle,
            _ => random.random(),
        };
        if there {
            let (from, to) = ((sector * SECTOR).max(offset), ((sector + 1) * SECTOR).min(end));
            write(bytes, from, &data[(from - offset) as usize..(to - offset) as usize]);
        }
    }
}

/// Writes a state below a folder.
pub(super) fn lay_out(state: &State, dir: &Path) {
    for (name, bytes) in state {
        let path = dir.join(name);
        match bytes {
            None => fs::create_dir_all(&path).unwrap(),
            Some(bytes) => {
                fs::write(&path, bytes).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
    }
}
