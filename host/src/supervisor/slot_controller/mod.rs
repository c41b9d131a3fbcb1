//! One controller per slot of the plan: the smallest reconcile loop of the host.
//!
//! The [reconciler](super::reconciler) publishes the [desired state](desired) of a slot; its [`SlotController`] gets there by
//! itself, however often that changes: it starts the new worker, waits until it is ready, and only then drains the old one. A
//! new worker that does not start leaves the old one as it is. Each slot has a controller of its own, so that a worker that hangs delays no other.
//!
//! What the controller waits for follows from its [`SlotState`](slot_state::SlotState): [`slot_task`] has one function for
//! each state, which waits for what can happen then and returns the event. [`worker_start`] starts a worker and swaps it in,
//! with the state of the old one where the plugin keeps state ([`state_handover`]), and after a
//! [canary evaluation](super::canary) where there is one ([`canary_step`]). [`restart_history`] decides when a failed worker is
//! started again, and [`start_expectation`] how long the jobs of its type wait for it.

mod canary_step;
pub(super) mod desired;
mod restart_history;
mod running_worker;
pub(super) mod slot_state;
pub(super) mod slot_status;
mod slot_task;
mod start_expectation;
pub(super) mod state_handover;
mod worker_start;

use std::sync::Arc;

use mshost_topology::Slot;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use self::desired::Desired;
use self::slot_status::SlotStatus;
pub(super) use self::slot_task::SlotEnvironment;
use self::slot_task::SlotTask;

/// Controls one slot. Dropping it drains the slot, as no desired worker does.
pub(super) struct SlotController {
    desired: watch::Sender<Option<Desired>>,
    handle: SlotHandle,
}

/// A slot, for readers of its status and for requests to restart its worker.
#[derive(Debug, Clone)]
pub(super) struct SlotHandle {
    pub(super) status: Arc<Mutex<SlotStatus>>,
    /// Of capacity 1: a second request before the first is taken up is the same request.
    pub(super) restart: mpsc::Sender<()>,
}

impl SlotController {
    /// Starts the controller of a slot; its task runs until the slot is empty again.
    pub(super) fn spawn(slot: Slot, first: Desired, environment: &SlotEnvironment) -> Self {
        let status = Arc::new(Mutex::new(SlotStatus::new(slot.clone(), &first)));
        let expected = first.session.host_context.starting_types.clone();
        let (desired, desired_changes) = watch::channel(Some(first));
        let (restart, restart_requests) = mpsc::channel(1);
        let handle = SlotHandle { status: Arc::clone(&status), restart };
        let task = SlotTask::new(slot, desired_changes, restart_requests, status, expected, environment.clone());
        environment.tasks.spawn(task.run());
        Self { desired, handle }
    }

    /// Changes what the slot should run.
    pub(super) fn set_desired(&self, desired: Desired) {
        self.desired.send_replace(Some(desired));
    }

    /// The slot, for readers of its status and for requests to restart its worker.
    pub(super) fn handle(&self) -> SlotHandle {
        self.handle.clone()
    }
}
