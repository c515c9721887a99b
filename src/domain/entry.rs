//! A line of the journal.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Fact;

/// An entry before the journal has numbered and dated it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Who: an operator's name, or `engine`.
    pub actor: String,
    /// What became true.
    pub fact: Fact,
    /// What was there before, where the action replaces something.
    pub before: Option<Value>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

impl Draft {
    /// An entry of the engine's own doing.
    #[must_use]
    pub fn engine(fact: Fact) -> Self {
        Self { actor: "engine".into(), fact, before: None, reason: None }
    }
}

/// One entry of the journal. The field order is the canonical order of the bytes that are hashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From 0, without gaps.
    pub sequence: u64,
    /// Wall clock, milliseconds since 1970 UTC. May step back; `sequence` is the order.
    pub wall_ms: i64,
    /// Monotonic clock of the machine since boot, nanoseconds.
    pub mono_ns: u64,
    /// Who: an operator's name, or `engine`.
    pub actor: String,
    /// What kind of fact: `Fact::action`.
    pub action: String,
    /// What it is about: an item, an image, a sighting, a label.
    pub subject: String,
    /// What was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What is there now: the fact's fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Entry {
    /// Numbers and dates a draft.
    ///
    /// # Errors
    /// Only if the fact cannot be written as JSON. (A number that is not finite is written as `null`; the journal
    /// reads every fact back before it writes it, and refuses such a one.)
    pub fn from_draft(draft: Draft, sequence: u64, wall_ms: i64, mono_ns: u64) -> Result<Self, serde_json::Error> {
        let (action, subject) = (draft.fact.action().to_owned(), draft.fact.subject());
        let after = Some(draft.fact.to_value()?);
        Ok(Self {
            sequence,
            wall_ms,
            mono_ns,
            actor: draft.actor,
            action,
            subject,
            before: draft.before,
            after,
            reason: draft.reason,
        })
    }

    /// The typed fact.
    ///
    /// # Errors
    /// When the action is unknown (a newer version wrote it) or its fields do not fit.
    pub fn fact(&self) -> Result<Fact, serde_json::Error> {
        Fact::from_parts(&self.action, self.after.clone().unwrap_or(Value::Null))
    }
}
