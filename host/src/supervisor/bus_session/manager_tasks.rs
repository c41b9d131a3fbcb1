//! The tasks of a session's manager.

use std::sync::Arc;

use mshost_bus::HostBus;
use mshost_core::metrics::Metrics;
use mshost_manager::{Manager, ManagerOptions, Registry};
use mshost_msjs::MsjsGateway;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::linked_bus::LinkedBus;

const TARGET: &str = "mshost::supervisor";

/// A manager at work, and the proxies for MicroServices.js that follow it. Dropping it stops both.
pub(super) struct ManagerTasks {
    pub(super) config: mshost_topology::ManagerConfig,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for ManagerTasks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl ManagerTasks {
    /// Starts them, where the configuration enables a manager.
    pub(super) fn start(
        config: &mshost_topology::ManagerConfig,
        bus: &Arc<LinkedBus>,
        registry: &Arc<Registry>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        if config.enabled {
            let options = ManagerOptions {
                keepalive: config.keepalive,
                expire_after: config.expire_after,
                max_workers: config.max_workers,
            };
            // A manager subscribes to its own bus alone.
            let manager =
                Manager::with_registry(options, Arc::clone(bus.own()), Arc::clone(registry), Arc::clone(metrics));
            let stopped = stop.clone();
            tasks.spawn(async move {
                if let Err(error) = manager.run(stopped).await {
                    tracing::error!(target: TARGET, "the manager cannot work: {error}");
                }
            });
            // It follows the registry, which the manager fills.
            let bus: Arc<dyn HostBus> = Arc::clone(bus) as _;
            let gateway = MsjsGateway::new(bus, Arc::clone(registry), Arc::clone(metrics), config.max_proxies);
            tasks.spawn(gateway.run(stop.clone()));
        }
        Self { config: config.clone(), tasks, stop }
    }

    /// Stops them. What is returned waits until they have ended.
    pub(super) fn stop(&self) -> impl Future<Output = ()> + Send + use<> {
        self.stop.cancel();
        self.tasks.close();
        let tasks = self.tasks.clone();
        async move { tasks.wait().await }
    }
}
