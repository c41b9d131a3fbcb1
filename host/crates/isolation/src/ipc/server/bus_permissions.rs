//! Permissions of a child on the bus.

use std::fmt;

use mshost_bus::{BusError, Job};
use mshost_core::ids::WorkerRef;
use mshost_plugin_api::SendError;
use mshost_worker::{SendAdmission, SendDecision};

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
        send_admission: SendAdmission,
    },
}

impl BusPermissions {
    /// Whether a job may be sent, as far as that is known before.
    pub(crate) fn decide(&self, job: &Job) -> SendDecision {
        match self {
            Self::Unrestricted => SendDecision::AskBus,
            Self::Worker { worker, send_admission } if job.sender == *worker => send_admission.decide(job),
            Self::Worker { worker, .. } => SendDecision::Refused(SendError::Unavailable(format!(
                "{} may not send in the name of {}",
                worker.id, job.sender.id
            ))),
        }
    }

    /// The admission of the child's jobs; `None` sends them to the bus as they are.
    pub(crate) fn send_admission(&self) -> Option<&SendAdmission> {
        match self {
            Self::Unrestricted => None,
            Self::Worker { send_admission, .. } => Some(send_admission),
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
