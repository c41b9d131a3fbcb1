//! The way to workers of MicroServices.js: what they say to each other.

use std::fmt;

use async_trait::async_trait;

use crate::error::BusError;
use crate::wire_job::WireJob;

/// The part of an engine that hears workers of MicroServices.js. Publishing to them is
/// [`Bus::publish`](crate::Bus::publish) of [`Notification::Next`](crate::Notification::Next) and
/// [`Notification::Taken`](crate::Notification::Taken).
#[async_trait]
pub trait MsjsBridge: Send + Sync {
    /// Subscribes to what workers of MicroServices.js say to each other.
    ///
    /// # Errors
    /// [`BusError`] where the engine is closed.
    async fn subscribe(&self) -> Result<Box<dyn MsjsSubscription>, BusError>;
}

/// A subscription to the jobs of MicroServices.js. Dropping it leaves what has no receipt yet to another host.
#[async_trait]
pub trait MsjsSubscription: Send {
    /// The next event; `None` once the bus is closed. Cancel safe.
    async fn next(&mut self) -> Option<MsjsEvent>;
}

/// What workers of MicroServices.js say.
#[derive(Debug)]
pub enum MsjsEvent {
    /// From here on they are heard. What they said before was lost, or heard by another host.
    Listening,
    /// `worker.next`, which one host alone hears. A receipt is due, whether this host does anything about the job or not.
    Next(WireJob, MsjsReceipt),
    /// `worker.next.ack`: a worker takes this job, whose position has been advanced.
    Taken(WireJob),
}

/// Owed for a `worker.next`. While it is not given the bus keeps the message, for another host should this one be lost.
pub struct MsjsReceipt(Box<dyn FnOnce() + Send>);

impl MsjsReceipt {
    /// A receipt whose `give` is run once, when it is given.
    pub fn new(give: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(give))
    }

    /// The message has been dealt with.
    pub fn give(self) {
        (self.0)();
    }
}

impl fmt::Debug for MsjsReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MsjsReceipt")
    }
}
