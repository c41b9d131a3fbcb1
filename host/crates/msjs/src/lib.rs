//! Workers of the original on the same broker, in both directions and with nothing to configure.
//!
//! The registry tells them from ours: their announcements name no host. [`outward`] stands in for each of them on the bus,
//! so that our workers need not know which kind they send to; it says what it is sent as `worker.next` until somebody
//! says that it is taken ([`acks`]). [`inward`] takes the `worker.next` that are for our workers, each once
//! ([`memory`]), and leaves the others to the original. One host at a time does all this: the one that leads.
//!
//! What is promised ends at the original's ack, which comes before the work. A type that both kinds serve is ours on our
//! side and the original's on its side, and an error in the log: no pool of the original counts right with ours in it.

mod acks;
mod inward;
mod memory;
mod outward;
#[cfg(test)]
mod outward_tests;
mod tally;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::acks::Acks;
use self::inward::Inward;
use self::outward::Outward;
pub use self::tally::Tally;
use mshost_bus::HostBus;
use mshost_core::metrics::Metrics;
use mshost_manager::Registry;

/// `tracing` target of all that is said here.
const LOG: &str = "mshost::msjs";

/// What the original's manager says when nobody can do a job; its workers may look for these words.
const NO_WORKER: &str = "No worker available for this job";

/// Lets workers of the original and of mshost send to each other.
pub struct Interop {
    bus: Arc<dyn HostBus>,
    registry: Arc<Registry>,
    tally: Tally,
    max_proxies: usize,
}

impl Interop {
    /// Does nothing until [`Interop::run`]. The registry has to be kept by a manager that runs. Beyond `max_proxies` workers of
    /// the original nothing can be sent to them.
    #[must_use]
    pub fn new(bus: Arc<dyn HostBus>, registry: Arc<Registry>, metrics: Arc<Metrics>, max_proxies: usize) -> Self {
        Self { bus, registry, tally: Tally::new(metrics), max_proxies }
    }

    /// Works while this host leads, until `stop` is cancelled or the bus is closed. A bus that the original cannot be on
    /// is left at once.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
        self.tally.idle();
    }

    async fn work(&self) {
        let mut leads = self.bus.leadership().leads();
        while leads.wait_for(|leads| *leads).await.is_ok() {
            tokio::select! {
                _ = leads.wait_for(|leads| !leads) => tracing::debug!(target: LOG, "another host leads"),
                () = self.lead() => return,
            }
            self.tally.idle();
        }
    }

    /// Returns where there is nothing to do, ever. Dropping it hands back what is not done yet.
    async fn lead(&self) {
        let Some(bridge) = self.bus.msjs() else { return };
        let subscription = match bridge.subscribe().await {
            Ok(subscription) => subscription,
            Err(error) => return tracing::debug!(target: LOG, "the original's workers are not heard: {error}"),
        };
        let acks = Acks::default();
        let outward = Outward::new(&self.bus, &self.registry, &self.tally, &acks, self.max_proxies);
        let inward = Inward::new(&self.bus, &self.registry, &self.tally, &acks);
        tokio::select! {
            () = outward.run() => {}
            () = inward.run(subscription) => {}
        }
    }
}
