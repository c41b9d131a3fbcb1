//! Where a worker runs, and what its process may use.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where a worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Isolation {
    /// On threads of the host.
    #[default]
    Thread,
    /// In a process of its own.
    Process(ProcessLimits),
}

/// What a process of a worker may use; `None` is what the host itself may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct ProcessLimits {
    /// The most memory that it writes to, in bytes; at least 16 MiB (`memory`). Where a cgroup can hold it, the most that it and
    /// what it starts use in all.
    pub memory: Option<u64>,
    /// The most time that it may compute in all; rounded up to whole seconds (`cpu_time`).
    pub cpu_time: Option<Duration>,
    /// The most files and sockets that it has open; at least 32 (`open_files`).
    pub open_files: Option<u64>,
    /// How much it and what it starts may compute at a time, in thousandths of a CPU; at least 50 (`cpus`, in CPUs). Only a
    /// cgroup can hold it.
    pub milli_cpus: Option<u32>,
    /// The most threads and processes that it and what it starts have; at least 16 (`tasks`). Only a cgroup can hold it.
    pub tasks: Option<u64>,
}

impl Isolation {
    /// What a process may use; a thread may what the host may.
    #[must_use]
    pub fn limits(self) -> ProcessLimits {
        match self {
            Self::Process(limits) => limits,
            Self::Thread => ProcessLimits::default(),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread => "thread",
            Self::Process(_) => "process",
        })
    }
}

/// What the process of a worker may do besides reading; what is not listed it may not.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Sandbox {
    /// Files, and folders with all that is in them, that it may write, make and remove; relative to the folder that the
    /// host was started in (`write`).
    pub write: Vec<PathBuf>,
    /// The TCP ports that it may connect to (`connect`).
    pub connect: Vec<u16>,
    /// The TCP ports that it may listen on itself; the sockets of `listen` are the host's (`bind`).
    pub bind: Vec<u16>,
}
