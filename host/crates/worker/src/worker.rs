//! The handle of a worker, which the supervisor holds.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use mshost_core::ids::WorkerId;
use mshost_plugin_host::{Generation, LaneTask, StateSnapshot};
use mshost_topology::WorkerSpec;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::abandoned_threads::AbandonedThreads;
use super::host_context::HostContext;
use super::id_generator::new_worker_id;
use super::progress::Progress;
use super::sockets::Listeners;
use super::start_mode::StartMode;
use super::task::{WorkerControl, WorkerTask};
use super::worker_context::SlotResources;
use super::worker_request::WorkerRequest;
use super::worker_state::{StartFailure, WorkerState};

/// Why a worker has to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerFailure {
    /// Its plugin panicked. It finishes what it has, and still has to be stopped.
    Broken(StartFailure),
    /// It has left.
    Ended(StartFailure),
}

/// The most requests that a worker has not read; its slot makes one at a time.
pub(super) const REQUEST_CAPACITY: usize = 4;

/// How the end of a worker is awaited.
pub(super) enum WorkerEnd {
    Lane(LaneTask),
    /// Dropped at the end.
    Remote(oneshot::Receiver<()>),
}

/// One instance, running on a lane of its generation or in a process of its own. Dropping this does not stop it: see [`Worker::stop`].
pub struct Worker {
    pub(super) id: WorkerId,
    pub(super) state: watch::Receiver<WorkerState>,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
    pub(super) admission: Option<oneshot::Sender<Option<StateSnapshot>>>,
    pub(super) requests: mpsc::Sender<WorkerRequest>,
    pub(super) end: WorkerEnd,
    pub(super) addresses: BTreeMap<String, SocketAddr>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("id", &self.id).field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts a worker of `spec` in `generation`; it is not ready yet, and joins the bus as `start_mode` says.
    ///
    /// # Errors
    /// Where the worker type is too long for an id.
    pub fn spawn(
        generation: &Generation,
        spec: Arc<WorkerSpec>,
        listeners: Listeners,
        abandoned_threads: AbandonedThreads,
        host: HostContext,
        start_mode: StartMode,
    ) -> Result<Self, StartFailure> {
        let id = new_worker_id(&spec.worker_type).map_err(|error| StartFailure(error.to_string()))?;
        Ok(Self::spawn_as(id, generation, spec, listeners, abandoned_threads, host, start_mode))
    }

    /// Starts a worker that has its id already.
    pub fn spawn_as(
        id: WorkerId,
        generation: &Generation,
        spec: Arc<WorkerSpec>,
        listeners: Listeners,
        abandoned_threads: AbandonedThreads,
        host: HostContext,
        start_mode: StartMode,
    ) -> Self {
        let (report, state) = watch::channel(WorkerState::Starting);
        let progress = Arc::new(Progress::default());
        let stop = CancellationToken::new();
        let addresses = listeners.addresses();
        let (mut admission, mut admitted, mut share) = (None, None, None);
        match start_mode {
            StartMode::Immediate => {}
            StartMode::Handover => {
                let (sender, receiver) = oneshot::channel();
                (admission, admitted) = (Some(sender), Some(receiver));
            }
            StartMode::Canary(part) => share = Some(part),
        }
        let (requests, received) = mpsc::channel(REQUEST_CAPACITY);
        let control = WorkerControl { stop: stop.clone(), admission: admitted, share, requests: received };
        let resources = SlotResources { listeners, abandoned_threads };
        let (own, noted) = (id.clone(), Arc::clone(&progress));
        let run = move |lane| WorkerTask::new(own, spec, resources, host, report, noted, control).run(lane);
        let end = WorkerEnd::Lane(generation.spawn(run));
        Self { id, state, progress, stop, admission, requests, end, addresses }
    }

    /// Its id on the bus.
    #[must_use]
    pub fn id(&self) -> &WorkerId {
        &self.id
    }

