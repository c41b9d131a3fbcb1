//! One bus of the host, with its manager, its registry, and the workers that are on it.

use std::sync::Arc;

use mshost_bus::{Bus, BusError, HostBus};
use mshost_core::ids::Address;
use mshost_core::metrics::Metrics;
use mshost_manager::Registry;
use mshost_topology::{BusConfig, Topology};
use mshost_worker::{HostContext, HostShutdown, NotificationRouter, StartingTypes};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::linked_bus::LinkedBus;
use super::manager_tasks::ManagerTasks;
use super::open_bus::open_bus;

/// One bus with its manager and registry, and the workers of this host that are on it.
pub(crate) struct BusSession {
    pub(crate) config: BusConfig,
    /// What its workers are given.
    pub(crate) host_context: HostContext,
    linked_bus: Arc<LinkedBus>,
    /// Slots whose worker is on this bus and has no successor on another one.
    pub(crate) unmoved_slots: TaskTracker,
    /// Workers that are on this bus.
    pub(crate) members: TaskTracker,
    /// While workers migrate to another session: cancelled when those that have a successor there are to leave.
    leave: Mutex<Option<CancellationToken>>,
    manager: Mutex<ManagerTasks>,
}

/// A worker's membership of a session. Dropping it says that the worker has left the bus.
pub(crate) struct SessionMember {
    slot: Option<TaskTrackerToken>,
    _member: TaskTrackerToken,
}

impl SessionMember {
    /// Its slot does not depend on this session any more: another worker has taken its place.
    pub(crate) fn release_slot(&mut self) {
        self.slot = None;
    }
}

impl BusSession {
    /// Opens the bus of a topology, without workers.
    ///
    /// # Errors
    /// Where the bus can never be used.
    pub(super) fn open(topology: &Topology, expected: StartingTypes, metrics: &Arc<Metrics>) -> Result<Self, BusError> {
        let linked_bus = Arc::new(LinkedBus::new(open_bus(topology, metrics)?));
        let bus: Arc<dyn Bus> = Arc::clone(&linked_bus) as _;
        let registry = Arc::new(Registry::new(topology.manager.max_workers, Arc::clone(metrics)));
        if topology.manager.enabled {
            linked_bus.leadership().compete();
        }
        let manager = ManagerTasks::start(&topology.manager, &linked_bus, &registry, metrics);
        let host_context = HostContext {
            notifications: NotificationRouter::open(Arc::clone(&bus)),
            bus,
            registry,
            starting_types: expected,
            metrics: Arc::clone(metrics),
            shutdown: HostShutdown::default(),
            absent: topology.bus.absent,
            managed: topology.manager.enabled,
            snapshot_limit: topology.host.snapshot_limit,
            message_bytes: topology.bus.limits.message_bytes,
            host_name: topology.host.name.as_str().into(),
        };
        let (config, manager) = (topology.bus.clone(), Mutex::new(manager));
        let (leave, unmoved_slots, members) = Default::default();
        Ok(Self { config, host_context, linked_bus, unmoved_slots, members, leave, manager })
    }

    /// The bus itself, without its links.
    pub(crate) fn bus(&self) -> &Arc<dyn HostBus> {
        self.linked_bus.own()
    }

    /// Counts a worker, and its slot, as being on this bus.
    pub(crate) fn add_member(&self) -> SessionMember {
        SessionMember { slot: Some(self.unmoved_slots.token()), _member: self.members.token() }
    }

    /// What is cancelled when workers that have a successor on another session are to leave; `None` while this session is the
    /// current one.
    pub(crate) fn leave_signal(&self) -> Option<CancellationToken> {
        self.leave.lock().clone()
    }

    /// Begins to be left: another session is the current one from now on.
    pub(super) fn begin_leaving(&self) {
        *self.leave.lock() = Some(CancellationToken::new());
    }

    /// Is the current one again: workers that have a successor leave, and others come.
    pub(super) fn cancel_leaving(&self) {
        if let Some(leave) = self.leave.lock().take() {
            leave.cancel();
        }
        self.unmoved_slots.reopen();
    }

    /// Links this session to another one: workers here reach those there from now on, and are told of failures there.
    pub(super) async fn link(&self, other: &Arc<Self>) {
        let there = Arc::downgrade(other);
        let reaches = move |target: &Address| there.upgrade().is_some_and(|other| other.may_have_worker(target));
        self.linked_bus.link(Arc::clone(other.bus()), reaches).await;
        self.host_context.registry.link(&other.host_context.registry);
    }

    /// Whether a worker may be here for a job. While a session is being left its registry knows all workers: none comes.
    fn may_have_worker(&self, target: &Address) -> bool {
        let registry = &self.host_context.registry;
        let knows_one = || match target {
            Address::Any(kind) => registry.count_of(kind) > 0,
            Address::One(id) => registry.get(id).is_some(),
        };
        !self.has_manager() || self.leave.lock().is_none() || knows_one()
    }

    /// Stops sends to the other session. Returns once no job is on its way there.
    pub(super) async fn stop_sends_to(&self, other: &Self) {
        self.linked_bus.stop_sends_to(other.bus()).await;
    }

    /// Removes the link to the other session.
    pub(super) fn unlink(&self, other: &Self) {
        self.linked_bus.unlink(other.bus());
        self.host_context.registry.unlink(&other.host_context.registry);
    }

    /// Whether there is a manager.
    pub(crate) fn has_manager(&self) -> bool {
        self.manager.lock().config.enabled
    }

    /// Restarts the manager with another configuration, where it differs.
    pub(crate) async fn configure_manager(&self, config: &mshost_topology::ManagerConfig) {
        if self.manager.lock().config == *config {
            return;
        }
        self.stop_manager().await;
        let HostContext { registry, metrics, .. } = &self.host_context;
        *self.manager.lock() = ManagerTasks::start(config, &self.linked_bus, registry, metrics);
    }

    async fn stop_manager(&self) {
        let stopped = self.manager.lock().stop();
        stopped.await;
    }

    /// Stops the manager, then closes the bus.
    pub(crate) async fn close(&self) {
        self.stop_manager().await;
        self.bus().close().await;
    }
}
