//! What the host gives to all of its workers.

use std::sync::Arc;

use mshost_bus::{Absent, Bus};
use mshost_core::metrics::Metrics;
use mshost_manager::Registry;

use super::closing::Closing;
use super::expected::Expected;
use super::reach::Reach;
use super::switchboard::Switchboard;

/// What all workers of a host share.
#[derive(Clone)]
pub struct Surroundings {
    /// The bus that they meet on.
    pub bus: Arc<dyn Bus>,
    /// Who else is there, as the manager knows.
    pub registry: Arc<Registry>,
    /// Who is about to be there.
    pub expected: Expected,
    /// Where they are heard.
    pub switchboard: Arc<Switchboard>,
    /// What they are counted by.
    pub metrics: Arc<Metrics>,
    /// Where they hear that the host is to end.
    pub closing: Closing,
    /// What becomes of a job for a type that has no worker now.
    pub absent: Absent,
    /// Whether there is a manager, so that `registry` knows of others.
    pub managed: bool,
    /// The most bytes of one snapshot.
    pub snapshot_limit: u64,
    /// The largest payload on the bus, in bytes.
    pub message_bytes: usize,
    /// The host's name, which tells its workers from the original's.
    pub host: Arc<str>,
}

impl Surroundings {
    /// Whom the jobs of a worker here can reach.
    #[must_use]
    pub fn reach(&self) -> Reach {
        Reach { registry: Arc::clone(&self.registry), expected: self.expected.clone(), absent: self.absent }
    }
}
