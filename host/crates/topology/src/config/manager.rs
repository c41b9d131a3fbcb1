//! What `[manager]` says.

use std::time::Duration;

/// `[manager]`: the SystemManager of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerConfig {
    /// Whether this host has one.
    pub enabled: bool,
    /// How often it asks all workers whether they are there; `None` where it is `"off"`.
    pub keepalive: Option<Duration>,
    /// After how long without an answer a worker is taken for gone. Means nothing without them.
    pub expire_after: Duration,
    /// The most workers it keeps.
    pub max_workers: usize,
    /// The most workers of MicroServices.js that mshost's can send to. Each takes a channel of the connection, and
    /// RabbitMQ has some 2,000 for all.
    pub max_proxies: usize,
}
