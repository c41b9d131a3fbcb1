//! Liveness probes: which `worker.getAll` are still open, and so which workers have had the chance to answer.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// More open probes than this are not kept; a worker then expires a little later, never earlier.
const MAX_OPEN: usize = 64;

/// The `worker.getAll` that were heard while nothing was lost and are not yet `expire_after` old, whichever manager sent them.
///
/// A worker is expired when a probe is due that it has not answered. Forgetting the probes (the bus was away, notifications were
/// lost) therefore stops the clock for all workers, and the next probe starts it again.
#[derive(Debug)]
pub(super) struct LivenessProbes {
    sent: VecDeque<Instant>,
    expire_after: Duration,
}

impl LivenessProbes {
    pub(super) fn new(expire_after: Duration) -> Self {
        Self { sent: VecDeque::new(), expire_after }
    }

    pub(super) fn add(&mut self, now: Instant) {
        if self.sent.len() < MAX_OPEN {
            self.sent.push_back(now);
        }
    }

    /// Forgets all: answers may have been lost, so no worker can be expired for not having given one.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
    }

    /// When the next probe is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.sent.front().map(|sent| *sent + self.expire_after)
    }

    /// Takes the latest probe that is due, if one is: workers that were last heard before it are to expire.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let mut latest = None;
        while self.due().is_some_and(|due| due <= now) {
            latest = self.sent.pop_front();
        }
        latest
    }
}
