//! What `[[worker]]` says.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use mshost_bus::Durability;
use mshost_core::ids::{PluginName, WorkerType};

use super::isolation::{Isolation, Sandbox};
use super::policies::{ParkedJobs, RestartPolicy, RetryPolicy};
use crate::plugin_config::ConfigSpans;

/// One `[[worker]]`. `Debug` leaves its config out, which may hold secrets of the environment.
#[derive(Clone)]
pub struct WorkerConfig {
    /// The type of the jobs it takes.
    pub worker_type: WorkerType,
    /// The plugin that has it.
    pub plugin: PluginName,
    /// How many of it; at least 1.
    pub instances: u32,
    /// How many jobs one instance does at a time; at least 1.
    pub concurrency: u16,
    /// How long one attempt at a job may take.
    pub timeout: Duration,
    /// How often a job is tried.
    pub retry: RetryPolicy,
    /// What the jobs that wait for it outlive; `None` is what `[bus]` says.
    pub durability: Option<Durability>,
    /// How long the pipelines that it begins may take; `None` is for ever.
    pub deadline: Option<Duration>,
    /// How long its `start` may take.
    pub start_timeout: Duration,
    /// How long its jobs in flight may take to finish when it is stopped.
    pub drain_timeout: Duration,
    /// How often it is started again after a failure.
    pub restart: RestartPolicy,
    /// What becomes of the jobs of its type once all of its workers are parked.
    pub parked: ParkedJobs,
    /// How many threads of its blocking handlers may overrun `timeout` and not come back before its slot is parked; at least
    /// 1.
    pub abandoned_threads: u32,
    /// The sockets that the host listens on for it, by name.
    pub listen: BTreeMap<String, SocketAddr>,
    /// Where it runs.
    pub isolation: Isolation,
    /// What its process may change and reach; `None` is what the host may.
    pub sandbox: Option<Sandbox>,
    /// `[worker.config]`, an object, empty where it is left out.
    pub config: serde_json::Value,
    /// Where all this stands.
    pub spans: WorkerSpans,
}

impl fmt::Debug for WorkerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerConfig")
            .field("worker_type", &self.worker_type)
            .field("plugin", &self.plugin)
            .field("instances", &self.instances)
            .field("concurrency", &self.concurrency)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("durability", &self.durability)
            .field("deadline", &self.deadline)
            .field("start_timeout", &self.start_timeout)
            .field("drain_timeout", &self.drain_timeout)
            .field("restart", &self.restart)
            .field("parked", &self.parked)
            .field("abandoned_threads", &self.abandoned_threads)
            .field("listen", &self.listen)
            .field("isolation", &self.isolation)
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}

/// Where a worker stands in its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerSpans {
    /// `[[worker]]`.
    pub header: Range<usize>,
    /// The value of `type`.
    pub worker_type: Range<usize>,
    /// The value of `plugin`.
    pub plugin: Range<usize>,
    /// The value of `drain_timeout`, where it is set here.
    pub drain_timeout: Option<Range<usize>>,
    /// The value of each address of `listen`.
    pub listen: BTreeMap<String, Range<usize>>,
    /// Every key and value of `[worker.config]`.
    pub config: ConfigSpans,
}
