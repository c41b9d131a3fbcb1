//! What a worker's task and the attempts at its jobs share.

use std::sync::Arc;

use mshost_bus::{Announcement, Notification};
use mshost_core::ids::{WorkerId, WorkerRef};
use mshost_topology::WorkerSpec;

use super::abandoned_threads::AbandonedThreads;
use super::host_context::HostContext;
use super::panic_signal::PanicSignal;
use super::sockets::Listeners;
use super::worker_counters::WorkerCounters;

/// The log target of workers.
pub(super) const TARGET: &str = "mshost::worker";

/// Who a worker is, how it is to run, and what it runs with.
pub(super) struct WorkerContext {
    pub(super) worker: WorkerRef,
    pub(super) spec: Arc<WorkerSpec>,
    pub(super) host: HostContext,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) panic_signal: PanicSignal,
}

/// What its slot lends to a worker.
pub(super) struct SlotResources {
    pub(super) listeners: Listeners,
    pub(super) abandoned_threads: AbandonedThreads,
}

impl WorkerContext {
    pub(super) fn new(id: WorkerId, spec: Arc<WorkerSpec>, host: HostContext) -> Self {
        let counters = Arc::new(WorkerCounters::new(&host.metrics, &spec.worker_type));
        let worker = WorkerRef { id, worker_type: spec.worker_type.clone() };
        Self { worker, spec, host, counters, panic_signal: PanicSignal::default() }
    }

    /// Tells all hosts that the worker is on the bus; `resend` where a manager asked.
    pub(super) async fn announce(&self, resend: bool) {
        let announcement = Announcement { worker: self.worker.clone(), host: Some(self.host.host_name.to_string()) };
        if resend {
            self.counters.sent_keepalives.inc();
        } else {
            self.counters.sent_registrations.inc();
        }
        // A bus that is away says so once it is back, and the announcement is made again.
        let published = self.host.bus.publish(Notification::New { worker: announcement, resend }).await;
        if let Err(error) = published {
            self.warn(&format!("could not announce itself: {error}"));
        }
    }

    /// Tells all hosts that the worker has left the bus.
    pub(super) async fn announce_departure(&self) {
        if let Err(error) = self.host.bus.publish(Notification::Del(self.worker.clone())).await {
            self.warn(&format!("could not say that it leaves, managers will find out: {error}"));
        }
    }

    pub(super) fn warn(&self, message: &str) {
        tracing::warn!(target: TARGET, worker = %self.worker.id, "{message}");
    }
}
