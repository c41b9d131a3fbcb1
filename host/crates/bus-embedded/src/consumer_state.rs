//! One consumer of a queue group: the queue of its worker's id, and what it has not settled yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use mshost_bus::Job;
use mshost_core::ids::{Address, WorkerId};
use slab::Slab;

use super::job_queue::{JobQueue, QueuedJob};
use super::stored_job::StoredJob;

/// The key of a consumer. Another that has taken its index since has another serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConsumerKey {
    pub(super) index: usize,
    pub(super) serial: u64,
}

/// The consumer of a worker, as its group knows it.
pub(super) struct ConsumerState {
    pub(super) serial: u64,
    pub(super) id: WorkerId,
    /// Jobs addressed to its id.
    pub(super) id_queue: JobQueue,
    /// Jobs delivered and not settled yet, at most `prefetch`.
    pub(super) unacked: Slab<Unacked>,
    /// Those of `unacked` that [`mshost_bus::Consumer::next`] has not returned yet, in order.
    pub(super) prefetched: VecDeque<usize>,
    pub(super) prefetch: usize,
    /// Whether the id's queue is next when both queues have jobs.
    pub(super) id_queue_turn: bool,
    /// Whether it stands in the group's round robin.
    pub(super) in_rotation: bool,
    /// It takes no more jobs of its type, only those for its id.
    pub(super) left_type: bool,
    /// It takes no jobs of its type for now, and counts as one of its workers all the same.
    pub(super) paused: bool,
    /// It takes no more jobs at all.
    pub(super) stopped: bool,
    /// The waker of the task that waits in `next`.
    pub(super) waker: Option<Waker>,
}

/// A job that was delivered to the consumer and is not settled yet.
pub(super) struct Unacked {
    pub(super) queued: QueuedJob,
    /// Order of delivery, which the slab's keys do not keep.
    order: u64,
    /// Whether `next` has returned it.
    pub(super) returned: bool,
}

/// A job as `next` returns it.
pub(super) struct Outgoing {
    /// What to settle it with.
    pub(super) tag: usize,
    pub(super) job: Arc<StoredJob>,
    /// Whether it may have been delivered before.
    pub(super) redelivered: bool,
    /// How often it has gone out without being settled, this time included.
    pub(super) times: u32,
}

impl ConsumerState {
    pub(super) fn new(serial: u64, id: WorkerId, prefetch: usize, limit: usize) -> Self {
        Self {
            serial,
            id,
            id_queue: JobQueue::new(limit),
            unacked: Slab::new(),
            prefetched: VecDeque::new(),
            prefetch,
            id_queue_turn: false,
            in_rotation: false,
            left_type: false,
            paused: false,
            stopped: false,
            waker: None,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        !self.stopped && self.unacked.len() < self.prefetch
    }

    /// Whether it takes jobs of its type.
    pub(super) fn takes_type(&self) -> bool {
        !self.left_type && !self.paused
    }

    /// Whether it could take a job of its type now.
    pub(super) fn has_room_for_type(&self) -> bool {
        self.has_room() && self.takes_type()
    }

    /// Delivers a job to its prefetch; the caller wakes the consumer.
    pub(super) fn push(&mut self, queued: QueuedJob, order: u64) {
        let tag = self.unacked.insert(Unacked { queued, order, returned: false });
        self.prefetched.push_back(tag);
    }

    /// What `next` returns.
    pub(super) fn take(&mut self) -> Option<Outgoing> {
        let tag = self.prefetched.pop_front()?;
        let unacked = &mut self.unacked[tag];
        unacked.returned = true;
        let QueuedJob { job, redelivered, deliveries } = &unacked.queued;
        Some(Outgoing { tag, job: Arc::clone(job), redelivered: *redelivered, times: deliveries.saturating_add(1) })
    }

    /// Removes the prefetched jobs that `which` picks, in order of delivery.
    pub(super) fn take_prefetched(&mut self, which: impl Fn(&Job) -> bool) -> Vec<QueuedJob> {
        let (taken, others) = self.prefetched.drain(..).partition(|tag| which(&self.unacked[*tag].queued.job));
        self.prefetched = others;
        let taken: VecDeque<usize> = taken;
        taken.into_iter().map(|tag| self.unacked.remove(tag).into_queued()).collect()
    }

    /// Removes all unacked jobs, in order of delivery; those that `next` has returned are flagged as redelivered.
    pub(super) fn take_all_unacked(&mut self) -> Vec<QueuedJob> {
        self.prefetched.clear();
        let mut unacked: Vec<_> = std::mem::take(&mut self.unacked).into_iter().map(|(_, unacked)| unacked).collect();
        unacked.sort_unstable_by_key(|unacked| unacked.order);
        unacked.into_iter().map(Unacked::into_queued).collect()
    }
}

impl Unacked {
    /// The job as it goes back to its queue.
    pub(super) fn into_queued(self) -> QueuedJob {
        let QueuedJob { job, redelivered, deliveries } = self.queued;
        let times = u32::from(self.returned);
        QueuedJob { job, redelivered: redelivered || self.returned, deliveries: deliveries.saturating_add(times) }
    }
}

/// Whether a job came by a worker's id rather than by the type.
pub(super) fn by_id(job: &Job) -> bool {
    matches!(job.route.target(), Address::One(_))
}
