//! Holds senders back after a reconnect, until the consumers and subscriptions of this host are back.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Every consumer and subscription of a bus, and the link on which it consumes.
#[derive(Debug, Default)]
pub(super) struct RejoinBarrier {
    epochs: Mutex<ConsumingEpochs>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct ConsumingEpochs {
    next: u64,
    by_guard: HashMap<u64, u64>,
}

impl RejoinBarrier {
    /// A newcomer; senders do not wait for it until it has consumed once.
    pub(super) fn register(self: &Arc<Self>) -> RejoinGuard {
        let mut known = self.epochs.lock();
        known.next += 1;
        RejoinGuard { barrier: Arc::clone(self), number: known.next }
    }

    /// Returns once all are on the link `epoch`.
    pub(super) async fn all_at(&self, epoch: u64) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.epochs.lock().by_guard.values().all(|at| *at >= epoch) {
                return;
            }
            changed.await;
        }
    }
}

/// One of [`RejoinBarrier`]. Leaves when dropped.
#[derive(Debug)]
pub(super) struct RejoinGuard {
    barrier: Arc<RejoinBarrier>,
    number: u64,
}

impl RejoinGuard {
    /// It consumes on the link `epoch`.
    pub(super) fn consumes_at(&self, epoch: u64) {
        self.barrier.epochs.lock().by_guard.insert(self.number, epoch);
        self.barrier.changed.notify_waiters();
    }
}

impl Drop for RejoinGuard {
    fn drop(&mut self) {
        self.barrier.epochs.lock().by_guard.remove(&self.number);
        self.barrier.changed.notify_waiters();
    }
}
