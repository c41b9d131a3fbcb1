//! What a child may ask for.

use std::fmt;
use std::sync::Arc;

use mshost_plugin_api::SendError;

use crate::bus::{Absent, BusError, Job};
use crate::ids::{Address, WorkerRef};
use crate::isolation::message::{EventHead, NotificationHead};
use crate::manager::Registry;
use crate::worker::Expected;

/// What a child may ask for on the bus.
#[derive(Clone)]
pub enum Rights {
    /// Whatever a user of the bus may: for tests.
    Everything,
    /// What the worker does that runs in it, in its own name.
    Worker {
        /// Who.
        worker: WorkerRef,
        /// Who else is there, as the manager knows.
        registry: Arc<Registry>,
        /// Who is about to be there.
        expected: Expected,
        /// What becomes of a job for a type that has no worker now.
        absent: Absent,
    },
}

impl Rights {
    /// Why this job may not be sent, if it may not.
    pub(super) fn refuse_job(&self, job: &Job) -> Option<SendError> {
        let Self::Worker { worker, registry, expected, absent } = self else { return None };
        if job.sender != *worker {
            return Some(SendError::Unavailable(format!(
                "{} may not send in the name of {}",
                worker.id, job.sender.id
            )));
        }
        // A durable queue outlives its workers, so that the bus alone cannot always tell that nobody is there.
        let target = job.route.target();
        let waits = expected.concerns(job) || *absent == Absent::Wait && matches!(target, Address::Any(_));
        (!waits && registry.is_gone(target)).then(|| SendError::NoWorker(target.clone()))
    }

    /// Who is about to be there, and may have to be waited for.
    pub(super) fn expected(&self) -> Expected {
        match self {
            Self::Everything => Expected::default(),
            Self::Worker { expected, .. } => expected.clone(),
        }
    }

    pub(super) fn refuse_join(&self, joining: &WorkerRef) -> Option<BusError> {
        match self {
            Self::Worker { worker, .. } if worker != joining => Some(not_for(worker, "joining as another")),
            _ => None,
        }
    }

    pub(super) fn refuse_notification(&self, notification: &NotificationHead) -> Option<BusError> {
        match self {
            Self::Worker { worker, .. } if !notification.is_of(&worker.id) => {
                Some(not_for(worker, "telling what does not concern it"))
            }
            _ => None,
        }
    }

    /// Whether the child is to hear this.
    pub(super) fn is_heard(&self, event: &EventHead) -> bool {
        match (self, event) {
            (Self::Worker { worker, .. }, EventHead::Notification(notification)) => notification.is_for(&worker.id),
            _ => true,
        }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("Everything"),
            Self::Worker { worker, .. } => write!(f, "Worker({})", worker.id),
        }
    }
}

fn not_for(worker: &WorkerRef, what: &str) -> BusError {
    BusError::Refused {
        what: what.to_owned(),
        reason: format!("not for {}, a worker in a process of its own", worker.id),
    }
}
