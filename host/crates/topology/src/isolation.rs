//! Where a worker runs: `isolation`, `limits` and `sandbox` of `[[worker]]`.

use std::fmt;
use std::time::Duration;

use super::sandbox::{Sandbox, sandbox};
use super::values::{integer, number, one_of, positive_duration, size};
use super::walk::{Fields, Node};

/// What any process needs that runs a plugin, in bytes: less would only ever fail.
const LEAST_MEMORY: u64 = 16 << 20;
/// More than any machine has.
const MOST_MEMORY: u64 = 1 << 50;
/// The runtime's own, the log's, the sockets': less would only ever fail.
const LEAST_FILES: u64 = 32;
/// The least share of a CPU: with less a process would not answer in time.
const LEAST_CPUS: f64 = 0.05;
/// More than any machine has.
const MOST_CPUS: f64 = 4096.0;
/// The runtime's own threads and the plugin's: less would only ever fail.
const LEAST_TASKS: u64 = 16;

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

/// Takes the three keys.
pub(super) fn isolation(fields: &mut Fields<'_, '_>) -> (Isolation, Option<Sandbox>) {
    let is_stated = fields.node("isolation").is_some();
    let is_process = fields.take("isolation", one_of(&[("thread", false), ("process", true)]));
    // Where `isolation` cannot be read, that is the one error.
    let may_have_them = is_process == Some(true) || (is_stated && is_process.is_none());
    let limits =
        fields.take("limits", |node| if may_have_them { limits(node) } else { misplaced(node, "`limits` are") });
    let sandbox =
        fields.take("sandbox", |node| if may_have_them { sandbox(node) } else { misplaced(node, "a `sandbox` is") });
    if is_process == Some(true) {
        (Isolation::Process(limits.unwrap_or_default()), sandbox)
    } else {
        (Isolation::Thread, None)
    }
}

fn misplaced<T>(node: &Node<'_, '_>, what: &str) -> Option<T> {
    let help =
        Some("add `isolation = \"process\"`: on threads of the host all workers share what it may use".to_owned());
    node.refuse(format!("{what} for a worker in a process of its own"), "this one runs on threads of the host", help)
}

fn limits(node: &Node<'_, '_>) -> Option<ProcessLimits> {
    let mut fields = Fields::of(node, "`limits`")?;
    let limits = ProcessLimits {
        memory: fields.take("memory", size(LEAST_MEMORY..=MOST_MEMORY)).map(|bytes| bytes as u64),
        cpu_time: fields.take("cpu_time", positive_duration),
        open_files: fields.take("open_files", integer(LEAST_FILES..=1 << 20)),
        // In range by its reader.
        milli_cpus: fields.take("cpus", number(LEAST_CPUS..=MOST_CPUS)).map(|cpus| (cpus * 1_000.0).round() as u32),
        tasks: fields.take("tasks", integer(LEAST_TASKS..=1 << 22)),
    };
    fields.finish(|_| None);
    Some(limits)
}
