//! sled, doubted: every call is guarded against panics, every value is checked, iteration stops at the first error.

use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::StoreError;

/// The most bytes a value has on disk: larger ones would become files that sled never syncs.
pub const MAX_VALUE: usize = 4096;
/// The layout of keys and records. Another number means: rebuild.
pub(super) const SCHEMA: u8 = 1;
/// Schema version and CRC-32.
const SEAL: usize = 5;
/// What fits in a value beside its seal.
pub(super) const MAX_BODY: usize = MAX_VALUE - SEAL;

/// A key or the body of a value.
pub(super) type Bytes = Vec<u8>;

/// Runs a call into sled; a panic in there is an error here.
pub(super) fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(StoreError::Odd(format!("sled could not {what}: {e}"))),
        Err(panic) => Err(StoreError::Odd(format!("sled broke down when asked to {what}: {}", words(&*panic)))),
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no reason given").to_owned()
}

/// The one tree that holds all records.
pub(super) struct Kv {
    /// `None` only while it is being closed.
    db: Option<sled::Db>,
}

impl Kv {
    pub(super) fn new(db: sled::Db) -> Self {
        Self { db: Some(db) }
    }

    fn tree(&self) -> Result<&sled::Tree, StoreError> {
        self.db.as_deref().ok_or_else(|| StoreError::Odd("it is closed".into()))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let tree = self.tree()?;
        let value = guarded("read a record", || tree.get(key))?;
        value.map(|value| unseal(key, &value).map(<[u8]>::to_vec)).transpose()
    }

    /// Hands over the records between the bounds, in the order of their keys or against it, until told to stop.
    pub(super) fn scan(
        &self,
        bounds: (Bound<Bytes>, Bound<Bytes>),
        backwards: bool,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let tree = self.tree()?;
        let mut records = guarded("iterate", || Ok(tree.range(bounds)))?;
        loop {
            let next = guarded("iterate", || if backwards { records.next_back() } else { records.next() }.transpose())?;
            let Some((key, value)) = next else {
                return Ok(());
            };
            if each(&key, unseal(&key, &value)?)?.is_break() {
                return Ok(());
            }
        }
    }

    /// Writes all or nothing. `None` removes.
    pub(super) fn write<'a>(
        &self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, body) in changes {
            match body {
                Some(body) => batch.insert(key, seal(key, body)?),
                None => batch.remove(key),
            }
        }
        let tree = self.tree()?;
        guarded("write", || tree.apply_batch(batch))
    }

    /// Hands what was written to the operating system. No more than that: see the room's notes on sled.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let tree = self.tree()?;
        guarded("flush", || tree.flush()).map(|_| ())
    }
}

impl Drop for Kv {
    fn drop(&mut self) {
        let db = self.db.take();
        // A sled that has broken down may break down again on leaving; nothing is lost with it.
        if guarded("close", || {
            drop(db);
            Ok(())
        })
        .is_err()
        {
            tracing::warn!("sled broke down on closing the store; the journal has everything");
        }
    }
}

fn seal(key: &[u8], body: &[u8]) -> Result<Bytes, StoreError> {
    if body.len() > MAX_BODY {
        return Err(StoreError::Odd(format!(
            "a record of {} bytes was to be written; at most {MAX_BODY} fit",
            body.len()
        )));
    }
    let mut value = Vec::with_capacity(SEAL + body.len());
    value.push(SCHEMA);
    value.extend_from_slice(&checksum(key, body).to_le_bytes());
    value.extend_from_slice(body);
    Ok(value)
}

fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let odd = |why: String| StoreError::Odd(format!("the record {} {why}", key.escape_ascii()));
    let Some((seal, body)) = value.split_at_checked(SEAL) else {
        return Err(odd("is too short".into()));
    };
    if seal[0] != SCHEMA {
        return Err(odd(format!("has schema version {}; this program writes {SCHEMA}", seal[0])));
    }
    if seal[1..] != checksum(key, body).to_le_bytes() {
        return Err(odd("has a wrong checksum".into()));
    }
    Ok(body)
}

/// Over key and body: a value under a wrong key is as wrong as a changed one.
fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    hasher.update(&[SCHEMA]);
    hasher.update(body);
    hasher.finalize()
}

/// The bounds of all keys that begin so.
pub(super) fn prefix(prefix: &[u8]) -> (Bound<Bytes>, Bound<Bytes>) {
    (Bound::Included(prefix.to_vec()), after_prefix(prefix))
}

/// The upper bound of all keys that begin so.
pub(super) fn after_prefix(prefix: &[u8]) -> Bound<Bytes> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}
