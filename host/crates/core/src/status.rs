//! The status of the host, as `/api/topology` shows it. The supervisor fills it in; its JSON is an interface that scripts rely on.

mod readiness;
mod states;
mod timestamp;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::Serialize;

use crate::ids::{GenerationId, PluginName, WorkerId, WorkerType};

pub use states::{BusHealth, InstanceState, ManagerState, PluginState};
pub use timestamp::Timestamp;

/// The source of the host's status.
#[async_trait]
pub trait StatusSource: Send + Sync + 'static {
    /// How it is now. The admin server gives up on it after a few seconds.
    async fn status(&self) -> HostStatus;
}

/// The host as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    /// The host's name on the bus.
    pub name: String,
    /// The version of mshost.
    pub version: String,
    /// When it was started.
    pub since: Timestamp,
    /// Where in its life it is.
    pub phase: HostPhase,
    /// What it was told to run.
    pub topology: TopologyStatus,
    /// The bus.
    pub bus: BusStatus,
    /// Every plugin that the topology names or the folder holds.
    pub plugins: Vec<PluginStatus>,
    /// Every instance that runs or should.
    pub workers: Vec<WorkerStatus>,
    /// What waits on the bus.
    pub queues: Vec<QueueStatus>,
}

/// Where in its life the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPhase {
    /// What the topology says does not run yet.
    Starting,
    /// It has been brought up once; what goes wrong since shows in plugins and workers.
    Running,
    /// It finishes its jobs and then exits.
    Draining,
}

/// The topology file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopologyStatus {
    /// The file.
    pub file: PathBuf,
    /// How many times a changed topology has been applied; the first is 1.
    pub revision: u64,
    /// When it was last applied.
    pub applied: Option<Timestamp>,
    /// Why the file as it is now is not applied.
    pub last_error: Option<Complaint>,
}

/// The bus as this host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BusStatus {
    /// Its URL without the password.
    pub url: String,
    /// The codec's name.
    pub codec: String,
    /// Whether it can be used.
    pub state: BusHealth,
    /// Why it cannot.
    pub error: Option<String>,
    /// What this host's manager does for the others on the bus.
    pub manager: ManagerState,
    /// How many workers of each type the manager knows, on all hosts.
    pub workers: BTreeMap<WorkerType, usize>,
    /// How many dead letters there are; `null` while the bus cannot tell.
    pub dead_letters: Option<u64>,
    /// Buses that workers are moving away from; mostly none.
    pub leaving: Vec<LeavingBus>,
}

/// A bus that workers are moving away from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeavingBus {
    /// Its URL without the password.
    pub url: String,
    /// Workers that are still on it.
    pub workers: usize,
    /// How many of them have no successor on the new bus yet.
    pub staying: usize,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: PluginName,
    /// The file that it was last read from.
    pub file: Option<PathBuf>,
    /// The version that the loaded file gives itself.
    pub version: Option<String>,
    /// The version of mshost-plugin-api that it was built with.
    pub api_version: Option<String>,
    /// Which loaded version this is, over the life of the host.
    pub generation: Option<GenerationId>,
    /// What is being done with it.
    pub state: PluginState,
    /// The generation that is on trial (`[host] canary`) beside the one before; `null` where none is.
    pub on_trial: Option<GenerationId>,
    /// Older generations that still finish their jobs.
    pub retiring: Vec<GenerationId>,
    /// The last thing that went wrong, until a later file loads.
    pub last_error: Option<Complaint>,
}

/// One instance of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// Its place in the topology, as in `WB/0`: stays the same over restarts and reloads.
    pub slot: String,
    /// Its type.
    #[serde(rename = "type")]
    pub worker_type: WorkerType,
    /// Its id on the bus, once it has one.
    pub id: Option<WorkerId>,
    /// The plugin that it comes from.
    pub plugin: PluginName,
    /// The generation of that plugin.
    pub generation: Option<GenerationId>,
    /// What it does now.
    pub state: InstanceState,
    /// Since when.
    pub since: Timestamp,
    /// The process that it runs in; `None` where it runs on threads of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessStatus>,
    /// Where its sockets listen, by name.
    pub addresses: BTreeMap<String, SocketAddr>,
    /// Jobs that it works on.
    pub in_flight: u64,
    /// Jobs done.
    pub done: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// How often this slot was started again after a failure.
    pub restarts: u64,
    /// The last thing that went wrong.
    pub last_error: Option<Complaint>,
}

/// The process of an isolated worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessStatus {
    /// Its id.
    pub pid: u32,
    /// The limits that are in force, each with what enforces it: `memory 512MiB (memory.max, RLIMIT_DATA)`.
    pub limits: Vec<String>,
}

/// One queue of the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueStatus {
    /// The type or the worker id that it serves.
    pub queue: String,
    /// Jobs that wait for a worker.
    pub ready: u64,
    /// Jobs delivered and not yet settled.
    pub unsettled: u64,
    /// Workers that take from it.
    pub consumers: u64,
}

/// An error, and when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// What, and what to do about it.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

impl Complaint {
    /// An error that happened just now.
    pub fn now(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), at: SystemTime::now().into() }
    }
}
