//! Reports of a child, and what follows from them.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mshost_core::metrics::Metrics;
use mshost_worker::{Progress, SnapshotResult, StartFailure, WorkerState};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::ipc::ipc_error::IpcError;
use crate::ipc::message::{ChildReport, HostCommand, HostMessage};
use crate::ipc::outbound_queue::OutboundQueue;
use crate::ipc::state_chunks::StateChunks;

/// What a child has reported.
pub(super) struct ChildReports {
    /// The end of its worker, as reported.
    pub(super) end: Mutex<Option<Result<(), String>>>,
    /// Dropped once it sends no new jobs.
    busy: Mutex<Option<TaskTrackerToken>>,
    /// The last ping that it has answered.
    pub(super) last_pong: AtomicU64,
    chunks: StateChunks,
    /// The receiver of its state.
    successor: Mutex<Option<oneshot::Sender<SnapshotResult>>>,
}

impl ChildReports {
    pub(super) fn new(busy: TaskTrackerToken, snapshot_limit: u64) -> Self {
        Self {
            end: Mutex::default(),
            busy: Mutex::new(Some(busy)),
            last_pong: AtomicU64::new(0),
            chunks: StateChunks::new(snapshot_limit),
            successor: Mutex::default(),
        }
    }

    /// Sets the receiver of its state.
    pub(super) fn expect_state(&self, successor: oneshot::Sender<SnapshotResult>) {
        *self.successor.lock() = Some(successor);
    }

    /// Applies a report.
    pub(super) fn apply(
        &self,
        report: ChildReport,
        tail: &Bytes,
        enter: impl Fn(WorkerState),
        progress: &Progress,
        metrics: &Metrics,
        outbound: &OutboundQueue,
    ) -> Result<(), IpcError> {
        match report {
            ChildReport::State(WorkerState::Stopped) => *self.end.lock() = Some(Ok(())),
            ChildReport::State(WorkerState::Failed(StartFailure(why))) => *self.end.lock() = Some(Err(why)),
            // It is so from the beginning.
            ChildReport::State(WorkerState::Starting) => {}
            ChildReport::State(state) => enter(state),
            ChildReport::Idle => drop(self.busy.lock().take()),
            ChildReport::Pong(question) => self.last_pong.store(question, Ordering::Relaxed),
            ChildReport::StateChunk => self.chunks.add(tail)?,
            ChildReport::HandoverState(state) => self.hand_over(state, outbound),
            ChildReport::Statistics { samples, last_error } => {
                metrics.absorb(&samples);
                last_error.into_iter().for_each(|error| progress.set_last_error(error));
            }
        }
        Ok(())
    }

    fn hand_over(&self, state: Result<u32, String>, outbound: &OutboundQueue) {
        let state = state.map(|schema| self.chunks.take(schema)).map_err(StartFailure);
        let successor = self.successor.lock().take();
        if successor.is_none_or(|successor| successor.send(state).is_err()) {
            // Lost where the child is gone.
            let _ = outbound.send(&HostMessage::Command(HostCommand::CancelHandover));
        }
    }
}
