//! [`Consumer`] over a session with the broker: takes messages from the session's inbox, and passes commands on to it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::message::Delivery as Message;
use mshost_bus::{BusError, Consumer, ConsumerOptions, Delivery};
use mshost_core::ids::{WorkerId, WorkerRef};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::job_inbox::{JobInbox, ReceivedMessage};
use super::redelivery::{self, RedeliveryVerdict};
use super::session::ConsumerSession;
use super::settlement::{AmqpSettlement, DeliveryReceipt};
use super::worker_queues::WorkerQueues;
use crate::broker_objects::queues::JobQueueKind;
use crate::engine::AmqpEngine;
use crate::message::decode::decode;
use crate::message::headers::JobHeaders;
use crate::sessions::demand::{SessionCommand, SessionOrder};
use crate::sessions::jobs_in_hand::JobsInHand;
use crate::sessions::session_registry::SessionEntry;

/// A worker's end of its session.
pub(crate) struct AmqpConsumer {
    engine: Arc<AmqpEngine>,
    worker: WorkerId,
    inbox: Arc<JobInbox>,
    in_hand: Arc<JobsInHand>,
    orders: mpsc::Sender<SessionOrder>,
    /// Tells the session that this was dropped. The token is dropped once all is done.
    departure: Option<oneshot::Sender<TaskTrackerToken>>,
    /// Deliveries that are being counted.
    counting: TaskTracker,
}

impl AmqpConsumer {
    /// Starts a session, and returns once it consumes.
    ///
    /// # Errors
    /// [`BusError::Refused`] where the broker refuses the queues; [`BusError::Closed`].
    pub(crate) async fn join(
        engine: Arc<AmqpEngine>,
        worker: &WorkerRef,
        options: ConsumerOptions,
    ) -> Result<Self, BusError> {
        let prefetch = options.prefetch.max(1);
        let kind =
            JobQueueKind { durability: options.durability.unwrap_or(engine.durability), limit: engine.limits.queue };
        let (orders, received) = mpsc::channel(1);
        let (departure, departing) = oneshot::channel();
        // Made first, so that a join that is given up ends its session.
        let consumer = Self {
            engine: Arc::clone(&engine),
            worker: worker.id.clone(),
            inbox: Arc::default(),
            in_hand: JobsInHand::new(prefetch),
            orders,
            departure: Some(departure),
            counting: TaskTracker::new(),
        };
        let (session, joined) = ConsumerSession::new(
            Arc::clone(&engine),
            WorkerQueues::new(worker.clone(), kind),
            prefetch,
            (Arc::clone(&consumer.inbox), Arc::clone(&consumer.in_hand), consumer.counting.clone()),
            (received, departing),
        );
        engine.sessions.register(SessionEntry {
            worker: worker.clone(),
            prefetch,
            in_hand: Arc::clone(&consumer.in_hand),
            demand: session.demand(),
        });
        engine.runtime.spawn(session.run());
        joined.await.unwrap_or(Err(BusError::Closed)).map(|()| consumer)
    }

    /// Has the session carry out a command. It does so also where this is given up meanwhile, once it has heard it.
    async fn order(&self, command: SessionCommand) {
        let (done, carried_out) = oneshot::channel();
        if self.orders.send(SessionOrder { command, done }).await.is_ok() {
            let _ = carried_out.await;
        }
    }

    /// A job for the worker, unless the message is none, or came too often.
    fn accept(&self, received: ReceivedMessage, room: OwnedSemaphorePermit) -> Option<Delivery> {
        let ReceivedMessage { message, channel } = received;
        let Message { redelivered, properties, data, acker, delivery_tag: tag, .. } = message;
        let (job, resent) = match decode(self.engine.codec, &properties, &Bytes::from(data)) {
            Ok(job) => job,
            Err(malformed) => {
                self.engine.malformed.report("job", malformed.kind, &malformed.reason);
                // The broker passes it on to where hosts look at what is not done.
                self.engine.runtime.spawn(async move { channel.reject(&acker, tag).await });
                return None;
            }
        };
        let headers = JobHeaders::of(&properties);
        let settlement = Box::new(AmqpSettlement::new(
            Arc::clone(&self.engine),
            DeliveryReceipt { acker, tag, channel },
            redelivery::count(redelivered, &headers),
            self.in_hand.add(room),
        ));
        match redelivery::judge(&self.engine, redelivered, &headers) {
            RedeliveryVerdict::Deliver => {
                let before = redelivered || resent || headers.deliveries().0 > 0;
                Some(Delivery::new(job, before, settlement))
            }
            verdict => {
                let (engine, counted) = (Arc::clone(&self.engine), self.counting.token());
                let counting = async move {
                    let _counted = counted;
                    if let Err(error) = redelivery::carry_out(&engine, job, verdict, settlement).await {
                        tracing::debug!(target: "mshost::bus", "a job that came again comes once more: {error}");
                    }
                };
                // Leaving and closing wait for it: a job that was published again and not acked would be there twice.
                self.engine.tasks.spawn_on(counting, &self.engine.runtime);
                None
            }
        }
    }
}

#[async_trait]
impl Consumer for AmqpConsumer {
    /// Cancel safe: nothing is awaited between taking a message and returning it.
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.inbox.is_closed() {
                return None;
            }
            let received = async {
                let room = self.in_hand.room().await?;
                Some((self.inbox.next().await?, room))
            };
            let (received, room) = tokio::select! {
                biased;
                () = self.engine.closed() => return None,
                received = received => received?,
            };
            if let Some(delivery) = self.accept(received, room) {
                return Some(delivery);
            }
        }
    }

    async fn leave_type(&mut self) {
        self.order(SessionCommand::LeaveType).await;
    }

    async fn pause(&mut self) {
        self.order(SessionCommand::Pause).await;
    }

    async fn resume(&mut self) {
        self.order(SessionCommand::Resume).await;
    }

    async fn stop(&mut self) {
        self.order(SessionCommand::Stop).await;
    }
}

impl Drop for AmqpConsumer {
    fn drop(&mut self) {
        self.in_hand.revoke();
        self.engine.sessions.remove(&self.worker);
        // Closing the bus waits for what the session still has to do.
        if let Some(departure) = self.departure.take() {
            let _ = departure.send(self.engine.tasks.token());
        }
    }
}
