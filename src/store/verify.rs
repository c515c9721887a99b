//! Counting after: whether the records are those that were written, and whether they agree with one another.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::kv::prefix;
use super::ledger::{self, Tallies, kind};
use super::record::{self, ItemRecord, LabelRecord, StoredSighting};
use super::{Checked, Store, StoreError};
use crate::domain::ItemState;

/// Records of each kind that a sample looks at, from either end.
const SAMPLE: usize = 500;

/// What a verification found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StoreReport {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// The digest of the state as iterating finds it, hex: equal for equal journals.
    pub digest: String,
    /// The next journal entry the store waits for.
    pub applied: u64,
    /// Entries that changed nothing but counts.
    pub skipped: u64,
    /// Items by state.
    pub counts: BTreeMap<&'static str, u64>,
    /// Records found.
    pub records: u64,
    /// Everything that is wrong, one sentence each.
    pub problems: Vec<String>,
}

/// How large the store is.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StoreStats {
    /// Records of each kind.
    pub records: BTreeMap<&'static str, u64>,
    /// The next journal entry the store waits for.
    pub applied: u64,
    /// Entries that changed nothing but counts.
    pub skipped: u64,
    /// Bytes of all its files.
    pub bytes_on_disk: u64,
    /// How many files.
    pub files: u64,
}

impl Store {
    /// The digest of the whole state, found by reading every record. Equal for equal journals, however they were
    /// applied.
    ///
    /// # Errors
    /// The store is odd.
    pub fn digest(&self) -> Result<[u8; 32], StoreError> {
        // Held, so that nothing is applied while the records are read.
        let ledger = self.ledger();
        Ok(ledger::digest(ledger.applied, &self.recount(|_, _| Ok(()))?))
    }

    /// Reads every record: checksums, the account beside them, and whether indexes and counts agree with the records.
    #[must_use]
    pub fn verify(&self) -> StoreReport {
        let ledger = self.ledger();
        let (mut seen, mut problems) = (Seen::default(), Vec::new());
        let tallies = self.recount(|key, body| seen.record(key, body)).unwrap_or_else(|error| {
            problems.push(error.to_string());
            Tallies::new()
        });
        match self.stored_ledger() {
            Ok(stored) if stored == *ledger => {}
            Ok(_) => problems.push("the account on disk is not the one that was written".into()),
            Err(error) => problems.push(error.to_string()),
        }
        if problems.is_empty() {
            problems.extend(compare(&tallies, &ledger.tallies));
            problems.extend(seen.disagreements());
        }
        StoreReport {
            ok: problems.is_empty(),
            digest: hex::encode(ledger::digest(ledger.applied, &tallies)),
            applied: ledger.applied,
            skipped: ledger.skipped,
            counts: ItemState::ALL.map(|s| (s.name(), seen.states.get(&s).copied().unwrap_or(0))).into(),
            records: tallies.values().map(|t| t.records).sum(),
            problems,
        }
    }