    /// Where its sockets listen.
    #[must_use]
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// Its state, now and at each change.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<WorkerState> {
        self.state.clone()
    }

    /// What it has done so far.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Waits until it takes jobs. Cancel safe.
    ///
    /// # Errors
    /// Where it never will.
    pub async fn ready(&mut self) -> Result<(), StartFailure> {
        self.decided(|state| !matches!(state, WorkerState::Starting | WorkerState::Prepared)).await
    }

    /// Waits until it could be [admitted](Worker::admit). Cancel safe.
    ///
    /// # Errors
    /// Where it never will.
    pub async fn prepared(&mut self) -> Result<(), StartFailure> {
        self.decided(|state| *state != WorkerState::Starting).await
    }

    async fn decided(&mut self, is_decided: impl Fn(&WorkerState) -> bool) -> Result<(), StartFailure> {
        match self.state.wait_for(|state| is_decided(state)).await.map(|state| state.clone()) {
            Ok(WorkerState::Failed(failure)) => Err(failure),
            Ok(_) => Ok(()),
            Err(_) => Err(StartFailure("the worker's thread ended while it started".to_owned())),
        }
    }

    /// Whether it waits, or will wait, to be admitted.
    #[must_use]
    pub fn is_to_be_admitted(&self) -> bool {
        self.admission.is_some()
    }

    /// Has a worker that was spawned with [`StartMode::Handover`] join the bus, with the state of the one before where there
    /// is any; [`Worker::ready`] tells when it has. Idempotent.
    pub fn admit(&mut self, state: Option<StateSnapshot>) {
        if let Some(admission) = self.admission.take() {
            // Where it has failed, `ready` says so.
            let _ = admission.send(state);
        }
    }

    /// Has it stop taking jobs of its type, finish those in hand (or hand them back after `drain_timeout`), and tell its
    /// state. It remains a consumer, and waits for [`Worker::resume`] or [`Worker::stop`]. Dropping this future, too,
    /// makes it go on.
    ///
    /// # Errors
    /// Why there is no state to be had. It goes on by itself then, unless it has ended.
    pub async fn hand_over(&self) -> Result<StateSnapshot, StartFailure> {
        self.handing_over().await
    }

    /// As [`Worker::hand_over`], for a task of its own.
    pub fn handing_over(&self) -> impl Future<Output = Result<StateSnapshot, StartFailure>> + Send + use<> {
        let requests = self.requests.clone();
        async move {
            let (answer, told) = oneshot::channel();
            let unheard = || StartFailure("it ended before it could hand over".to_owned());
            requests.send(WorkerRequest::HandOver(answer)).await.map_err(|_| unheard())?;
            told.await.unwrap_or_else(|_| Err(unheard()))
        }
    }

    /// Has it take jobs again after [`Worker::hand_over`]. Harmless at any other time.
    pub async fn resume(&self) {
        // Where it has ended, `ended` says so.
        let _ = self.requests.send(WorkerRequest::Resume).await;
    }

    /// Waits until it has to be replaced. Not to be called again after [`WorkerFailure::Ended`]. Cancel safe.
    pub async fn failure(&mut self) -> WorkerFailure {
        let mut state = self.state.clone();
        tokio::select! {
            Some(failure) = broken(&mut state) => WorkerFailure::Broken(failure),
            end = self.ended() => {
                WorkerFailure::Ended(end.err().unwrap_or_else(|| StartFailure("it stopped by itself".to_owned())))
            }
        }
    }

    /// Waits until it has left, for whatever reason, and says why where it was not asked to. Cancel safe.
    pub async fn ended(&mut self) -> Result<(), StartFailure> {
        let crashed = match &mut self.end {
            WorkerEnd::Lane(task) => task.await.is_err(),
            WorkerEnd::Remote(end) => {
                // Nothing is ever sent.
                let _ = end.await;
                false
            }
        };
        match &*self.state.borrow() {
            WorkerState::Stopped => Ok(()),
            WorkerState::Failed(failure) => Err(failure.clone()),
            _ if crashed => Err(StartFailure("the worker's task panicked".to_owned())),
            _ => Err(StartFailure("the worker's thread ended".to_owned())),
        }
    }

    /// Waits until it is no longer of use, and says why. Cancel safe.
    pub async fn left(&self) -> String {
        let mut state = self.state.clone();
        let left = state
            .wait_for(|state| matches!(state, WorkerState::Broken(_) | WorkerState::Stopped | WorkerState::Failed(_)))
            .await;
        match left.as_deref() {
            Ok(WorkerState::Broken(failure) | WorkerState::Failed(failure)) => failure.to_string(),
            Ok(state) => state.to_string(),
            Err(_) => "its thread ended".to_owned(),
        }
    }

    /// Whether it is no longer of use.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.state.has_changed().is_err()
            || matches!(*self.state.borrow(), WorkerState::Broken(_) | WorkerState::Stopped | WorkerState::Failed(_))
    }

    /// Has it drain and leave; [`Worker::ended`] tells when it has. Idempotent.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// Waits until a worker is broken; `None` where it never will be.
async fn broken(state: &mut watch::Receiver<WorkerState>) -> Option<StartFailure> {
    let broken = state.wait_for(|state| matches!(state, WorkerState::Broken(_))).await.ok()?;
    match &*broken {
        WorkerState::Broken(failure) => Some(failure.clone()),
        _ => None,
    }
}
