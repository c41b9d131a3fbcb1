//! The running host: started once, then it reconciles on every change until it is shut down.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mshost_bus::BusError;
use mshost_core::metrics::Metrics;
use mshost_core::telemetry::Telemetry;
use mshost_plugin_host::watch::Watcher;
use mshost_plugin_host::{LoadOptions, MappedLibraries, ShadowCopy};
use mshost_topology::Topology;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bus_session::sessions::BusSessions;
use super::canary::candidate::CanaryLauncher;
use super::dead_letters::CurrentBusDeadLetters;
use super::plugin_store::store::PluginStore;
use super::reconciler::Reconciler;
use super::reload_requests::{ReloadRequest, ReloadRequester};
use super::status_board::StatusBoard;
use super::watched_files::{roots, watch_settings};
use crate::admin::{AdminConfig, AdminError, AdminServer, HostPhase, TopologyStatus};

const TARGET: &str = "mshost::supervisor";

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The admin server cannot have its address.
    #[error(transparent)]
    AdminServer(#[from] AdminError),
    /// The bus refuses for good.
    #[error("cannot use the bus: {0}")]
    Bus(#[from] BusError),
    /// Two metrics have one name, which a test rules out.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// A running host.
pub struct Host {
    admin_address: Option<SocketAddr>,
    reload: mpsc::Sender<()>,
    stop: CancellationToken,
    board: Arc<StatusBoard>,
    sessions: Arc<BusSessions>,
    /// The reconcile loop; it releases all that it holds by dropping it.
    reconciling: JoinHandle<()>,
    /// Slot controllers, drains, and retirements of plugins.
    tasks: TaskTracker,
    /// The admin server, which stops last.
    observers: TaskTracker,
    observers_stop: CancellationToken,
    /// As the topology says now.
    shutdown_timeout: watch::Receiver<Duration>,
}

impl Host {
    /// Brings up a host for a topology that has been read from `path`. Workers start in the background. `telemetry` is the
    /// log that follows the topology's `[log]`.
    ///
    /// # Errors
    /// [`HostError`] where something that cannot be changed later is wrong.
    pub async fn start(path: PathBuf, topology: Topology, telemetry: Option<Telemetry>) -> Result<Self, HostError> {
        let metrics = Metrics::new()?;
        let sessions = BusSessions::open(&topology, &metrics)?;
        let (observers, observers_stop) = (TaskTracker::new(), CancellationToken::new());
        let status = TopologyStatus { file: path.clone(), revision: 0, applied: None, last_error: None };
        let board = Arc::new(StatusBoard::new(topology.host.name.clone(), Arc::clone(&sessions), status));
        let (reload, reloads) = mpsc::channel(1);
        let (reloading, requests) = ReloadRequester::new();
        let admin_address =
            start_admin(&topology, &metrics, &board, &sessions, reloading, &observers, &observers_stop).await?;

        let tasks = TaskTracker::new();
        let plugins = new_plugin_store(&topology, &metrics, &tasks);
        let watcher = Watcher::new(roots(&topology), watch_settings(&topology));
        let reconciler = Reconciler::new(
            path,
            topology,
            plugins,
            Arc::clone(&sessions),
            tasks.clone(),
            Arc::clone(&board),
            telemetry,
        );
        let shutdown_timeout = reconciler.shutdown_timeout();
        let stop = CancellationToken::new();
        let reconciling =
            tokio::spawn(reconcile_on_change(reconciler, watcher, reloads, requests, Arc::clone(&board), stop.clone()));
        Ok(Self {
            admin_address,
            reload,
            stop,
            board,
            sessions,
            reconciling,
            tasks,
            observers,
            observers_stop,
            shutdown_timeout,
        })
    }

    /// Where the admin server listens.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Reads everything anew, soon.
    pub fn reload(&self) {
        // Full means that a reload is due already.
        let _ = self.reload.try_send(());
    }

    /// Drains every worker, unloads every plugin, and leaves the bus; at the latest when `host.shutdown_timeout` has passed.
    pub async fn shutdown(self) {
        tracing::info!(target: TARGET, "shutting down: draining");
        self.board.set_phase(HostPhase::Draining);
        let limit = *self.shutdown_timeout.borrow();
        if tokio::time::timeout(limit, self.wind_down()).await.is_err() {
            let limit = humantime::format_duration(limit);
            tracing::warn!(target: TARGET, "not drained within {limit} (`host.shutdown_timeout`): leaving as it is");
        }
        tracing::info!(target: TARGET, "stopped");
    }

    async fn wind_down(self) {
        self.sessions.finish_own_work().await;
        self.stop.cancel();
        let _ = self.reconciling.await;
        self.sessions.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.observers_stop.cancel();
        self.observers.close();
        self.observers.wait().await;
        self.sessions.close().await;
    }
}

async fn reconcile_on_change(
    mut reconciler: Reconciler,
    mut watcher: Watcher,
    mut reloads: mpsc::Receiver<()>,
    mut requests: mpsc::Receiver<ReloadRequest>,
    board: Arc<StatusBoard>,
    stop: CancellationToken,
) {
    let canary_decided = reconciler.canary_decided();
    let work = async {
        reconciler.reconcile().await;
        board.set_phase(HostPhase::Running);
        loop {
            tokio::select! {
                files = watcher.changed() => {
                    tracing::debug!(target: TARGET, ?files, "changed");
                    reconciler.reconcile().await;
                }
                Some(()) = reloads.recv() => {
                    tracing::info!(target: TARGET, "asked to reload");
                    reconciler.reconcile().await;
                }
                Some(request) = requests.recv() => reconciler.answer(request).await,
                () = canary_decided.notified() => {
                    reconciler.reconcile().await;
                }
                () = reconciler.bus_may_be_usable() => {
                    reconciler.reconcile().await;
                }
            }
            if reconciler.watch_settings() != *watcher.settings() {
                // It reports what changes from now on: so what is there now is read once more.
                watcher = Watcher::new(reconciler.roots(), reconciler.watch_settings());
                reconciler.reconcile().await;
            }
            watcher.set_roots(reconciler.roots());
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
    // Dropping it drops every controller, which drains its slot, and every lease.
    drop(reconciler);
}

async fn start_admin(
    topology: &Topology,
    metrics: &Arc<Metrics>,
    board: &Arc<StatusBoard>,
    sessions: &Arc<BusSessions>,
    reloading: ReloadRequester,
    observers: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Option<SocketAddr>, AdminError> {
    let Some(address) = topology.host.admin else { return Ok(None) };
    let dead_letters = Arc::new(CurrentBusDeadLetters(Arc::clone(sessions)));
    let config = AdminConfig::new(address);
    let (source, workers) = (Arc::clone(board) as _, Arc::clone(board) as _);
    let admin =
        AdminServer::bind(config, Arc::clone(metrics), source, dead_letters, workers, Arc::new(reloading)).await?;
    let address = admin.address();
    observers.spawn(admin.run(stop.clone()));
    Ok(Some(address))
}

fn new_plugin_store(topology: &Topology, metrics: &Arc<Metrics>, retirements: &TaskTracker) -> PluginStore {
    let mapped_libraries = MappedLibraries::at_most(topology.host.mapped_limit);
    let lanes = topology.host.plugin_threads;
    let options = LoadOptions { lanes, mapped_libraries, ..LoadOptions::new(Arc::clone(metrics)) };
    ShadowCopy::remove_stale(&topology.host.state);
    let canaries = CanaryLauncher::new(topology.host.canary, retirements.clone());
    PluginStore::new(topology.host.state.clone(), options, Arc::clone(metrics), retirements.clone(), canaries)
}
