//! A worker type: its [`State`] behind its lock, and the [`Effects`] that follow each change.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use mshost_bus::{BusError, QueueDepth, SendError, type_queue};
use mshost_core::ids::{Address, WorkerId, WorkerType};
use parking_lot::Mutex;

use super::effects::Effects;
use super::kept::Kept;
use super::queue::{Queue, Queued, Waiting};
use super::slot::{SlotKey, Taken};
use super::state::{Offer, Rules, State};
use super::undertaker::Undertaker;

/// See the module.
pub(super) struct Pool {
    kind: WorkerType,
    limit: usize,
    undertaker: Arc<Undertaker>,
    state: Mutex<State>,
}

/// How a worker's wish for a slot can end.
pub(super) enum Joined {
    Slot(SlotKey),
    /// The id has one.
    Taken,
    /// The pool has been given up meanwhile: ask for a new one.
    Retired,
}

/// A job on its way back after a failure.
pub(super) struct Delayed {
    pub(super) queued: Queued,
    /// The slot whose queue keeps a place for it; `None` for the type's.
    pub(super) place: Option<SlotKey>,
}

impl Pool {
    pub(super) fn new(kind: WorkerType, rules: Rules, undertaker: Arc<Undertaker>) -> Self {
        Self { state: Mutex::new(State::new(kind.clone(), rules)), kind, limit: rules.queue, undertaker }
    }

    pub(super) fn kind(&self) -> &WorkerType {
        &self.kind
    }

    /// Changes the state, then carries out what follows from it.
    fn change<R>(&self, change: impl FnOnce(&mut State, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let result = change(&mut self.state.lock(), &mut effects);
        effects.carry_out(&self.undertaker);
        result
    }

    /// Takes a job in, or gives it back where it would have to wait.
    pub(super) fn offer(&self, job: Arc<Kept>) -> Result<Result<(), SendError>, Arc<Kept>> {
        match self.change(|state, effects| state.offer(job, effects)) {
            Offer::Accepted => Ok(Ok(())),
            Offer::Refused(error) => Ok(Err(error)),
            Offer::Full(job) => Err(job),
        }
    }

    /// As [`Pool::offer`], and joins the line of waiting senders where the queue is full.
    pub(super) fn offer_or_wait(&self, job: Arc<Kept>) -> Result<Result<(), SendError>, Waiting> {
        self.change(|state, effects| match state.offer(job, effects) {
            Offer::Accepted => Ok(Ok(())),
            Offer::Refused(error) => Ok(Err(error)),
            Offer::Full(job) => Err(state.wait(job)),
        })
    }

    /// Why a job for this target would be refused now, if it would.
    pub(super) fn refusal(&self, target: &Address) -> Option<SendError> {
        self.state.lock().refusal(target)
    }

    /// Takes a job of an earlier life in. Gives it back where it is not due yet.
    pub(super) fn restore(&self, queued: Queued, delayed: bool) -> Option<Delayed> {
        self.change(|state, effects| {
            state.known = true;
            if delayed {
                return Some(Delayed { place: state.schedule(&queued.job), queued });
            }
            state.again(queued, effects);
            None
        })
    }

    /// Notes that the type has had workers in an earlier life.
    pub(super) fn know(&self) {
        self.state.lock().known = true;
    }

    /// Gives up what has expired at the front of each queue, at most `most` of each; `true` where there may be more.
    pub(super) fn expire(&self, now: SystemTime, most: usize) -> bool {
        self.change(|state, effects| state.expire(now, most, effects))
    }

    /// Takes a sender out of the line; `false` where its answer is on its way.
    pub(super) fn give_up(&self, target: &Address, serial: u64) -> bool {
        self.change(|state, effects| state.give_up(target, serial, effects))
    }

    pub(super) fn join(
        &self,
        id: &WorkerId,
        prefetch: usize,
        closed: impl FnOnce() -> bool,
    ) -> Result<Joined, BusError> {
        self.change(|state, effects| {
            if state.closed || closed() {
                Err(BusError::Closed)
            } else if state.retired {
                Ok(Joined::Retired)
            } else {
                Ok(state.join(id, prefetch, effects).map_or(Joined::Taken, Joined::Slot))
            }
        })
    }

    /// The next job of a slot; `None` where it gets none any more.
    pub(super) fn poll(&self, key: SlotKey, cx: &mut Context<'_>) -> Poll<Option<Taken>> {
        let mut state = self.state.lock();
        let Some(slot) = state.slot(key).filter(|slot| !slot.stopped) else { return Poll::Ready(None) };
        if let Some(taken) = slot.take() {
            return Poll::Ready(Some(taken));
        }
        // The clone counts a reference; dropping the old one could do more, so that happens after the lock.
        let old = match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => slot.waker.replace(cx.waker().clone()),
        };
        drop(state);
        drop(old);
        Poll::Pending
    }

