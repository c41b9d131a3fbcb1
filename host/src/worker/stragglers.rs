//! Threads of a slot's blocking handlers that overran and have not come back.

use std::sync::Arc;

use tokio::sync::watch;

/// How many there are: counted by the workers of a slot, watched by its keeper. Cloning shares the count.
#[derive(Debug, Clone, Default)]
pub struct Stragglers(Arc<watch::Sender<u32>>);

impl Stragglers {
    /// How many there are now.
    #[must_use]
    pub fn count(&self) -> u32 {
        *self.0.borrow()
    }

    /// Returns once there are as many as `limit`. Cancel safe.
    pub async fn reached(&self, limit: u32) {
        // The sender is this.
        let _ = self.0.subscribe().wait_for(|count| *count >= limit).await;
    }

    /// One more thread was left behind.
    pub(super) fn left(&self) {
        self.0.send_modify(|count| *count = count.saturating_add(1));
    }

    /// One of them has come back.
    pub(super) fn returned(&self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
