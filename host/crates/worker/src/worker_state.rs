//! The state of a worker, as the supervisor, the host of its process and canaries see it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a worker is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// The plugin makes it, and it joins the bus.
    Starting,
    /// The plugin has made it, and it waits to be admitted to the bus.
    Prepared,
    /// It takes jobs.
    Running,
    /// It takes no jobs, while another worker is about to take over its state.
    HandingOver,
    /// Its plugin panicked, so that its state may be wrong: it finishes what it has, takes nothing new, and waits for its
    /// replacement.
    Broken(StartFailure),
    /// It takes no more jobs, and finishes those that it has.
    Draining,
    /// It has left.
    Stopped,
    /// It could not start, or died.
    Failed(StartFailure),
}

/// Why a worker does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
