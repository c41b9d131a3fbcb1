//! The depth of a queue.

use mshost_core::ids::WorkerType;

/// A queue and what waits in it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QueueDepth {
    /// The type or the worker id that it serves.
    pub queue: String,
    /// Jobs that wait for a worker.
    pub ready: u64,
    /// Jobs delivered and not yet settled.
    pub unsettled: u64,
    /// Workers that consume from it.
    pub consumers: u64,
}

/// The type's queue, as [`QueueDepth::queue`] and log lines name it.
#[must_use]
pub fn type_queue(kind: &WorkerType) -> String {
    format!("{kind}:*")
}
