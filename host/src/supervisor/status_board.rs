//! The status of the host, as the admin server shows it: what the reconcile loop has published after its last round, with what
//! is read live: the bus, and the workers' progress.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use mshost_bus::BusState;
use mshost_core::ids::PluginName;
use mshost_topology::{Plan, Planned, Slot};
use parking_lot::Mutex;

use super::bus_session::session::BusSession;
use super::bus_session::sessions::BusSessions;
use super::plugin_store::plugin_entry::PluginEntry;
use super::plugin_store::store::PluginStore;
use super::slot_controller::slot_status::{SlotStatus, shown};
use super::slot_controller::{SlotController, SlotHandle};
use crate::admin::{
    BusHealth, BusStatus, Complaint, HostPhase, HostStatus, InstanceState, LeavingBus, ManagerState, PluginState,
    PluginStatus, QueueStatus, StatusSource, TopologyStatus, WorkerStatus,
};

/// Publishes the status of the host.
pub(super) struct StatusBoard {
    name: String,
    since: SystemTime,
    sessions: Arc<BusSessions>,
    published: Mutex<PublishedStatus>,
}

struct PublishedStatus {
    phase: HostPhase,
    topology: TopologyStatus,
    plugins: Vec<PluginStatus>,
    /// Slots whose plugin is not there.
    pending: Vec<WorkerStatus>,
    slots: Vec<SlotHandle>,
}

impl StatusBoard {
    pub(super) fn new(name: String, sessions: Arc<BusSessions>, status: TopologyStatus) -> Self {
        Self {
            name,
            since: SystemTime::now(),
            sessions,
            published: Mutex::new(PublishedStatus {
                phase: HostPhase::Starting,
                topology: status,
                plugins: Vec::new(),
                pending: Vec::new(),
                slots: Vec::new(),
            }),
        }
    }

    pub(super) fn set_phase(&self, phase: HostPhase) {
        self.published.lock().phase = phase;
    }

    /// Publishes the outcome of a round of reconciling.
    pub(super) fn publish<'a>(
        &self,
        topology: TopologyStatus,
        store: &PluginStore,
        plan: &Plan,
        controllers: impl Iterator<Item = &'a SlotController>,
    ) {
        let plugins = store.entries().iter().map(|(name, entry)| plugin_status(name, entry)).collect();
        let pending = plan.iter().filter(|(_, planned)| planned.generation.is_none());
        let pending = pending.map(|waiting| pending_status(waiting, store)).collect();
        let slots = controllers.map(SlotController::handle).collect();
        let mut published = self.published.lock();
        *published = PublishedStatus { phase: published.phase, topology, plugins, pending, slots };
    }

    /// Every slot that has a controller, and the names of those that wait for their plugin.
    pub(super) fn slots(&self) -> (Vec<SlotHandle>, Vec<String>) {
        let published = self.published.lock();
        (published.slots.clone(), published.pending.iter().map(|worker| worker.slot.clone()).collect())
    }

    async fn queues(&self, session: &BusSession) -> Vec<QueueStatus> {
        let depths = session.bus().depths().await;
        let status = |depth: mshost_bus::QueueDepth| QueueStatus {
            queue: depth.queue,
            ready: depth.ready,
            unsettled: depth.unsettled,
            consumers: depth.consumers,
        };
        depths.into_iter().map(status).collect()
    }

    fn bus_status(&self, session: &BusSession, dead_letters: Option<u64>) -> BusStatus {
        let bus = session.bus();
        let (state, error) = match &*bus.state().borrow() {
            BusState::Connected => (BusHealth::Connected, None),
            BusState::Away { error } => (BusHealth::Away, Some(error.clone())),
            BusState::Closed => (BusHealth::Closed, None),
        };
        let (url, codec) = (session.config.url.to_string(), bus.codec().to_string());
        let manager = match (session.has_manager(), *bus.leadership().leads().borrow()) {
            (false, _) => ManagerState::Off,
            (true, false) => ManagerState::StandingBy,
            (true, true) => ManagerState::Active,
        };
        let workers = session.host_context.registry.counts();
        let leaving = self.sessions.leaving().iter().map(leaving).collect();
        BusStatus { url, codec, state, error, manager, workers, dead_letters, leaving }
    }
}

#[async_trait]
impl StatusSource for StatusBoard {
    async fn status(&self) -> HostStatus {
        let session = self.sessions.current();
        let queues = self.queues(&session).await;
        let dead_letters = session.bus().dead_letters().count().await;
        let published = self.published.lock();
        let mut workers: Vec<_> = published.slots.iter().map(|slot| worker_status(&slot.status.lock())).collect();
        workers.extend(published.pending.iter().cloned());
        HostStatus {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.since.into(),
            phase: published.phase,
            topology: published.topology.clone(),
            bus: self.bus_status(&session, dead_letters),
            plugins: published.plugins.clone(),
            workers,
            queues,
        }
    }
}

fn leaving(session: &Arc<BusSession>) -> LeavingBus {
    let url = session.config.url.to_string();
    LeavingBus { url, workers: session.members.len(), staying: session.unmoved_slots.len() }
}

fn plugin_status(name: &PluginName, entry: &PluginEntry) -> PluginStatus {
    PluginStatus {
        name: name.clone(),
        file: entry.file.as_ref().map(|file| file.path.clone()),
        version: entry.info.as_ref().map(|info| info.version.clone()),
        api_version: entry.info.as_ref().map(|info| info.api_version.clone()),
        generation: entry.current.as_ref().map(|current| current.id()),
        state: plugin_state(entry),
        on_trial: entry.canary_generation(),
        retiring: entry.retiring(),
        last_error: entry.error.clone(),
    }
}

fn plugin_state(entry: &PluginEntry) -> PluginState {
    match (&entry.file, &entry.current, &entry.error) {
        (_, _, Some(_)) => PluginState::Failed,
        (Some(_), Some(_), None) => PluginState::Loaded,
        (None, Some(_), None) => PluginState::FileGone,
        (Some(_), None, None) => PluginState::Unused,
        (None, None, None) => PluginState::Pending,
    }
}

fn pending_status((slot, planned): (&Slot, &Planned), plugins: &PluginStore) -> WorkerStatus {
    let plugin = &planned.spec.plugin;
    let why = plugins.entries().get(plugin).and_then(|entry| entry.error.clone());
    let why = why.unwrap_or_else(|| Complaint::now(format!("the plugin `{plugin}` is not in the folder of plugins")));
    WorkerStatus {
        slot: slot.to_string(),
        worker_type: slot.worker_type.clone(),
        id: None,
        plugin: planned.spec.plugin.clone(),
        generation: None,
        state: InstanceState::Pending,
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

fn worker_status(view: &SlotStatus) -> WorkerStatus {
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
