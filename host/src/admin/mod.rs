//! The admin server on its own port: what the host is doing, for people, probes and Prometheus.
//!
//! It observes and never decides. What it shows comes from a [`StatusSource`]; what it can set off is a reload, through a
//! [`ReloadSource`], a restart of a worker through [`WorkerRestarts`], and what people decide about dead letters, through a
//! [`DeadLetterSource`].

mod gauges;
mod guard;
mod letter_routes;
mod letters;
mod reload;
mod reload_routes;
mod restarts;
mod routes;
mod server;

pub use letters::{
    DeadLetterSource, Letter, LetterError, LetterFilter, LetterJob, LetterList, LetterRaw, MAX_LISTED, MAX_REQUEUED,
    Purged, Refused, RequeueReport, RequeueRequest,
};
pub use mshost_core::status::{
    BusHealth, BusStatus, Complaint, HostStatus, LeavingBus, ManagerState, Phase, PluginState, PluginStatus,
    ProcessStatus, QueueStatus, StatusSource, Timestamp, TopologyStatus, WorkerState, WorkerStatus,
};
pub use reload::{
    BusChange, MAX_TOPOLOGY, PluginAction, PluginChange, ReloadError, ReloadReport, ReloadSource, RunningHost,
    SettingChange, TakesEffect, WorkerAction, WorkerChange,
};
pub use restarts::{RestartAsked, RestartRefused, WorkerRestarts};
pub use server::{Admin, AdminConfig, AdminError};
