//! What a keeper shows of its slot.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::keeper::Wish;
use crate::admin::Complaint;
use crate::ids::{GenerationId, WorkerId};
use crate::topology::Slot;
use crate::worker::Progress;

/// Where a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// Its first worker is being made, or made again.
    Starting,
    /// It has a worker that takes jobs.
    Running,
    /// It has none, and waits before the next try.
    Failed,
}

/// A slot, as the admin server shows it.
#[derive(Debug, Clone)]
pub(super) struct SlotView {
    pub(super) slot: Slot,
    pub(super) state: SlotState,
    pub(super) since: SystemTime,
    pub(super) generation: GenerationId,
    pub(super) worker: Option<WorkerId>,
    pub(super) progress: Option<Arc<Progress>>,
    pub(super) addresses: BTreeMap<String, SocketAddr>,
    /// Times that a worker of this slot was replaced: swaps and restarts.
    pub(super) restarts: u64,
    /// Why the slot failed, or why its newest wish was refused.
    pub(super) last_error: Option<Complaint>,
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
        }
    }

    pub(super) fn enter(&mut self, state: SlotState) {
        if self.state != state {
            self.state = state;
            self.since = SystemTime::now();
        }
    }
}
