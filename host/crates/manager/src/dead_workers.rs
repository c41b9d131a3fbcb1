//! The workers that were taken for dead, until their queues are deleted.

use std::collections::VecDeque;
use std::time::Duration;

use mshost_core::ids::WorkerRef;
use tokio::time::Instant;

/// More dead workers are not remembered; what waits for one that was forgotten waits until its queue expires.
const MAX: usize = 100_000;
/// How long a manager that stands by remembers workers that it expired: the active one may die before it has deleted their
/// queues.
const REMEMBER: Duration = Duration::from_secs(5 * 60);

/// Workers that were taken for dead, in that order.
#[derive(Debug, Default)]
pub(super) struct DeadWorkers {
    dead: VecDeque<(Instant, WorkerRef)>,
}

impl DeadWorkers {
    pub(super) fn add(&mut self, worker: WorkerRef, now: Instant) {
        if self.dead.len() >= MAX {
            self.dead.pop_front();
        }
        self.dead.push_back((now, worker));
    }

    /// Forgets older ones: another manager has had the time to delete their queues.
    pub(super) fn forget_old(&mut self, now: Instant) {
        while self.dead.front().is_some_and(|(died, _)| now.duration_since(*died) > REMEMBER) {
            self.dead.pop_front();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dead.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<WorkerRef> {
        self.dead.pop_front().map(|(_, worker)| worker)
    }
}
