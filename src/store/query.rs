//! Looking things up: windows only, never everything at once.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;

use super::kv::{Bytes, after_prefix, prefix};
use super::ledger::kind;
use super::record::{self, EngineFact, ImageRecord, ItemRecord, LabelRecord, SightingRecord, StoredSighting};
use super::{Store, StoreError};
use crate::domain::{ImageId, ItemId, ItemState, Label, SightingId};

impl Store {
    /// At most `limit` items after `after` (none: from the beginning), in the order of arrival or against it.
    ///
    /// # Errors
    /// The store is odd; so for all queries.
    pub fn items(
        &self,
        state: Option<ItemState>,
        after: Option<&ItemId>,
        limit: usize,
        newest_first: bool,
    ) -> Result<Vec<ItemRecord>, StoreError> {
        let key = |id: &str| match state {
            Some(state) => record::state_key(state, id),
            None => record::item_key(&ItemId(id.to_owned())),
        };
        let mut ids = Vec::new();
        let bounds = window(&key(""), after.map(|id| key(&id.0)), newest_first);
        let skip = key("").len();
        self.collect(bounds, newest_first, limit, |found, _| {
            ids.push(ItemId(String::from_utf8_lossy(&found[skip..]).into_owned()));
            Ok(true)
        })?;
        // An item that changed its state since belongs to another window by now.
        let mut items = Vec::with_capacity(ids.len());
        for id in ids {
            items.extend(self.item(&id)?.filter(|item| state.is_none_or(|state| item.state == state)));
        }
        Ok(items)
    }

    /// One item.
    ///
    /// # Errors
    /// The store is odd.
    pub fn item(&self, id: &ItemId) -> Result<Option<ItemRecord>, StoreError> {
        self.get(&record::item_key(id))
    }

    /// How many items there are in each state; all states are named.
    ///
    /// # Errors
    /// The store is odd.
    pub fn counts(&self) -> Result<BTreeMap<ItemState, u64>, StoreError> {
        let count = |state| Ok((state, self.get(&record::state_count_key(state))?.unwrap_or(0)));
        ItemState::ALL.into_iter().map(count).collect()
    }

