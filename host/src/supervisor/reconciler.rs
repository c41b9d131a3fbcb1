//! The reconciler: reads the topology, loads plugins, plans, compares with the plan before, and applies the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mshost_core::telemetry::Telemetry;
use mshost_plugin_host::watch::{PluginFolder, Roots, WatchSettings};
use mshost_topology::{Change, Diagnostic, Diagnostics, HostConfig, Plan, Planned, Slot, Topology};
use mshost_worker::StartingGuard;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

use super::bus_migration::bus_reconciler::BusReconciler;
use super::bus_session::sessions::BusSessions;
use super::plugin_store::plugin_entry::{FoundPlugins, NeededPlugins};
use super::plugin_store::plugin_preview::plugin_changes;
use super::plugin_store::store::PluginStore;
use super::reload_preview::{self, invalid_workers, needed, valid_changes};
use super::reload_report::{bus_change, setting_changes, worker_changes};
use super::reload_requests::ReloadRequest;
use super::slot_controller::desired::Desired;
use super::slot_controller::{SlotController, SlotEnvironment};
use super::status_board::StatusBoard;
use super::watched_files::{roots, watch_settings};
use crate::admin::{Complaint, ReloadReport, RunningHost, SettingChange, TopologyStatus};

const TARGET: &str = "mshost::supervisor";

/// Makes what runs equal to what the topology file and the folder of plugins say.
pub(super) struct Reconciler {
    pub(super) path: PathBuf,
    pub(super) topology: Topology,
    /// Why the topology file, as it is now, is not what runs.
    topology_error: Option<Complaint>,
    /// How many topologies have been applied, and when the last was.
    revision: (u64, SystemTime),
    /// What was logged already about settings that need a restart.
    restart_needed: BTreeSet<String>,
    folder: Arc<Mutex<PluginFolder>>,
    pub(super) plugins: PluginStore,
    /// The plan that the controllers have been given.
    pub(super) plan: Plan,
    controllers: BTreeMap<Slot, SlotController>,
    sessions: Arc<BusSessions>,
    bus_reconciler: BusReconciler,
    environment: SlotEnvironment,
    board: Arc<StatusBoard>,
    telemetry: Option<Telemetry>,
    /// How long a shutdown may take.
    shutdown_timeout: watch::Sender<Duration>,
}

impl Reconciler {
    pub(super) fn new(
        path: PathBuf,
        topology: Topology,
        plugins: PluginStore,
        sessions: Arc<BusSessions>,
        tasks: TaskTracker,
        board: Arc<StatusBoard>,
        telemetry: Option<Telemetry>,
    ) -> Self {
        let bus_reconciler = BusReconciler::new(&topology, Arc::clone(&sessions), tasks.clone());
        bus_reconciler.resume(&topology);
        let (shutdown_timeout, _) = watch::channel(topology.host.shutdown_timeout);
        let folder = Arc::new(Mutex::new(PluginFolder::new(topology.host.plugins.clone())));
        Self {
            path,
            topology,
            folder,
            topology_error: None,
            restart_needed: BTreeSet::new(),
            revision: (0, SystemTime::now()),
            plugins,
            plan: Plan::default(),
            controllers: BTreeMap::new(),
            bus_reconciler,
            sessions,
            environment: SlotEnvironment { sockets: Arc::default(), handovers: Arc::default(), tasks },
            board,
            telemetry,
            shutdown_timeout,
        }
    }

    /// Reads everything anew and makes it so. What is broken is reported and left as it runs.
    pub(super) async fn reconcile(&mut self) -> ReloadReport {
        self.plugins.apply_verdicts();
        let (before, bus) = (self.plugins.summaries(), self.topology.bus.clone());
        let (settings, warnings, unread) = self.read_topology().await;
        let needed = needed(&self.topology);
        self.read_plugins(&needed).await;
        let summaries = self.plugins.summaries();
        let (refused, unfit) = invalid_workers(&self.topology, &summaries);
        let wanted = mshost_topology::plan(&self.topology, &self.plugins.generations());
        let changes = valid_changes(&self.plan, &wanted, &refused);
        let told = worker_changes(&changes, &self.plan, &wanted, &summaries, |slot| self.is_down(slot));
        self.apply_all(&changes);
        let errors = if unread.is_empty() { unfit } else { unread };
        let outcome = self.note_outcome(&errors, changes.len());
        self.sessions.metrics().reloads.with_label_values(&["topology", outcome]).inc();
        self.board.publish(self.topology_status(), &self.plugins, &self.plan, self.controllers.values());
        ReloadReport {
            host: Some(self.running_host()),
            applied: true,
            bus: bus_change(&bus, &self.topology.bus),
            changes: told,
            plugins: plugin_changes(&before, &summaries, &needed),
            settings,
            errors,
            warnings,
        }
    }

