//! Which pictures stay together when a set is divided.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli::CliError;
use crate::learn::dataset::check::{Look, near};
use crate::learn::dataset::split::groups_of;
use crate::learn::dataset::tables::Tables;
use crate::learn::dataset::{Dataset, Item};

/// What `--group-by` says of each picture of a set that was read from `path`, in their order: those that share a text stay
/// together.
///
/// # Errors
/// It is no way to group; nothing says the key, or a picture is without it.
pub(super) fn keys(set: &Dataset, tables: &Tables, path: &Path, by: &str) -> Result<Vec<Vec<String>>, CliError> {
    let of_each = |text: &dyn Fn(&Item) -> Option<String>| -> Vec<Vec<String>> {
        set.items.iter().map(|item| text(item).into_iter().collect()).collect()
    };
    match by.split_once(':') {
        None if by == "folder" => Ok(of_each(&|item| Some(item.image.parent()?.display().to_string()))),
        Some(("prefix", text)) if !text.is_empty() => Ok(of_each(&|item| {
            let name = item.image.file_name()?.to_string_lossy().into_owned();
            name.split_once(text).map(|(before, _)| before.to_owned())
        })),
        Some(("key", key)) if !key.is_empty() => Ok(tables.values(path, set, key)?),
        _ => Err(CliError::Usage(format!(
            "`{by}` is no way to group; write folder, prefix:_ with a text, or key:NAME with the name of a column of metadata.jsonl, \
             metadata.csv or instances.jsonl, or of a field of a COCO file's images"
        ))),
    }
}

/// The groups of pictures: those that look alike, and those that share a key, also by way of others.
pub(super) fn together(set: &Dataset, looks: &[Result<Look, String>], keys: Option<&[Vec<String>]>) -> Vec<usize> {
    let known: Vec<(usize, &Look)> =
        looks.iter().enumerate().filter_map(|(i, l)| Some((i, l.as_ref().ok()?))).collect();
    let mut links = near(&known);
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, keys) in keys.unwrap_or_default().iter().enumerate() {
        links.extend(keys.iter().map(|key| (*first.entry(key).or_insert(number), number)));
    }
    groups_of(set.items.len(), links)
}

/// How many pictures the largest group has.
pub(super) fn largest(groups: &[usize]) -> usize {
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    groups.iter().for_each(|group| *sizes.entry(*group).or_default() += 1);
    sizes.into_values().max().unwrap_or(0)
}
