//! The one loop: read, load, plan, diff, apply.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::board::Board;
use super::keeper::{Keeper, Wish};
use super::shelf::Shelf;
use crate::admin::{Complaint, TopologyStatus};
use crate::ids::{PluginName, WorkerType};
use crate::plugin::watch::{PluginFolder, Roots};
use crate::telemetry::Telemetry;
use crate::topology::{self, Change, Diagnostics, Plan, Planned, Slot, Topology};
use crate::worker::{Sockets, Surroundings};

const TARGET: &str = "mshost::supervisor";

/// What runs, and what it should be.
pub(super) struct Reconciler {
    path: PathBuf,
    topology: Topology,
    /// Why the topology file, as it is now, is not what runs.
    topology_error: Option<Complaint>,
    /// How many topologies have been applied, and when the last was.
    revision: (u64, SystemTime),
    /// What was said already about settings that need a restart.
    restart_needed: BTreeSet<String>,
    folder: Arc<Mutex<PluginFolder>>,
    shelf: Shelf,
    /// What the keepers have been told.
    plan: Plan,
    keepers: BTreeMap<Slot, Keeper>,
    surroundings: Surroundings,
    sockets: Arc<Sockets>,
    tasks: TaskTracker,
    board: Arc<Board>,
    telemetry: Option<Telemetry>,
}

impl Reconciler {
    pub(super) fn new(
        path: PathBuf,
        topology: Topology,
        shelf: Shelf,
        surroundings: Surroundings,
        tasks: TaskTracker,
        board: Arc<Board>,
        telemetry: Option<Telemetry>,
    ) -> Self {
        let folder = Arc::new(Mutex::new(PluginFolder::new(topology.host.plugins.clone())));
        Self {
            path,
            topology,
            folder,
            topology_error: None,
            restart_needed: BTreeSet::new(),
            revision: (0, SystemTime::now()),
            shelf,
            plan: Plan::default(),
            keepers: BTreeMap::new(),
            surroundings,
            sockets: Arc::default(),
            tasks,
            board,
            telemetry,
        }
    }

    /// Reads everything anew and makes it so. What is broken is reported and left as it runs.
    pub(super) async fn reconcile(&mut self) {
        let unread = self.read_topology();
        self.read_plugins().await;
        let (refused, unfit) = self.unfit_workers();
        let wanted = topology::plan(&self.topology, &self.shelf.generations());
        let mut changes = topology::diff(&self.plan, &wanted);
        changes.retain(|change| !refused.contains(&(change.slot().worker_type.clone(), change.slot().plugin.clone())));
        for change in &changes {
            tracing::info!(target: TARGET, "{change}");
            self.apply(change);
            self.plan.apply(change);
        }
        if !changes.is_empty() {
            self.revision = (self.revision.0 + 1, SystemTime::now());
        }
        let outcome = match unread.or(unfit) {
            Some(errors) => self.complain(errors),
            None if changes.is_empty() => {
                let what = if self.topology_error.take().is_some() { "mended" } else { "read" };
                tracing::info!(target: TARGET, "topology {what}, nothing to change");
                "unchanged"
            }
            None => {
                self.topology_error = None;
                tracing::info!(target: TARGET, revision = self.revision.0, changes = changes.len(), "topology applied");
                "applied"
            }
        };
        self.surroundings.metrics.reloads.with_label_values(&["topology", outcome]).inc();
        self.board.pin(self.topology_status(), &self.shelf, &self.plan, self.keepers.values());
    }

    /// The files that all this is read from.
    pub(super) fn roots(&self) -> Roots {
        roots(&self.topology)
    }

    /// Takes the topology as it is now, or says what is wrong with it.
    fn read_topology(&mut self) -> Option<Vec<String>> {
        match topology::load(&self.path, &|name| std::env::var(name).ok()) {
            // What an editor that truncates before it writes leaves for a moment, and a full disk for good.
            Ok(newer) if newer.source.shown().trim().is_empty() => {
                let file = self.path.display();
                Some(vec![format!("{file}: error: the file is empty (to stop every worker, leave `[host]` in it)")])
            }
            Ok(newer) => {
                for setting in self.topology.restart_needed(&newer) {
                    if self.restart_needed.insert(setting.clone()) {
                        tracing::warn!(target: TARGET, "{setting}");
                    }
                }
                self.log_as(&newer);
                // What takes effect at a restart only must go on being compared with what is in effect.
                let Topology { host, bus, manager, .. } = self.topology.clone();
                self.topology = Topology { host, bus, manager, ..newer };
                None
            }
            Err(errors) => Some(errors.lines().collect()),
        }
    }

    fn log_as(&self, newer: &Topology) {
        let Some(telemetry) = &self.telemetry else { return };
        if newer.logs != self.topology.logs
            && let Err(error) = telemetry.apply(&newer.logs)
        {
            tracing::error!(target: TARGET, "{error}");
        }
    }

    async fn read_plugins(&mut self) {
        let folder = Arc::clone(&self.folder);
        let found = match tokio::task::spawn_blocking(move || folder.lock().scan()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(target: TARGET, "{error}; what runs goes on");
                return;
            }
            Err(panic) => {
                tracing::error!(target: TARGET, "looking for plugins failed: {panic}");
                return;
            }
        };
        let needed: BTreeSet<PluginName> = self.topology.workers.iter().map(|worker| worker.plugin.clone()).collect();
        self.shelf.refresh(found, &needed).await;
    }

    /// The workers that their plugins would refuse, and why: they stay as they are.
    fn unfit_workers(&self) -> (BTreeSet<(WorkerType, PluginName)>, Option<Vec<String>>) {
        let mut refused = BTreeSet::new();
        let mut errors = Vec::new();
        for (index, worker) in self.topology.workers.iter().enumerate() {
            let Some(info) = self.shelf.entries().get(&worker.plugin).and_then(|entry| entry.info.as_ref()) else {
                continue;
            };
            let found = topology::check_worker(&self.topology, index, info);
            let Some(found) = Diagnostics::new(&self.topology.source, found) else { continue };
            if found.has_errors() {
                refused.insert((worker.worker_type.clone(), worker.plugin.clone()));
                errors.extend(found.lines());
            }
        }
        (refused, (!errors.is_empty()).then_some(errors))
    }

    /// Says what is wrong with the topology: in the log once, on the board until it is mended.
    fn complain(&mut self, errors: Vec<String>) -> &'static str {
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

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Start { slot, to } => self.start(slot.clone(), to),
            Change::Stop { slot } | Change::Wait { slot, .. } => {
                self.keepers.remove(slot);
            }
            Change::Swap { slot, to, .. } => match (self.keepers.get(slot), self.wish(to)) {
                (Some(keeper), Some(wish)) => keeper.wish(wish),
                _ => self.start(slot.clone(), to),
            },
        }
    }

    fn start(&mut self, slot: Slot, planned: &Planned) {
        let Some(wish) = self.wish(planned) else { return };
        let keeper =
            Keeper::spawn(slot.clone(), wish, self.surroundings.clone(), Arc::clone(&self.sockets), &self.tasks);
        self.keepers.insert(slot, keeper);
    }

    fn wish(&self, planned: &Planned) -> Option<Wish> {
        let generation = self.shelf.lease(&planned.spec.plugin)?;
        Some(Wish { spec: Arc::clone(&planned.spec), generation })
    }
}

/// The files that a topology concerns: itself, what it names, and the plugins.
pub(super) fn roots(topology: &Topology) -> Roots {
    Roots { folders: [topology.host.plugins.clone()].into(), files: topology.files.iter().cloned().collect() }
}
