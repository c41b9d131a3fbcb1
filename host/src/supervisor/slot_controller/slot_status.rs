//! The status of a slot, as its controller keeps it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use mshost_core::ids::{GenerationId, WorkerId};
use mshost_topology::{Slot, WorkerSpec};
use mshost_worker::{AbandonedThreads, Progress, StartFailure, Worker};

use super::desired::Desired;
use super::slot_state::SlotState;
use crate::admin::{Complaint, InstanceState};

/// What is known of a slot, for the admin server.
#[derive(Debug, Clone)]
pub(crate) struct SlotStatus {
    pub(crate) slot: Slot,
    pub(crate) state: SlotState,
    /// Since when it is shown as it is.
    pub(crate) since: SystemTime,
    pub(crate) generation: GenerationId,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) progress: Option<Arc<Progress>>,
    pub(crate) addresses: BTreeMap<String, SocketAddr>,
    /// Times that a worker of this slot was replaced: swaps and restarts.
    pub(crate) restarts: u64,
    /// Why the slot failed, or why its newest desired state was rejected.
    pub(crate) last_error: Option<Complaint>,
    /// The threads that its generation has abandoned here, and what its worker is made from.
    abandoned_threads: (AbandonedThreads, Arc<WorkerSpec>),
}

impl SlotStatus {
    pub(crate) fn new(slot: Slot, first: &Desired) -> Self {
        Self {
            slot,
            state: SlotState::Starting,
            since: SystemTime::now(),
            generation: first.generation.id(),
            worker: None,
            progress: None,
            addresses: BTreeMap::new(),
            restarts: 0,
            last_error: None,
            abandoned_threads: (AbandonedThreads::default(), Arc::clone(&first.spec)),
        }
    }

    /// Shows the state that the slot is in.
    pub(crate) fn enter(&mut self, state: SlotState) {
        if shown(self.state) != shown(state) {
            self.since = SystemTime::now();
        }
        self.state = state;
    }

    /// Notes what the next worker is made from, and the count of the threads that such workers abandon.
    pub(crate) fn preparing(&mut self, desired: &Desired, abandoned_threads: AbandonedThreads) {
        self.abandoned_threads = (abandoned_threads, Arc::clone(&desired.spec));
    }

    /// Why a worker would be parked as soon as it ran, if it would.
    pub(crate) fn blocked_by_threads(&self) -> Option<String> {
        let (threads, spec) = &self.abandoned_threads;
        let (count, limit) = (threads.count(), spec.abandoned_threads);
        let timeout = humantime::format_duration(spec.timeout);
        (count >= limit).then(|| {
            format!(
                "{count} threads of its handlers overran `timeout` ({timeout}) and have not come back; {limit} may \
                 (`abandoned_threads`): find out what they wait for, or give them more time"
            )
        })
    }

    pub(crate) fn starting(&mut self, desired: &Desired) {
        if self.worker.is_none() {
            self.generation = desired.generation.id();
        }
    }

    pub(crate) fn running(&mut self, worker: &Worker, desired: &Desired) {
        if self.worker.is_some() || self.last_error.is_some() {
            self.restarts += 1;
        }
        self.worker = Some(worker.id().clone());
        self.progress = Some(worker.progress());
        self.addresses = worker.addresses().clone();
        self.generation = desired.generation.id();
        self.last_error = None;
    }

    pub(crate) fn rejected(&mut self, failure: &StartFailure) {
        self.last_error = Some(Complaint::now(failure));
    }

    pub(crate) fn failed(&mut self, failure: &StartFailure) {
        self.worker = None;
        self.progress = None;
        self.last_error = Some(Complaint::now(failure));
    }
}

/// A slot's state, as the admin server calls it. One whose old worker goes on meanwhile is running.
pub(crate) fn shown(state: SlotState) -> InstanceState {
    match state {
        SlotState::Starting => InstanceState::Starting,
        SlotState::Running | SlotState::Replacing => InstanceState::Running,
        SlotState::Backoff => InstanceState::Backoff,
        SlotState::Parked => InstanceState::Parked,
        SlotState::Leaving => InstanceState::Draining,
        SlotState::Empty => InstanceState::Stopped,
    }
}
