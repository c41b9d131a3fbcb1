//! Forwarding of deliveries and events from the bus to a child.

use std::sync::Arc;

use mshost_bus::{Consumer, Delivery, Subscription};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::bus_permissions::BusPermissions;
use super::unacked_deliveries::UnackedDeliveries;
use crate::ipc::message::{ConsumerCommand, ConsumerId, HostMessage, IpcEvent, IpcJob, RequestId, SubscriptionId};
use crate::ipc::outbound_queue::{ConnectionClosed, OutboundQueue};

/// Forwards the deliveries of one consumer until the child closes it, which drops the sender of `commands`.
pub(crate) struct DeliveryForwarder {
    pub(crate) consumer: ConsumerId,
    pub(crate) outbound: Arc<OutboundQueue>,
    pub(crate) unacked: Arc<UnackedDeliveries>,
    /// Settlements of the child that the bus has not confirmed.
    pub(crate) settling: TaskTracker,
    /// Whether a redelivered job runs alone. It may be what crashes the process that handles it; alone, it neither takes other
    /// jobs along nor has a redelivery of theirs counted.
    pub(crate) redelivered_alone: bool,
}

impl DeliveryForwarder {
    pub(crate) async fn run(
        self,
        mut consumer: Box<dyn Consumer>,
        mut commands: mpsc::Receiver<(RequestId, ConsumerCommand)>,
    ) {
        let mut redelivered_job = None;
        // An error means that the child is gone, and this ends soon.
        let _ = self.pass_on(&mut consumer, &mut commands, &mut redelivered_job).await;
        return_unstarted(redelivered_job).await;
        // Nothing can be settled without the consumer.
        self.settling.close();
        self.settling.wait().await;
        // Before the unacked deliveries, which go to other consumers.
        drop(consumer);
        drop(self.unacked.remove_all(self.consumer));
    }

    async fn pass_on(
        &self,
        consumer: &mut Box<dyn Consumer>,
        commands: &mut mpsc::Receiver<(RequestId, ConsumerCommand)>,
        redelivered_job: &mut Option<Delivery>,
    ) -> Result<(), ConnectionClosed> {
        let mut consuming = true;
        // A redelivered job waits until all others are settled, and others until it is.
        let mut runs_alone = false;
        loop {
            let next = async {
                self.outbound.wait_for_capacity().await;
                consumer.next().await
            };
            tokio::select! {
                biased;
                command = commands.recv() => {
                    let Some((request_id, command)) = command else { return Ok(()) };
                    if !matches!(command, ConsumerCommand::Resume) {
                        return_unstarted(redelivered_job.take()).await;
                    }
                    match command {
                        ConsumerCommand::LeaveType => consumer.leave_type().await,
                        ConsumerCommand::Pause => consumer.pause().await,
                        ConsumerCommand::Resume => consumer.resume().await,
                        ConsumerCommand::Stop => {
                            consumer.stop().await;
                            consuming = false;
                        }
                    }
                    // After all that it has delivered by now.
                    self.outbound.send(&HostMessage::Response { request_id, result: Ok(()) })?;
                }
                () = self.unacked.wait_until_none(self.consumer), if runs_alone || redelivered_job.is_some() => {
                    runs_alone = redelivered_job.is_some();
                    if let Some(redelivered_job) = redelivered_job.take() {
                        self.deliver(redelivered_job)?;
                    }
                }
                delivery = next, if consuming && !runs_alone && redelivered_job.is_none() => match delivery {
                    Some(delivery) if self.redelivered_alone && delivery.redelivered => *redelivered_job = Some(delivery),
                    Some(delivery) => self.deliver(delivery)?,
                    None => {
                        consuming = false;
                        self.outbound.send(&HostMessage::ConsumerEnded { consumer: self.consumer })?;
                    }
                },
            }
        }
    }

    fn deliver(&self, delivery: Delivery) -> Result<(), ConnectionClosed> {
        let (job, redelivered) = (IpcJob::of(&delivery.job), delivery.redelivered);
        let payload = delivery.job.payload.bytes().clone();
        let tag = self.unacked.insert(self.consumer, delivery);
        self.outbound.push(&HostMessage::Deliver { consumer: self.consumer, tag, redelivered, job }, &payload)
    }
}

/// Returns a job that the child has not seen.
async fn return_unstarted(redelivered_job: Option<Delivery>) {
    if let Some(redelivered_job) = redelivered_job
        && let Err(error) = redelivered_job.release().await
    {
        tracing::debug!(target: "mshost::isolation", "a job that was not begun comes again, counted: {error}");
    }
}

/// Forwards the events that the child may receive, as far as its credit goes.
pub(crate) async fn forward_events(
    subscription_id: SubscriptionId,
    mut subscription: Box<dyn Subscription>,
    credit: Arc<Semaphore>,
    permissions: BusPermissions,
    outbound: Arc<OutboundQueue>,
) -> Result<(), ConnectionClosed> {
    loop {
        let Ok(permit) = credit.acquire().await else { return Ok(()) };
        outbound.wait_for_capacity().await;
        let Some(event) = subscription.next().await else {
            return outbound.send(&HostMessage::SubscriptionEnded { subscription: subscription_id });
        };
        match IpcEvent::of(event) {
            Some((event, tail)) if permissions.may_receive(&event) => {
                permit.forget();
                outbound.push(&HostMessage::Event { subscription: subscription_id, event }, &tail)?;
            }
            _ => {}
        }
    }
}