    pub(super) fn leave_type(&self, key: SlotKey) {
        self.change(|state, effects| state.leave_type(key, effects));
    }

    pub(super) fn pause(&self, key: SlotKey) {
        self.change(|state, effects| state.pause(key, effects));
    }

    pub(super) fn resume(&self, key: SlotKey) {
        self.change(|state, effects| state.resume(key, effects));
    }

    pub(super) fn stop(&self, key: SlotKey) {
        self.change(|state, effects| state.stop(key, effects));
    }

    pub(super) fn leave(&self, key: SlotKey) {
        self.change(|state, effects| state.leave(key, effects));
    }

    pub(super) fn ack(&self, key: SlotKey, tag: usize) -> Result<(), BusError> {
        let done = self.settle(key, |state, effects| {
            let held = state.release(key, tag).ok_or_else(handed_back)?;
            state.fill(key.index, effects);
            Ok(held)
        })?;
        drop(done);
        Ok(())
    }

    pub(super) fn requeue(&self, key: SlotKey, tag: usize, begun: bool) -> Result<(), BusError> {
        self.settle(key, |state, effects| {
            let mut held = state.release(key, tag).ok_or_else(handed_back)?;
            held.returned = begun;
            state.put_back(vec![held.into_queued()], effects);
            state.fill(key.index, effects);
            Ok(())
        })
    }

    /// Settles a job as failed. Gives it back where it has to wait for `after` first.
    pub(super) fn retry(
        &self,
        key: SlotKey,
        tag: usize,
        attempt: u32,
        after: Duration,
    ) -> Result<Option<Delayed>, BusError> {
        self.settle(key, |state, effects| {
            let held = state.release(key, tag).ok_or_else(handed_back)?;
            let queued = Queued::new(Arc::new(held.queued.job.as_attempt(attempt)));
            effects.discard([held.queued.job]);
            let delayed = if after.is_zero() {
                state.again(queued, effects);
                None
            } else {
                Some(Delayed { place: state.schedule(&queued.job), queued })
            };
            state.fill(key.index, effects);
            Ok(delayed)
        })
    }

    fn settle<R>(
        &self,
        key: SlotKey,
        settle: impl FnOnce(&mut State, &mut Effects) -> Result<R, BusError>,
    ) -> Result<R, BusError> {
        self.change(|state, effects| {
            if state.closed {
                Err(BusError::Closed)
            } else if state.slot(key).is_none() {
                Err(handed_back())
            } else {
                settle(state, effects)
            }
        })
    }

    /// A delayed job's time has come.
    pub(super) fn due(&self, delayed: Delayed) {
        self.change(|state, effects| state.due(delayed.queued, delayed.place, effects));
    }

    /// Gives the pool up where nothing and nobody is left; tells whether it has been given up.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.state.lock();
        state.retired |= state.is_unused();
        state.retired
    }

    pub(super) fn close(&self) {
        self.change(State::close);
    }

    pub(super) fn depths(&self) -> Vec<QueueDepth> {
        let depth = |queue: String, waits: &Queue, consumers: usize| QueueDepth {
            queue,
            ready: waits.ready() as u64,
            unsettled: waits.unsettled() as u64,
            consumers: consumers as u64,
        };
        let state = self.state.lock();
        if state.closed {
            return Vec::new();
        }
        let own = state.slots.iter().map(|(_, slot)| depth(slot.id.to_string(), &slot.own, usize::from(!slot.stopped)));
        std::iter::once(depth(type_queue(&self.kind), &state.shared, state.members)).chain(own).collect()
    }

    /// How many jobs it has, wherever they are.
    pub(super) fn holds(&self) -> usize {
        let state = self.state.lock();
        let own = state.slots.iter().map(|(_, slot)| slot.own.holds());
        state.shared.holds() + own.sum::<usize>()
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

fn handed_back() -> BusError {
    BusError::Refused {
        what: "settling a job".to_owned(),
        reason: "its consumer is gone, which handed the job back; it will come again, flagged as redelivered"
            .to_owned(),
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("kind", &self.kind).finish_non_exhaustive()
    }
}
