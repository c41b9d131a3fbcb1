//! What the bus has for a child, passed on as it comes.

use std::sync::Arc;

use mshost_bus::{Consumer, Delivery, Subscription};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::hands::Hands;
use super::rights::Rights;
use crate::link::{Closed, Outbound};
use crate::message::{Call, EventHead, JobHead, Number, Order, Reply};

/// Passes jobs on until the child leaves; `orders` is dropped then.
pub(super) struct JobPump {
    pub(super) number: Number,
    pub(super) outbound: Arc<Outbound>,
    pub(super) hands: Arc<Hands>,
    /// What the child has settled and the bus has not heard yet.
    pub(super) settling: TaskTracker,
    /// A job that has come back may be what ends the process that does it. It is done alone, so that it takes no others along
    /// and does not have them counted as what it is.
    pub(super) cautious: bool,
}

impl JobPump {
    pub(super) async fn run(self, mut consumer: Box<dyn Consumer>, mut orders: mpsc::Receiver<(Call, Order)>) {
        let mut suspect = None;
        // Nothing to be done where the child is gone: this ends soon.
        let _ = self.pass_on(&mut consumer, &mut orders, &mut suspect).await;
        put_back(suspect).await;
        // Nothing can be settled without the worker's place.
        self.settling.close();
        self.settling.wait().await;
        // Before what the worker had in hand, which is for others.
        drop(consumer);
        drop(self.hands.release_all(self.number));
    }

    async fn pass_on(
        &self,
        consumer: &mut Box<dyn Consumer>,
        orders: &mut mpsc::Receiver<(Call, Order)>,
        suspect: &mut Option<Delivery>,
    ) -> Result<(), Closed> {
        let mut takes = true;
        // A job that has come back waits as the `suspect` until it can be done alone, and others until it is.
        let mut is_alone = false;
        loop {
            let next = async {
                self.outbound.room().await;
                consumer.next().await
            };
            tokio::select! {
                biased;
                order = orders.recv() => {
                    let Some((call, order)) = order else { return Ok(()) };
                    if !matches!(order, Order::Resume) {
                        put_back(suspect.take()).await;
                    }
                    match order {
                        Order::LeaveType => consumer.leave_type().await,
                        Order::Pause => consumer.pause().await,
                        Order::Resume => consumer.resume().await,
                        Order::Stop => {
                            consumer.stop().await;
                            takes = false;
                        }
                    }
                    // After all that it has delivered by now.
                    self.outbound.tell(&Reply::Answer { call, result: Ok(()) })?;
                }
                () = self.hands.until_empty(self.number), if is_alone || suspect.is_some() => {
                    is_alone = suspect.is_some();
                    if let Some(suspect) = suspect.take() {
                        self.deliver(suspect)?;
                    }
                }
                delivery = next, if takes && !is_alone && suspect.is_none() => match delivery {
                    Some(delivery) if self.cautious && delivery.redelivered => *suspect = Some(delivery),
                    Some(delivery) => self.deliver(delivery)?,
                    None => {
                        takes = false;
                        self.outbound.tell(&Reply::Ended { consumer: self.number })?;
                    }
                },
            }
        }
    }

    fn deliver(&self, delivery: Delivery) -> Result<(), Closed> {
        let (job, redelivered) = (JobHead::of(&delivery.job), delivery.redelivered);
        let payload = delivery.job.payload.bytes().clone();
        let tag = self.hands.hold(self.number, delivery);
        self.outbound.push(&Reply::Deliver { consumer: self.number, tag, redelivered, job }, &payload)
    }
}

/// Gives a job back that the child has never seen.
async fn put_back(suspect: Option<Delivery>) {
    if let Some(suspect) = suspect
        && let Err(error) = suspect.put_back().await
    {
        tracing::debug!(target: super::TARGET, "a job that was not begun comes again, counted: {error}");
    }
}

/// Passes on what the child is to hear, as much as it has asked for.
pub(super) async fn tell_events(
    number: Number,
    mut subscription: Box<dyn Subscription>,
    window: Arc<Semaphore>,
    rights: Rights,
    outbound: Arc<Outbound>,
) -> Result<(), Closed> {
    loop {
        let Ok(permit) = window.acquire().await else { return Ok(()) };
        outbound.room().await;
        let Some(event) = subscription.next().await else {
            return outbound.tell(&Reply::Silent { subscription: number });
        };
        match EventHead::of(event) {
            Some((event, tail)) if rights.is_heard(&event) => {
                permit.forget();
                outbound.push(&Reply::Event { subscription: number, event }, &tail)?;
            }
            _ => {}
        }
    }
}
