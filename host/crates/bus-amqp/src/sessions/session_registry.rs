//! The consumer sessions of this host.

use std::collections::HashMap;
use std::sync::Arc;

use mshost_core::ids::{WorkerId, WorkerRef, WorkerType};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::demand::Demand;
use super::jobs_in_hand::JobsInHand;

/// Every session whose consumer has not been dropped.
#[derive(Default)]
pub(crate) struct SessionRegistry(Mutex<HashMap<WorkerId, SessionEntry>>);

/// What others may know of a session.
pub(crate) struct SessionEntry {
    pub(crate) worker: WorkerRef,
    pub(crate) prefetch: u16,
    pub(crate) in_hand: Arc<JobsInHand>,
    pub(crate) demand: watch::Receiver<Demand>,
}

impl SessionRegistry {
    /// Adds a session.
    pub(crate) fn register(&self, entry: SessionEntry) {
        self.0.lock().insert(entry.worker.id.clone(), entry);
    }

    /// Removes the session of a worker.
    pub(crate) fn remove(&self, worker: &WorkerId) {
        self.0.lock().remove(worker);
    }

    /// Whether another worker of the same type takes its jobs, now or after a pause.
    pub(crate) fn has_another(&self, worker: &WorkerRef) -> bool {
        self.0.lock().values().any(|other| {
            other.worker.id != worker.id
                && other.worker.worker_type == worker.worker_type
                && other.demand.borrow().keeps_type()
        })
    }

    /// The workers of each type.
    pub(crate) fn by_type(&self) -> HashMap<WorkerType, Vec<WorkerId>> {
        let mut by_type: HashMap<WorkerType, Vec<WorkerId>> = HashMap::new();
        for id in self.0.lock().keys() {
            by_type.entry(id.worker_type()).or_default().push(id.clone());
        }
        by_type
    }

    /// How many jobs these workers have been delivered and not settled. Where jobs wait in their queue, the broker has given
    /// each all that it may have.
    pub(crate) fn unsettled(&self, workers: &[WorkerId], jobs_wait: bool) -> u64 {
        let sessions = self.0.lock();
        let known = workers.iter().filter_map(|id| sessions.get(id));
        known.map(|session| if jobs_wait { session.prefetch.into() } else { session.in_hand.count() }).sum()
    }
}
