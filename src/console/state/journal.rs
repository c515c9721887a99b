//! The journal's tab.

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};

use super::window::{Row, Window};
use crate::console::text::Zone;
use crate::domain::Entry;
use crate::domain::view::{JournalQuery, JournalVerified};

/// What the journal's tab shows.
#[derive(Debug)]
pub(in crate::console) struct Journal {
    /// The filter as typed.
    pub(in crate::console) filter: String,
    /// What it means.
    pub(in crate::console) query: JournalQuery,
    pub(in crate::console) list: Window<Entry>,
    /// Whether the keys go to the entry and not to the list.
    pub(in crate::console) reading: bool,
    /// Lines by which the entry is scrolled.
    pub(in crate::console) scroll: usize,
    /// Covers the entry.
    pub(in crate::console) verification: Option<Verification>,
}

/// A proof of the journal.
#[derive(Debug)]
pub(in crate::console) enum Verification {
    Running,
    Done(Box<JournalVerified>),
    Failed(String),
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            filter: String::new(),
            query: JournalQuery::default(),
            list: Window::following(),
            reading: false,
            scroll: 0,
            verification: None,
        }
    }
}

impl Row for Entry {
    type Key = u64;
    /// Entries are long: each carries every object that was seen.
    const PAGE: usize = 60;

    fn key(&self) -> u64 {
        self.sequence
    }
}

impl Journal {
    /// The page to ask for.
    pub(in crate::console) fn page(&self) -> JournalQuery {
        JournalQuery { before: self.list.after(), limit: Some(Entry::PAGE), ..self.query.clone() }
    }
}

/// Reads `actor:x action:image. subject:x from:2026-11-21 to:2026-11-21T14:00 words`.
///
/// A day as `to` is meant to its end. The words must stand in the entry one after the other.
///
/// # Errors
/// A sentence about the part that cannot be read.
pub(in crate::console) fn parse_filter(text: &str, zone: Zone) -> Result<JournalQuery, String> {
    let mut query = JournalQuery::default();
    let mut words = Vec::new();
    for part in text.split_whitespace() {
        let Some((key, value)) = part.split_once(':') else {
            words.push(part);
            continue;
        };
        let value = || {
            let given = (!value.is_empty()).then(|| value.to_owned());
            given.ok_or_else(|| format!("`{key}:` needs a value right after the colon")).map(Some)
        };
        match key {
            "actor" => query.actor = value()?,
            "action" => query.action = value()?,
            "subject" => query.subject = value()?,
            "from" => query.from_ms = value()?.map(|v| moment(&v, zone, false)).transpose()?,
            "to" => query.to_ms = value()?.map(|v| moment(&v, zone, true)).transpose()?,
            // `IMAGE:0` and the like are words.
            _ => words.push(part),
        }
    }
    query.text = (!words.is_empty()).then(|| words.join(" "));
    Ok(query)
}

/// `2026-11-21`, `2026-11-21T14:00` or `2026-11-21T14:00:30`, in milliseconds since 1970.
fn moment(text: &str, zone: Zone, end: bool) -> Result<i64, String> {
    let at = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M"))
        .or_else(|_| {
            let time = if end { NaiveTime::from_hms_milli_opt(23, 59, 59, 999) } else { None };
            NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(time.unwrap_or_default()))
        })
        .map_err(|_| format!("`{text}` is not a date such as 2026-11-21 or 2026-11-21T14:00"))?;
    let at: Option<DateTime<Utc>> = match zone {
        // A time that the clock shows twice in a year: the earlier begins, the later ends a span.
        Zone::Local if end => Local.from_local_datetime(&at).latest().map(|at| at.to_utc()),
        Zone::Local => Local.from_local_datetime(&at).earliest().map(|at| at.to_utc()),
        Zone::Utc => Some(at.and_utc()),
    };
    let at = at.ok_or_else(|| format!("the clock skips `{text}` here; choose another minute"))?;
    Ok(at.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_part_by_part() {
        let query = parse_filter("actor:mira action:image. from:2026-11-21 to:2026-11-22 cut off", Zone::Utc);
        assert_eq!(
            query,
            Ok(JournalQuery {
                actor: Some("mira".into()),
                action: Some("image.".into()),
                from_ms: Some(1_795_219_200_000),
                to_ms: Some(1_795_219_200_000 + 2 * 86_400_000 - 1),
                text: Some("cut off".into()),
                ..JournalQuery::default()
            })
        );
        assert_eq!(parse_filter("", Zone::Utc), Ok(JournalQuery::default()));
        assert_eq!(parse_filter("ab12:0", Zone::Utc).map(|q| q.text), Ok(Some("ab12:0".into())));
        assert_eq!(
            parse_filter("to:2026-11-21T14:00", Zone::Utc).map(|q| q.to_ms),
            Ok(Some(1_795_219_200_000 + 14 * 3_600_000))
        );
    }

    #[test]
    fn a_part_that_cannot_be_read_is_named() {
        assert_eq!(
            parse_filter("from:yesterday", Zone::Utc),
            Err("`yesterday` is not a date such as 2026-11-21 or 2026-11-21T14:00".into())
        );
        assert_eq!(parse_filter("actor:", Zone::Utc), Err("`actor:` needs a value right after the colon".into()));
    }
}
