//! The admin server on its own port: what the host is doing, for people, probes and Prometheus.
//!
//! It observes and never decides. What it shows comes from a [`StatusSource`]; what it can set off is a reload, through a
//! [`ReloadSource`], a restart of a worker through [`WorkerRestarter`], and what operators decide about dead letters, through a
//! [`DeadLetterSource`].

mod dead_letter_routes;
mod dead_letters;
mod reload;
mod reload_routes;
mod request_guard;
mod response;
mod restart_routes;
mod routes;
mod server;
mod status_gauges;
mod worker_restart;

pub use dead_letters::{
    DeadLetterEntry, DeadLetterError, DeadLetterFilter, DeadLetterJob, DeadLetterList, DeadLetterRaw, DeadLetterSource,
    MAX_LISTED, MAX_REQUEUED, PurgeReport, RefusedRequeue, RequeueReport, RequeueRequest,
};
pub use mshost_core::status::{
    BusHealth, BusStatus, Complaint, HostPhase, HostStatus, InstanceState, LeavingBus, ManagerState, PluginState,
    PluginStatus, ProcessStatus, QueueStatus, StatusSource, Timestamp, TopologyStatus, WorkerStatus,
};
pub use reload::{
    BusChange, MAX_TOPOLOGY, PluginAction, PluginChange, ReloadError, ReloadReport, ReloadSource, RunningHost,
    SettingChange, TakesEffect, WorkerAction, WorkerChange,
};
pub use server::{AdminConfig, AdminError, AdminServer};
pub use worker_restart::{RestartAccepted, RestartRefused, WorkerRestarter};
