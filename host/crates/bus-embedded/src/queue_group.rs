//! A queue group: the queue of a worker type, the queues of its workers' ids, and their consumers.
//!
//! Its [`GroupState`] is behind one short lock; what follows from a change, its [`DeferredEffects`], is carried out after it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use mshost_bus::{BusError, QueueDepth, SendError, type_queue};
use mshost_core::ids::{Address, WorkerId, WorkerType};
use parking_lot::Mutex;

use super::consumer_state::{ConsumerKey, Outgoing};
use super::dead_letters::DeadLettering;
use super::deferred_effects::DeferredEffects;
use super::group_state::{GroupState, Offered, QueueRules};
use super::job_queue::{JobQueue, PendingSend, QueuedJob};
use super::stored_job::StoredJob;

/// The queues and the consumers of one worker type, behind their lock.
pub(super) struct QueueGroup {
    kind: WorkerType,
    limit: usize,
    dead_lettering: Arc<DeadLettering>,
    state: Mutex<GroupState>,
}

/// The result of adding a consumer.
pub(super) enum JoinResult {
    Added(ConsumerKey),
    /// The id has one.
    Duplicate,
    /// The group has been retired meanwhile: ask for a new one.
    Retired,
}

/// A job that waits for its retry.
pub(super) struct DelayedRetry {
    pub(super) queued: QueuedJob,
    /// The consumer in whose queue room is reserved for it; `None` for the type's.
    pub(super) reserved: Option<ConsumerKey>,
}

impl QueueGroup {
    pub(super) fn new(kind: WorkerType, rules: QueueRules, dead_lettering: Arc<DeadLettering>) -> Self {
        Self { state: Mutex::new(GroupState::new(kind.clone(), rules)), kind, limit: rules.queue, dead_lettering }
    }

    pub(super) fn kind(&self) -> &WorkerType {
        &self.kind
    }

    /// Changes the state, then carries out what follows from it.
    fn change<R>(&self, change: impl FnOnce(&mut GroupState, &mut DeferredEffects) -> R) -> R {
        let mut effects = DeferredEffects::default();
        let result = change(&mut self.state.lock(), &mut effects);
        effects.carry_out(&self.dead_lettering);
        result
    }

    /// Takes a job in, or gives it back where it would have to wait.
    pub(super) fn offer(&self, job: Arc<StoredJob>) -> Result<Result<(), SendError>, Arc<StoredJob>> {
        match self.change(|state, effects| state.offer(job, effects)) {
            Offered::Accepted => Ok(Ok(())),
            Offered::Refused(error) => Ok(Err(error)),
            Offered::Full(job) => Err(job),
        }
    }

    /// As [`QueueGroup::offer`], and has the sender wait where the queue is full.
    pub(super) fn offer_or_wait(&self, job: Arc<StoredJob>) -> Result<Result<(), SendError>, PendingSend> {
        self.change(|state, effects| match state.offer(job, effects) {
            Offered::Accepted => Ok(Ok(())),
            Offered::Refused(error) => Ok(Err(error)),
            Offered::Full(job) => Err(state.wait(job)),
        })
    }

    /// Why a job for this target would be refused now, if it would.
    pub(super) fn refusal(&self, target: &Address) -> Option<SendError> {
        self.state.lock().refusal(target)
    }

    /// Takes in a job that the journal unacked. Gives it back where it is not due yet.
    pub(super) fn restore(&self, queued: QueuedJob, delayed: bool) -> Option<DelayedRetry> {
        self.change(|state, effects| {
            state.known = true;
            if delayed {
                return Some(DelayedRetry { reserved: state.schedule(&queued.job), queued });
            }
            state.again(queued, effects);
            None
        })
    }

    /// Notes that the type has had workers before this host started.
    pub(super) fn mark_known(&self) {
        self.state.lock().known = true;
    }

    /// Gives up what has expired at the front of each queue, at most `most` of each; `true` where there may be more.
    pub(super) fn expire(&self, now: SystemTime, most: usize) -> bool {
        self.change(|state, effects| state.expire(now, most, effects))
    }

    /// Has a sender wait no longer; `false` where its answer is on its way.
    pub(super) fn give_up(&self, target: &Address, serial: u64) -> bool {
        self.change(|state, effects| state.give_up(target, serial, effects))
    }

    pub(super) fn join(
        &self,
        id: &WorkerId,
        prefetch: usize,
        closed: impl FnOnce() -> bool,
    ) -> Result<JoinResult, BusError> {
        self.change(|state, effects| {
            if state.closed || closed() {
                Err(BusError::Closed)
            } else if state.retired {
                Ok(JoinResult::Retired)
            } else {
                Ok(state.join(id, prefetch, effects).map_or(JoinResult::Duplicate, JoinResult::Added))
            }
        })
    }

