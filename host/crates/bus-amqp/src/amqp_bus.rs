//! [`Bus`] over RabbitMQ: each method is done by the module that it is about.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::types::ShortString;
use mshost_bus::{
    Bus, BusError, BusState, Codec, Consumer, ConsumerOptions, DeadLetter, DeadLetterStore, HostBus, Job, Leadership,
    MsjsBridge, MsjsSubscription, Notification, QueueDepth, Requeued, SendError, Subscription, type_queue,
};
use mshost_core::ids::{WorkerId, WorkerRef};
use tokio::sync::watch;

use super::broker_objects::{names, queues};
use super::consumer::{AmqpConsumer, queue_cleanup};
use super::engine::AmqpEngine;
use super::notifications::AmqpSubscription;
use super::options::AmqpOptions;
use super::publisher::publish_task;
use super::{broker_dead_letters, dead_letters, leader, msjs_events, retries, supervisor};

/// How long closing waits for workers that have just left to delete their queues, and again for the broker to answer the close.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// A bus over RabbitMQ. Dropping it closes it.
pub struct AmqpBus {
    engine: Arc<AmqpEngine>,
}

impl AmqpBus {
    /// Starts to connect, and goes on trying: [`Bus::state`] says how it stands. The engine's tasks run on the tokio
    /// runtime that this is called in.
    ///
    /// # Errors
    /// [`BusError::Refused`] where the URL is none.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect(options: AmqpOptions) -> Result<Self, BusError> {
        let (engine, requests) = AmqpEngine::new(options)?;
        let runtime = &engine.runtime;
        runtime.spawn(supervisor::run(Arc::clone(&engine)));
        runtime.spawn(publish_task::run(Arc::clone(&engine.connectivity), requests));
        runtime.spawn(retries::run(Arc::clone(&engine)));
        runtime.spawn(broker_dead_letters::run(Arc::clone(&engine)));
        Ok(Self { engine })
    }
}

#[async_trait]
impl Bus for AmqpBus {
    fn codec(&self) -> Codec {
        self.engine.codec
    }

    async fn send(&self, job: Job) -> Result<(), SendError> {
        self.engine.send(&job).await
    }

    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError> {
        let consumer = AmqpConsumer::join(Arc::clone(&self.engine), worker, options).await?;
        Ok(Box::new(consumer))
    }

    async fn publish(&self, notification: Notification) -> Result<(), BusError> {
        self.engine.publish_notification(&notification).await
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        let subscription = AmqpSubscription::subscribe(Arc::clone(&self.engine)).await?;
        Ok(Box::new(subscription))
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.engine.connectivity.state.subscribe()
    }

    async fn close(&self) {
        if self.engine.is_closed() {
            return;
        }
        // Workers that have left take their queues with them; that still needs the connection.
        self.engine.tasks.close();
        self.engine.clock.within(CLOSE_WAIT, self.engine.tasks.wait()).await;
        shut(&self.engine).await;
    }
}

#[async_trait]
impl HostBus for AmqpBus {
    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self
    }

    fn leadership(&self) -> &dyn Leadership {
        self
    }

    fn msjs(&self) -> Option<&dyn MsjsBridge> {
        Some(self)
    }

    /// The queues of the workers of this host. `ready` and `consumers` are the broker's numbers for all hosts,
    /// `unsettled` is of this host: AMQP does not tell the others'. Empty while the bus is away.
    async fn depths(&self) -> Vec<QueueDepth> {
        let mut depths = Vec::new();
        for (kind, workers) in self.engine.sessions.by_type() {
            depths.extend(self.depth(names::type_queue(&kind), type_queue(&kind), &workers).await);
            for id in workers {
                depths.extend(self.depth(names::own_queue(&id), id.to_string(), &[]).await);
            }
        }
        depths.sort_by(|a, b| a.queue.cmp(&b.queue));
        depths
    }
}

#[async_trait]
impl DeadLetterStore for AmqpBus {
    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        dead_letters::list(&self.engine, limit).await
    }

    async fn count(&self) -> Option<u64> {
        let queue = self.depth(names::DEAD_LETTERS.into(), names::DEAD_LETTERS.to_owned(), &[]).await?;
        Some(queue.ready)
    }

    async fn keep(&self, letter: DeadLetter) -> Result<(), BusError> {
        dead_letters::keep(&self.engine, letter).await
    }

    async fn requeue(&self, ids: &[String]) -> Result<Requeued, BusError> {
        dead_letters::requeue(&self.engine, ids).await
    }

    async fn purge(&self) -> Result<u64, BusError> {
        dead_letters::purge(&self.engine).await
    }
}

#[async_trait]
impl Leadership for AmqpBus {
    fn compete(&self) {
        self.engine.runtime.spawn(leader::run(Arc::clone(&self.engine)));
    }

    fn leads(&self) -> watch::Receiver<bool> {
        self.engine.leads.subscribe()
    }

    async fn delete_queue_of(&self, worker: &WorkerRef) -> Result<(), BusError> {
        queue_cleanup::delete_queue_of(&self.engine, worker).await
    }
}

#[async_trait]
impl MsjsBridge for AmqpBus {
    async fn subscribe(&self) -> Result<Box<dyn MsjsSubscription>, BusError> {
        Ok(Box::new(msjs_events::listen(&self.engine)))
    }
}

/// Stops everything.
async fn shut(engine: &AmqpEngine) {
    let connectivity = &engine.connectivity;
    connectivity.closed.cancel();
    engine.tell_state(BusState::Closed);
    // The publisher ends once what is under way is confirmed, or will not be.
    engine.publisher.ended().await;
    let link = connectivity.link.send_replace(None);
    connectivity.ready.send_replace(None);
    // lapin can leave a close unanswered.
    if let Some(link) = link {
        engine.clock.within(CLOSE_WAIT, link.close()).await;
    }
}

impl AmqpBus {
    /// One queue's depth, where the broker has it.
    async fn depth(&self, name: ShortString, queue: String, workers: &[WorkerId]) -> Option<QueueDepth> {
        let link = self.engine.connectivity.link().ok()?;
        let looking = async { queues::look(&link.consume.create_channel().await?, name).await };
        let state = link.answer("look at a queue", looking).await.ok()??;
        Some(QueueDepth {
            queue,
            ready: state.message_count().into(),
            unsettled: self.engine.sessions.unsettled(workers, state.message_count() > 0),
            consumers: state.consumer_count().into(),
        })
    }
}

impl Drop for AmqpBus {
    fn drop(&mut self) {
        if !self.engine.is_closed() {
            let engine = Arc::clone(&self.engine);
            self.engine.runtime.spawn(async move { shut(&engine).await });
        }
    }
}

impl fmt::Debug for AmqpBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpBus({})", self.engine.connectivity.address)
    }
}
