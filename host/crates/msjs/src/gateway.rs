//! The gateway between workers of MicroServices.js and of mshost.

use std::sync::Arc;

use mshost_bus::HostBus;
use mshost_core::metrics::Metrics;
use mshost_manager::Registry;
use tokio_util::sync::CancellationToken;

use super::counters::MsjsCounters;
use super::job_intake::JobIntake;
use super::pending_acks::PendingAcks;
use super::proxies::MsjsProxies;
use super::wording::LOG;

/// Lets workers of MicroServices.js and of mshost send to each other.
pub struct MsjsGateway {
    bus: Arc<dyn HostBus>,
    registry: Arc<Registry>,
    counters: MsjsCounters,
    max_proxies: usize,
}

impl MsjsGateway {
    /// Does nothing until [`MsjsGateway::run`]. The registry has to be kept by a manager that runs. Beyond `max_proxies` workers of
    /// MicroServices.js nothing can be sent to them.
    #[must_use]
    pub fn new(bus: Arc<dyn HostBus>, registry: Arc<Registry>, metrics: Arc<Metrics>, max_proxies: usize) -> Self {
        Self { bus, registry, counters: MsjsCounters::new(metrics), max_proxies }
    }

    /// Works while this host leads, until `stop` is cancelled or the bus is closed. A bus that has no
    /// bridge to MicroServices.js is left at once.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
        self.counters.idle();
    }

    async fn work(&self) {
        let mut leads = self.bus.leadership().leads();
        while leads.wait_for(|leads| *leads).await.is_ok() {
            tokio::select! {
                _ = leads.wait_for(|leads| !leads) => tracing::debug!(target: LOG, "another host leads"),
                () = self.lead() => return,
            }
            self.counters.idle();
        }
    }

    /// Returns where there is nothing to do, ever. Dropping it requeues what is not done yet.
    async fn lead(&self) {
        let Some(bridge) = self.bus.msjs() else { return };
        let subscription = match bridge.subscribe().await {
            Ok(subscription) => subscription,
            Err(error) => return tracing::debug!(target: LOG, "workers of MicroServices.js are not heard: {error}"),
        };
        let acks = PendingAcks::default();
        let proxies = MsjsProxies::new(&self.bus, &self.registry, &self.counters, &acks, self.max_proxies);
        let intake = JobIntake::new(&self.bus, &self.registry, &self.counters, &acks);
        tokio::select! {
            () = proxies.run() => {}
            () = intake.run(subscription) => {}
        }
    }
}
