//! What `/api/topology` shows. The supervisor fills it in; its JSON is an interface that scripts rely on.

mod readiness;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{GenerationId, PluginName, WorkerId, WorkerType};

/// Who knows how the host is doing.
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

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// What, and what to do about it.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

impl Complaint {
    /// Something that went wrong just now.
    pub fn now(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), at: SystemTime::now().into() }
    }
}

/// A point in time; in JSON and in text as RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub SystemTime);

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.0).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A state machine's states with the name that each has in JSON and in metric labels.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$state_doc:meta])* $state:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$state_doc])* $state,)+ }

        impl $name {
            /// Every state there is.
            pub const ALL: &[Self] = &[$(Self::$state,)+];

            /// Its name in JSON and in metric labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$state => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

states! {
    /// Whether the bus can be used.
    BusHealth {
        /// Yes.
        Connected = "connected",
        /// Not yet or not now; it is being tried.
        Away = "away",
        /// Never again.
        Closed = "closed",
    }
}

states! {
    /// What the manager of a host does for all the hosts on the bus.
    ManagerState {
        /// It asks who is there and tidies up after the dead.
        Active = "active",
        /// It listens, and takes over when the active one is gone.
        StandingBy = "standing_by",
        /// There is none (`[manager] enabled = false`).
        Off = "off",
    }
}

states! {
    /// What is being done with a plugin.
    PluginState {
        /// The topology names it, and its file is not there.
        Pending = "pending",
        /// The file is being copied, probed and loaded; an older generation may be serving meanwhile.
        Loading = "loading",
        /// It serves.
        Loaded = "loaded",
        /// The latest file cannot be used; an older generation may be serving still.
        Failed = "failed",
        /// Its workers keep running, but the file is gone: a restart of the host would miss it.
        FileGone = "file_gone",
        /// Nothing needs it.
        Unused = "unused",
    }
}

states! {
    /// What an instance of a worker does, through all of its restarts.
    InstanceState {
        /// It waits for its plugin.
        Pending = "pending",
        /// Its `start` runs.
        Starting = "starting",
        /// It takes jobs.
        Running = "running",
        /// It finishes its jobs and takes no more.
        Draining = "draining",
        /// It failed and will be started again after a while.
        Backoff = "backoff",
        /// It failed too often and will not be started again until its plugin or its topology changes, or somebody asks.
        Parked = "parked",
        /// It has ended.
        Stopped = "stopped",
    }
}
