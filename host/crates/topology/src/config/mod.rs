//! What a topology says once it is read: every key with its value or its default.

mod bus;
mod host;
mod isolation;
mod manager;
mod policies;
mod worker;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use mshost_core::telemetry::LogSettings;

use crate::diagnostics::Diagnostics;
use crate::source::SourceText;

pub use bus::BusConfig;
pub use host::{CanaryConfig, HostConfig, Watch};
pub use isolation::{Isolation, ProcessLimits, Sandbox};
pub use manager::ManagerConfig;
pub use policies::{ParkedJobs, RestartPolicy, RetryPolicy};
pub use worker::{WorkerConfig, WorkerSpans};

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
    pub source: Arc<SourceText>,
}
