//! What a change under a pool's lock wants done once the lock is free.

use std::sync::Arc;
use std::task::Waker;

use mshost_bus::{DeathReason, SendError};
use tokio::sync::oneshot;

use super::kept::Kept;
use super::undertaker::Undertaker;

/// How a waiting sender hears what became of its job.
pub(super) type Answer = oneshot::Sender<Result<(), SendError>>;

/// Collected under the lock, carried out after it: wakers and the drops of payloads are foreign code.
#[must_use]
#[derive(Default)]
pub(super) struct Effects {
    /// The one that most changes have, without an allocation.
    waker: Option<Waker>,
    others: Vec<Effect>,
}

enum Effect {
    Wake(Waker),
    Answer(Answer, Result<(), SendError>),
    Bury(Arc<Kept>, DeathReason),
    Withdraw(Arc<Kept>),
    Discard(Arc<Kept>),
    Forget(Answer),
}

impl Effects {
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.waker.is_none() => self.waker = Some(waker),
            other => self.others.extend(other.map(Effect::Wake)),
        }
    }

    pub(super) fn answer(&mut self, answer: Answer, result: Result<(), SendError>) {
        self.others.push(Effect::Answer(answer, result));
    }

    /// A job that nobody will do.
    pub(super) fn bury(&mut self, job: Arc<Kept>, reason: DeathReason) {
        self.others.push(Effect::Bury(job, reason));
    }

    /// Jobs that were not accepted.
    pub(super) fn withdraw(&mut self, jobs: impl IntoIterator<Item = Arc<Kept>>) {
        self.others.extend(jobs.into_iter().map(Effect::Withdraw));
    }

    /// Jobs that the bus has in its hands no longer.
    pub(super) fn discard(&mut self, jobs: impl IntoIterator<Item = Arc<Kept>>) {
        self.others.extend(jobs.into_iter().map(Effect::Discard));
    }

    /// The answer of a sender that has given up.
    pub(super) fn forget(&mut self, answer: Answer) {
        self.others.push(Effect::Forget(answer));
    }

    pub(super) fn carry_out(self, undertaker: &Undertaker) {
        if let Some(waker) = self.waker {
            waker.wake();
        }
        for effect in self.others {
            match effect {
                Effect::Wake(waker) => waker.wake(),
                // An error means that the sender has given up meanwhile.
                Effect::Answer(answer, result) => drop(answer.send(result)),
                Effect::Bury(job, reason) => undertaker.bury(&job, reason),
                Effect::Withdraw(job) => undertaker.withdraw(&job),
                Effect::Discard(job) => drop(job),
                Effect::Forget(answer) => drop(answer),
            }
        }
    }
}
