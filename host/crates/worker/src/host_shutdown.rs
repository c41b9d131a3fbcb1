//! The first half of a host's shutdown: workers stop bringing work in, while all go on doing jobs.
//!
//! If every worker left at once, no worker would be there for a request that the HTTP edge has in hand. So plugins drain first;
//! then all workers leave.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Asks all workers of a host to drain their plugins, and knows when they have. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct HostShutdown {
    requested: CancellationToken,
    bringing_work: TaskTracker,
}

impl HostShutdown {
    /// Has every plugin finish what it has begun by itself, and waits until all have, while jobs go on being done.
    pub async fn drain_plugins(&self) {
        self.requested.cancel();
        self.bringing_work.close();
        self.bringing_work.wait().await;
    }

    /// Returns once the host shuts down. Cancel safe.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// A token of a worker that may bring work in, to be dropped once it does not.
    pub fn token(&self) -> TaskTrackerToken {
        self.bringing_work.token()
    }
}
