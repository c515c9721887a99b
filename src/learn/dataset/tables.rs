//! Tables beside a set that say more of its pictures than labels do: whose they are, which design an object is of.
//!
//! `metadata.jsonl` and `metadata.csv` have a row a picture, which its column `file` (or `file_name`) names from the table's
//! folder; [`INSTANCES`] of drawn sets has a row a label, which `image` and `row` name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::lookup::{Lookup, spellings};
use super::walk::{self, tidied};
use super::{Dataset, DatasetError, Problem, coco, csv};

/// What the table of a drawn set's labels is called.
pub const INSTANCES: &str = "instances.jsonl";
/// What tables of pictures are called.
const METADATA: [&str; 2] = ["metadata.jsonl", "metadata.csv"];
/// Columns that may name a picture in them.
const FILE: [&str; 2] = ["file", "file_name"];
/// The column that names a picture in [`INSTANCES`].
const IMAGE: &str = "image";
/// The column there that counts a picture's labels.
const ROW: &str = "row";
/// Bytes of a table at most.
const MOST: u64 = 1 << 30;

/// The tables of a set.
#[derive(Debug, Default)]
pub struct Tables {
    tables: Vec<Table>,
    /// Tables that cannot be used, and why.
    unread: Vec<Problem>,
}

#[derive(Debug)]
struct Table {
    path: PathBuf,
    name: &'static str,
    /// The columns of a table with commas.
    columns: Vec<String>,
    /// Whether it is made of what COCO files say of their pictures.
    of_images: bool,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    /// Its line in the file, from 1.
    line: usize,
    /// The picture, as the row calls it.
    named: String,
    /// The column that names it.
    column: &'static str,
    /// The picture of the set.
    picture: Option<PathBuf>,
    /// Whether it goes along with a copy.
    goes: bool,
    fields: Fields,
}

#[derive(Debug)]
enum Fields {
    /// A line of JSON as it stands.
    Json(String),
    Csv(Vec<String>),
}

impl Table {
    fn of_images(path: PathBuf, rows: Vec<Row>) -> Self {
        Self { path, name: METADATA[0], columns: Vec::new(), of_images: true, rows }
    }

    /// What a row says under a key: texts, for a picture may have several.
    fn values(&self, row: &Row, key: &str) -> Vec<String> {
        match &row.fields {
            Fields::Json(line) => object(line).ok().and_then(|map| map.get(key).map(texts)).unwrap_or_default(),
            Fields::Csv(fields) => {
                let place = self.columns.iter().position(|column| column == key);
                let value = place.and_then(|place| fields.get(place)).filter(|value| !value.is_empty());
                value.cloned().into_iter().collect()
            }
        }
    }

    /// The keys that rows have, but those that name the picture.
    fn keys(&self) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> = self.columns.iter().cloned().collect();
        for row in &self.rows {
            if let Fields::Json(line) = &row.fields {
                keys.extend(object(line).unwrap_or_default().into_iter().map(|(key, _)| key));
            }
        }
        keys.retain(|key| !FILE.contains(&key.as_str()) && ![IMAGE, ROW].contains(&key.as_str()));
        keys
    }
}

fn object(line: &str) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_str(line)
}

/// A value as texts to group by: none for nothing, one for each of a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        other => vec![other.to_string()],
    }
}

/// Where a set's tables lie: its folder, or that of its description, and above a COCO file's `annotations/`.
fn folders(set: &Path) -> Vec<PathBuf> {
    if set.is_dir() {
        return vec![set.to_owned()];
    }
    let beside = set.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = beside.parent().filter(|_| coco::lies_apart(beside));
    let named = |folder: &Path| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() };
    [Some(beside), above].into_iter().flatten().map(named).collect()
}

