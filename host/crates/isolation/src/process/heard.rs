//! What a child has said of itself.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mshost_core::metrics::Metrics;
use mshost_worker::{Progress, StartFailure, Told, WorkerState};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::link::{LinkError, Outbound};
use crate::message::{News, Notice, Reply, WorkerNews};
use crate::snapshot::Pieces;

/// See the module.
pub(super) struct Heard {
    /// How it ended, in its own words.
    pub(super) end: Mutex<Option<Result<(), String>>>,
    /// Dropped once it does not bring work in.
    busy: Mutex<Option<TaskTrackerToken>>,
    /// The last question that it has answered.
    pub(super) answered: AtomicU64,
    pieces: Pieces,
    /// Who waits for its state.
    successor: Mutex<Option<oneshot::Sender<Told>>>,
}

impl Heard {
    pub(super) fn new(busy: TaskTrackerToken, snapshot_limit: u64) -> Self {
        Self {
            end: Mutex::default(),
            busy: Mutex::new(Some(busy)),
            answered: AtomicU64::new(0),
            pieces: Pieces::new(snapshot_limit),
            successor: Mutex::default(),
        }
    }

    /// Its state is wanted.
    pub(super) fn is_to_hand_over(&self, successor: oneshot::Sender<Told>) {
        *self.successor.lock() = Some(successor);
    }

    /// Takes note of it.
    pub(super) fn note(
        &self,
        news: News,
        tail: &Bytes,
        enter: impl Fn(WorkerState),
        progress: &Progress,
        metrics: &Metrics,
        outbound: &Outbound,
    ) -> Result<(), LinkError> {
        match news {
            News::State(WorkerNews::Prepared) => enter(WorkerState::Prepared),
            News::State(WorkerNews::Running) => enter(WorkerState::Running),
            News::State(WorkerNews::HandingOver) => enter(WorkerState::HandingOver),
            News::State(WorkerNews::Broken(why)) => enter(WorkerState::Broken(StartFailure(why))),
            News::State(WorkerNews::Draining) => enter(WorkerState::Draining),
            News::State(WorkerNews::Stopped) => *self.end.lock() = Some(Ok(())),
            News::State(WorkerNews::Failed(why)) => *self.end.lock() = Some(Err(why)),
            News::Idle => drop(self.busy.lock().take()),
            News::Pong(question) => self.answered.store(question, Ordering::Relaxed),
            News::Piece => self.pieces.add(tail)?,
            News::HandsOver(state) => self.hand_over(state, outbound),
            News::Report { samples, last_error } => {
                metrics.absorb(&samples);
                last_error.into_iter().for_each(|error| progress.complain(error));
            }
        }
        Ok(())
    }

    fn hand_over(&self, state: Result<u32, String>, outbound: &Outbound) {
        let state = state.map(|schema| self.pieces.take(schema)).map_err(StartFailure);
        let successor = self.successor.lock().take();
        if successor.is_none_or(|successor| successor.send(state).is_err()) {
            // Where the child is gone, nobody waits.
            let _ = outbound.tell(&Reply::Worker(Notice::GoOn));
        }
    }
}
