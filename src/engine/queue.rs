//! What waits and what is worked on. The files themselves lie in the queue's folder; this is their order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::ItemId;
use crate::intake::claim::{Claim, now_ms};

/// A claim on its way, with how often it has been tried.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) claim: Box<Claim>,
    pub(super) attempts: u32,
}

/// When a file may be worked on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    At(Instant),
    /// When [`Queue::unpark`] says so.
    Parked,
}

struct Waiting {
    work: Work,
    when: When,
}

#[derive(Default)]
struct Inside {
    waiting: BTreeMap<ItemId, Waiting>,
    working: BTreeMap<ItemId, Work>,
    /// Of those that wait.
    parked: usize,
    closed: bool,
}

impl Inside {
    /// The oldest that may be worked on.
    fn ready(&self, now: Instant) -> Option<ItemId> {
        let may = |when| match when {
            When::Now => true,
            When::At(at) => at <= now,
            When::Parked => false,
        };
        self.waiting.iter().find(|(_, waiting)| may(waiting.when)).map(|(id, _)| id.clone())
    }
}

/// The queue in memory. `capacity` bounds what waits; beyond it, files stay in their folders.
pub(super) struct Queue {
    inside: Mutex<Inside>,
    changed: Condvar,
    capacity: usize,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { inside: Mutex::default(), changed: Condvar::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Every change under this lock is one insertion or removal: a panic elsewhere leaves it whole.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a claim, waiting while the queue is full; false once closed (the claim stays in its folder).
    pub(super) fn push(&self, claim: Claim) -> bool {
        let mut inside = self.lock();
        while inside.waiting.len() >= self.capacity && !inside.closed {
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        if inside.closed {
            return false;
        }
        self.insert(&mut inside, Work { claim: Box::new(claim), attempts: 0 }, When::Now);
        true
    }

    /// Adds what was claimed before a restart, without regard to the capacity: it is here already.
    pub(super) fn restore(&self, claim: Claim) {
        let mut inside = self.lock();
        self.insert(&mut inside, Work { claim: Box::new(claim), attempts: 0 }, When::Now);
    }

    fn insert(&self, inside: &mut Inside, work: Work, when: When) {
        inside.waiting.insert(work.claim.facts.item.clone(), Waiting { work, when });
        self.changed.notify_all();
    }

    /// Takes the oldest that may be worked on, waiting for one; `None` once closed.
    pub(super) fn take(&self) -> Option<Work> {
        let mut inside = self.lock();
        loop {
            if inside.closed {
                return None;
            }
            let now = Instant::now();
            let ready = inside.ready(now);
            if let Some(work) = ready.and_then(|id| self.start(&mut inside, &id)) {
                return Some(work);
            }
            let at = |when| if let When::At(at) = when { Some(at.saturating_duration_since(now)) } else { None };
            let next = inside.waiting.values().filter_map(|w| at(w.when)).min();
            let pause = next.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(1));
            inside = self.changed.wait_timeout(inside, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes the oldest that may be worked on, if there is one at this moment.
    pub(super) fn take_now(&self) -> Option<Work> {
        let mut inside = self.lock();
        let ready = inside.ready(Instant::now()).filter(|_| !inside.closed)?;
        self.start(&mut inside, &ready)
    }

    fn start(&self, inside: &mut Inside, item: &ItemId) -> Option<Work> {
        let work = inside.waiting.remove(item)?.work;
        inside.working.insert(item.clone(), work.clone());
        self.changed.notify_all();
        Some(work)
    }

    /// Puts work back: it was abandoned, or it failed and is tried again after a pause.
    pub(super) fn put_back(&self, work: Work, pause: Option<Duration>) {
        let mut inside = self.lock();
        inside.working.remove(&work.claim.facts.item);
        self.insert(&mut inside, work, pause.map_or(When::Now, |pause| When::At(Instant::now() + pause)));
    }

    /// Puts work back that can go no further until something outside it changes: it is left alone until then.
    pub(super) fn park(&self, work: Work) {
        let mut inside = self.lock();
        inside.working.remove(&work.claim.facts.item);
        inside.parked += 1;
        self.insert(&mut inside, work, When::Parked);
    }

    /// Whether anything is parked.
    pub(super) fn has_parked(&self) -> bool {
        self.lock().parked > 0
    }

    /// What was parked may be worked on.
    pub(super) fn unpark(&self) {
        let mut inside = self.lock();
        inside.parked = 0;
        inside.waiting.values_mut().filter(|w| w.when == When::Parked).for_each(|w| w.when = When::Now);
        self.changed.notify_all();
    }

    /// Forgets finished work.
    pub(super) fn finish(&self, item: &ItemId) {
        self.lock().working.remove(item);
        self.changed.notify_all();
    }

    /// Lets nobody wait any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// (waiting, working).
    pub(super) fn counts(&self) -> (u64, u64) {
        let inside = self.lock();
        (inside.waiting.len() as u64, inside.working.len() as u64)
    }

    /// Whether an item is waiting or worked on.
    pub(super) fn holds(&self, item: &ItemId) -> bool {
        let inside = self.lock();
        inside.waiting.contains_key(item) || inside.working.contains_key(item)
    }

    /// A claim, how often it was tried, and whether it is being worked on; looked for under one lock, since
    /// it may move from waiting to working at any moment.
    pub(super) fn find(&self, item: &ItemId) -> Option<(Claim, u32, bool)> {
        let inside = self.lock();
        let row = |work: &Work, working| ((*work.claim).clone(), work.attempts, working);
        let waiting = || inside.waiting.get(item).map(|waiting| row(&waiting.work, false));
        inside.working.get(item).map(|work| row(work, true)).or_else(waiting)
    }

    /// Seconds since the oldest that waits arrived.
    pub(super) fn oldest_seconds(&self) -> Option<u64> {
        let oldest = self.lock().waiting.values().map(|w| w.work.claim.facts.arrived_ms).min()?;
        Some((now_ms() - oldest).max(0) as u64 / 1000)
    }

    /// What is worked on (true) and what waits (false), oldest first, from after an id, at most `limit`.
    pub(super) fn window(&self, working: bool, after: Option<&ItemId>, limit: usize) -> Vec<(Claim, u32)> {
        let inside = self.lock();
        let past = |id: &ItemId| after.is_none_or(|after| id > after);
        let row = |work: &Work| ((*work.claim).clone(), work.attempts);
        if working {
            inside.working.iter().filter(|(id, _)| past(id)).take(limit).map(|(_, work)| row(work)).collect()
        } else {
            inside.waiting.iter().filter(|(id, _)| past(id)).take(limit).map(|(_, w)| row(&w.work)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{FileFacts, Mode, RawPath};

    fn claim(n: u32) -> Claim {
        let path = RawPath(format!("/inbox/{n}").into());
        let facts = FileFacts {
            item: ItemId::new(u64::from(n), n),
            path: path.clone(),
            source: path.clone(),
            mode: Mode::Identify,
            bytes: 1,
            modified_ms: 0,
            arrived_ms: i64::from(n),
        };
        Claim { facts, data: path.0, released: false }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever happens to files, each is waiting, worked on or finished, and the oldest that may goes first.
        #[test]
        fn every_file_is_in_one_place(steps in prop::collection::vec(0..8_u8, 1..80)) {
            let queue = Queue::new(1000);
            let (mut waiting, mut paused, mut working) = (BTreeSet::new(), BTreeSet::new(), Vec::<Work>::new());
            let mut parked = BTreeSet::new();
            let mut next = 0;
            for step in steps {
                match step {
                    0 | 1 => {
                        next += 1;
                        queue.restore(claim(next));
                        waiting.insert(claim(next).facts.item);
                    }
                    2 if !waiting.is_empty() => {
                        let work = queue.take().unwrap();
                        prop_assert_eq!(Some(&work.claim.facts.item), waiting.first());
                        waiting.pop_first();
                        working.push(work);
                    }
                    3 => if let Some(work) = working.pop() {
                        waiting.insert(work.claim.facts.item.clone());
                        queue.put_back(work, None);
                    },
                    4 => if let Some(work) = working.pop() {
                        paused.insert(work.claim.facts.item.clone());
                        queue.put_back(work, Some(Duration::from_secs(3600)));
                    },
                    5 => if let Some(work) = working.pop() {
                        parked.insert(work.claim.facts.item.clone());
                        queue.park(work);
                    },
                    6 => {
                        queue.unpark();
                        waiting.append(&mut parked);
                    }
                    _ => if let Some(work) = working.pop() {
                        queue.finish(&work.claim.facts.item);
                        prop_assert!(!queue.holds(&work.claim.facts.item));
                    },
                }
                let (w, k) = queue.counts();
                let all: BTreeSet<_> = waiting.iter().chain(&paused).chain(&parked).collect();
                prop_assert_eq!((w as usize, k as usize), (all.len(), working.len()));
                prop_assert_eq!(queue.has_parked(), !parked.is_empty());
                let listed = queue.window(false, None, 1000);
                prop_assert!(listed.iter().map(|(c, _)| &c.facts.item).eq(all));
            }
        }
    }

    #[test]
    fn who_waits_for_room_or_for_work_is_let_go_at_the_close() {
        let queue = Queue::new(1);
        assert!(queue.push(claim(1)));
        std::thread::scope(|scope| {
            let full = scope.spawn(|| queue.push(claim(2)));
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(queue.counts(), (1, 0), "there is no room for a second one");
            queue.close();
            assert!(!full.join().unwrap());
        });
        assert!(queue.take().is_none());
    }
}