    /// Sizes.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let (files, bytes_on_disk) = size(self.dir()).map_err(StoreError::io("list", self.dir()))?;
        let ledger = self.ledger();
        let records = ledger.tallies.iter().map(|(kind, tally)| (kind::name(*kind), tally.records)).collect();
        Ok(StoreStats { records, applied: ledger.applied, skipped: ledger.skipped, bytes_on_disk, files })
    }

    /// What opening looks at; anything wrong is odd.
    pub(super) fn check(&self, checked: Checked) -> Result<(), StoreError> {
        match checked {
            Checked::All => {
                let report = self.verify();
                report.problems.into_iter().next().map_or(Ok(()), |problem| Err(StoreError::Odd(problem)))
            }
            Checked::Sample => {
                let tallies = self.ledger().tallies.clone();
                for (kind, tally) in &tallies {
                    for backwards in [false, true] {
                        let mut seen = 0;
                        self.kv().scan(prefix(&[*kind]), backwards, |_, _| {
                            seen += 1;
                            Ok(if seen == SAMPLE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                        })?;
                        if (seen as u64) < tally.records.min(SAMPLE as u64) {
                            return Err(StoreError::Odd(format!("{} are missing", kind::name(*kind))));
                        }
                    }
                }
                let items: u64 = self.counts()?.values().sum();
                if items != self.ledger().records(kind::ITEM) {
                    return Err(StoreError::Odd(format!("the states count {items} items, the account another number")));
                }
                Ok(())
            }
        }
    }

    fn recount(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>) -> Result<Tallies, StoreError> {
        let mut tallies = Tallies::new();
        self.kv().scan(prefix(&[]), false, |key, body| {
            if key != ledger::KEY {
                let kind = *key.first().ok_or_else(|| StoreError::Odd("a record has no key".into()))?;
                tallies.entry(kind).or_default().add(key, body);
                each(key, body)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(tallies)
    }
}

fn compare(found: &Tallies, account: &Tallies) -> Vec<String> {
    let kinds: std::collections::BTreeSet<u8> = found.keys().chain(account.keys()).copied().collect();
    let differs = |kind: u8| {
        let (found, account) =
            (found.get(&kind).cloned().unwrap_or_default(), account.get(&kind).cloned().unwrap_or_default());
        let name = kind::name(kind);
        if found.records != account.records {
            Some(format!("{} {name} are there, {} were written", found.records, account.records))
        } else {
            (found.sum != account.sum).then(|| format!("the {name} are not those that were written"))
        }
    };
    kinds.into_iter().filter_map(differs).collect()
}

/// What the records say of one another.
#[derive(Default)]
struct Seen {
    states: BTreeMap<ItemState, u64>,
    indexed: u64,
    counted: BTreeMap<Vec<u8>, u64>,
    labels: BTreeMap<String, u64>,
    label_counts: BTreeMap<String, u64>,
    labelled: u64,
}

impl Seen {
    fn record(&mut self, key: &[u8], body: &[u8]) -> Result<(), StoreError> {
        match key[0] {
            kind::ITEM => {
                let item: ItemRecord = record::decode(body)?;
                *self.states.entry(item.state).or_default() += 1;
            }
            kind::ITEM_BY_STATE => self.indexed += 1,
            kind::COUNT => {
                self.counted.insert(key.to_vec(), record::decode(body)?);
            }
            kind::SIGHTING => {
                let sighting: StoredSighting = record::decode(body)?;
                if !sighting.removed {
                    *self.labels.entry(sighting.label.as_str().to_owned()).or_default() += 1;
                }
            }
            kind::SIGHTING_BY_LABEL => self.labelled += 1,
            kind::LABEL => {
                let label = String::from_utf8_lossy(&key[1..]).into_owned();
                self.label_counts.insert(label, record::decode::<LabelRecord>(body)?.sightings);
            }
            _ => {}
        }
        Ok(())
    }

    fn disagreements(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for state in ItemState::ALL {
            let found = self.states.get(&state).copied().unwrap_or(0);
            let counted = self.counted.get(&record::state_count_key(state)).copied().unwrap_or(0);
            if found != counted {
                problems.push(format!("{found} items are {}, {counted} were counted", state.name()));
            }
        }
        if self.states.values().sum::<u64>() != self.indexed {
            problems.push(format!("{} items are in the index by state", self.indexed));
        }
        if self.labels != self.label_counts {
            problems.push("the labels' counts are not those of their sightings".into());
        }
        if self.labels.values().sum::<u64>() != self.labelled {
            problems.push(format!("{} sightings are in the index by label", self.labelled));
        }
        problems
    }
}

fn size(dir: &Path) -> std::io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        let (inner_files, inner_bytes) =
            if file.file_type()?.is_dir() { size(&file.path())? } else { (1, file.metadata()?.len()) };
        files += inner_files;
        bytes += inner_bytes;
    }
    Ok((files, bytes))
}
