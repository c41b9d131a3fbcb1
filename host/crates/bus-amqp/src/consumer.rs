//! [`Consumer`] over a worker's place on the broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use lapin::message::Delivery as Message;
use lapin::options::BasicRejectOptions;
use mshost_bus::{BusError, Consumer, ConsumerOptions, Delivery};
use mshost_core::ids::WorkerRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use super::message::Headers;
use super::names::QueueKind;
use super::place::{self, Place, Streams};
use super::redelivery::Verdict;
use super::settle::{AmqpSettle, InHand, Receipt};
use super::{Shared, hold, leave, message, redelivery, unbegun};

pub(super) struct AmqpConsumer {
    shared: Arc<Shared>,
    place: Arc<Place>,
    streams: Streams,
    /// One permit for each job that may be in the worker's hands.
    unsettled: Arc<Semaphore>,
    in_hand: InHand,
    /// Deliveries that are being counted.
    counting: TaskTracker,
    stopped: bool,
}

impl AmqpConsumer {
    /// Joins, as soon as the bus can be used.
    pub(super) async fn join(
        shared: Arc<Shared>,
        worker: &WorkerRef,
        options: ConsumerOptions,
    ) -> Result<Self, BusError> {
        let prefetch = options.prefetch.max(1);
        let like =
            QueueKind { durability: options.durability.unwrap_or(shared.durability), limit: shared.limits.queue };
        let place = Place::new(worker.clone(), prefetch, like);
        let (joined, outcome) = oneshot::channel();
        // Made first, so that a join that is given up leaves no place behind.
        let consumer = Self {
            shared: Arc::clone(&shared),
            place: Arc::clone(&place),
            streams: Streams::default(),
            unsettled: Arc::new(Semaphore::new(prefetch.into())),
            in_hand: InHand::default(),
            counting: TaskTracker::new(),
            stopped: false,
        };
        let member = shared.members.enter();
        shared.known.lock().insert(worker.id.clone(), (consumer.in_hand.clone(), Arc::clone(&place)));
        shared.runtime.spawn(place::keep(Arc::clone(&shared), place, member, joined));
        outcome.await.unwrap_or(Err(BusError::Closed)).map(|()| consumer)
    }

    fn take_over(&mut self) {
        if let Some(fresh) = self.place.take_fresh() {
            if fresh.channel.is_some() {
                self.streams = fresh;
            } else {
                self.streams.by_type = fresh.by_type.or(self.streams.by_type.take());
                self.streams.by_id = fresh.by_id.or(self.streams.by_id.take());
            }
        }
    }

    /// A job, unless the message is none.
    fn accept(&self, message: Message, permit: OwnedSemaphorePermit) -> Option<Delivery> {
        let Message { redelivered, properties, data, acker, delivery_tag, .. } = message;
        let (job, resent) = match message::decode(self.shared.codec, &properties, &Bytes::from(data)) {
            Ok(job) => job,
            Err(malformed) => {
                self.shared.malformed.report("job", malformed.kind, &malformed.reason);
                // The broker passes it on to where hosts look at what is not done.
                let acks = self.streams.acks.clone();
                self.shared.runtime.spawn(async move {
                    if acker.reject(BasicRejectOptions { requeue: false }).await.is_ok()
                        && let Some(acks) = acks
                    {
                        acks.settled(delivery_tag);
                    }
                });
                return None;
            }
        };
        let headers = Headers::of(&properties);
        let Streams { acks, down, .. } = &self.streams;
        let by = Receipt { acker, tag: delivery_tag, acks: acks.clone(), down: down.clone() };
        let settle = Box::new(AmqpSettle::new(
            Arc::clone(&self.shared),
            Arc::clone(&self.place),
            by,
            redelivery::count(redelivered, &headers),
            (permit, self.in_hand.one_more()),
        ));
        match redelivery::judge(&self.shared, redelivered, &headers) {
            Verdict::Deliver => {
                let before = redelivered || resent || headers.deliveries().0 > 0;
                Some(Delivery::new(job, before, settle))
            }
            verdict => {
                let (shared, counted) = (Arc::clone(&self.shared), self.counting.token());
                let counting = async move {
                    let _counted = counted;
                    if let Err(error) = redelivery::carry_out(&shared, job, verdict, settle).await {
                        tracing::debug!(target: "mshost::bus", "a job that came again comes once more: {error}");
                    }
                };
                // Leaving and closing wait for it: a job that was published again and not acked would be there twice.
                self.shared.tasks.spawn_on(counting, &self.shared.runtime);
                None
            }
        }
    }

    /// See [`unbegun::hand_back`].
    async fn hand_back(&self, stream: Option<lapin::Consumer>) {
        if let Some(stream) = stream {
            unbegun::hand_back(&self.shared, &self.streams, stream).await;
        }
    }

