//! What becomes of a delivered job: acked, retried later, or handed back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::Acker;
use mshost_bus::{BusError, Death, Job, Settle};

use super::session_channel::SessionChannel;
use crate::amqp_error;
use crate::engine::AmqpEngine;
use crate::sessions::jobs_in_hand::JobInHand;

/// Settles one delivery on the channel that it came by; no other could.
pub(super) struct AmqpSettlement {
    engine: Arc<AmqpEngine>,
    /// Taken once settling has begun.
    receipt: Option<DeliveryReceipt>,
    /// How often it was delivered before and never settled.
    before: u32,
    in_hand: Option<JobInHand>,
}

/// What a delivery is settled by.
pub(super) struct DeliveryReceipt {
    pub(super) acker: Acker,
    pub(super) tag: u64,
    pub(super) channel: Arc<SessionChannel>,
}

impl DeliveryReceipt {
    fn ack(&self) -> bool {
        self.channel.ack(self.tag)
    }

    async fn requeue(&self) -> lapin::Result<bool> {
        self.channel.requeue(&self.acker, self.tag).await
    }
}

impl AmqpSettlement {
    pub(super) fn new(engine: Arc<AmqpEngine>, receipt: DeliveryReceipt, before: u32, in_hand: JobInHand) -> Self {
        Self { engine, receipt: Some(receipt), before, in_hand: Some(in_hand) }
    }

    /// Acks what has been published again or dead-lettered, also where the worker has left meanwhile: its channel stays open for
    /// that.
    pub(super) async fn remove(mut self: Box<Self>) -> Result<(), BusError> {
        let receipt = self.receipt.take().ok_or(BusError::Closed)?;
        done("ack", Ok(receipt.ack()))
    }

    /// Whether the job is still this worker's. Where it is not, another may have it already.
    fn check(&self) -> Result<(), BusError> {
        let usable = self.receipt.as_ref().is_some_and(|receipt| receipt.acker.usable())
            && self.in_hand.as_ref().is_some_and(|one| !one.is_revoked());
        if usable { Ok(()) } else { Err(handed_back("settle")) }
    }
}

#[async_trait]
impl Settle for AmqpSettlement {
    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        self.check()?;
        self.remove().await
    }

    async fn retry(self: Box<Self>, job: Job, after: Duration) -> Result<(), BusError> {
        self.check()?;
        if !after.is_zero() {
            self.engine.publish_retry(&job, after, 0).await?;
        } else {
            self.engine.republish(&job, 0).await?;
        }
        self.ack().await
    }

    async fn dead_letter(self: Box<Self>, job: Job, death: Death) -> Result<(), BusError> {
        self.check()?;
        self.engine.dead_letter(&job, &death).await?;
        self.ack().await
    }

    async fn release(self: Box<Self>, job: Job) -> Result<(), BusError> {
        self.check()?;
        self.engine.republish(&job, self.before).await?;
        self.remove().await
    }

    async fn requeue(mut self: Box<Self>) -> Result<(), BusError> {
        self.check()?;
        let receipt = self.receipt.take().ok_or(BusError::Closed)?;
        done("requeue", receipt.requeue().await)
    }
}

impl Drop for AmqpSettlement {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            let in_hand = self.in_hand.take();
            self.engine.runtime.spawn(async move {
                let _ = receipt.requeue().await;
                // Until now its queue was needed.
                drop(in_hand);
            });
        }
    }
}

impl fmt::Debug for AmqpSettlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpSettlement").finish_non_exhaustive()
    }
}

/// lapin says `Ok(false)` where the channel is gone, and with it the delivery: the broker has handed it to another.
fn done(what: &str, settled: lapin::Result<bool>) -> Result<(), BusError> {
    match settled {
        Ok(true) => Ok(()),
        Ok(false) => Err(handed_back(what)),
        Err(error) => Err(BusError::Unavailable(format!("cannot {what} a job: {}", amqp_error::text(&error)))),
    }
}

fn handed_back(what: &str) -> BusError {
    BusError::Unavailable(format!("cannot {what} a job: what it came by is gone; it will be delivered again"))
}
