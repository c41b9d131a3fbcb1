//! A bus with all that goes with it: the manager, the registry, who hears it, and which workers are on it.

use std::sync::Arc;

use mshost_bus::{Bus, BusError};
use mshost_core::ids::Address;
use mshost_core::metrics::Metrics;
use mshost_manager::{Manager, ManagerConfig, Registry};
use mshost_msjs::Interop;
use mshost_topology::{BusConfig, Topology};
use mshost_worker::{Closing, Expected, Surroundings, Switchboard};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::open_bus::open_bus;
use super::transit::Transit;

const TARGET: &str = "mshost::supervisor";

/// See the module. Mostly a host has one; when `[bus]` changes, workers move from one to another
/// ([`departure`](super::departure)).
pub(super) struct Side {
    pub(super) config: BusConfig,
    /// What its workers are given.
    pub(super) surroundings: Surroundings,
    transit: Arc<Transit>,
    /// Slots whose worker is here and has no successor elsewhere.
    pub(super) staying: TaskTracker,
    /// Workers that are here.
    pub(super) aboard: TaskTracker,
    /// While the host leaves: has the workers leave that have a successor elsewhere.
    leave: Mutex<Option<CancellationToken>>,
    managing: Mutex<Managing>,
}

/// The manager at work, and what goes by it.
struct Managing {
    config: mshost_topology::ManagerConfig,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A worker's place on a side.
pub(super) struct Berth {
    staying: Option<TaskTrackerToken>,
    _aboard: TaskTrackerToken,
}

impl Berth {
    /// Its slot does not depend on this side any more.
    pub(super) fn release_slot(&mut self) {
        self.staying = None;
    }
}

impl Side {
    /// Opens the bus of a topology, which nobody is on yet.
    ///
    /// # Errors
    /// Where it can never be used.
    pub(super) fn open(topology: &Topology, expected: Expected, metrics: &Arc<Metrics>) -> Result<Self, BusError> {
        let transit = Arc::new(Transit::new(open_bus(topology, metrics)?));
        let bus: Arc<dyn Bus> = Arc::clone(&transit) as _;
        let registry = Arc::new(Registry::new(topology.manager.max_workers, Arc::clone(metrics)));
        if topology.manager.enabled {
            bus.compete();
        }
        let managing = Managing::begin(&topology.manager, &transit, &registry, metrics);
        let surroundings = Surroundings {
            switchboard: Switchboard::open(Arc::clone(&bus)),
            bus,
            registry,
            expected,
            metrics: Arc::clone(metrics),
            closing: Closing::default(),
            absent: topology.bus.absent,
            managed: topology.manager.enabled,
            snapshot_limit: topology.host.snapshot_limit,
            message_bytes: topology.bus.limits.message_bytes,
            host: topology.host.name.as_str().into(),
        };
        let (config, managing) = (topology.bus.clone(), Mutex::new(managing));
        let (leave, staying, aboard) = Default::default();
        Ok(Self { config, surroundings, transit, staying, aboard, leave, managing })
    }

    /// The bus itself.
    pub(super) fn bus(&self) -> &Arc<dyn Bus> {
        self.transit.own()
    }

    /// A place for a worker.
    pub(super) fn berth(&self) -> Berth {
        Berth { staying: Some(self.staying.token()), _aboard: self.aboard.token() }
    }

    /// What is cancelled when workers that have a successor elsewhere are to leave; `None` where the host lives here.
    pub(super) fn leave(&self) -> Option<CancellationToken> {
        self.leave.lock().clone()
    }

    /// The host lives elsewhere from now on.
    pub(super) fn depart(&self) {
        *self.leave.lock() = Some(CancellationToken::new());
    }

    /// The host lives here again: workers that have a successor leave, and others come.
    pub(super) fn come_back(&self) {
        if let Some(leave) = self.leave.lock().take() {
            leave.cancel();
        }
        self.staying.reopen();
    }

    /// Those on this side reach those on the other from now on, and hear what fails there.
    pub(super) async fn link(&self, other: &Arc<Self>) {
        let there = Arc::downgrade(other);
        let reaches = move |target: &Address| there.upgrade().is_some_and(|other| other.may_have(target));
        self.transit.link(Arc::clone(other.bus()), reaches).await;
        self.surroundings.registry.link(&other.surroundings.registry);
    }

    /// Whether somebody may be here for a job. Of a side that is being left it is known who is, and nobody comes.
    fn may_have(&self, target: &Address) -> bool {
        let registry = &self.surroundings.registry;
        let knows = || match target {
            Address::Any(kind) => registry.count_of(kind) > 0,
            Address::One(id) => registry.get(id).is_some(),
        };
        !self.manages() || self.leave.lock().is_none() || knows()
    }

    /// Those on this side send no more to the other. Returns once nothing is on its way there.
    pub(super) async fn cut(&self, other: &Self) {
        self.transit.cut(other.bus()).await;
    }

    /// The end of it all.
    pub(super) fn unlink(&self, other: &Self) {
        self.transit.unlink(other.bus());
        self.surroundings.registry.unlink(&other.surroundings.registry);
    }

    /// Whether there is a manager.
    pub(super) fn manages(&self) -> bool {
        self.managing.lock().config.enabled
    }

    /// Has the manager go by these numbers.
    pub(super) async fn manage(&self, config: &mshost_topology::ManagerConfig) {
        if self.managing.lock().config == *config {
            return;
        }
        self.end_managing().await;
        let Surroundings { registry, metrics, .. } = &self.surroundings;
        *self.managing.lock() = Managing::begin(config, &self.transit, registry, metrics);
    }

    async fn end_managing(&self) {
        let tasks = {
            let managing = self.managing.lock();
            managing.stop.cancel();
            managing.tasks.close();
            managing.tasks.clone()
        };
        tasks.wait().await;
    }

    /// Ends all that goes with the bus, then the bus.
    pub(super) async fn close(&self) {
        self.end_managing().await;
        self.bus().close().await;
    }
}

impl Drop for Managing {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Managing {
    fn begin(
        config: &mshost_topology::ManagerConfig,
        bus: &Arc<Transit>,
        registry: &Arc<Registry>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        if config.enabled {
            let numbers = ManagerConfig {
                keepalive: config.keepalive,
                expire_after: config.expire_after,
                max_workers: config.max_workers,
            };
            // A manager hears its own bus alone.
            let manager = Manager::of(numbers, Arc::clone(bus.own()), Arc::clone(registry), Arc::clone(metrics));
            let managing = stop.clone();
            tasks.spawn(async move {
                if let Err(error) = manager.run(managing).await {
                    tracing::error!(target: TARGET, "the manager cannot work: {error}");
                }
            });
            // It goes by what the manager knows.
            let interop =
                Interop::new(Arc::clone(bus) as _, Arc::clone(registry), Arc::clone(metrics), config.max_proxies);
            tasks.spawn(interop.run(stop.clone()));
        }
        Self { config: config.clone(), tasks, stop }
    }
}
