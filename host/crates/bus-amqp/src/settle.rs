//! What becomes of a delivered job: acked, retried later, or handed back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lapin::Acker;
use lapin::options::BasicNackOptions;
use mshost_bus::{BusError, Death, Job, Settle};
use tokio::sync::OwnedSemaphorePermit;

use super::acks::Acks;
use super::connection::Down;
use super::place::Place;
use super::publisher::PublishError;
use super::{Shared, errors};

/// Settles one delivery on the channel that it came by; no other could.
pub(super) struct AmqpSettle {
    shared: Arc<Shared>,
    place: Arc<Place>,
    /// Taken once settling has begun.
    receipt: Option<Receipt>,
    /// How often it was delivered before and never settled.
    before: u32,
    in_hand: Option<(OwnedSemaphorePermit, OneInHand)>,
}

/// What a delivery is settled by.
pub(super) struct Receipt {
    pub(super) acker: Acker,
    pub(super) tag: u64,
    pub(super) acks: Option<Arc<Acks>>,
    pub(super) down: Down,
}

impl Receipt {
    fn ack(&self) -> bool {
        self.acks.as_ref().is_some_and(|acks| acks.ack(self.tag))
    }

    async fn requeue(&self) -> lapin::Result<bool> {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        let requeued = self.down.or(self.acker.nack(options)).await;
        if let (Ok(true), Some(acks)) = (&requeued, &self.acks) {
            acks.settled(self.tag);
        }
        requeued
    }
}

/// How many jobs a worker has in hand. One that waits for a job has a permit for it, and none in hand.
#[derive(Clone, Default)]
pub(super) struct InHand(Arc<AtomicU64>);

/// One of them.
pub(super) struct OneInHand(InHand);

impl InHand {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn one_more(&self) -> OneInHand {
        self.0.fetch_add(1, Ordering::Relaxed);
        OneInHand(self.clone())
    }
}

impl Drop for OneInHand {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AmqpSettle {
    pub(super) fn new(
        shared: Arc<Shared>,
        place: Arc<Place>,
        receipt: Receipt,
        before: u32,
        in_hand: (OwnedSemaphorePermit, OneInHand),
    ) -> Self {
        Self { shared, place, receipt: Some(receipt), before, in_hand: Some(in_hand) }
    }

    /// Acks what has been published again or buried, also where the worker has left meanwhile: its channel stays open for that.
    pub(super) async fn take_away(mut self: Box<Self>) -> Result<(), BusError> {
        let receipt = self.receipt.take().ok_or(BusError::Closed)?;
        done("ack", Ok(receipt.ack()))
    }

    /// Whether the job is still this worker's. Where it is not, another may have it already.
    fn check(&self) -> Result<(), BusError> {
        let usable = self.receipt.as_ref().is_some_and(|receipt| receipt.acker.usable())
            && !self.place.gone.load(Ordering::Acquire);
        if usable { Ok(()) } else { Err(handed_back("settle")) }
    }
}

#[async_trait]
impl Settle for AmqpSettle {
    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        self.check()?;
        self.take_away().await
    }

    async fn retry(self: Box<Self>, job: Job, after: Duration) -> Result<(), BusError> {
        self.check()?;
        if !after.is_zero() {
            self.shared.publish_delayed(&job, after, 0).await?;
        } else {
            self.shared.give_back(&job, 0).await?;
        }
        self.ack().await
    }

    async fn dead_letter(self: Box<Self>, job: Job, death: Death) -> Result<(), BusError> {
        self.check()?;
        self.shared.bury(&job, &death).await?;
        self.ack().await
    }

    async fn release(self: Box<Self>, job: Job) -> Result<(), BusError> {
        self.check()?;
        self.shared.give_back(&job, self.before).await?;
        self.take_away().await
    }

    async fn requeue(mut self: Box<Self>) -> Result<(), BusError> {
        self.check()?;
        let receipt = self.receipt.take().ok_or(BusError::Closed)?;
        done("requeue", receipt.requeue().await)
    }
}

impl Drop for AmqpSettle {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            let in_hand = self.in_hand.take();
            self.shared.runtime.spawn(async move {
                let _ = receipt.requeue().await;
                // Until now its queue was needed.
                drop(in_hand);
            });
        }
    }
}

impl fmt::Debug for AmqpSettle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpSettle").finish_non_exhaustive()
    }
}

/// lapin says `Ok(false)` where the channel is gone, and with it the delivery: the broker has handed it to another.
fn done(what: &str, settled: lapin::Result<bool>) -> Result<(), BusError> {
    match settled {
        Ok(true) => Ok(()),
        Ok(false) => Err(handed_back(what)),
        Err(error) => Err(BusError::Unavailable(format!("cannot {what} a job: {}", errors::text(&error)))),
    }
}

fn handed_back(what: &str) -> BusError {
    BusError::Unavailable(format!("cannot {what} a job: what it came by is gone; it will be delivered again"))
}

/// A publish that failed, to someone who did not name the recipient.
pub(super) fn unavailable(error: PublishError) -> BusError {
    match error {
        PublishError::Closed => BusError::Closed,
        PublishError::TimedOut(why) => BusError::Unavailable(why),
        PublishError::Returned | PublishError::Refused | PublishError::Doubtful => {
            BusError::Unavailable("the broker has no queue for the message".into())
        }
    }
}
