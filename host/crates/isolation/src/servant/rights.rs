//! What a child may ask for.

use std::fmt;

use mshost_bus::{BusError, Job};
use mshost_core::ids::WorkerRef;
use mshost_plugin_api::SendError;
use mshost_worker::{Prospect, Reach};

use crate::message::{EventHead, NotificationHead};

/// What a child may ask for on the bus.
#[derive(Clone)]
pub enum Rights {
    /// Whatever a user of the bus may: for tests.
    Everything,
    /// What the worker does that runs in it, in its own name.
    Worker {
        /// Who.
        worker: WorkerRef,
        /// Whom its jobs can reach.
        reach: Reach,
    },
}

impl Rights {
    /// What is known of a job before it is sent.
    pub(super) fn prospect(&self, job: &Job) -> Prospect {
        match self {
            Self::Everything => Prospect::Open,
            Self::Worker { worker, reach } if job.sender == *worker => reach.prospect(job),
            Self::Worker { worker, .. } => Prospect::Refused(SendError::Unavailable(format!(
                "{} may not send in the name of {}",
                worker.id, job.sender.id
            ))),
        }
    }

    /// Where the child's jobs go; `None` is just to the bus.
    pub(super) fn reach(&self) -> Option<&Reach> {
        match self {
            Self::Everything => None,
            Self::Worker { reach, .. } => Some(reach),
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