impl Tables {
    /// Reads the tables beside a set that was read from `set`. A table that cannot be used is no error here.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn beside(set: &Path, dataset: &Dataset) -> Result<Self, DatasetError> {
        let pictures = Lookup::of(dataset.items.iter().map(|item| item.image.clone()));
        let mut found = Self::default();
        for name in METADATA.into_iter().chain([INSTANCES]) {
            for folder in folders(set) {
                let path = folder.join(name);
                let read = match walk::read_bounded(&path, MOST)? {
                    Ok(None) => continue,
                    Ok(Some(bytes)) => table(&path, name, bytes, &pictures),
                    Err(reason) => Err(reason),
                };
                match read {
                    Ok(table) => found.tables.push(table),
                    Err(reason) => {
                        found.unread.push(Problem::rejected(&path, None, format!("{reason}; it stays behind")))
                    }
                }
                // The nearest is the set's.
                break;
            }
        }
        for table in found.tables.iter_mut().filter(|table| table.name == INSTANCES) {
            found.unread.extend(unfit(table, dataset));
        }
        for file in coco::files(set) {
            let rows = of_images(coco::said(&file)?);
            if rows.is_empty() {
                continue;
            }
            let own = found.tables.iter_mut().find(|table| table.name == METADATA[0]);
            match own {
                // The parts of a set.
                Some(table) if table.of_images => table.rows.extend(rows),
                Some(table) => {
                    let reason = format!("fields of its `images` stay behind, for {} is there", table.path.display());
                    found.unread.push(Problem::rejected(&file, None, reason));
                    let rows = rows.into_iter().map(|row| Row { goes: false, ..row }).collect();
                    found.tables.push(Table::of_images(file, rows));
                }
                None => found.tables.push(Table::of_images(file, rows)),
            }
        }
        Ok(found)
    }

    /// What does not go along with a copy: tables that cannot be used, and rows of pictures that the set does not have.
    #[must_use]
    pub fn left_behind(&self) -> Vec<Problem> {
        let mut problems = self.unread.clone();
        for Table { path, rows, .. } in &self.tables {
            let lost: Vec<&Row> = rows.iter().filter(|row| row.picture.is_none()).collect();
            if let Some(first) = lost.first() {
                let reason = format!(
                    "{} of its rows are of no picture of the set, as `{}`; they stay behind",
                    lost.len(),
                    first.named
                );
                problems.push(Problem::rejected(path, Some(first.line), reason));
            }
        }
        problems
    }

    /// The tables of a copy, by name: the rows of pictures that have a place in it, under their new names.
    ///
    /// # Errors
    /// A table cannot be written.
    pub(super) fn carried(
        &self,
        places: &HashMap<PathBuf, PathBuf>,
    ) -> Result<Vec<(&'static str, String)>, DatasetError> {
        let carried = |table: &Table| -> Result<Option<(&'static str, String)>, String> {
            let mut text = String::new();
            for row in table.rows.iter().filter(|row| row.goes) {
                let Some(place) = row.picture.as_ref().and_then(|picture| places.get(picture)) else { continue };
                let place = place.to_string_lossy();
                match &row.fields {
                    Fields::Json(line) => text.push_str(&(renamed(line, row, &place) + "\n")),
                    Fields::Csv(fields) => {
                        let here = |(number, field)| {
                            if table.columns.get(number).is_some_and(|c| c == row.column) { &*place } else { field }
                        };
                        text.push_str(&csv::line(fields.iter().map(String::as_str).enumerate().map(here))?);
                    }
                }
            }
            let head = if table.columns.is_empty() {
                String::new()
            } else {
                csv::line(table.columns.iter().map(String::as_str))?
            };
            Ok((!text.is_empty()).then(|| (table.name, head + &text)))
        };
        let named = |table: &Table| carried(table).map_err(|why| DatasetError::description(&table.path, why));
        self.tables.iter().filter_map(|table| named(table).transpose()).collect()
    }

    /// What is said of each picture under a key, in their order, by the one table that has the key. What COCO files say of their
    /// `images` is such a table.
    ///
    /// # Errors
    /// None has the key, or more than one; a picture is without it, but for pictures without a label in [`INSTANCES`].
    pub fn values(&self, set: &Path, dataset: &Dataset, key: &str) -> Result<Vec<Vec<String>>, DatasetError> {
        let mut sources: Vec<(PathBuf, bool, BTreeMap<PathBuf, Vec<String>>)> = Vec::new();
        let mut keys = BTreeSet::new();
        for table in &self.tables {
            let mut said: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
            for row in &table.rows {
                let values = table.values(row, key);
                if let Some(picture) = row.picture.clone().filter(|_| !values.is_empty()) {
                    said.entry(picture).or_default().extend(values);
                }
            }
            if said.is_empty() {
                keys.extend(table.keys());
            } else {
                sources.push((table.path.clone(), table.name == INSTANCES, said));
            }
        }
        let (path, of_labels, said) = match (sources.pop(), sources.last()) {
            (Some(source), None) => source,
            (Some((path, ..)), Some((other, ..))) => {
                let detail = format!(
                    "both {} and {} say `{key}` of pictures; keep one of them",
                    other.display(),
                    path.display()
                );
                return Err(DatasetError::Order { detail });
            }
            (None, _) => return Err(self.no_such_key(set, key, &keys)),
        };
        let values: Vec<Vec<String>> =
            dataset.items.iter().map(|item| said.get(&tidied(&item.image)).cloned().unwrap_or_default()).collect();
        let without: Vec<&Path> = dataset
            .items
            .iter()
            .zip(&values)
            .filter(|(item, values)| values.is_empty() && !(of_labels && item.objects.is_empty()))
            .map(|(item, _)| item.image.as_path())
            .collect();
        if let Some(first) = without.first() {
            let detail = format!(
                "{} pictures have no `{key}` in it, as {}; write it there, or take them out of the set",
                without.len(),
                first.display()
            );
            return Err(DatasetError::description(&path, detail));
        }
        Ok(values)
    }

    fn no_such_key(&self, set: &Path, key: &str, keys: &BTreeSet<String>) -> DatasetError {
        let known: Vec<&str> = keys.iter().map(String::as_str).collect();
        let known = if known.is_empty() { String::new() } else { format!("; there are {}", known.join(", ")) };
        let unread: Vec<String> = self.unread.iter().map(|problem| format!("; {problem}")).collect();
        let detail = format!(
            "nothing says `{key}` of its pictures: no {} beside it and no field of a COCO file's `images`{known}{}",
            [METADATA[0], METADATA[1], INSTANCES].join(", "),
            unread.concat()
        );
        DatasetError::description(set, detail)
    }
}

