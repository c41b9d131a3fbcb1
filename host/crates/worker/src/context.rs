//! What a worker's task has at hand.

use std::sync::Arc;

use mshost_bus::{Announcement, Notification};
use mshost_core::ids::{WorkerId, WorkerRef};
use mshost_topology::WorkerSpec;

use super::alarm::Alarm;
use super::counters::Counters;
use super::host_context::Surroundings;
use super::sockets::Listeners;
use super::stragglers::Stragglers;

/// The log target of workers.
pub(super) const TARGET: &str = "mshost::worker";

/// What a worker's task shares with the attempts at its jobs.
pub(super) struct WorkerContext {
    pub(super) worker: WorkerRef,
    pub(super) spec: Arc<WorkerSpec>,
    pub(super) surroundings: Surroundings,
    pub(super) counters: Arc<Counters>,
    pub(super) alarm: Alarm,
}

/// What its slot lends to a worker.
pub(super) struct SlotResources {
    pub(super) listeners: Listeners,
    pub(super) stragglers: Stragglers,
}

impl WorkerContext {
    pub(super) fn new(id: WorkerId, spec: Arc<WorkerSpec>, surroundings: Surroundings) -> Self {
        let counters = Arc::new(Counters::new(&surroundings.metrics, &spec.worker_type));
        let worker = WorkerRef { id, worker_type: spec.worker_type.clone() };
        Self { worker, spec, surroundings, counters, alarm: Alarm::default() }
    }

    /// Tells all hosts that the worker is on the bus; `resend` where a manager asked.
    pub(super) async fn announce(&self, resend: bool) {
        let announcement = Announcement { worker: self.worker.clone(), host: Some(self.surroundings.host.to_string()) };
        if resend {
            self.counters.sent_keepalives.inc();
        } else {
            self.counters.sent_registrations.inc();
        }
        // A bus that is away says so once it is back, and the announcement is made again.
        let published = self.surroundings.bus.publish(Notification::New { worker: announcement, resend }).await;
        if let Err(error) = published {
            self.warn(&format!("could not announce itself: {error}"));
        }
    }

    /// Tells all hosts that the worker has left the bus.
    pub(super) async fn announce_departure(&self) {
        if let Err(error) = self.surroundings.bus.publish(Notification::Del(self.worker.clone())).await {
            self.warn(&format!("could not say that it leaves, managers will find out: {error}"));
        }
    }

    pub(super) fn warn(&self, message: &str) {
        tracing::warn!(target: TARGET, worker = %self.worker.id, "{message}");
    }
}
