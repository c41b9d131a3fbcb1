//! Effects of a change under a group's lock that are carried out once the lock is free.

use std::sync::Arc;
use std::task::Waker;

use mshost_bus::{DeathReason, SendError};
use tokio::sync::oneshot;

use super::dead_letters::DeadLettering;
use super::stored_job::StoredJob;

/// How a waiting sender is told whether its job was accepted.
pub(super) type SendAnswer = oneshot::Sender<Result<(), SendError>>;

/// Collected under the lock, carried out after it: wakers and the drops of payloads are foreign code.
#[must_use]
#[derive(Default)]
pub(super) struct DeferredEffects {
    /// The one that most changes have, without an allocation.
    waker: Option<Waker>,
    others: Vec<DeferredEffect>,
}

enum DeferredEffect {
    Wake(Waker),
    Answer(SendAnswer, Result<(), SendError>),
    DeadLetter(Arc<StoredJob>, DeathReason),
    Withdraw(Arc<StoredJob>),
    Discard(Arc<StoredJob>),
    Forget(SendAnswer),
}

impl DeferredEffects {
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.waker.is_none() => self.waker = Some(waker),
            other => self.others.extend(other.map(DeferredEffect::Wake)),
        }
    }

    pub(super) fn answer(&mut self, answer: SendAnswer, result: Result<(), SendError>) {
        self.others.push(DeferredEffect::Answer(answer, result));
    }

    /// Gives a job up.
    pub(super) fn dead_letter(&mut self, job: Arc<StoredJob>, reason: DeathReason) {
        self.others.push(DeferredEffect::DeadLetter(job, reason));
    }

    /// Removes jobs that were not accepted from the journal.
    pub(super) fn withdraw(&mut self, jobs: impl IntoIterator<Item = Arc<StoredJob>>) {
        self.others.extend(jobs.into_iter().map(DeferredEffect::Withdraw));
    }

    /// Drops jobs that the bus is not responsible for any more.
    pub(super) fn discard(&mut self, jobs: impl IntoIterator<Item = Arc<StoredJob>>) {
        self.others.extend(jobs.into_iter().map(DeferredEffect::Discard));
    }

    /// The answer of a sender that has given up.
    pub(super) fn forget(&mut self, answer: SendAnswer) {
        self.others.push(DeferredEffect::Forget(answer));
    }

    pub(super) fn carry_out(self, dead_lettering: &DeadLettering) {
        if let Some(waker) = self.waker {
            waker.wake();
        }
        for effect in self.others {
            match effect {
                DeferredEffect::Wake(waker) => waker.wake(),
                // An error means that the sender has given up meanwhile.
                DeferredEffect::Answer(answer, result) => drop(answer.send(result)),
                DeferredEffect::DeadLetter(job, reason) => dead_lettering.dead_letter(&job, reason),
                DeferredEffect::Withdraw(job) => dead_lettering.withdraw(&job),
                DeferredEffect::Discard(job) => drop(job),
                DeferredEffect::Forget(answer) => drop(answer),
            }
        }
    }
}
