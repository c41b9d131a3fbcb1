//! What the original's workers say to each other: that there is a job, and that it is taken.

use std::fmt;

use async_trait::async_trait;

use super::codec::WireJob;

/// What [`super::Bus::foreign`] gives. Dropping it leaves what has no receipt yet to another host.
#[async_trait]
pub trait Foreign: Send {
    /// What is heard next; `None` once the bus is closed. Cancel safe.
    async fn next(&mut self) -> Option<ForeignEvent>;
}

/// What workers of the original say.
#[derive(Debug)]
pub enum ForeignEvent {
    /// From here on they are heard. What they said before was lost, or heard by another host.
    Listening,
    /// `worker.next`, which one host alone hears. A receipt is due, whether this host does anything about the job or not.
    Next(WireJob, Receipt),
    /// `worker.next.ack`: somebody takes this job, whose position has been advanced.
    Taken(WireJob),
}

/// Owed for a `worker.next`. While it is not given the bus keeps the message, for another host should this one be lost.
pub struct Receipt(Box<dyn FnOnce() + Send>);

impl Receipt {
    /// A receipt whose `give` is run once, when it is given.
    pub fn new(give: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(give))
    }

    /// The message has been dealt with.
    pub fn give(self) {
        (self.0)();
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}
