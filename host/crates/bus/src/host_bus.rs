//! The trait of a bus that a host may open.

use async_trait::async_trait;

use crate::bus::Bus;
use crate::dead_letters::DeadLetterStore;
use crate::leadership::Leadership;
use crate::msjs::MsjsBridge;
use crate::queue_depth::QueueDepth;

/// A bus as the host has it: what workers do on a [`Bus`], and what is done once for all of them.
///
/// Every engine has a dead-letter store and a leader; only one that reaches workers of MicroServices.js has a bridge to them.
/// An isolated worker's end of a bus has none of this, which is why it is a [`Bus`] and no `HostBus`.
#[async_trait]
pub trait HostBus: Bus {
    /// The dead letters of this bus.
    fn dead_letters(&self) -> &dyn DeadLetterStore;

    /// Which of the hosts on this bus acts for all of them.
    fn leadership(&self) -> &dyn Leadership;

    /// The way to workers of MicroServices.js; `None` where the engine has no way to reach any.
    fn msjs(&self) -> Option<&dyn MsjsBridge> {
        None
    }

    /// The depths of the queues that this host knows of.
    async fn depths(&self) -> Vec<QueueDepth>;

    /// How many jobs are in this process alone: accepted, and neither done nor kept by a broker. Those whose retry is not due
    /// yet are among them. They end with this bus, unless it has a journal.
    fn pending_jobs(&self) -> u64 {
        0
    }
}
