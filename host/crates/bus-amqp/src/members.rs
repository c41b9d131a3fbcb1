//! Who has to be back in place after a reconnect before senders go on.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Every consumer and subscription of a bus, and on which link it has its place.
#[derive(Debug, Default)]
pub(super) struct Members {
    places: Mutex<Places>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    epochs: HashMap<u64, u64>,
}

impl Members {
    /// A newcomer; nobody waits for it until it has its first place.
    pub(super) fn enter(self: &Arc<Self>) -> Member {
        let mut places = self.places.lock();
        places.next += 1;
        Member { members: Arc::clone(self), number: places.next }
    }

    /// Returns once all are on the link `epoch`.
    pub(super) async fn all_at(&self, epoch: u64) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.places.lock().epochs.values().all(|at| *at >= epoch) {
                return;
            }
            changed.await;
        }
    }
}

/// One of [`Members`]. Leaves when dropped.
#[derive(Debug)]
pub(super) struct Member {
    members: Arc<Members>,
    number: u64,
}

impl Member {
    /// It has its place on the link `epoch`.
    pub(super) fn placed(&self, epoch: u64) {
        self.members.places.lock().epochs.insert(self.number, epoch);
        self.members.changed.notify_waiters();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.members.places.lock().epochs.remove(&self.number);
        self.members.changed.notify_waiters();
    }
}
