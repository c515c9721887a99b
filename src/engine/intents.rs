//! Acts that were asked for already: an intent that is sent twice is done once.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::EngineError;

/// Intents that are remembered.
const REMEMBERED: usize = 10_000;

/// What became of an intent.
struct Act {
    /// Which act it was, and on what.
    what: String,
    /// The answer; none while it is being done.
    answer: Option<Value>,
}

/// The intents of this engine's life. An act does not hold the others up.
#[derive(Default)]
pub(super) struct Intents {
    acts: Mutex<HashMap<String, Act>>,
    changed: Condvar,
}

/// Forgets an act that did not come to its end, however it left.
struct Begun<'a> {
    intents: &'a Intents,
    id: &'a str,
    answer: Option<Value>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut acts = self.intents.lock();
        match self.answer.take() {
            Some(answer) => acts.entry(self.id.to_owned()).and_modify(|act| act.answer = Some(answer)),
            None => {
                acts.remove(self.id);
                return self.intents.changed.notify_all();
            }
        };
        self.intents.changed.notify_all();
    }
}

impl Intents {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Act>> {
        // Every change under this lock is one insertion or removal: a panic elsewhere leaves it whole.
        self.acts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does an act once. Sent again it is answered from memory, waiting for the first to end; one that failed may be
    /// sent again.
    pub(super) fn once<T: Serialize + DeserializeOwned>(
        &self,
        id: &str,
        what: String,
        act: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if id.is_empty() || id.len() > 128 {
            return Err(EngineError::BadRequest("an intent needs an id of 1 to 128 characters".into()));
        }
        let mut acts = self.lock();
        while let Some(before) = acts.get(id) {
            if before.what != what {
                return Err(EngineError::BadRequest(format!("this intent was used to {}", before.what)));
            }
            if let Some(answer) = &before.answer {
                return serde_json::from_value(answer.clone()).map_err(EngineError::failed);
            }
            acts = self.changed.wait(acts).unwrap_or_else(PoisonError::into_inner);
        }
        if acts.len() >= REMEMBERED {
            acts.retain(|_, act| act.answer.is_none());
        }
        acts.insert(id.to_owned(), Act { what, answer: None });
        drop(acts);
        let mut begun = Begun { intents: self, id, answer: None };
        let done = act()?;
        begun.answer = Some(serde_json::to_value(&done).map_err(EngineError::failed)?);
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn an_act_is_done_once_unless_it_failed() {
        let intents = Intents::default();
        let failed = intents.once::<u32>("a", "x".into(), || Err(EngineError::Failed("no".into())));
        assert!(failed.is_err());
        assert_eq!(intents.once("a", "x".into(), || Ok(1)), Ok(1));
        assert_eq!(intents.once("a", "x".into(), || Ok(2)), Ok(1));
        assert!(matches!(intents.once("a", "y".into(), || Ok(2)), Err(EngineError::BadRequest(_))));
        assert!(matches!(intents.once("", "y".into(), || Ok(2)), Err(EngineError::BadRequest(_))));
    }

    #[test]
    fn the_same_intent_at_once_waits_for_the_first() {
        let intents = Intents::default();
        let done = std::sync::atomic::AtomicU32::new(0);
        let act = || {
            std::thread::sleep(std::time::Duration::from_millis(30));
            Ok(done.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| intents.once("a", "x".into(), act))).collect();
            all.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), Ok(0)));
        });
    }
}
