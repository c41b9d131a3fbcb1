//! What the engine needs to know to connect.

use std::fmt;
use std::sync::Arc;

use mshost_bus::BusTls;
use mshost_bus::{Absent, BusLimits, Codec, Durability};
use mshost_core::metrics::Metrics;

/// What [`crate::AmqpBus::connect`] needs to know.
pub struct AmqpOptions {
    /// `amqp://USER:PASSWORD@HOST:PORT/VHOST?heartbeat=SECONDS`, or `amqps://…`.
    pub url: String,
    /// Which authorities to trust and which certificate to show, where the URL is `amqps://`.
    pub tls: BusTls,
    /// The codec of the whole bus.
    pub codec: Codec,
    /// What jobs outlive where their worker says nothing else, and what the host's own queues outlive at least.
    pub durability: Durability,
    /// Whether the queue of a type stays when its last worker leaves.
    pub absent: Absent,
    /// The limits of `[bus]`.
    pub limits: BusLimits,
    /// The name of this host, which the broker's tools show for its connections.
    pub host: String,
    /// Where reconnects and malformed messages are counted.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for AmqpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds a password.
        f.debug_struct("AmqpOptions").field("host", &self.host).field("codec", &self.codec).finish_non_exhaustive()
    }
}
