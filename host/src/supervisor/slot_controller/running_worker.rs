//! A worker that runs in a slot, and how it is drained.

use std::time::Instant;

use mshost_worker::{Listeners, Worker};

use super::desired::Desired;
use crate::supervisor::bus_session::session::SessionMember;

const TARGET: &str = "mshost::supervisor";

/// A worker, what it was made from, and what it holds while it lives.
pub(super) struct RunningWorker {
    pub(super) worker: Worker,
    pub(super) made_from: Desired,
    pub(super) since: Instant,
    pub(super) member: SessionMember,
    // Keeps the sockets bound while the worker lives.
    pub(super) _listeners: Listeners,
}

impl RunningWorker {
    /// Has the worker finish the jobs that it has in hand and leave. Holds its generation and its sockets until then.
    pub(super) async fn drain(mut self) {
        self.member.release_slot();
        self.worker.stop();
        if let Err(failure) = self.worker.ended().await {
            tracing::warn!(target: TARGET, worker = %self.worker.id(), "did not leave in good order: {failure}");
        }
        drop(self);
    }

    /// Drains a worker whose successor is on another bus. Workers that are still on this one may need it, so all of them leave
    /// together, at the session's leave signal.
    pub(super) async fn drain_with_session(mut self) {
        let Some(leave) = self.made_from.session.leave_signal() else { return self.drain().await };
        self.member.release_slot();
        tokio::select! {
            () = leave.cancelled() => self.drain().await,
            // What it had in hand has gone back to its bus.
            _ = self.worker.ended() => {}
        }
    }
}
