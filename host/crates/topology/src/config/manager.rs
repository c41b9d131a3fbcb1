//! What `[manager]` says.

use std::time::Duration;

/// `[manager]`: the SystemManager of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerConfig {
    /// Whether this host has one; default yes.
    pub enabled: bool,
    /// How often it asks who is there; `None` where it is `"off"`. Default 10 s.
    pub keepalive: Option<Duration>,
    /// After how long without an answer a worker is forgotten; default three keepalives. Means nothing without them.
    pub expire_after: Duration,
    /// The most workers it keeps; default 10,000.
    pub max_workers: usize,
    /// The most workers of MicroServices.js that mshost's can send to; default 1,000. Each takes a channel of the connection, and
    /// RabbitMQ has some 2,000 for all.
    pub max_proxies: usize,
}
