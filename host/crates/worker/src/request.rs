//! What the supervisor asks of a worker that runs.

use tokio::sync::oneshot;

use super::phase::SnapshotResult;

/// What is asked of a worker that runs.
pub enum Order {
    /// Take no more jobs of the type, finish those in hand, and tell the state.
    HandOver(oneshot::Sender<SnapshotResult>),
    /// Take jobs again: no other worker takes its place after all.
    GoOn,
}