    /// As [`Self::hand_back`] for the stream of the type.
    async fn hand_back_type(&mut self) {
        self.hold_type().await;
        let by_type = self.streams.by_type.take();
        if by_type.is_some() {
            self.place.no_longer(true, self.streams.generation);
        }
        self.hand_back(by_type).await;
    }

    /// Before it stops to consume from the type's queue.
    async fn hold_type(&mut self) {
        hold::take(&self.shared, &self.place.worker.worker_type, self.place.like, &mut self.streams).await;
    }

    fn has_jobs_in_hand(&self) -> bool {
        self.in_hand.count() > 0
    }
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.stopped || self.shared.closed.is_cancelled() {
                return None;
            }
            self.take_over();
            if !self.place.takes_type() {
                // Fresh streams that were under way when the worker left its type or paused.
                self.hand_back_type().await;
            }
            let renewed = self.place.renewed.notified();
            let permit = tokio::select! {
                biased;
                () = self.shared.closed.cancelled() => return None,
                permit = Arc::clone(&self.unsettled).acquire_owned() => permit.ok()?,
            };
            let (message, by_type) = tokio::select! {
                biased;
                () = self.shared.closed.cancelled() => return None,
                () = renewed => continue,
                // In no order: neither queue starves the other.
                message = either(&mut self.streams) => message,
            };
            match message {
                Some(Ok(message)) => {
                    if let Some(delivery) = self.accept(message, permit) {
                        return Some(delivery);
                    }
                }
                ended => {
                    if let Some(Err(error)) = ended {
                        tracing::debug!(target: "mshost::bus", "{}: {}", self.place.worker.id, super::errors::text(&error));
                    }
                    if by_type { &mut self.streams.by_type } else { &mut self.streams.by_id }.take();
                    self.place.no_longer(by_type, self.streams.generation);
                }
            }
        }
    }

    async fn leave_type(&mut self) {
        if self.stopped || self.place.left_type.swap(true, Ordering::AcqRel) {
            return;
        }
        self.take_over();
        self.hand_back_type().await;
        // Jobs in the worker's hands may still be handed back, and need the queue until the consumer is dropped.
        if !self.has_jobs_in_hand() {
            hold::release(&mut self.streams).await;
            leave::leave_type(&self.shared, &self.place.worker, self.place.like).await;
        }
    }

    async fn pause(&mut self) {
        if self.stopped || self.place.paused.swap(true, Ordering::AcqRel) {
            return;
        }
        self.take_over();
        self.hand_back_type().await;
    }

    async fn resume(&mut self) {
        if !self.stopped && self.place.paused.load(Ordering::Acquire) {
            self.place.resume();
        }
    }

    async fn stop(&mut self) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        self.place.left.cancel();
        self.take_over();
        self.hold_type().await;
        let streams = [self.streams.by_type.take(), self.streams.by_id.take()];
        for stream in streams {
            self.hand_back(stream).await;
        }
        // As in `leave_type`.
        if !self.has_jobs_in_hand() {
            hold::release(&mut self.streams).await;
            leave::leave(&self.shared, &self.place.worker, self.place.like).await;
        }
    }
}

impl Drop for AmqpConsumer {
    fn drop(&mut self) {
        self.place.left.cancel();
        self.place.gone.store(true, Ordering::Release);
        self.shared.known.lock().remove(&self.place.worker.id);
        self.take_over();
        let mut streams = std::mem::take(&mut self.streams);
        let (shared, worker, like) = (Arc::clone(&self.shared), self.place.worker.clone(), self.place.like);
        let counting = self.counting.clone();
        // Closing the channel is what hands back the jobs that were begun, before the broker answers.
        self.shared.tasks.spawn_on(
            async move {
                hold::take(&shared, &worker.worker_type, like, &mut streams).await;
                for stream in [streams.by_type.take(), streams.by_id.take()].into_iter().flatten() {
                    unbegun::hand_back(&shared, &streams, stream).await;
                }
                counting.close();
                let counted = async {
                    counting.wait().await;
                    Ok(())
                };
                let _ = streams.down.or(counted).await;
                if let Some(acks) = &streams.acks {
                    acks.finish().await;
                }
                if let Some(channel) = &streams.channel {
                    let _ = streams.down.or(channel.close(200, "the worker has left".into())).await;
                }
                drop(streams);
                leave::leave(&shared, &worker, like).await;
            },
            &self.shared.runtime,
        );
    }
}

/// The next message of either stream, and whether it is of the type's.
async fn either(streams: &mut Streams) -> (Option<lapin::Result<Message>>, bool) {
    tokio::select! {
        message = next_of(&mut streams.by_id) => (message, false),
        message = next_of(&mut streams.by_type) => (message, true),
    }
}

async fn next_of(stream: &mut Option<lapin::Consumer>) -> Option<lapin::Result<Message>> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
