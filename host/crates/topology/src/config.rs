//! What a topology says once it is read: every key with its value or its default.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mshost_bus::{Absent, BusLimits, BusTls, BusUrl, Durability, JournalConfig};
use mshost_core::ids::{PluginName, WorkerType};
use mshost_core::telemetry::LogSettings;
use mshost_plugin_api::Codec;

use super::canary::CanaryConfig;
use super::diagnostics::Diagnostics;
use super::isolation::Isolation;
use super::json::ConfigSpans;
use super::sandbox::Sandbox;
use super::source::Source;

/// A valid `topology.toml`.
#[derive(Debug, Clone)]
pub struct Topology {
    /// `[host]`.
    pub host: HostConfig,
    /// `[bus]`.
    pub bus: BusConfig,
    /// Where in the file the bus is said; empty where it is not.
    pub bus_span: Range<usize>,
    /// `[manager]`.
    pub manager: ManagerConfig,
    /// `[log]`.
    pub logs: LogSettings,
    /// Every `[[worker]]`, as they stand in the file; no two have the same type and plugin.
    pub workers: Vec<WorkerConfig>,
    /// What is allowed, but hardly meant.
    pub warnings: Option<Diagnostics>,
    /// Every file that was read: a change to any of them is a change of the topology.
    pub files: Vec<PathBuf>,
    /// The file itself, for diagnostics that are found later.
    pub source: Arc<Source>,
}

/// `[host]`: this process. Paths are relative to the folder of the topology.
#[derive(Debug, Clone, PartialEq)]
pub struct HostConfig {
    /// What the host calls itself; default the machine's name.
    pub name: String,
    /// The folder of the plugin files; default `plugins`.
    pub plugins: PathBuf,
    /// Where the admin server listens; `None` where it is `"off"`. Default `127.0.0.1:9091`.
    pub admin: Option<SocketAddr>,
    /// The folder for what must outlive the host; default `state`.
    pub state: PathBuf,
    /// How long a file must have been quiet before it is read; default 200 ms.
    pub debounce: Duration,
    /// The threads that one plugin generation runs on; default 1.
    pub plugin_threads: usize,
    /// How many plugin files are copied, tried and loaded at a time; default 4.
    pub parallel_loads: usize,
    /// How long a shutdown may take before it is forced; default 30 s.
    pub shutdown_timeout: Duration,
    /// How many libraries of plugins may stay in memory that cannot be unloaded; more are not loaded. Default 64.
    pub mapped_limit: usize,
    /// How file changes are noticed.
    pub watch: Watch,
    /// The most bytes of the state that a worker hands to its successor; default 16 MiB.
    pub snapshot_limit: u64,
    /// How a new version of a plugin proves itself; `None`, the default, is by starting.
    pub canary: Option<CanaryConfig>,
}

/// How file changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watch {
    /// By the operating system.
    #[default]
    Native,
    /// By looking again and again: for network and container mounts that do not notify.
    Poll,
}

/// `[bus]`: what the workers meet on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusConfig {
    /// Which bus; default `embedded`.
    pub url: BusUrl,
    /// Whom to trust, and what to show, where the URL is `amqps://`.
    pub tls: BusTls,
    /// How data is written; default MessagePack.
    pub codec: Codec,
    /// What a job outlives, where its worker says nothing else; default [`Durability::Durable`].
    pub durability: Durability,
    /// What becomes of a job for a type that has no worker now; default [`Absent::Fail`].
    pub absent: Absent,
    /// Where the embedded bus keeps its jobs; `None` is in memory alone, the default.
    pub journal: Option<JournalConfig>,
    /// Its limits.
    pub limits: BusLimits,
}

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
    /// The most workers of the original that mshost's can send to; default 1,000. Each takes a channel of the connection, and
    /// RabbitMQ has some 2,000 for all.
    pub max_proxies: usize,
}