/// Reads a table; a sentence where it cannot be used.
fn table(path: &Path, name: &'static str, bytes: Vec<u8>, pictures: &Lookup) -> Result<Table, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let folder = path.parent().unwrap_or(Path::new("."));
    let row = |line, column, named: String, fields| {
        let spelled = spellings(&named);
        let by_path = spelled.iter().find_map(|name| pictures.at(&folder.join(name)));
        let picture = by_path.or_else(|| spelled.last().and_then(|name| pictures.that_ends_with(name))).cloned();
        Row { line, named, column, goes: picture.is_some(), picture, fields }
    };
    if name.ends_with(".csv") {
        let mut rows = csv::rows(text)?.into_iter();
        let (_, columns) = rows.next().ok_or("it is empty")?;
        let column = FILE.into_iter().find(|name| columns.iter().any(|column| column == name));
        let column = column.ok_or("it has no column `file`")?;
        let place = columns.iter().position(|name| name == column).unwrap_or_default();
        let rows = rows.map(|(line, fields)| {
            let named = fields.get(place).cloned().unwrap_or_default();
            if fields.len() == columns.len() {
                Ok(row(line, column, named, Fields::Csv(fields)))
            } else {
                Err(format!("line {line} has {} fields, the first {}", fields.len(), columns.len()))
            }
        });
        let rows = rows.collect::<Result<_, String>>()?;
        return Ok(Table { path: path.to_owned(), name, columns, rows, of_images: false });
    }
    let columns: &[&'static str] = if name == INSTANCES { &[IMAGE] } else { &FILE };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let rows = lines.map(|(line, text)| {
        let map = object(text).map_err(|error| format!("line {line} is no JSON object: {error}"))?;
        let named = columns.iter().find_map(|column| Some((*column, map.get(*column)?.as_str()?.to_owned())));
        let (column, named) = named.ok_or_else(|| format!("line {line} names no picture under `{}`", columns[0]))?;
        Ok(row(line, column, named, Fields::Json(text.to_owned())))
    });
    let rows = rows.collect::<Result<_, String>>()?;
    Ok(Table { path: path.to_owned(), name, columns: Vec::new(), rows, of_images: false })
}

