//! The task that returns jobs to their queues when their retry is due.

use std::sync::{Arc, Weak};

use super::embedded_core::EmbeddedCore;
use super::retry_timer::{RetryTimer, TimerEntry};

/// Returns jobs when they are due. Ends when the bus is closed.
pub(super) async fn run(timer: Arc<RetryTimer>, core: Weak<EmbeddedCore>) {
    while let Some((due, next)) = timer.take_due() {
        for TimerEntry { group, delayed, .. } in due {
            group.due(delayed);
            if let Some(core) = core.upgrade() {
                core.retire(&group);
            }
        }
        // A change since `take_due` ends this wait at once.
        match next {
            Some(next) => drop(tokio::time::timeout_at(next, timer.changed()).await),
            None => timer.changed().await,
        }
    }
}
