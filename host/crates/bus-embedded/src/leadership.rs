//! Leadership where one host is all there is.

use async_trait::async_trait;
use mshost_bus::{BusError, Leadership};
use mshost_core::ids::WorkerRef;
use tokio::sync::watch;

/// The leadership of a bus that a single host is on: it leads, always.
pub(super) struct SoleHost {
    leads: watch::Sender<bool>,
}

impl Default for SoleHost {
    fn default() -> Self {
        Self { leads: watch::Sender::new(true) }
    }
}

#[async_trait]
impl Leadership for SoleHost {
    fn compete(&self) {}

    fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// A worker of this host takes its queue with it when it leaves.
    async fn delete_queue_of(&self, _worker: &WorkerRef) -> Result<(), BusError> {
        Ok(())
    }
}
