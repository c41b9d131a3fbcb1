//! The leader among the hosts on a bus.

use async_trait::async_trait;
use mshost_core::ids::WorkerRef;
use tokio::sync::watch;

use crate::error::BusError;

/// Leader election among the hosts on a bus, and what the leader does for all of them.
#[async_trait]
pub trait Leadership: Send + Sync {
    /// Makes this host a candidate. To be called once, where there is a manager.
    fn compete(&self);

    /// Whether this host is the leader, now and at each change: its manager is the one that asks which workers there are, and
    /// cleans up for all hosts. There is one leader at a time; another host takes over when it is gone.
    fn leads(&self) -> watch::Receiver<bool>;

    /// Deletes the queue of a worker that is known to be dead. What waits in it is dead-lettered as
    /// [`DeathReason::NoWorker`](crate::DeathReason::NoWorker), and its senders are told.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away; calling again is harmless.
    async fn delete_queue_of(&self, worker: &WorkerRef) -> Result<(), BusError>;
}
