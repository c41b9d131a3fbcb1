//! The end of a host, in order. If every worker left at once, a request that the HTTP edge has in hand would find nobody to
//! do it. So whoever brings work in stops doing so first, while the others go on; then all leave.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The first half of that, shared by all workers of a host.
#[derive(Debug, Clone, Default)]
pub struct Closing {
    asked: CancellationToken,
    busy: TaskTracker,
}

impl Closing {
    /// Has every worker finish what it has begun by itself, and waits until all have, while jobs go on being done.
    pub async fn close(&self) {
        self.asked.cancel();
        self.busy.close();
        self.busy.wait().await;
    }

    /// Returns once the host closes. Cancel safe.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// A worker that may bring work in; dropped once it does not.
    pub fn busy(&self) -> TaskTrackerToken {
        self.busy.token()
    }
}
