//! A worker that is run elsewhere: in a process of its own.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::handle::{End, Progress, Worker};
use super::{Listeners, StartFailure, WorkerState, fresh};
use crate::admin::{Complaint, ProcessStatus};
use crate::ids::WorkerId;
use crate::topology::WorkerSpec;

/// The other end of a [`Worker`], held by whoever runs it. Dropping it ends the worker.
pub(crate) struct Elsewhere {
    /// Its id on the bus.
    pub(crate) id: WorkerId,
    /// Where it is in its life.
    pub(crate) state: watch::Sender<WorkerState>,
    /// What it has done.
    pub(crate) progress: Arc<Progress>,
    /// It is to drain and leave.
    pub(crate) stop: CancellationToken,
    // Never sent to: dropped at the end, which is the signal.
    _ended: oneshot::Sender<()>,
}

impl Worker {
    /// A worker that is run elsewhere, and the end for whoever runs it.
    pub(crate) fn elsewhere(spec: &WorkerSpec, listeners: &Listeners) -> Result<(Self, Elsewhere), StartFailure> {
        let id = fresh::worker_id(&spec.worker_type).map_err(|error| StartFailure(error.to_string()))?;
        let (report, state) = watch::channel(WorkerState::Starting);
        let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
        let (ended, end) = oneshot::channel();
        let worker = Self {
            id: id.clone(),
            state,
            progress: Arc::clone(&progress),
            stop: stop.clone(),
            admission: None,
            // Nobody reads them: it hands no state over.
            orders: mpsc::channel(1).0,
            end: End::Elsewhere(end),
            addresses: listeners.addresses(),
        };
        Ok((worker, Elsewhere { id, state: report, progress, stop, _ended: ended }))
    }
}

/// What whoever runs it takes note of.
impl Progress {
    /// A job is in its hands.
    pub(crate) fn took(&self) {
        self.taken();
    }

    /// A job is no longer in its hands: done, failed, or (`None`) handed back.
    pub(crate) fn let_go(&self, is_done: Option<bool>) {
        self.settled(is_done);
    }

    /// Why an attempt has failed.
    pub(crate) fn complain(&self, error: String) {
        self.set_last_error(Complaint::now(error));
    }

    /// It runs in this process.
    pub(crate) fn runs_in(&self, process: ProcessStatus) {
        self.set_process(process);
    }
}
