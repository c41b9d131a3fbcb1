//! Timers of the engine's own runtime: a caller's runtime need not have a clock.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::Sleep;

/// Makes timers that work in whatever runtime they are awaited.
#[derive(Debug, Clone)]
pub(super) struct Clock(Handle);

impl Clock {
    /// The clock of a runtime.
    pub(super) fn of(runtime: &Handle) -> Self {
        Self(runtime.clone())
    }

    /// Returns after a while.
    pub(super) fn sleep(&self, duration: Duration) -> Sleep {
        let _entered = self.0.enter();
        tokio::time::sleep(duration)
    }

    /// Returns at a moment.
    pub(super) fn sleep_until(&self, moment: Instant) -> Sleep {
        let _entered = self.0.enter();
        tokio::time::sleep_until(moment.into())
    }

    /// What `work` gives, unless it takes longer than `limit`.
    pub(super) async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let timeout = self.sleep(limit);
        tokio::select! {
            biased;
            result = work => Some(result),
            () = timeout => None,
        }
    }
}
