//! What `[host]` says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[host]`: this process. Paths are relative to the folder of the topology.
#[derive(Debug, Clone, PartialEq)]
pub struct HostConfig {
    /// What the host calls itself.
    pub name: String,
    /// The folder of the plugin files.
    pub plugins: PathBuf,
    /// Where the admin server listens; `None` where it is `"off"`.
    pub admin: Option<SocketAddr>,
    /// The folder for what must outlive the host.
    pub state: PathBuf,
    /// How long a file must have been quiet before it is read.
    pub debounce: Duration,
    /// The threads that one plugin generation runs on.
    pub plugin_threads: usize,
    /// How many plugin files are copied, tried and loaded at a time.
    pub parallel_loads: usize,
    /// How long a shutdown may take before it is forced.
    pub shutdown_timeout: Duration,
    /// How many libraries of plugins may stay in memory that cannot be unloaded; more are not loaded.
    pub mapped_limit: usize,
    /// How file changes are noticed.
    pub watch: Watch,
    /// The most bytes of the state that a worker hands to its successor.
    pub snapshot_limit: u64,
    /// How a new version of a plugin is tried; `None` is by starting alone.
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

/// A new version first does a share of the jobs next to the old one, and is given up if more of its attempts fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CanaryConfig {
    /// The most of the jobs of each slot that the new version gets, from 0.001 to 0.9 (`share`).
    pub share: f64,
    /// How long it is tried (`for`).
    pub span: Duration,
    /// Before so many of its attempts nothing is decided, and a version that has had fewer in the end is accepted
    /// (`min_jobs`).
    pub min_jobs: u64,
    /// By how much its share of failed attempts may be above the old version's, from 0 to 1 (`tolerance`).
    pub tolerance: f64,
}

impl CanaryConfig {
    /// What holds where `canary` leaves a key out.
    pub const DEFAULT: Self = Self { share: 0.1, span: Duration::from_secs(30), min_jobs: 20, tolerance: 0.05 };
}

impl Default for CanaryConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}
