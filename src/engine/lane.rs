//! The bounded way to the thread that owns the models: questions first, pictures in order.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the model thread takes out.
pub(super) enum Taken<P, Q> {
    /// A batch of pictures of the queue.
    Pictures(Vec<P>),
    /// A question that somebody waits for.
    Question(Q),
    /// Nothing came in time.
    Idle,
    /// The lane is closed; pictures left in it stay in the queue's folder.
    Closed,
}

struct Inside<P, Q> {
    pictures: VecDeque<P>,
    questions: VecDeque<Q>,
    closed: bool,
}

/// A lane of at most `capacity` pictures and as many questions.
pub(super) struct Lane<P, Q> {
    inside: Mutex<Inside<P, Q>>,
    changed: Condvar,
    capacity: usize,
}

impl<P, Q> Lane<P, Q> {
    pub(super) fn new(capacity: usize) -> Self {
        let inside = Inside { pictures: VecDeque::new(), questions: VecDeque::new(), closed: false };
        Self { inside: Mutex::new(inside), changed: Condvar::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, Inside<P, Q>> {
        // Nothing is left half-done under this lock, so a panic elsewhere does not spoil what it guards.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a picture in, waiting for room; gives it back when the lane is closed.
    pub(super) fn put_picture(&self, picture: P) -> Result<(), P> {
        let mut inside = self.lock();
        while inside.pictures.len() >= self.capacity && !inside.closed {
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        if inside.closed {
            return Err(picture);
        }
        inside.pictures.push_back(picture);
        self.changed.notify_all();
        Ok(())
    }

    /// Puts a question in, unless too many wait already or the lane is closed.
    pub(super) fn put_question(&self, question: Q) -> Result<(), Q> {
        let mut inside = self.lock();
        if inside.closed || inside.questions.len() >= self.capacity.max(16) {
            return Err(question);
        }
        inside.questions.push_back(question);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes a question, or up to `most` pictures, waiting at most `patience`.
    pub(super) fn take(&self, most: usize, patience: Duration) -> Taken<P, Q> {
        let deadline = Instant::now() + patience;
        let mut inside = self.lock();
        loop {
            if inside.closed {
                return Taken::Closed;
            }
            if let Some(question) = inside.questions.pop_front() {
                self.changed.notify_all();
                return Taken::Question(question);
            }
            if !inside.pictures.is_empty() {
                let count = inside.pictures.len().min(most);
                let batch = inside.pictures.drain(..count).collect();
                self.changed.notify_all();
                return Taken::Pictures(batch);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::Idle;
            }
            inside = self.changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets nothing more in. Questions are dropped, and with them their askers' channels: those are told so.
    pub(super) fn close(&self) {
        let mut inside = self.lock();
        inside.closed = true;
        inside.questions.clear();
        drop(inside);
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn questions_go_before_pictures_and_a_close_drops_them() {
        let lane: Lane<u32, &str> = Lane::new(2);
        assert!(lane.put_picture(1).is_ok() && lane.put_picture(2).is_ok() && lane.put_question("who?").is_ok());
        assert!(matches!(lane.take(8, Duration::ZERO), Taken::Question("who?")));
        assert!(matches!(lane.take(8, Duration::ZERO), Taken::Pictures(batch) if batch == [1, 2]));
        assert!(matches!(lane.take(8, Duration::from_millis(1)), Taken::Idle));
        assert!(lane.put_question("and now?").is_ok());
        lane.close();
        assert!(matches!(lane.take(8, Duration::from_secs(9)), Taken::Closed));
        assert!(lane.put_question("late").is_err() && lane.put_picture(3) == Err(3));
    }

    #[test]
    fn a_full_lane_holds_up_whoever_fills_it() {
        let lane: Lane<u32, ()> = Lane::new(1);
        assert!(lane.put_picture(1).is_ok());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| lane.put_picture(2));
            std::thread::sleep(Duration::from_millis(30));
            assert!(!second.is_finished());
            assert!(matches!(lane.take(1, Duration::ZERO), Taken::Pictures(batch) if batch == [1]));
            assert!(matches!(second.join(), Ok(Ok(()))));
        });
    }
}
