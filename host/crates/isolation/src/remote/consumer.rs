//! A worker's place on the bus, held for it by the host.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mshost_bus::{BusError, Consumer, ConsumerOptions, Death, Delivery, Job, Settle};
use mshost_core::ids::{Address, WorkerRef};
use tokio::sync::mpsc;

use super::Shared;
use crate::message::{Call, Number, Order, Request, Tag};

/// A job as it came in.
pub(super) struct Delivered {
    pub(super) tag: Tag,
    pub(super) redelivered: bool,
    pub(super) job: Job,
}

/// [`Consumer`] over the connection. The host keeps to the prefetch, so that whatever arrives may be handled at once.
pub(super) struct RemoteConsumer {
    shared: Arc<Shared>,
    number: Number,
    delivered: mpsc::Receiver<Delivered>,
    /// Those that [`Consumer::leave_type`] has left to be returned, the next one last.
    kept: Vec<Delivered>,
    stopped: bool,
    /// Its deliveries may be settled.
    there: Arc<AtomicBool>,
}

impl RemoteConsumer {
    pub(super) async fn join(
        shared: &Arc<Shared>,
        worker: &WorkerRef,
        options: ConsumerOptions,
    ) -> Result<Self, BusError> {
        let ConsumerOptions { prefetch, durability } = options;
        let number = shared.number() as Number;
        let (sender, delivered) = mpsc::channel(usize::from(prefetch.max(1)));
        shared.consumers.lock().insert(number, sender);
        // Made first: a join that is given up, or fails, is taken back.
        let there = Arc::new(AtomicBool::new(true));
        let (kept, stopped) = (Vec::new(), false);
        let consumer = Self { shared: Arc::clone(shared), number, delivered, kept, stopped, there };
        let worker = worker.clone();
        let request = |call| Request::Join { call, consumer: number, worker, prefetch, durability };
        shared.ask(request, &Bytes::new()).await?;
        Ok(consumer)
    }

    /// Has the host do this. By then all that it had delivered before is here.
    async fn tell(&self, order: Order) {
        let consumer = self.number;
        // Where the host is gone, so is everything that was delivered.
        let _ = self.shared.ask(|call| Request::Order { call, consumer, order }, &Bytes::new()).await;
    }

    /// Hands back what has not been returned yet and `which` picks.
    fn hand_back(&mut self, which: impl Fn(&Job) -> bool) {
        let mut here: Vec<_> = std::mem::take(&mut self.kept).into_iter().rev().collect();
        while let Ok(delivered) = self.delivered.try_recv() {
            here.push(delivered);
        }
        // The last first: each goes to the front of its queue.
        for delivered in here.into_iter().rev() {
            if which(&delivered.job) {
                let _ = self.shared.outbound.tell(&Request::HandBack { tag: delivered.tag, begun: false });
            } else {
                self.kept.push(delivered);
            }
        }
    }
}

#[async_trait]
impl Consumer for RemoteConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        if self.stopped || self.shared.is_closed() {
            return None;
        }
        let next = match self.kept.pop() {
            Some(kept) => Some(kept),
            None => self.delivered.recv().await,
        };
        let Delivered { tag, redelivered, job } = next.filter(|_| !self.shared.is_closed())?;
        let (shared, there) = (Arc::clone(&self.shared), Arc::clone(&self.there));
        Some(Delivery::new(job, redelivered, Box::new(RemoteSettle { shared, there, tag, settled: false })))
    }

    async fn leave_type(&mut self) {
        self.tell(Order::LeaveType).await;
        self.hand_back(is_by_type);
    }

    async fn pause(&mut self) {
        self.tell(Order::Pause).await;
        self.hand_back(is_by_type);
    }

    async fn resume(&mut self) {
        self.tell(Order::Resume).await;
    }

    async fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        self.tell(Order::Stop).await;
        self.hand_back(|_| true);
    }
}

fn is_by_type(job: &Job) -> bool {
    matches!(job.route.target(), Address::Any(_))
}

impl Drop for RemoteConsumer {
    fn drop(&mut self) {
        self.there.store(false, Ordering::Release);
        drop(self.shared.consumers.lock().remove(&self.number));
        // The host hands back what is not settled.
        let _ = self.shared.outbound.tell(&Request::Leave { consumer: self.number });
    }
}

/// Settles one delivery.
struct RemoteSettle {
    shared: Arc<Shared>,
    there: Arc<AtomicBool>,
    tag: Tag,
    settled: bool,
}

impl RemoteSettle {
    /// Notes that it is being settled, where it still can be.
    fn begin(&mut self) -> Result<(), BusError> {
        self.settled = true;
        if self.shared.is_closed() {
            return Err(BusError::Closed);
        }
        if self.there.load(Ordering::Acquire) {
            return Ok(());
        }
        let reason = "its consumer is gone, which handed the job back; it will come again, flagged as redelivered";
        Err(BusError::Refused { what: "settling a job".to_owned(), reason: reason.to_owned() })
    }

    async fn ask(mut self: Box<Self>, request: impl FnOnce(Call, Tag) -> Request + Send) -> Result<(), BusError> {
        self.begin()?;
        Ok(self.shared.ask(|call| request(call, self.tag), &Bytes::new()).await?)
    }
}

#[async_trait]
impl Settle for RemoteSettle {
    /// Does not wait: the host reads this before anything that is asked for later, and logs where the bus cannot be told.
    async fn ack(mut self: Box<Self>) -> Result<(), BusError> {
        self.begin()?;
        self.shared.outbound.tell(&Request::Ack { tag: self.tag }).map_err(|_| BusError::Closed)
    }

    async fn retry(self: Box<Self>, _job: Job, after: Duration) -> Result<(), BusError> {
        self.ask(|call, tag| Request::Retry { call, tag, after }).await
    }

    async fn requeue(self: Box<Self>) -> Result<(), BusError> {
        self.ask(|call, tag| Request::Requeue { call, tag }).await
    }

    /// Does not wait, as [`Settle::ack`] does not.
    async fn put_back(mut self: Box<Self>, _job: Job) -> Result<(), BusError> {
        self.begin()?;
        self.shared.outbound.tell(&Request::HandBack { tag: self.tag, begun: false }).map_err(|_| BusError::Closed)
    }

    async fn bury(self: Box<Self>, _job: Job, death: Death) -> Result<(), BusError> {
        self.ask(|call, tag| Request::Bury { call, tag, death: death.into() }).await
    }
}

impl Drop for RemoteSettle {
    fn drop(&mut self) {
        if !self.settled && self.there.load(Ordering::Acquire) {
            let _ = self.shared.outbound.tell(&Request::HandBack { tag: self.tag, begun: true });
        }
    }
}

impl fmt::Debug for RemoteSettle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSettle").field("tag", &self.tag).finish_non_exhaustive()
    }
}
