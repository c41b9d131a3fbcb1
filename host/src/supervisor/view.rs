//! What a keeper shows of its slot.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use mshost_core::ids::{GenerationId, WorkerId};
use mshost_topology::{Slot, WorkerSpec};
use mshost_worker::{Progress, StartFailure, Stragglers, Worker};

use super::keeper::Wish;
use super::slot_state::SlotState;
use crate::admin::{Complaint, WorkerState};

/// A slot, as the admin server shows it.
#[derive(Debug, Clone)]
pub(super) struct SlotView {
    pub(super) slot: Slot,
    pub(super) state: SlotState,
    /// Since when it is shown as it is.
    pub(super) since: SystemTime,
    pub(super) generation: GenerationId,
    pub(super) worker: Option<WorkerId>,
    pub(super) progress: Option<Arc<Progress>>,
    pub(super) addresses: BTreeMap<String, SocketAddr>,
    /// Times that a worker of this slot was replaced: swaps and restarts.
    pub(super) restarts: u64,
    /// Why the slot failed, or why its newest wish was refused.
    pub(super) last_error: Option<Complaint>,
    /// The threads that its generation has left behind here, and what its worker is made from.
    stragglers: (Stragglers, Arc<WorkerSpec>),
}

impl SlotView {
    pub(super) fn new(slot: Slot, first: &Wish) -> Self {
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
            stragglers: (Stragglers::default(), Arc::clone(&first.spec)),
        }
    }

    /// Shows the state that the slot is in.
    pub(super) fn enter(&mut self, state: SlotState) {
        if shown(self.state) != shown(state) {
            self.since = SystemTime::now();
        }
        self.state = state;
    }

    /// Notes what the next worker is made from, and the count of the threads that such workers leave behind.
    pub(super) fn preparing(&mut self, wish: &Wish, stragglers: Stragglers) {
        self.stragglers = (stragglers, Arc::clone(&wish.spec));
    }

    /// Why a worker would be parked as soon as it ran, if it would.
    pub(super) fn stuck(&self) -> Option<String> {
        let (stragglers, spec) = &self.stragglers;
        let (count, limit) = (stragglers.count(), spec.abandoned_threads);
        let timeout = humantime::format_duration(spec.timeout);
        (count >= limit).then(|| {
            format!(
                "{count} threads of its handlers overran `timeout` ({timeout}) and have not come back; {limit} may \
                 (`abandoned_threads`): find out what they wait for, or give them more time"
            )
        })
    }

    pub(super) fn starting(&mut self, wish: &Wish) {
        if self.worker.is_none() {
            self.generation = wish.generation.id();
        }
    }

    pub(super) fn running(&mut self, worker: &Worker, wish: &Wish) {
        if self.worker.is_some() || self.last_error.is_some() {
            self.restarts += 1;
        }
        self.worker = Some(worker.id().clone());
        self.progress = Some(worker.progress());
        self.addresses = worker.addresses().clone();
        self.generation = wish.generation.id();
        self.last_error = None;
    }

    pub(super) fn refused(&mut self, failure: &StartFailure) {
        self.last_error = Some(Complaint::now(failure));
    }

    pub(super) fn failed(&mut self, failure: &StartFailure) {
        self.worker = None;
        self.progress = None;
        self.last_error = Some(Complaint::now(failure));
    }
}

/// A slot's state, as the admin server calls it. One whose old worker goes on meanwhile is running.
pub(super) fn shown(state: SlotState) -> WorkerState {
    match state {
        SlotState::Starting => WorkerState::Starting,
        SlotState::Running | SlotState::Replacing => WorkerState::Running,
        SlotState::Backoff => WorkerState::Backoff,
        SlotState::Parked => WorkerState::Parked,
        SlotState::Leaving => WorkerState::Draining,
        SlotState::Empty => WorkerState::Stopped,
    }
}
