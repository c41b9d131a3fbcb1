//! One queue: jobs that wait for a worker, and behind them the senders that wait for room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use mshost_bus::{DeathReason, SendError};
use tokio::sync::oneshot;

use super::effects::{Answer, Effects};
use super::kept::Kept;

/// A job in a queue. Shared, so that the lock is held for a pointer and not for the clone of a job.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Arc<Kept>,
    /// Whether it may have been delivered before.
    pub(super) redelivered: bool,
    /// How often this attempt has been returned by `next` and was not settled.
    pub(super) deliveries: u32,
}

impl Queued {
    /// A job that has been nowhere yet.
    pub(super) fn new(job: Arc<Kept>) -> Self {
        Self { job, redelivered: false, deliveries: 0 }
    }

    /// Whether nobody wants it any more; looks at the clock once for many.
    pub(super) fn is_expired(&self, now: &mut Option<SystemTime>) -> bool {
        self.job.deadline.is_some() && self.job.is_expired(*now.get_or_insert_with(SystemTime::now))
    }
}

/// What a waiting sender holds.
pub(super) struct Waiting {
    /// Its place in the line; grows towards the end.
    pub(super) serial: u64,
    pub(super) answer: oneshot::Receiver<Result<(), SendError>>,
}

/// Invariants: the line is empty unless the queue is full, and the first in the line has not given up.
pub(super) struct Queue {
    jobs: VecDeque<Queued>,
    line: VecDeque<Waiter>,
    /// Jobs that come back when their delay is over; their places are kept.
    scheduled: usize,
    /// Jobs delivered and not yet settled.
    unsettled: usize,
    limit: usize,
}

struct Waiter {
    serial: u64,
    /// `None` once the sender has given up.
    job: Option<Arc<Kept>>,
    answer: Answer,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { jobs: VecDeque::new(), line: VecDeque::new(), scheduled: 0, unsettled: 0, limit: limit.max(1) }
    }

    /// Neither jobs, nor senders with some.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.line.is_empty()
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
    pub(super) fn holds(&self) -> usize {
        self.ready() + self.unsettled + self.line.len()
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

    /// Keeps a place for a job that comes back later.
    pub(super) fn schedule(&mut self) {
        self.scheduled += 1;
    }

    /// Gives that place up; the job follows by [`Queue::push`].
    pub(super) fn unschedule(&mut self) {
        self.scheduled -= 1;
    }

    /// Adds a new job, or gives it back where the queue is full.
    pub(super) fn offer(&mut self, job: Arc<Kept>) -> Result<(), Arc<Kept>> {
        if self.ready() >= self.limit {
            return Err(job);
        }
        self.jobs.push_back(Queued::new(job));
        Ok(())
    }

    /// Adds a job that the bus already answers for, so beyond the limit if need be.
    pub(super) fn push(&mut self, queued: Queued) {
        self.jobs.push_back(queued);
    }

    /// As [`Queue::push`], ahead of all others.
    pub(super) fn push_first(&mut self, queued: Queued) {
        self.jobs.push_front(queued);
    }

    /// The next job. The place it leaves goes to the first in the line.
    pub(super) fn pop(&mut self, effects: &mut Effects) -> Option<Queued> {
        // With all places kept for delayed jobs, the line is next itself.
        let next = self.jobs.pop_front().or_else(|| self.admit(effects));
        while self.ready() < self.limit
            && let Some(queued) = self.admit(effects)
        {
            self.jobs.push_back(queued);
        }
        next
    }

    /// Gives up the jobs at its front whose deadline has passed, at most `most`; `true` where it has stopped at that.
    pub(super) fn expire(&mut self, now: SystemTime, most: usize, effects: &mut Effects) -> bool {
        for _ in 0..most {
            if !self.jobs.front().is_some_and(|queued| queued.job.is_expired(now)) {
                return false;
            }
            if let Some(queued) = self.pop(effects) {
                effects.bury(queued.job, DeathReason::Expired);
            }
        }
        true
    }

    /// Accepts the job of the first in the line.
    fn admit(&mut self, effects: &mut Effects) -> Option<Queued> {
        let Waiter { job, answer, .. } = self.line.pop_front()?;
        self.skip_those_who_gave_up(effects);
        effects.answer(answer, Ok(()));
        // The first in the line always has its job.
        job.map(Queued::new)
    }

    /// Puts a sender into the line. `serial` is greater than all before it. The line has no limit of its own: each place
    /// belongs to a call of `send` that somebody awaits, for `send_timeout` at most.
    pub(super) fn wait(&mut self, job: Arc<Kept>, serial: u64) -> Waiting {
        let (answer, receiver) = oneshot::channel();
        self.line.push_back(Waiter { serial, job: Some(job), answer });
        Waiting { serial, answer: receiver }
    }

    /// Takes a sender out of the line. `false` where its job has been decided on; then the answer is on its way.
    pub(super) fn give_up(&mut self, serial: u64, effects: &mut Effects) -> bool {
        let Ok(at) = self.line.binary_search_by_key(&serial, |waiter| waiter.serial) else { return false };
        effects.withdraw(self.line[at].job.take());
        self.skip_those_who_gave_up(effects);
        true
    }

    fn skip_those_who_gave_up(&mut self, effects: &mut Effects) {
        while let Some(waiter) = self.line.pop_front_if(|waiter| waiter.job.is_none()) {
            effects.forget(waiter.answer);
        }
    }

    /// Refuses all who wait in the line.
    pub(super) fn refuse_line(&mut self, error: &SendError, effects: &mut Effects) {
        for waiter in self.line.drain(..) {
            effects.withdraw(waiter.job);
            effects.answer(waiter.answer, Err(error.clone()));
        }
    }

    /// All jobs, none of which will be delivered.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arc<Kept>> {
        self.jobs.drain(..).map(|queued| queued.job)
    }
}
