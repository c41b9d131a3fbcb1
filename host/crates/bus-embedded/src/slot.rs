//! The place of one worker in its pool.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use mshost_bus::Job;
use mshost_core::ids::{Address, WorkerId};
use slab::Slab;

use super::kept::Kept;
use super::queue::{Queue, Queued};

/// Names a slot, also when its index has been taken by another since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotKey {
    pub(super) index: usize,
    pub(super) serial: u64,
}

/// A worker, the queue of its id, and the jobs in its hands.
pub(super) struct Slot {
    pub(super) serial: u64,
    pub(super) id: WorkerId,
    /// Jobs addressed to its id.
    pub(super) own: Queue,
    /// Jobs delivered and not yet settled, at most `prefetch`.
    pub(super) held: Slab<Held>,
    /// Those of `held` that [`mshost_bus::Consumer::next`] has not returned yet, in order.
    pub(super) inbox: VecDeque<usize>,
    pub(super) prefetch: usize,
    /// Whether the id's queue is next when both queues have jobs.
    pub(super) own_turn: bool,
    /// Whether it stands in the pool's round robin.
    pub(super) in_turn: bool,
    /// It takes no more jobs of its type, only those for its id.
    pub(super) left_type: bool,
    /// It takes no jobs of its type for now, and counts as one of its workers all the same.
    pub(super) paused: bool,
    /// It takes no more jobs at all.
    pub(super) stopped: bool,
    /// Who waits in `next`.
    pub(super) waker: Option<Waker>,
}

/// A job in a worker's hands.
pub(super) struct Held {
    pub(super) queued: Queued,
    /// Order of delivery, which the slab's keys do not keep.
    order: u64,
    /// Whether `next` has returned it.
    pub(super) returned: bool,
}

/// A job on its way out of the bus.
pub(super) struct Taken {
    /// What to settle it with.
    pub(super) tag: usize,
    pub(super) job: Arc<Kept>,
    /// Whether it may have been delivered before.
    pub(super) redelivered: bool,
    /// How often it has gone out without being settled, this time included.
    pub(super) times: u32,
}

impl Slot {
    pub(super) fn new(serial: u64, id: WorkerId, prefetch: usize, limit: usize) -> Self {
        Self {
            serial,
            id,
            own: Queue::new(limit),
            held: Slab::new(),
            inbox: VecDeque::new(),
            prefetch,
            own_turn: false,
            in_turn: false,
            left_type: false,
            paused: false,
            stopped: false,
            waker: None,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        !self.stopped && self.held.len() < self.prefetch
    }

    /// Whether it takes jobs of its type.
    pub(super) fn takes_type(&self) -> bool {
        !self.left_type && !self.paused
    }

    /// Whether it could take a job of its type now.
    pub(super) fn has_room_for_type(&self) -> bool {
        self.has_room() && self.takes_type()
    }

    /// Delivers a job; the caller wakes.
    pub(super) fn hand(&mut self, queued: Queued, order: u64) {
        let tag = self.held.insert(Held { queued, order, returned: false });
        self.inbox.push_back(tag);
    }

    /// What `next` returns.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let tag = self.inbox.pop_front()?;
        let held = &mut self.held[tag];
        held.returned = true;
        let Queued { job, redelivered, deliveries } = &held.queued;
        Some(Taken { tag, job: Arc::clone(job), redelivered: *redelivered, times: deliveries.saturating_add(1) })
    }

    /// Gives up those of the delivered jobs that `next` has not returned and that `which` picks, in order of delivery.
    pub(super) fn take_unbegun(&mut self, which: impl Fn(&Job) -> bool) -> Vec<Queued> {
        let (taken, kept) = self.inbox.drain(..).partition(|tag| which(&self.held[*tag].queued.job));
        self.inbox = kept;
        let taken: VecDeque<usize> = taken;
        taken.into_iter().map(|tag| self.held.remove(tag).into_queued()).collect()
    }

    /// Gives up all held jobs, in order of delivery, those that were returned flagged.
    pub(super) fn surrender(&mut self) -> Vec<Queued> {
        self.inbox.clear();
        let mut held: Vec<_> = std::mem::take(&mut self.held).into_iter().map(|(_, held)| held).collect();
        held.sort_unstable_by_key(|held| held.order);
        held.into_iter().map(Held::into_queued).collect()
    }
}

impl Held {
    /// The job as it goes back to its queue.
    pub(super) fn into_queued(self) -> Queued {
        let Queued { job, redelivered, deliveries } = self.queued;
        let times = u32::from(self.returned);
        Queued { job, redelivered: redelivered || self.returned, deliveries: deliveries.saturating_add(times) }
    }
}

/// Whether a job came by a worker's id rather than by the type.
pub(super) fn by_id(job: &Job) -> bool {
    matches!(job.route.target(), Address::One(_))
}
