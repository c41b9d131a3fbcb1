//! Which `worker.getAll` are still open, and so who has had the chance to answer.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// More open questions than this are not kept; a worker then expires a little later, never earlier.
const MAX_OPEN: usize = 64;

/// The `worker.getAll` that were heard while nothing was lost and are not yet `expire_after` old, whoever asked.
///
/// A worker is expired when a question has come of age that it has not answered. Forgetting the questions (the bus was
/// away, notifications were lost) therefore stops the clock for everybody, and the next question starts it again.
#[derive(Debug)]
pub(super) struct Questions {
    asked: VecDeque<Instant>,
    expire_after: Duration,
}

impl Questions {
    pub(super) fn new(expire_after: Duration) -> Self {
        Self { asked: VecDeque::new(), expire_after }
    }

    pub(super) fn ask(&mut self, now: Instant) {
        if self.asked.len() < MAX_OPEN {
            self.asked.push_back(now);
        }
    }

    /// Answers may have been lost: nobody can be blamed for not having given one.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }

    /// When the next question comes of age.
    pub(super) fn due(&self) -> Option<Instant> {
        self.asked.front().map(|asked| *asked + self.expire_after)
    }

    /// The latest question that has come of age, if one has: whoever was last heard before it is to expire.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let mut latest = None;
        while self.due().is_some_and(|due| due <= now) {
            latest = self.asked.pop_front();
        }
        latest
    }
}
