//! The jobs that a worker has in hand: delivered to it and not settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The jobs that one worker has in hand, and how many it may have.
pub(crate) struct JobsInHand {
    count: AtomicU64,
    /// One permit for each job that it may have. A worker that waits for a job has a permit for it, and none in hand.
    permits: Arc<Semaphore>,
    /// The worker's consumer was dropped: the broker has all of them back.
    is_revoked: AtomicBool,
}

/// One job in hand; no longer once it is dropped.
pub(crate) struct JobInHand {
    in_hand: Arc<JobsInHand>,
    _permit: OwnedSemaphorePermit,
}

impl JobsInHand {
    /// None yet, at most `limit`.
    pub(crate) fn new(limit: u16) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicU64::new(0),
            permits: Arc::new(Semaphore::new(limit.into())),
            is_revoked: AtomicBool::new(false),
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until there may be one more. Cancel safe. `None` never comes: nothing closes the semaphore.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// Adds one for which there is room.
    pub(crate) fn add(self: &Arc<Self>, room: OwnedSemaphorePermit) -> JobInHand {
        self.count.fetch_add(1, Ordering::Relaxed);
        JobInHand { in_hand: Arc::clone(self), _permit: room }
    }

    /// None of them can be settled from here on.
    pub(crate) fn revoke(&self) {
        self.is_revoked.store(true, Ordering::Release);
    }
}

impl JobInHand {
    /// Whether it can no longer be settled.
    pub(crate) fn is_revoked(&self) -> bool {
        self.in_hand.is_revoked.load(Ordering::Acquire)
    }
}

impl Drop for JobInHand {
    fn drop(&mut self) {
        self.in_hand.count.fetch_sub(1, Ordering::Relaxed);
    }
}
