//! What the supervisor asks of a worker that runs.

use tokio::sync::oneshot;

use super::worker_phase::SnapshotResult;

/// What is asked of a worker that runs.
pub enum WorkerRequest {
    /// Take no more jobs of the type, finish those in hand, and tell the state.
    HandOver(oneshot::Sender<SnapshotResult>),
    /// Take jobs again: no other worker takes its place after all.
    Resume,
}
