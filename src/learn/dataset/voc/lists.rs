//! Which part of a set the pictures are for: `ImageSets/Main/{train,val,test}.txt`, a picture's name without its extension a
//! line, or its path below `JPEGImages` where names are not enough.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::lookup::{Lookup, some, spellings};
use super::super::{DatasetError, Problem, Split, walk};

/// Behind a name: whether there is something of a class in the picture.
const NUMBERS: [&str; 3] = ["-1", "0", "1"];

/// The part of each picture that a list names, and what is wrong with the lists. Only a set with lists says anything.
pub(super) fn splits(
    dir: &Path,
    pictures: &[PathBuf],
    problems: &mut Vec<Problem>,
) -> Result<BTreeMap<PathBuf, Split>, DatasetError> {
    let lookup = Lookup::of(pictures.iter().cloned());
    let lists = dir.join("ImageSets/Main");
    let (mut splits, mut is_listed) = (BTreeMap::<PathBuf, Split>::new(), false);
    for split in Split::ALL {
        let list = lists.join(format!("{}.txt", split.name()));
        if !list.is_file() {
            continue;
        }
        is_listed = true;
        let text = walk::text(&list, walk::LIST)?;
        let mut gone = Vec::new();
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let named = match of_line(dir, &lookup, line.trim()) {
                Ok(named) => named,
                Err(several) => {
                    let reason = format!(
                        "`{}` may be any of {}; write its path below JPEGImages",
                        crate::domain::display_safe(line.trim()),
                        some(&several)
                    );
                    problems.push(Problem { line: Some(number), ..Problem::doubtful(&list, reason) });
                    continue;
                }
            };
            if named.is_empty() && !line.trim().is_empty() {
                gone.push(number);
            }
            for picture in named {
                let before = *splits.entry(picture.clone()).or_insert(split);
                if before != split {
                    let (first, again) = (before.name(), split.name());
                    let reason =
                        format!("{} is in both {first} and {again}; it is taken for {first}", picture.display());
                    problems.push(Problem { line: Some(number), ..Problem::leak(&list, reason) });
                }
            }
        }
        if let [first, ..] = gone.as_slice() {
            let reason = match gone.len() {
                1 => "no labelled picture is called so".to_owned(),
                more => format!("no labelled picture is called so, here and in {} more lines", more - 1),
            };
            problems.push(Problem::rejected(&list, Some(*first), reason));
        }
    }
    let unlisted: Vec<PathBuf> = pictures.iter().filter(|picture| !splits.contains_key(*picture)).cloned().collect();
    if is_listed && !unlisted.is_empty() {
        let reason = format!(
            "{} labelled pictures are in none of its lists and taken for {}: {}",
            unlisted.len(),
            Split::Train.name(),
            some(&unlisted)
        );
        problems.push(Problem::doubtful(&lists, reason));
    }
    Ok(splits)
}

/// The pictures of a line: of the whole of it, or else of each of its words, as lists with a number behind the name have them.
/// An error holds those between which a name does not tell.
fn of_line(dir: &Path, lookup: &Lookup, line: &str) -> Result<Vec<PathBuf>, Vec<PathBuf>> {
    if let Some(picture) = of_name(dir, lookup, line)? {
        return Ok(vec![picture]);
    }
    let mut named = Vec::new();
    let words = line.split_whitespace().enumerate();
    for (_, word) in words.filter(|(place, word)| *place == 0 || !NUMBERS.contains(word)) {
        named.extend(of_name(dir, lookup, word)?);
    }
    Ok(named)
}

fn of_name(dir: &Path, lookup: &Lookup, name: &str) -> Result<Option<PathBuf>, Vec<PathBuf>> {
    let folders = [dir.join("JPEGImages"), dir.join("images"), dir.to_owned()];
    for path in spellings(name) {
        let placed = folders.iter().map(|folder| folder.join(&path)).find_map(|path| {
            let by_stem = || lookup.with_stem_in(path.parent()?, path.file_name()?);
            lookup.at(&path).or_else(by_stem)
        });
        if let Some(picture) = placed {
            return Ok(Some(picture.clone()));
        }
        // A name alone is enough where only one picture has it.
        let Some(alone) = path.file_name().filter(|_| path.components().count() == 1) else { continue };
        let called = lookup.called(alone);
        match if called.is_empty() { lookup.with_stem(alone) } else { called } {
            [] => {}
            [one] => return Ok(Some(one.clone())),
            several => return Err(several.to_vec()),
        }
    }
    Ok(None)
}