    /// Gives the controllers what the plan has for them from now on.
    fn apply_all(&mut self, changes: &[Change]) {
        // All of them at once: the first may send to the last.
        let expected = self.expect(changes);
        for change in changes {
            tracing::info!(target: TARGET, "{change}");
            self.apply(change);
            self.plan.apply(change);
        }
        drop(expected);
        self.sessions.set_planned_types(self.plan.iter().map(|(slot, _)| slot.worker_type.clone()).collect());
        if !changes.is_empty() {
            self.revision = (self.revision.0 + 1, SystemTime::now());
        }
    }

    /// Logs how a round of reconciling ended, and returns its metric label.
    fn note_outcome(&mut self, errors: &[String], changes: usize) -> &'static str {
        match (errors.is_empty(), changes) {
            (false, _) => self.complain(errors),
            (true, 0) => {
                let what = if self.topology_error.take().is_some() { "mended" } else { "read" };
                tracing::info!(target: TARGET, "topology {what}, nothing to change");
                "unchanged"
            }
            (true, changes) => {
                self.topology_error = None;
                tracing::info!(target: TARGET, revision = self.revision.0, changes, "topology applied");
                "applied"
            }
        }
    }

    /// Does what the admin server asks for.
    pub(super) async fn answer(&mut self, request: ReloadRequest) {
        match request {
            ReloadRequest::Reload(answer) => {
                tracing::info!(target: TARGET, "asked to reload");
                // It has been asked for: it is done whether or not the client still waits for the answer.
                let _ = answer.send(self.reconcile().await);
            }
            ReloadRequest::Preview(_, answer) if answer.is_closed() => {}
            ReloadRequest::Preview(text, answer) => {
                let _ = answer.send(self.preview(text).await);
            }
        }
    }

    /// Returns once a bus that the topology names and that could not be used may be usable. Cancel safe.
    pub(super) async fn bus_may_be_usable(&self) {
        self.bus_reconciler.until_worth_a_try().await;
    }

    pub(super) fn running_host(&self) -> RunningHost {
        let topology = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        RunningHost { name: self.topology.host.name.clone(), topology, revision: self.revision.0 }
    }

    pub(super) fn is_down(&self, slot: &Slot) -> bool {
        self.controllers.get(slot).is_some_and(|controller| controller.handle().status.lock().worker.is_none())
    }

    /// The files that all this is read from.
    pub(super) fn roots(&self) -> Roots {
        roots(&self.topology)
    }

    /// Takes the topology as it is now: what differs besides workers, what is odd, and what is wrong with it.
    async fn read_topology(&mut self) -> (Vec<SettingChange>, Vec<String>, Vec<String>) {
        let newer = match reload_preview::load_topology(&self.path) {
            Ok(newer) => newer,
            Err(errors) => return (Vec::new(), Vec::new(), errors),
        };
        let settings = setting_changes(self.topology.changed_settings(&newer));
        for setting in self.topology.restart_needed(&newer) {
            if self.restart_needed.insert(setting.clone()) {
                tracing::warn!(target: TARGET, "{setting}");
            }
        }
        self.log_as(&newer);
        let warnings = newer.warnings.as_ref().map(|warnings| warnings.lines().collect()).unwrap_or_default();
        // What takes effect at a restart only must go on being compared with what is in effect.
        let mut newer = self.topology.in_effect(newer);
        let mut errors = Vec::new();
        if let Err(why) = self.bus_reconciler.reconcile(&newer).await {
            let error = Diagnostic::error(why).at(newer.bus_span.clone(), "not yet");
            errors.extend(Diagnostics::new(&newer.source, vec![error]).iter().flat_map(Diagnostics::lines));
            newer.bus = self.topology.bus.clone();
        }
        self.topology = newer;
        self.take_over_settings().await;
        (settings, warnings, errors)
    }

    /// The settings that are not those of a worker, a plugin or the bus.
    async fn take_over_settings(&mut self) {
        let HostConfig { plugins, parallel_loads, shutdown_timeout, .. } = &self.topology.host;
        if self.folder.lock().path() != plugins {
            self.folder = Arc::new(Mutex::new(PluginFolder::new(plugins.clone())));
        }
        self.plugins.load_in_parallel(*parallel_loads);
        self.shutdown_timeout.send_replace(*shutdown_timeout);
        self.sessions.current().configure_manager(&self.topology.manager).await;
    }

    /// How long a shutdown may take, now and at each change.
    pub(super) fn shutdown_timeout(&self) -> watch::Receiver<Duration> {
        self.shutdown_timeout.subscribe()
    }

    /// How files are to be watched.
    pub(super) fn watch_settings(&self) -> WatchSettings {
        watch_settings(&self.topology)
    }

    /// Notified when there is something to reconcile, whether or not a file has changed.
    pub(super) fn canary_decided(&self) -> Arc<Notify> {
        self.plugins.canary_decided()
    }

    fn log_as(&self, newer: &Topology) {
        let Some(telemetry) = &self.telemetry else { return };
        if newer.logs != self.topology.logs
            && let Err(error) = telemetry.apply(&newer.logs)
        {
            tracing::error!(target: TARGET, "{error}");
        }
    }

    async fn read_plugins(&mut self, needed: &NeededPlugins) {
        match self.scan().await {
            Ok(found) => self.plugins.refresh(found, needed).await,
            Err(error) => tracing::error!(target: TARGET, "{error}; what runs goes on"),
        }
    }

    /// The files in the folder of plugins.
    pub(super) async fn scan(&self) -> Result<FoundPlugins, String> {
        let folder = Arc::clone(&self.folder);
        match tokio::task::spawn_blocking(move || folder.lock().scan()).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(panic) => Err(format!("looking for plugins failed: {panic}")),
        }
    }

    /// Reports what is wrong with the topology: in the log once, in the status until it is mended.
    fn complain(&mut self, errors: &[String]) -> &'static str {
        let message = errors.join("\n");
        if self.topology_error.as_ref().is_none_or(|known| known.message != message) {
            for error in errors {
                tracing::error!(target: TARGET, "{error}");
            }
            tracing::warn!(target: TARGET, "the topology has errors: what they concern goes on as it runs");
            self.topology_error = Some(Complaint::now(message));
        }
        "failed"
    }

    fn topology_status(&self) -> TopologyStatus {
        TopologyStatus {
            file: self.path.clone(),
            revision: self.revision.0,
            applied: Some(self.revision.1.into()),
            last_error: self.topology_error.clone(),
        }
    }

    /// Expects the workers that these changes start, until their controllers do so themselves.
    fn expect(&self, changes: &[Change]) -> Vec<StartingGuard> {
        let announce = |change: &Change| match change {
            Change::Start { slot, .. } => Some(self.sessions.expected().announce(slot.worker_type.clone())),
            _ => None,
        };
        changes.iter().filter_map(announce).collect()
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Start { slot, to } => self.start(slot.clone(), to),
            Change::Stop { slot } | Change::Wait { slot, .. } => {
                self.controllers.remove(slot);
            }
            Change::Swap { slot, to, .. } => match (self.controllers.get(slot), self.desired(to)) {
                (Some(controller), Some(desired)) => controller.set_desired(desired),
                _ => self.start(slot.clone(), to),
            },
        }
    }

    fn start(&mut self, slot: Slot, planned: &Planned) {
        let Some(desired) = self.desired(planned) else { return };
        let controller = SlotController::spawn(slot.clone(), desired, &self.environment);
        self.controllers.insert(slot, controller);
    }

    fn desired(&self, planned: &Planned) -> Option<Desired> {
        let generation = self.plugins.lease(&planned.spec.plugin)?;
        let canary = self.plugins.canary(&planned.spec.plugin);
        // The plan is made for the bus that workers are on, or migrate to.
        Some(Desired { spec: Arc::clone(&planned.spec), generation, canary, session: self.sessions.current() })
    }
}
