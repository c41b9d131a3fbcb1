//! The whole host, in phases: read, build, serve, drain.

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

use super::board::Board;
use super::canary::Canaries;
use super::letters::CurrentLetters;
use super::reconcile::{Reconciler, roots, watch_settings};
use super::requests::{Request, Requests};
use super::shelf::Shelf;
use super::sides::Sides;
use crate::admin::{Admin, AdminConfig, AdminError, Phase, TopologyStatus};

const TARGET: &str = "mshost::supervisor";

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The admin server cannot have its address.
    #[error(transparent)]
    Admin(#[from] AdminError),
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
    board: Arc<Board>,
    sides: Arc<Sides>,
    /// The reconcile loop; it gives back all that it holds by dropping it.
    reconciling: JoinHandle<()>,
    /// Keepers, drains and retirements.
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
        let sides = Sides::open(&topology, &metrics)?;
        let (observers, observers_stop) = (TaskTracker::new(), CancellationToken::new());
        let status = TopologyStatus { file: path.clone(), revision: 0, applied: None, last_error: None };
        let board = Arc::new(Board::new(topology.host.name.clone(), Arc::clone(&sides), status));
        let (reload, reloads) = mpsc::channel(1);
        let (reloading, requests) = Requests::new();
        let admin_address =
            start_admin(&topology, &metrics, &board, &sides, reloading, &observers, &observers_stop).await?;

        let tasks = TaskTracker::new();
        let shelf = new_shelf(&topology, &metrics, &tasks);
        let watcher = Watcher::new(roots(&topology), watch_settings(&topology));
        let reconciler =
            Reconciler::new(path, topology, shelf, Arc::clone(&sides), tasks.clone(), Arc::clone(&board), telemetry);
        let shutdown_timeout = reconciler.shutdown_timeout();
        let stop = CancellationToken::new();
        let reconciling =
            tokio::spawn(reconcile_on_change(reconciler, watcher, reloads, requests, Arc::clone(&board), stop.clone()));
        Ok(Self {
            admin_address,
            reload,
            stop,
            board,
            sides,
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
        self.board.enter(Phase::Draining);
        let limit = *self.shutdown_timeout.borrow();
        if tokio::time::timeout(limit, self.wind_down()).await.is_err() {
            let limit = humantime::format_duration(limit);
            tracing::warn!(target: TARGET, "not drained within {limit} (`host.shutdown_timeout`): leaving as it is");
        }
        tracing::info!(target: TARGET, "stopped");
    }

    async fn wind_down(self) {
        self.sides.wind_down().await;
        self.stop.cancel();
        let _ = self.reconciling.await;
        self.sides.hurry.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.observers_stop.cancel();
        self.observers.close();
        self.observers.wait().await;
        self.sides.close().await;
    }
}

async fn reconcile_on_change(
    mut reconciler: Reconciler,
    mut watcher: Watcher,
    mut reloads: mpsc::Receiver<()>,
    mut requests: mpsc::Receiver<Request>,
    board: Arc<Board>,
    stop: CancellationToken,
) {
    let decided = reconciler.decided();
    let work = async {
        reconciler.reconcile().await;
        board.enter(Phase::Running);
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
                () = decided.notified() => {
                    reconciler.reconcile().await;
                }
                () = reconciler.bus_opened() => {
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
    // Dropping it drops every keeper, which drains its slot, and every lease.
    drop(reconciler);
}

async fn start_admin(
    topology: &Topology,
    metrics: &Arc<Metrics>,
    board: &Arc<Board>,
    sides: &Arc<Sides>,
    reloading: Requests,
    observers: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Option<SocketAddr>, AdminError> {
    let Some(address) = topology.host.admin else { return Ok(None) };
    let letters = Arc::new(CurrentLetters(Arc::clone(sides)));
    let config = AdminConfig::new(address);
    let (source, workers) = (Arc::clone(board) as _, Arc::clone(board) as _);
    let admin = Admin::bind(config, Arc::clone(metrics), source, letters, workers, Arc::new(reloading)).await?;
    let address = admin.address();
    observers.spawn(admin.run(stop.clone()));
    Ok(Some(address))
}

fn new_shelf(topology: &Topology, metrics: &Arc<Metrics>, retirements: &TaskTracker) -> Shelf {
    let (lanes, mapped_libraries) =
        (topology.host.plugin_threads, MappedLibraries::at_most(topology.host.mapped_limit));
    let options = LoadOptions { lanes, mapped_libraries, ..LoadOptions::new(Arc::clone(metrics)) };
    ShadowCopy::remove_stale(&topology.host.state);
    let canaries = Canaries::new(topology.host.canary, retirements.clone());
    Shelf::new(topology.host.state.clone(), options, Arc::clone(metrics), retirements.clone(), canaries)
}
