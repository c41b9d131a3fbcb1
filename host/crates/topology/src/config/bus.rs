//! What `[bus]` says.

use mshost_bus::{Absent, BusLimits, BusTls, BusUrl, Durability, JournalConfig};
use mshost_plugin_api::Codec;

/// `[bus]`: what the workers meet on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusConfig {
    /// Which bus.
    pub url: BusUrl,
    /// What to trust, and what to show, where the URL is `amqps://`.
    pub tls: BusTls,
    /// How data is written.
    pub codec: Codec,
    /// What a job outlives, where its worker says nothing else.
    pub durability: Durability,
    /// What becomes of a job for a type that has no worker now.
    pub absent: Absent,
    /// Where the embedded bus keeps its jobs; `None` is in memory alone.
    pub journal: Option<JournalConfig>,
    /// Its limits.
    pub limits: BusLimits,
}
