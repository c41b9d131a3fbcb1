//! The state of a worker, as others see it.

use std::fmt;

/// Where a worker is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerState {
    /// The plugin makes it, and it takes its place on the bus.
    Starting,
    /// The plugin has made it, and it waits to be admitted to the bus.
    Prepared,
    /// It takes jobs.
    Running,
    /// It has its place and takes no jobs, while another is about to take over its state.
    HandingOver,
    /// Its plugin panicked, so what it knows may be wrong: it finishes what it has, takes nothing new, and waits for the one
    /// that replaces it.
    Broken(StartFailure),
    /// It takes no more jobs, and finishes those that it has.
    Draining,
    /// It has left.
    Stopped,
    /// It could not start, or died.
    Failed(StartFailure),
}

/// Why a worker does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartFailure(pub String);

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Prepared => "prepared",
            Self::Running => "running",
            Self::HandingOver => "handing over",
            Self::Broken(_) => "broken",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
        })
    }
}
