//! Looking back through the journal, a window at a time.

use std::time::{Duration, Instant};

use super::{JournalError, Reader};
use crate::domain::Entry;

/// Most entries looked at in one go.
const WINDOW: u64 = 512;
/// After this long a page is handed out as it is, so that a console stays quick.
const PATIENCE: Duration = Duration::from_millis(500);

/// Which entries are wanted; what is left out matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Exactly this actor.
    pub actor: Option<String>,
    /// The action begins so: `image.` or `image.done`.
    pub action: Option<String>,
    /// The subject holds this, whatever the case.
    pub subject: Option<String>,
    /// Not before, milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Not after, milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// The entry holds this text anywhere (as JSON writes it), whatever the case.
    pub text: Option<String>,
}

impl Filter {
    /// Whether the entry is wanted. `bytes` are its canonical bytes.
    fn matches(&self, entry: &Entry) -> bool {
        self.actor.as_ref().is_none_or(|actor| entry.actor == *actor)
            && self.action.as_ref().is_none_or(|action| entry.action.starts_with(action.as_str()))
            && self
                .subject
                .as_ref()
                .is_none_or(|subject| entry.subject.to_lowercase().contains(&subject.to_lowercase()))
            && self.from_ms.is_none_or(|from| entry.wall_ms >= from)
            && self.to_ms.is_none_or(|to| entry.wall_ms <= to)
    }
}

/// A page of what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Where to go on (as `before`); `None` when the beginning was reached.
    pub next: Option<u64>,
    /// Entries looked at.
    pub examined: u64,
}

impl Reader {
    /// The newest `limit` entries before `before` (or the end) that match, newest first.
    ///
    /// Hands out what it has after half a second even if the page is not full; `next` says where to go on.
    ///
    /// # Errors
    /// I/O, or damage since the journal was opened.
    pub fn query(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, JournalError> {
        let (begun, mut high) = (Instant::now(), before.unwrap_or(u64::MAX).min(self.len()));
        let mut page = Page { entries: Vec::new(), next: None, examined: 0 };
        let text = filter.text.as_ref().map(|text| text.to_lowercase());
        // As many as are wanted, at first: where all match, nothing is read and parsed in vain.
        let mut window = (limit as u64).clamp(1, WINDOW);
        while high > 0 {
            if page.entries.len() >= limit || begun.elapsed() > PATIENCE {
                page.next = Some(high);
                break;
            }
            let low = high.saturating_sub(window);
            window = (window * 2).min(WINDOW);
            let mut found = Vec::new();
            self.each(low, (high - low) as usize, |_, bytes| {
                // Looking at the bytes first spares most of the parsing.
                if let Some(text) = &text
                    && !String::from_utf8_lossy(bytes).to_lowercase().contains(text)
                {
                    return Ok(());
                }
                let entry: Entry =
                    serde_json::from_slice(bytes).map_err(|e| format!("the entry cannot be read: {e}"))?;
                if filter.matches(&entry) {
                    found.push(entry);
                }
                Ok(())
            })?;
            let room = limit - page.entries.len();
            let full = found.len() > room;
            page.entries.extend(found.into_iter().rev().take(room));
            // Where the page is full in the middle of a window, the next one begins right behind its last entry.
            let low = if full { page.entries.last().map_or(low, |e| e.sequence) } else { low };
            page.examined += high - low;
            high = low;
        }
        Ok(page)
    }
}
