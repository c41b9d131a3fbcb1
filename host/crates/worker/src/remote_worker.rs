//! The handle of a worker that runs in a process of its own.

use std::sync::Arc;

use mshost_core::ids::WorkerId;
use mshost_plugin_host::StateSnapshot;
use mshost_topology::WorkerSpec;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::id_generator::new_worker_id;
use super::progress::Progress;
use super::sockets::Listeners;
use super::start_mode::StartMode;
use super::worker::{REQUEST_CAPACITY, Worker, WorkerEnd};
use super::worker_request::WorkerRequest;
use super::worker_state::{StartFailure, WorkerState};

/// The other end of a [`Worker`], held by the task that runs its process. Dropping it ends the worker.
pub struct RemoteWorker {
    /// Its id on the bus.
    pub id: WorkerId,
    /// Its state, to be published.
    pub state: watch::Sender<WorkerState>,
    /// What it has done.
    pub progress: Arc<Progress>,
    /// Cancelled once it is to drain and leave.
    pub stop: CancellationToken,
    /// It may join, with the state of the one before where there is any; `None` where it need not wait for that.
    pub admitted: Option<oneshot::Receiver<Option<StateSnapshot>>>,
    /// What else is asked of it.
    pub requests: mpsc::Receiver<WorkerRequest>,
    // Never sent to: dropped at the end, which is the signal.
    _ended: oneshot::Sender<()>,
}

impl Worker {
    /// A worker in a process of its own, and the end for the task that runs the process.
    ///
    /// # Errors
    /// Where the worker type is too long for an id.
    pub fn remote(
        spec: &WorkerSpec,
        listeners: &Listeners,
        start_mode: &StartMode,
    ) -> Result<(Self, RemoteWorker), StartFailure> {
        let id = new_worker_id(&spec.worker_type).map_err(|error| StartFailure(error.to_string()))?;
        let (report, state) = watch::channel(WorkerState::Starting);
        let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
        let (ended, end) = oneshot::channel();
        let (requests, received) = mpsc::channel(REQUEST_CAPACITY);
        let (admission, admitted) = match start_mode {
            StartMode::Handover => {
                let (sender, receiver) = oneshot::channel();
                (Some(sender), Some(receiver))
            }
            StartMode::Immediate | StartMode::Canary(_) => (None, None),
        };
        let worker = Self {
            id: id.clone(),
            state,
            progress: Arc::clone(&progress),
            stop: stop.clone(),
            admission,
            requests,
            end: WorkerEnd::Remote(end),
            addresses: listeners.addresses(),
        };
        Ok((worker, RemoteWorker { id, state: report, progress, stop, admitted, requests: received, _ended: ended }))
    }
}
