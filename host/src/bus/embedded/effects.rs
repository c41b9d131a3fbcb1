//! What a change under a pool's lock wants done once the lock is free.

use std::sync::Arc;
use std::task::Waker;

use tokio::sync::oneshot;

use super::notifier::Notifier;
use crate::bus::{Job, SendError};

/// How a waiting sender hears what became of its job.
pub(super) type Answer = oneshot::Sender<Result<(), SendError>>;

/// Collected under the lock, carried out after it: wakers and the drops of payloads are foreign code.
#[must_use]
#[derive(Default)]
pub(super) struct Effects {
    /// The usual one, without an allocation.
    waker: Option<Waker>,
    wakers: Vec<Waker>,
    answers: Vec<(Answer, Result<(), SendError>)>,
    orphans: Vec<Arc<Job>>,
    /// Only to be dropped.
    garbage: (Vec<Arc<Job>>, Vec<Answer>),
}

impl Effects {
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.waker.is_none() => self.waker = Some(waker),
            other => self.wakers.extend(other),
        }
    }

    pub(super) fn answer(&mut self, answer: Answer, result: Result<(), SendError>) {
        self.answers.push((answer, result));
    }

    /// A job that nobody can do any more.
    pub(super) fn orphan(&mut self, job: Arc<Job>) {
        self.orphans.push(job);
    }

    /// A job that is done with.
    pub(super) fn discard(&mut self, jobs: impl IntoIterator<Item = Arc<Job>>) {
        self.garbage.0.extend(jobs);
    }

    /// The answer of a sender that has given up.
    pub(super) fn forget(&mut self, answer: Answer) {
        self.garbage.1.push(answer);
    }

    pub(super) fn carry_out(self, notifier: &Notifier) {
        for (answer, result) in self.answers {
            // An error means that the sender has given up meanwhile.
            let _ = answer.send(result);
        }
        self.waker.into_iter().chain(self.wakers).for_each(Waker::wake);
        for job in &self.orphans {
            notifier.report_orphan(job);
        }
    }
}
