//! The admin server on its own port: what the host is doing, for people, probes and Prometheus.
//!
//! It observes and never decides. What it shows comes from a [`StatusSource`]; the one thing that it can set off, a
//! reload, is a capacity-one channel: asking twice before it has begun is asking once.

mod gauges;
mod guard;
mod readiness;
mod routes;
mod server;
mod status;

pub use server::{Admin, AdminConfig, AdminError};
pub use status::{
    BusHealth, BusStatus, Complaint, HostStatus, Phase, PluginState, PluginStatus, QueueStatus, StatusSource,
    Timestamp, TopologyStatus, WorkerState, WorkerStatus,
};