/// How often a job that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RetryPolicy {
    /// How long to wait before the second attempt; default 2 s, as the original.
    pub delay: Duration,
    /// By what each wait is longer than the one before; default 1, as the original.
    pub backoff: f64,
    /// The longest wait; default 1 min.
    pub max_delay: Duration,
    /// The share, from 0 to 1, by which a wait is shortened at random, so that jobs that failed together do not come back
    /// together; default 0.1.
    pub jitter: f64,
    /// How often it is tried in all; default 5, as the original.
    pub max_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(2),
            backoff: 1.0,
            max_delay: Duration::from_secs(60),
            jitter: 0.1,
            max_attempts: 5,
        }
    }
}

impl RetryPolicy {
    /// How long to wait after the attempt of this number, the first being 1.
    #[must_use]
    pub fn wait_after(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.delay.as_secs_f64() * self.backoff.powi(exponent);
        // Infinite and not-a-number fall to the limit, too.
        let full = Duration::try_from_secs_f64(seconds).map_or(self.max_delay, |wait| wait.min(self.max_delay));
        mshost_core::backoff::shortened(full, self.jitter)
    }
}

/// How often a worker that failed is started again.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RestartPolicy {
    /// How long to wait before a second restart; each further wait is twice as long. Default 500 ms.
    pub delay: Duration,
    /// The longest wait; default 30 s.
    pub max_delay: Duration,
    /// The share, from 0 to 1, by which a wait is shortened at random; default 0.25.
    pub jitter: f64,
    /// How many restarts there may be within `window` before its slot is parked; `None` where it is `"off"`, so that it
    /// never is. Default 10: with the other defaults, about two minutes of trying.
    pub max_restarts: Option<u32>,
    /// What `max_restarts` counts in; also how long a worker must have run for its next failure to count as its first.
    /// Default 5 min.
    pub window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            jitter: 0.25,
            max_restarts: Some(10),
            window: Duration::from_secs(300),
        }
    }
}

/// What becomes of the jobs of a type whose workers are all parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum ParkedJobs {
    /// Those that were accepted wait, at most until their deadline; whether more are accepted is what [`Absent`] says.
    #[default]
    Wait,
    /// Each is given up at once: its sender hears why, and it is kept as a dead letter.
    Fail,
}

/// One `[[worker]]`. `Debug` leaves its config out, which may hold secrets of the environment.
#[derive(Clone)]
pub struct WorkerConfig {
    /// The type of the jobs it takes.
    pub worker_type: WorkerType,
    /// The plugin that has it.
    pub plugin: PluginName,
    /// How many of it; at least 1, the default.
    pub instances: u32,
    /// How many jobs one instance does at a time; at least 1, default 64.
    pub concurrency: u16,
    /// How long one attempt at a job may take; default 30 s.
    pub timeout: Duration,
    /// How often a job is tried.
    pub retry: RetryPolicy,
    /// What the jobs that wait for it outlive; `None` is what `[bus]` says.
    pub durability: Option<Durability>,
    /// How long the pipelines that it begins may take; `None` is for ever. Default 1 h.
    pub deadline: Option<Duration>,
    /// How long its `start` may take; default 30 s.
    pub start_timeout: Duration,
    /// How long its jobs in flight may take to finish when it is stopped; default 10 s.
    pub drain_timeout: Duration,
    /// How often it is started again after a failure.
    pub restart: RestartPolicy,
    /// What becomes of the jobs of its type once all of its workers are parked; default [`ParkedJobs::Wait`].
    pub parked: ParkedJobs,
    /// How many threads of its blocking handlers may overrun `timeout` and not come back before its slot is parked; at least
    /// 1, default 4.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_are_shortened_by_no_more_than_their_share() {
        let (delay, max_delay) = (Duration::from_secs(1), Duration::from_secs(10));
        let policy = RetryPolicy { delay, backoff: 2.0, max_delay, jitter: 0.5, max_attempts: 9 };
        for (attempt, full) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (u32::MAX, 10)] {
            let (wait, full) = (policy.wait_after(attempt), Duration::from_secs(full));
            assert!(wait <= full && wait >= full / 2, "{wait:?} after attempt {attempt}");
        }
        let original = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
        assert_eq!([1, 2, 5].map(|attempt| original.wait_after(attempt)), [Duration::from_secs(2); 3]);
    }
}
