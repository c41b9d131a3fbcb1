//! Consumer of an isolated worker; the host holds the real one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mshost_bus::{BusError, Consumer, ConsumerOptions, Death, Delivery, Job, Settle};
use mshost_core::ids::{Address, WorkerRef};
use tokio::sync::mpsc;

use super::client_connection::{ClientConnection, ReceivedJob};
use crate::ipc::message::{ChildMessage, ConsumerCommand, ConsumerId, DeliveryTag, RequestId};

/// A [`Consumer`] over the connection. The host keeps to the prefetch, so all that arrives may be handled at once.
pub(crate) struct RemoteConsumer {
    connection: Arc<ClientConnection>,
    id: ConsumerId,
    delivered: mpsc::Receiver<ReceivedJob>,
    /// Jobs that [`Consumer::leave_type`] has left for `next`, which takes the last one first.
    buffered: Vec<ReceivedJob>,
    stopped: bool,
    /// Whether its deliveries can still be settled.
    open: Arc<AtomicBool>,
}

impl RemoteConsumer {
    pub(crate) async fn join(
        connection: &Arc<ClientConnection>,
        worker: &WorkerRef,
        options: ConsumerOptions,
    ) -> Result<Self, BusError> {
        let ConsumerOptions { prefetch, durability } = options;
        let id = connection.next_id() as ConsumerId;
        let (sender, delivered) = mpsc::channel(usize::from(prefetch.max(1)));
        connection.consumers.lock().insert(id, sender);
        // Made first: its drop takes back a join that is cancelled or fails.
        let open = Arc::new(AtomicBool::new(true));
        let (buffered, stopped) = (Vec::new(), false);
        let consumer = Self { connection: Arc::clone(connection), id, delivered, buffered, stopped, open };
        let worker = worker.clone();
        let request = |request_id| ChildMessage::Join { request_id, consumer: id, worker, prefetch, durability };
        connection.request(request, &Bytes::new()).await?;
        Ok(consumer)
    }

    /// Has the host carry out a command. When it returns, all that was delivered before is here.
    async fn command(&self, command: ConsumerCommand) {
        let consumer = self.id;
        // Where the host is gone, so is everything that was delivered.
        let _ = self
            .connection
            .request(|request_id| ChildMessage::Command { request_id, consumer, command }, &Bytes::new())
            .await;
    }

    /// Returns the jobs that `next` has not given out yet and `which` selects.
    fn return_buffered(&mut self, which: impl Fn(&Job) -> bool) {
        let mut here: Vec<_> = std::mem::take(&mut self.buffered).into_iter().rev().collect();
        while let Ok(delivered) = self.delivered.try_recv() {
            here.push(delivered);
        }
        // The last first: each goes to the front of its queue.
        for delivered in here.into_iter().rev() {
            if which(&delivered.job) {
                let _ = self.connection.outbound.send(&ChildMessage::Return { tag: delivered.tag, started: false });
            } else {
                self.buffered.push(delivered);
            }
        }
    }
}

#[async_trait]
impl Consumer for RemoteConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        if self.stopped || self.connection.is_closed() {
            return None;
        }
        let next = match self.buffered.pop() {
            Some(buffered) => Some(buffered),
            None => self.delivered.recv().await,
        };
        let ReceivedJob { tag, redelivered, job } = next.filter(|_| !self.connection.is_closed())?;
        let (connection, open) = (Arc::clone(&self.connection), Arc::clone(&self.open));
        Some(Delivery::new(job, redelivered, Box::new(RemoteSettle { connection, open, tag, settled: false })))
    }

    async fn leave_type(&mut self) {
        self.command(ConsumerCommand::LeaveType).await;
        self.return_buffered(is_by_type);
    }

    async fn pause(&mut self) {
        self.command(ConsumerCommand::Pause).await;
        self.return_buffered(is_by_type);
    }

    async fn resume(&mut self) {
        self.command(ConsumerCommand::Resume).await;
    }

    async fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        self.command(ConsumerCommand::Stop).await;
        self.return_buffered(|_| true);
    }
}

fn is_by_type(job: &Job) -> bool {
    matches!(job.route.target(), Address::Any(_))
}

impl Drop for RemoteConsumer {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Release);
        drop(self.connection.consumers.lock().remove(&self.id));
        // The host returns what is not settled.
        let _ = self.connection.outbound.send(&ChildMessage::CloseConsumer { consumer: self.id });
    }
}

/// The settlement of one delivery.
struct RemoteSettle {
    connection: Arc<ClientConnection>,
    open: Arc<AtomicBool>,
    tag: DeliveryTag,
    settled: bool,
}

impl RemoteSettle {
    /// Marks the delivery as settled, where it still can be.
    fn begin(&mut self) -> Result<(), BusError> {
        self.settled = true;
        if self.connection.is_closed() {
            return Err(BusError::Closed);
        }
        if self.open.load(Ordering::Acquire) {
            return Ok(());
        }
        let reason = "its consumer is gone, which handed the job back; it will come again, flagged as redelivered";
        Err(BusError::Refused { what: "settling a job".to_owned(), reason: reason.to_owned() })
    }

    async fn request(
        mut self: Box<Self>,
        request: impl FnOnce(RequestId, DeliveryTag) -> ChildMessage + Send,
    ) -> Result<(), BusError> {
        self.begin()?;
        Ok(self.connection.request(|request_id| request(request_id, self.tag), &Bytes::new()).await?)
    }
}

#[async_trait]
impl Settle for RemoteSettle {
    /// Does not wait: the host reads this before anything that is asked for later, and logs where the bus fails.
    async fn ack(mut self: Box<Self>) -> Result<(), BusError> {
        self.begin()?;
        self.connection.outbound.send(&ChildMessage::Ack { tag: self.tag }).map_err(|_| BusError::Closed)
    }

    async fn retry(self: Box<Self>, _job: Job, after: Duration) -> Result<(), BusError> {
        self.request(|request_id, tag| ChildMessage::Retry { request_id, tag, after }).await
    }

    async fn requeue(self: Box<Self>) -> Result<(), BusError> {
        self.request(|request_id, tag| ChildMessage::Requeue { request_id, tag }).await
    }

    /// Does not wait, as [`Settle::ack`] does not.
    async fn release(mut self: Box<Self>, _job: Job) -> Result<(), BusError> {
        self.begin()?;
        self.connection
            .outbound
            .send(&ChildMessage::Return { tag: self.tag, started: false })
            .map_err(|_| BusError::Closed)
    }

    async fn dead_letter(self: Box<Self>, _job: Job, death: Death) -> Result<(), BusError> {
        self.request(|request_id, tag| ChildMessage::DeadLetter { request_id, tag, death: death.into() }).await
    }
}

impl Drop for RemoteSettle {
    fn drop(&mut self) {
        if !self.settled && self.open.load(Ordering::Acquire) {
            let _ = self.connection.outbound.send(&ChildMessage::Return { tag: self.tag, started: true });
        }
    }
}

impl fmt::Debug for RemoteSettle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSettle").field("tag", &self.tag).finish_non_exhaustive()
    }
}