/// What COCO files say of their pictures, as rows of a table: but what a copy says anew.
fn of_images(said: Vec<(PathBuf, Map<String, Value>)>) -> Vec<Row> {
    let row = |(number, (picture, mut fields)): (usize, (PathBuf, Map<String, Value>))| {
        let named = fields.remove(FILE[1])?.as_str()?.to_owned();
        ["id", "width", "height"].iter().for_each(|key| drop(fields.remove(*key)));
        if fields.is_empty() {
            return None;
        }
        let mut line = Map::from_iter([(FILE[0].to_owned(), Value::from(named.as_str()))]);
        line.extend(fields.into_iter().filter(|(key, _)| key != FILE[0]));
        let fields = Fields::Json(Value::Object(line).to_string());
        Some(Row { line: number + 1, named, column: FILE[0], picture: Some(picture), goes: true, fields })
    };
    said.into_iter().enumerate().filter_map(row).collect()
}

/// Keeps back the rows of pictures whose labels they do not count: which label a row is of is not known then.
fn unfit(table: &mut Table, dataset: &Dataset) -> Vec<Problem> {
    let mut counted: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
    for row in &table.rows {
        let Some(picture) = &row.picture else { continue };
        let Fields::Json(line) = &row.fields else { continue };
        let number = object(line).ok().and_then(|map| map.get(ROW)?.as_u64());
        counted.entry(picture.clone()).or_default().push(number.unwrap_or(u64::MAX));
    }
    let mut unfit: BTreeMap<PathBuf, Problem> = BTreeMap::new();
    for item in &dataset.items {
        let picture = tidied(&item.image);
        let Some(rows) = counted.get_mut(&picture) else { continue };
        rows.sort_unstable();
        if !rows.iter().copied().eq(0..item.objects.len() as u64) {
            let reason = format!(
                "its {} rows of {} do not count its {} labels one by one; they stay behind",
                rows.len(),
                table.name,
                item.objects.len()
            );
            unfit.insert(picture, Problem::rejected(&item.image, None, reason));
        }
    }
    let stays = |row: &&mut Row| row.picture.as_ref().is_some_and(|picture| unfit.contains_key(picture));
    table.rows.iter_mut().filter(stays).for_each(|row| row.goes = false);
    unfit.into_values().collect()
}

/// A line of JSON with another name for its picture; all else stays as it stands where the name can be told from it.
fn renamed(line: &str, row: &Row, place: &str) -> String {
    let (old, new) = (Value::from(row.named.as_str()).to_string(), Value::from(place).to_string());
    let spelled = [":", ": "].map(|between| format!("\"{}\"{between}{old}", row.column));
    let mut found = spelled.iter().filter(|spelled| line.matches(spelled.as_str()).count() == 1);
    if let (Some(spelled), None) = (found.next(), found.next()) {
        let renamed = line.replace(spelled.as_str(), &format!("\"{}\":{new}", row.column));
        if object(&renamed).is_ok_and(|map| map.get(row.column) == Some(&Value::from(place))) {
            return renamed;
        }
    }
    let mut map = object(line).unwrap_or_default();
    map.insert(row.column.to_owned(), place.into());
    Value::Object(map).to_string()
}
