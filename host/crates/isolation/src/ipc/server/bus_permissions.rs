//! Permissions of a child on the bus.

use std::fmt;

use mshost_bus::{BusError, Job};
use mshost_core::ids::WorkerRef;
use mshost_plugin_api::SendError;
use mshost_worker::{Prospect, Reach};

use crate::ipc::message::{IpcEvent, IpcNotification};

/// The permissions of a child on the bus.
#[derive(Clone)]
pub enum BusPermissions {
    /// All that the bus offers: for tests.
    Unrestricted,
    /// What the worker in it needs, in its own name.
    Worker {
        /// The worker.
        worker: WorkerRef,
        /// The workers that its jobs can reach.
        reach: Reach,
    },
}

impl BusPermissions {
    /// Whether a job may be sent, as far as that is known before.
    pub(crate) fn prospect(&self, job: &Job) -> Prospect {
        match self {
            Self::Unrestricted => Prospect::Open,
            Self::Worker { worker, reach } if job.sender == *worker => reach.prospect(job),
            Self::Worker { worker, .. } => Prospect::Refused(SendError::Unavailable(format!(
                "{} may not send in the name of {}",
                worker.id, job.sender.id
            ))),
        }
    }

    /// The admission of the child's jobs; `None` sends them to the bus as they are.
    pub(crate) fn reach(&self) -> Option<&Reach> {
        match self {
            Self::Unrestricted => None,
            Self::Worker { reach, .. } => Some(reach),
        }
    }

    pub(crate) fn refuse_join(&self, joining: &WorkerRef) -> Option<BusError> {
        match self {
            Self::Worker { worker, .. } if worker != joining => Some(not_for(worker, "joining as another")),
            _ => None,
        }
    }

    pub(crate) fn refuse_notification(&self, notification: &IpcNotification) -> Option<BusError> {
        match self {
            Self::Worker { worker, .. } if !notification.is_of(&worker.id) => {
                Some(not_for(worker, "telling what does not concern it"))
            }
            _ => None,
        }
    }

    /// Whether the child is to receive this event.
    pub(crate) fn may_receive(&self, event: &IpcEvent) -> bool {
        match (self, event) {
            (Self::Worker { worker, .. }, IpcEvent::Notification(notification)) => notification.is_for(&worker.id),
            _ => true,
        }
    }
}

impl fmt::Debug for BusPermissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrestricted => f.write_str("Unrestricted"),
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