    /// How many entries there were of each action.
    ///
    /// # Errors
    /// The store is odd.
    pub fn action_counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut counts = BTreeMap::new();
        let begin = record::action_count_key("");
        self.collect(prefix(&begin), false, usize::MAX, |key, body| {
            counts.insert(String::from_utf8_lossy(&key[begin.len()..]).into_owned(), record::decode(body)?);
            Ok(true)
        })?;
        Ok(counts)
    }

    /// An image that went all the way.
    ///
    /// # Errors
    /// The store is odd.
    pub fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>, StoreError> {
        self.get(&record::image_key(id))
    }

    /// Hands over each image and its perceptual hash (hex), for an index in memory, until told to stop.
    ///
    /// # Errors
    /// The store is odd.
    pub fn for_each_perceptual(
        &self,
        mut each: impl FnMut(ImageId, &str) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.kv().scan(prefix(&[kind::IMAGE]), false, |key, body| {
            let id = key[1..].try_into().map_err(|_| StoreError::Odd("an image's key is not a SHA-256".into()))?;
            Ok(each(ImageId(id), &record::decode::<ImageRecord>(body)?.perceptual))
        })
    }

    /// At most `limit` labels after `after` that hold `filter`, whatever the case; in the order of their bytes.
    ///
    /// # Errors
    /// The store is odd.
    pub fn labels(
        &self,
        filter: &str,
        after: Option<&Label>,
        limit: usize,
    ) -> Result<Vec<(Label, LabelRecord)>, StoreError> {
        let (filter, mut labels) = (filter.to_lowercase(), Vec::new());
        let bounds = window(&[kind::LABEL], after.map(|l| record::label_key(l.as_str())), false);
        self.collect(bounds, false, limit, |key, body| {
            let label = String::from_utf8_lossy(&key[1..]);
            if !label.to_lowercase().contains(&filter) {
                return Ok(false);
            }
            let label = Label::new(&label).map_err(StoreError::Odd)?;
            labels.push((label, record::decode(body)?));
            Ok(true)
        })?;
        Ok(labels)
    }

    /// One label; `None` where nothing is enrolled under it.
    ///
    /// # Errors
    /// The store is odd.
    pub fn label(&self, label: &Label) -> Result<Option<LabelRecord>, StoreError> {
        self.get(&record::label_key(label.as_str()))
    }

    /// How many labels are in use.
    #[must_use]
    pub fn label_count(&self) -> u64 {
        self.ledger().records(kind::LABEL)
    }

    /// At most `limit` sightings enrolled under a label, after `after`.
    ///
    /// # Errors
    /// The store is odd.
    pub fn sightings(
        &self,
        label: &Label,
        after: Option<&SightingId>,
        limit: usize,
    ) -> Result<Vec<(SightingId, SightingRecord)>, StoreError> {
        let begin = record::label_index_prefix(label);
        let bounds = window(&begin, after.map(|id| record::label_index_key(label, id)), false);
        let mut ids = Vec::new();
        self.collect(bounds, false, limit, |key, _| {
            ids.push(record::sighting_of(key)?);
            Ok(true)
        })?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(self.sighting(&id)?.map(|sighting| (id, sighting)));
        }
        Ok(found)
    }

    /// One sighting, also one that was removed.
    ///
    /// # Errors
    /// The store is odd.
    pub fn sighting(&self, id: &SightingId) -> Result<Option<SightingRecord>, StoreError> {
        let stored = self.get::<StoredSighting>(&record::sighting_key(id))?;
        stored.map(|stored| complete(stored, |part| self.kv().get(&record::vectors_key(id, part)))).transpose()
    }

    /// How many sightings are on record, with those that were removed.
    #[must_use]
    pub fn sighting_count(&self) -> u64 {
        self.ledger().records(kind::SIGHTING)
    }

    /// Hands over every sighting on record that is enrolled now, none for each that is not, until told to stop.
    ///
    /// # Errors
    /// The store is odd.
    pub fn for_each_sighting(
        &self,
        mut each: impl FnMut(Option<(SightingId, SightingRecord)>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.kv().scan(prefix(&[kind::SIGHTING]), false, |key, body| {
            let id = record::sighting_of(key)?;
            let stored: StoredSighting = record::decode(body)?;
            if stored.removed {
                return Ok(each(None));
            }
            Ok(each(Some((id, complete(stored, |part| self.kv().get(&record::vectors_key(&id, part)))?))))
        })
    }

    /// The last `started`, `stopped` or `store rebuilt` of the engine.
    ///
    /// # Errors
    /// The store is odd.
    pub fn engine_fact(&self, name: &str) -> Result<Option<EngineFact>, StoreError> {
        self.get(&record::engine_key(name))
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.kv().get(key)?.map(|body| record::decode(&body)).transpose()
    }

    /// Hands records over until `limit` of them were taken.
    fn collect(
        &self,
        bounds: (Bound<Bytes>, Bound<Bytes>),
        backwards: bool,
        limit: usize,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut left = limit;
        if left == 0 {
            return Ok(());
        }
        self.kv().scan(bounds, backwards, |key, body| {
            left -= usize::from(take(key, body)?);
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }
}

/// The keys that begin so, from behind `after` on in the direction of reading.
fn window(begin: &[u8], after: Option<Bytes>, backwards: bool) -> (Bound<Bytes>, Bound<Bytes>) {
    match (after, backwards) {
        (None, _) => prefix(begin),
        (Some(after), false) => (Bound::Excluded(after), after_prefix(begin)),
        (Some(after), true) => (Bound::Included(begin.to_vec()), Bound::Excluded(after)),
    }
}

/// Puts a sighting together with the vectors that lie in further records.
pub(super) fn complete(
    stored: StoredSighting,
    mut part: impl FnMut(u16) -> Result<Option<Bytes>, StoreError>,
) -> Result<SightingRecord, StoreError> {
    let odd = || StoreError::Odd("a sighting's vectors are missing".into());
    let mut vectors = record::unpack(&BASE64.decode(&stored.vectors).map_err(|_| odd())?)?;
    for number in 0..stored.more {
        vectors.extend(record::unpack(&part(number)?.ok_or_else(odd)?)?);
    }
    let StoredSighting { label, fingerprint, sequence, removed, imported, .. } = stored;
    Ok(SightingRecord { label, fingerprint, vectors, sequence, removed, imported })
}
