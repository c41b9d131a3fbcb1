//! What a host gives to all of its workers.

use std::sync::Arc;

use mshost_bus::{Absent, Bus};
use mshost_core::metrics::Metrics;
use mshost_manager::Registry;

use super::host_shutdown::HostShutdown;
use super::notification_router::NotificationRouter;
use super::send_admission::SendAdmission;
use super::starting_types::StartingTypes;

/// What all workers of a host share: the bus, what is known of other workers, metrics, limits.
#[derive(Clone)]
pub struct HostContext {
    /// The bus that they meet on.
    pub bus: Arc<dyn Bus>,
    /// The workers that the manager knows.
    pub registry: Arc<Registry>,
    /// The types of which a worker is being started.
    pub starting_types: StartingTypes,
    /// What passes notifications of the bus on to them.
    pub notifications: Arc<NotificationRouter>,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
    /// Tells them that the host shuts down.
    pub shutdown: HostShutdown,
    /// What becomes of a job for a type that has no worker now.
    pub absent: Absent,
    /// Whether there is a manager, so that `registry` knows of others.
    pub managed: bool,
    /// The most bytes of one snapshot.
    pub snapshot_limit: u64,
    /// The largest payload on the bus, in bytes.
    pub message_bytes: usize,
    /// The host's name, which tells its workers from those of MicroServices.js.
    pub host_name: Arc<str>,
}

impl HostContext {
    /// What decides whether the jobs of a worker here may be sent.
    #[must_use]
    pub fn send_admission(&self) -> SendAdmission {
        SendAdmission {
            registry: Arc::clone(&self.registry),
            starting_types: self.starting_types.clone(),
            absent: self.absent,
        }
    }
}