    /// The next job of a consumer; `None` where it gets none any more.
    pub(super) fn poll(&self, key: ConsumerKey, cx: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        let mut state = self.state.lock();
        let Some(consumer) = state.consumer(key).filter(|consumer| !consumer.stopped) else { return Poll::Ready(None) };
        if let Some(taken) = consumer.take() {
            return Poll::Ready(Some(taken));
        }
        // The clone counts a reference; dropping the old one could do more, so that happens after the lock.
        let old = match &consumer.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => consumer.waker.replace(cx.waker().clone()),
        };
        drop(state);
        drop(old);
        Poll::Pending
    }

    pub(super) fn leave_type(&self, key: ConsumerKey) {
        self.change(|state, effects| state.leave_type(key, effects));
    }

    pub(super) fn pause(&self, key: ConsumerKey) {
        self.change(|state, effects| state.pause(key, effects));
    }

    pub(super) fn resume(&self, key: ConsumerKey) {
        self.change(|state, effects| state.resume(key, effects));
    }

    pub(super) fn stop(&self, key: ConsumerKey) {
        self.change(|state, effects| state.stop(key, effects));
    }

    pub(super) fn leave(&self, key: ConsumerKey) {
        self.change(|state, effects| state.leave(key, effects));
    }

    pub(super) fn ack(&self, key: ConsumerKey, tag: usize) -> Result<(), BusError> {
        let done = self.settle(key, |state, effects| {
            let unacked = state.take_unacked(key, tag).ok_or_else(consumer_gone)?;
            state.fill(key.index, effects);
            Ok(unacked)
        })?;
        drop(done);
        Ok(())
    }

    pub(super) fn requeue(&self, key: ConsumerKey, tag: usize, started: bool) -> Result<(), BusError> {
        self.settle(key, |state, effects| {
            let mut unacked = state.take_unacked(key, tag).ok_or_else(consumer_gone)?;
            unacked.returned = started;
            state.return_to_front(vec![unacked.into_queued()], effects);
            state.fill(key.index, effects);
            Ok(())
        })
    }

    /// Settles a job as failed. Gives it back where it has to wait for `after` first.
    pub(super) fn retry(
        &self,
        key: ConsumerKey,
        tag: usize,
        attempt: u32,
        after: Duration,
    ) -> Result<Option<DelayedRetry>, BusError> {
        self.settle(key, |state, effects| {
            let unacked = state.take_unacked(key, tag).ok_or_else(consumer_gone)?;
            let queued = QueuedJob::new(Arc::new(unacked.queued.job.as_attempt(attempt)));
            effects.discard([unacked.queued.job]);
            let delayed = if after.is_zero() {
                state.again(queued, effects);
                None
            } else {
                Some(DelayedRetry { reserved: state.schedule(&queued.job), queued })
            };
            state.fill(key.index, effects);
            Ok(delayed)
        })
    }

    fn settle<R>(
        &self,
        key: ConsumerKey,
        settle: impl FnOnce(&mut GroupState, &mut DeferredEffects) -> Result<R, BusError>,
    ) -> Result<R, BusError> {
        self.change(|state, effects| {
            if state.closed {
                Err(BusError::Closed)
            } else if state.consumer(key).is_none() {
                Err(consumer_gone())
            } else {
                settle(state, effects)
            }
        })
    }

    /// A delayed job's time has come.
    pub(super) fn due(&self, delayed: DelayedRetry) {
        self.change(|state, effects| state.due(delayed.queued, delayed.reserved, effects));
    }

    /// Retires the group where neither jobs nor consumers are left; returns whether it is retired.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.state.lock();
        state.retired |= state.is_unused();
        state.retired
    }

    pub(super) fn close(&self) {
        self.change(GroupState::close);
    }

    pub(super) fn depths(&self) -> Vec<QueueDepth> {
        let depth = |queue: String, waits: &JobQueue, consumers: usize| QueueDepth {
            queue,
            ready: waits.ready() as u64,
            unsettled: waits.unsettled() as u64,
            consumers: consumers as u64,
        };
        let state = self.state.lock();
        if state.closed {
            return Vec::new();
        }
        let own = state
            .consumers
            .iter()
            .map(|(_, consumer)| depth(consumer.id.to_string(), &consumer.id_queue, usize::from(!consumer.stopped)));
        std::iter::once(depth(type_queue(&self.kind), &state.type_queue, state.type_consumers)).chain(own).collect()
    }

    /// How many jobs it has, whether they wait or are delivered.
    pub(super) fn pending_jobs(&self) -> usize {
        let state = self.state.lock();
        let own = state.consumers.iter().map(|(_, consumer)| consumer.id_queue.pending_jobs());
        state.type_queue.pending_jobs() + own.sum::<usize>()
    }

    /// Why a sender has waited in vain.
    pub(super) fn full(&self, target: &Address, waited: Duration) -> SendError {
        SendError::Unavailable(format!(
            "the queue {target} has held its {} jobs (`bus.queue_limit`) for {waited:?} (`bus.send_timeout`) without taking \
             another; give {} more instances or concurrency, or raise the limit",
            self.limit, self.kind
        ))
    }
}

fn consumer_gone() -> BusError {
    BusError::Refused {
        what: "settling a job".to_owned(),
        reason: "its consumer is gone, which handed the job back; it will come again, flagged as redelivered"
            .to_owned(),
    }
}

impl fmt::Debug for QueueGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueGroup").field("kind", &self.kind).finish_non_exhaustive()
    }
}
