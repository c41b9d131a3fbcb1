//! The types of which the host is starting a worker, or starting one again.
//!
//! A job for one of them waits for that worker, where it would be refused otherwise, so that the workers of a host may come up
//! in any order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mshost_bus::{Bus, Job};
use mshost_core::ids::{Address, WorkerType};
use mshost_plugin_api::SendError;
use parking_lot::Mutex;
use tokio::sync::watch;

/// The types of which a worker is being started. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct StartingTypes(Arc<StartingCounts>);

#[derive(Debug, Default)]
struct StartingCounts {
    /// How many workers of each type are being started.
    counts: Mutex<HashMap<WorkerType, usize>>,
    /// How many types `counts` holds: once everything runs, a send takes no lock.
    types: AtomicUsize,
    changes: watch::Sender<()>,
}

/// While it lives, a worker of its type is being started.
#[derive(Debug)]
pub struct StartingGuard {
    starting_types: StartingTypes,
    worker_type: WorkerType,
}

impl StartingTypes {
    /// A worker of this type is being started until the guard is dropped, which has to be once it runs or will not for now.
    #[must_use]
    pub fn announce(&self, worker_type: WorkerType) -> StartingGuard {
        let mut counts = self.0.counts.lock();
        *counts.entry(worker_type.clone()).or_default() += 1;
        self.0.types.store(counts.len(), Ordering::Release);
        drop(counts);
        StartingGuard { starting_types: self.clone(), worker_type }
    }

    /// Whether a worker of this type is being started now.
    #[must_use]
    pub fn contains(&self, worker_type: &WorkerType) -> bool {
        self.0.counts.lock().contains_key(worker_type)
    }

    /// Whether this job may have to wait for a worker. One that a worker sends to its own type does not: where `start`
    /// sends it, it would wait for itself.
    #[must_use]
    pub fn may_wait(&self, job: &Job) -> bool {
        let Address::Any(worker_type) = job.route.target() else { return false };
        self.0.types.load(Ordering::Acquire) > 0 && *worker_type != job.sender.worker_type && self.contains(worker_type)
    }

    /// Sends a job, and again as long as there is no worker for it but one is being started. That ends with the `start_timeout`
    /// of the workers that are being started, and where they failed and are tried again after as long once more.
    ///
    /// # Errors
    /// As [`Bus::send`].
    pub async fn send(&self, bus: &dyn Bus, job: Job) -> Result<(), SendError> {
        let mut changes = self.0.changes.subscribe();
        while self.may_wait(&job) {
            match bus.send(job.clone()).await {
                // The channel is in `self`, so that it is not closed.
                Err(SendError::NoWorker(_)) => drop(changes.changed().await),
                sent => return sent,
            }
        }
        bus.send(job).await
    }
}

impl Drop for StartingGuard {
    fn drop(&mut self) {
        let StartingTypes(inner) = &self.starting_types;
        let mut counts = inner.counts.lock();
        if let Some(count) = counts.get_mut(&self.worker_type) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.worker_type);
            }
        }
        inner.types.store(counts.len(), Ordering::Release);
        drop(counts);
        // One of several is enough for those that wait.
        inner.changes.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;

    use super::*;

    fn kind(name: &str) -> WorkerType {
        WorkerType::new(name).unwrap()
    }

    #[test]
    fn a_type_is_being_started_until_the_last_guard_is_gone() {
        let starting_types = StartingTypes::default();
        let is = |name: &str| starting_types.contains(&kind(name));
        let (one, two) = (starting_types.announce(kind("WB")), starting_types.announce(kind("WB")));
        assert!(is("WB") && !is("WA"));
        drop(one);
        assert!(is("WB"));
        drop(two);
        assert!(!is("WB"));
        assert_eq!(starting_types.0.types.load(Ordering::Acquire), 0);
    }

    #[test]
    fn the_end_of_one_of_several_is_told() {
        let starting_types = StartingTypes::default();
        let (one, _two) = (starting_types.announce(kind("WB")), starting_types.announce(kind("WB")));
        let mut changes = starting_types.0.changes.subscribe();
        assert!(changes.changed().now_or_never().is_none());
        drop(one);
        assert!(changes.changed().now_or_never().is_some());
    }
}
