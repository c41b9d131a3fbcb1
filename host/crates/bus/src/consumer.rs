//! A worker's consumer.

use async_trait::async_trait;

use crate::delivery::Delivery;
use crate::options::Durability;

/// How a worker consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// The most jobs that are delivered and not yet settled, the worker's `concurrency`.
    pub prefetch: u16,
    /// What the jobs that wait for it outlive, where the engine can choose; `None` is what the bus says.
    pub durability: Option<Durability>,
}

impl ConsumerOptions {
    /// As the bus says, with this prefetch.
    #[must_use]
    pub fn new(prefetch: u16) -> Self {
        Self { prefetch, durability: None }
    }
}

/// The consumer of one worker: of its type's queue and of its own. Dropping it requeues whatever was delivered and not settled.
#[async_trait]
pub trait Consumer: Send {
    /// The next job; `None` once the consumer is stopped or the bus closed. Cancel safe. A reconnect goes unnoticed here.
    async fn next(&mut self) -> Option<Delivery>;

    /// Takes no more jobs of its type, only those for its id; releases those of its type that were prefetched: delivered to
    /// this host, and not returned by [`Consumer::next`] yet. A worker that drains may still wait for answers. Idempotent.
    async fn leave_type(&mut self);

    /// Takes no more jobs of its type until [`Consumer::resume`], and releases those of its type that were prefetched. It stays
    /// a consumer of the type: jobs wait, and no sender hears that there is no worker. Those for its id still come.
    /// Idempotent; leaving ends it.
    async fn pause(&mut self);

    /// Takes jobs of its type again after [`Consumer::pause`]. Idempotent.
    async fn resume(&mut self);

    /// Takes no more jobs, and releases those that were prefetched. Settling goes on working for the others until the consumer
    /// is dropped.
    async fn stop(&mut self);
}
