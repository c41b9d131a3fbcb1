//! One queue: jobs that wait for a consumer, and the senders that wait for room in it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use mshost_bus::{DeathReason, SendError};
use tokio::sync::oneshot;

use super::deferred_effects::{DeferredEffects, SendAnswer};
use super::stored_job::StoredJob;

/// A job in a queue. Shared, so that the lock is held for a pointer and not for the clone of a job.
#[derive(Debug)]
pub(super) struct QueuedJob {
    pub(super) job: Arc<StoredJob>,
    /// Whether it may have been delivered before.
    pub(super) redelivered: bool,
    /// How often this attempt has been returned by `next` and was not settled.
    pub(super) deliveries: u32,
}

impl QueuedJob {
    /// A job that has been nowhere yet.
    pub(super) fn new(job: Arc<StoredJob>) -> Self {
        Self { job, redelivered: false, deliveries: 0 }
    }

    /// Whether its deadline has passed; looks at the clock once for many.
    pub(super) fn is_expired(&self, now: &mut Option<SystemTime>) -> bool {
        self.job.deadline.is_some() && self.job.is_expired(*now.get_or_insert_with(SystemTime::now))
    }
}

/// A send that waits for room.
pub(super) struct PendingSend {
    /// Its place among the waiting senders; grows towards the end.
    pub(super) serial: u64,
    pub(super) answer: oneshot::Receiver<Result<(), SendError>>,
}

/// Invariants: no sender waits unless the queue is full, and the first that waits has not given up.
pub(super) struct JobQueue {
    jobs: VecDeque<QueuedJob>,
    senders: VecDeque<WaitingSender>,
    /// Jobs that come back when their delay is over; room is reserved for them.
    scheduled: usize,
    /// Jobs delivered and not yet settled.
    unsettled: usize,
    limit: usize,
}

struct WaitingSender {
    serial: u64,
    /// `None` once the sender has given up.
    job: Option<Arc<StoredJob>>,
    answer: SendAnswer,
}

impl JobQueue {
    pub(super) fn new(limit: usize) -> Self {
        Self { jobs: VecDeque::new(), senders: VecDeque::new(), scheduled: 0, unsettled: 0, limit: limit.max(1) }
    }

    /// Neither jobs, nor senders with some.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.senders.is_empty()
    }

    /// Nothing that could still turn into a job.
    pub(super) fn is_unused(&self) -> bool {
        self.is_empty() && self.scheduled == 0 && self.unsettled == 0
    }

    /// Jobs that wait, those with a delay included.
    pub(super) fn ready(&self) -> usize {
        self.jobs.len() + self.scheduled
    }

    /// Jobs that wait, and those that may come back.
    pub(super) fn pending_jobs(&self) -> usize {
        self.ready() + self.unsettled + self.senders.len()
    }

    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Notes that a job has been delivered.
    pub(super) fn delivered(&mut self) {
        self.unsettled += 1;
    }

    /// Notes that a job has been settled, or is on its way back.
    pub(super) fn settled(&mut self) {
        self.unsettled -= 1;
    }

    /// Reserves room for a job that comes back later.
    pub(super) fn schedule(&mut self) {
        self.scheduled += 1;
    }

    /// Ends the reservation; the job follows by [`JobQueue::push`].
    pub(super) fn unschedule(&mut self) {
        self.scheduled -= 1;
    }

    /// Adds a new job, or gives it back where the queue is full.
    pub(super) fn offer(&mut self, job: Arc<StoredJob>) -> Result<(), Arc<StoredJob>> {
        if self.ready() >= self.limit {
            return Err(job);
        }
        self.jobs.push_back(QueuedJob::new(job));
        Ok(())
    }

    /// Adds a job that was accepted before, so beyond the limit if need be.
    pub(super) fn push(&mut self, queued: QueuedJob) {
        self.jobs.push_back(queued);
    }

    /// As [`JobQueue::push`], ahead of all others.
    pub(super) fn push_first(&mut self, queued: QueuedJob) {
        self.jobs.push_front(queued);
    }

    /// The next job. The room it leaves goes to the first sender that waits.
    pub(super) fn pop(&mut self, effects: &mut DeferredEffects) -> Option<QueuedJob> {
        // With all room reserved for delayed jobs, the first sender is next.
        let next = self.jobs.pop_front().or_else(|| self.admit(effects));
        while self.ready() < self.limit
            && let Some(queued) = self.admit(effects)
        {
            self.jobs.push_back(queued);
        }
        next
    }

    /// Gives up the jobs at its front whose deadline has passed, at most `most`; `true` where it has stopped at that.
    pub(super) fn expire(&mut self, now: SystemTime, most: usize, effects: &mut DeferredEffects) -> bool {
        for _ in 0..most {
            if !self.jobs.front().is_some_and(|queued| queued.job.is_expired(now)) {
                return false;
            }
            if let Some(queued) = self.pop(effects) {
                effects.dead_letter(queued.job, DeathReason::Expired);
            }
        }
        true
    }

    /// Accepts the job of the first sender that waits.
    fn admit(&mut self, effects: &mut DeferredEffects) -> Option<QueuedJob> {
        let WaitingSender { job, answer, .. } = self.senders.pop_front()?;
        self.skip_senders_that_gave_up(effects);
        effects.answer(answer, Ok(()));
        // The first sender always has its job.
        job.map(QueuedJob::new)
    }

    /// Has a sender wait. `serial` is greater than all before it. There is no limit to them: each is a call of `send` that is
    /// awaited, for `send_timeout` at most.
    pub(super) fn wait(&mut self, job: Arc<StoredJob>, serial: u64) -> PendingSend {
        let (answer, receiver) = oneshot::channel();
        self.senders.push_back(WaitingSender { serial, job: Some(job), answer });
        PendingSend { serial, answer: receiver }
    }

    /// Has a sender wait no longer. `false` where its job has been decided on; then the answer is on its way.
    pub(super) fn give_up(&mut self, serial: u64, effects: &mut DeferredEffects) -> bool {
        let Ok(at) = self.senders.binary_search_by_key(&serial, |waiter| waiter.serial) else { return false };
        effects.withdraw(self.senders[at].job.take());
        self.skip_senders_that_gave_up(effects);
        true
    }

    fn skip_senders_that_gave_up(&mut self, effects: &mut DeferredEffects) {
        while let Some(waiter) = self.senders.pop_front_if(|waiter| waiter.job.is_none()) {
            effects.forget(waiter.answer);
        }
    }

    /// Refuses all senders that wait.
    pub(super) fn refuse_senders(&mut self, error: &SendError, effects: &mut DeferredEffects) {
        for waiter in self.senders.drain(..) {
            effects.withdraw(waiter.job);
            effects.answer(waiter.answer, Err(error.clone()));
        }
    }

    /// All jobs, none of which will be delivered.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arc<StoredJob>> {
        self.jobs.drain(..).map(|queued| queued.job)
    }
}
