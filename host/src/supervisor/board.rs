//! What the admin server shows. The reconcile loop pins it up after each round; whoever asks reads it with what is live:
//! the bus, the workers' progress.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use mshost_bus::BusState;
use mshost_core::ids::PluginName;
use mshost_topology::{Plan, Planned, Slot};
use parking_lot::Mutex;

use super::keeper::{Keeper, SlotHandle};
use super::shelf::{Entry, Shelf};
use super::side::Side;
use super::sides::Sides;
use super::view::{SlotView, shown};
use crate::admin::{
    BusHealth, BusStatus, Complaint, HostStatus, LeavingBus, ManagerState, Phase, PluginState, PluginStatus,
    QueueStatus, StatusSource, TopologyStatus, WorkerState, WorkerStatus,
};

/// See the module.
pub(super) struct Board {
    name: String,
    since: SystemTime,
    sides: Arc<Sides>,
    pinned: Mutex<Pinned>,
}

struct Pinned {
    phase: Phase,
    topology: TopologyStatus,
    plugins: Vec<PluginStatus>,
    /// Slots whose plugin is not there.
    pending: Vec<WorkerStatus>,
    slots: Vec<SlotHandle>,
}

impl Board {
    pub(super) fn new(name: String, sides: Arc<Sides>, status: TopologyStatus) -> Self {
        Self {
            name,
            since: SystemTime::now(),
            sides,
            pinned: Mutex::new(Pinned {
                phase: Phase::Starting,
                topology: status,
                plugins: Vec::new(),
                pending: Vec::new(),
                slots: Vec::new(),
            }),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.pinned.lock().phase = phase;
    }

    /// Pins up how things are after a round of reconciling.
    pub(super) fn pin<'a>(
        &self,
        topology: TopologyStatus,
        shelf: &Shelf,
        plan: &Plan,
        keepers: impl Iterator<Item = &'a Keeper>,
    ) {
        let plugins = shelf.entries().iter().map(|(name, entry)| plugin_status(name, entry)).collect();
        let pending = plan.iter().filter(|(_, planned)| planned.generation.is_none());
        let pending = pending.map(|waiting| pending_status(waiting, shelf)).collect();
        let slots = keepers.map(Keeper::handle).collect();
        let mut pinned = self.pinned.lock();
        *pinned = Pinned { phase: pinned.phase, topology, plugins, pending, slots };
    }

    /// Every slot that has a keeper, and the names of those that wait for their plugin.
    pub(super) fn slots(&self) -> (Vec<SlotHandle>, Vec<String>) {
        let pinned = self.pinned.lock();
        (pinned.slots.clone(), pinned.pending.iter().map(|worker| worker.slot.clone()).collect())
    }

    async fn queues(&self, side: &Side) -> Vec<QueueStatus> {
        let depths = side.bus().depths().await;
        let status = |depth: mshost_bus::QueueDepth| QueueStatus {
            queue: depth.queue,
            ready: depth.ready,
            unsettled: depth.unsettled,
            consumers: depth.consumers,
        };
        depths.into_iter().map(status).collect()
    }

    fn bus_status(&self, side: &Side, dead_letters: Option<u64>) -> BusStatus {
        let bus = side.bus();
        let (state, error) = match &*bus.state().borrow() {
            BusState::Connected => (BusHealth::Connected, None),
            BusState::Away { error } => (BusHealth::Away, Some(error.clone())),
            BusState::Closed => (BusHealth::Closed, None),
        };
        let (url, codec) = (side.config.url.to_string(), bus.codec().to_string());
        let manager = match (side.manages(), *bus.leads().borrow()) {
            (false, _) => ManagerState::Off,
            (true, false) => ManagerState::StandingBy,
            (true, true) => ManagerState::Active,
        };
        let workers = side.surroundings.registry.counts();
        let leaving = self.sides.left().iter().map(leaving).collect();
        BusStatus { url, codec, state, error, manager, workers, dead_letters, leaving }
    }
}

#[async_trait]
impl StatusSource for Board {
    async fn status(&self) -> HostStatus {
        let side = self.sides.current();
        let queues = self.queues(&side).await;
        let dead_letters = side.bus().dead_count().await;
        let pinned = self.pinned.lock();
        let mut workers: Vec<_> = pinned.slots.iter().map(|slot| worker_status(&slot.view.lock())).collect();
        workers.extend(pinned.pending.iter().cloned());
        HostStatus {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.since.into(),
            phase: pinned.phase,
            topology: pinned.topology.clone(),
            bus: self.bus_status(&side, dead_letters),
            plugins: pinned.plugins.clone(),
            workers,
            queues,
        }
    }
}

fn leaving(side: &Arc<Side>) -> LeavingBus {
    let url = side.config.url.to_string();
    LeavingBus { url, workers: side.aboard.len(), staying: side.staying.len() }
}

fn plugin_status(name: &PluginName, entry: &Entry) -> PluginStatus {
    PluginStatus {
        name: name.clone(),
        file: entry.file.as_ref().map(|file| file.path.clone()),
        version: entry.info.as_ref().map(|info| info.version.clone()),
        api_version: entry.info.as_ref().map(|info| info.api_version.clone()),
        generation: entry.current.as_ref().map(|current| current.id()),
        state: plugin_state(entry),
        on_trial: entry.on_trial(),
        retiring: entry.retiring(),
        last_error: entry.error.clone(),
    }
}

fn plugin_state(entry: &Entry) -> PluginState {
    match (&entry.file, &entry.current, &entry.error) {
        (_, _, Some(_)) => PluginState::Failed,
        (Some(_), Some(_), None) => PluginState::Loaded,
        (None, Some(_), None) => PluginState::FileGone,
        (Some(_), None, None) => PluginState::Unused,
        (None, None, None) => PluginState::Pending,
    }
}

fn pending_status((slot, planned): (&Slot, &Planned), shelf: &Shelf) -> WorkerStatus {
    let plugin = &planned.spec.plugin;
    let why = shelf.entries().get(plugin).and_then(|entry| entry.error.clone());
    let why = why.unwrap_or_else(|| Complaint::now(format!("the plugin `{plugin}` is not in the folder of plugins")));
    WorkerStatus {
        slot: slot.to_string(),
        worker_type: slot.worker_type.clone(),
        id: None,
        plugin: planned.spec.plugin.clone(),
        generation: None,
        state: WorkerState::Pending,
        since: SystemTime::now().into(),
        process: None,
        addresses: Default::default(),
        in_flight: 0,
        done: 0,
        failed: 0,
        restarts: 0,
        last_error: Some(why),
    }
}

fn worker_status(view: &SlotView) -> WorkerStatus {
    let progress = view.progress.as_deref();
    let failed_attempt = || progress.and_then(mshost_worker::Progress::last_error);
    WorkerStatus {
        slot: view.slot.to_string(),
        worker_type: view.slot.worker_type.clone(),
        id: view.worker.clone(),
        plugin: view.slot.plugin.clone(),
        generation: Some(view.generation),
        state: shown(view.state),
        since: view.since.into(),
        process: progress.and_then(mshost_worker::Progress::process).cloned(),
        addresses: view.addresses.clone(),
        in_flight: progress.map_or(0, mshost_worker::Progress::in_flight),
        done: progress.map_or(0, mshost_worker::Progress::done),
        failed: progress.map_or(0, mshost_worker::Progress::failed),
        restarts: view.restarts,
        last_error: view.last_error.clone().or_else(failed_attempt),
    }
}
