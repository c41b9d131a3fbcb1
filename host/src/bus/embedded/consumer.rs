//! A worker's end: taking jobs and settling them.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Core;
use super::pool::{Joined, Pool};
use super::slot::SlotKey;
use crate::bus::{BusError, Consumer, ConsumerOptions, DeadLetter, Death, Delivery, Job, Settle};
use crate::ids::WorkerRef;

/// A worker's slot in its pool.
pub(super) struct EmbeddedConsumer {
    place: Arc<Place>,
}

/// Shared by a consumer and its deliveries; the slot itself goes with the consumer.
struct Place {
    core: Arc<Core>,
    pool: Arc<Pool>,
    key: SlotKey,
}

impl EmbeddedConsumer {
    pub(super) fn join(core: &Arc<Core>, worker: &WorkerRef, options: ConsumerOptions) -> Result<Self, BusError> {
        let refuse = |reason: String| BusError::Refused { what: format!("joining as {}", worker.id), reason };
        if options.prefetch == 0 {
            return Err(refuse("a prefetch of 0 takes no jobs; it must be 1 or more".to_owned()));
        }
        if worker.id.worker_type() != worker.worker_type {
            return Err(refuse(format!("its id is not one of the type {}", worker.worker_type)));
        }
        loop {
            let kind = &worker.worker_type;
            let new = || Arc::new(Pool::new(kind.clone(), core.limits.queue, Arc::clone(&core.notifier)));
            let pool = Arc::clone(&core.pools.entry(kind.clone()).or_insert_with(new));
            match pool.join(&worker.id, usize::from(options.prefetch), || core.is_closed())? {
                Joined::Slot(key) => return Ok(Self { place: Arc::new(Place { core: Arc::clone(core), pool, key }) }),
                Joined::Taken => return Err(refuse("a worker of this id is on the bus already".to_owned())),
                // Whoever retired it is about to remove it; so do we, and try again.
                Joined::Retired => core.retire(&pool),
            }
        }
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let place = &self.place;
        // A queue that is never empty must not keep the tasks beside this one from running.
        tokio::task::consume_budget().await;
        let (tag, job, redelivered) = poll_fn(|cx| place.pool.poll(place.key, cx)).await?;
        let ticket = Ticket { place: Arc::clone(place), tag: Some(tag) };
        Some(Delivery::new(Job::clone(&job), redelivered, Box::new(ticket)))
    }

    async fn leave_type(&mut self) {
        self.place.pool.leave_type(self.place.key);
    }

    async fn stop(&mut self) {
        self.place.pool.stop(self.place.key);
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        let Place { core, pool, key } = &*self.place;
        pool.leave(*key);
        core.retire(pool);
    }
}

/// The right to settle one delivery.
struct Ticket {
    place: Arc<Place>,
    /// `None` once settled.
    tag: Option<usize>,
}

#[async_trait]
impl Settle for Ticket {
    async fn ack(mut self: Box<Self>) -> Result<(), BusError> {
        match self.tag.take() {
            Some(tag) => self.place.pool.ack(self.place.key, tag),
            None => Ok(()),
        }
    }

    async fn retry(mut self: Box<Self>, job: Job, after: Duration) -> Result<(), BusError> {
        let Some(tag) = self.tag.take() else { return Ok(()) };
        let Place { core, pool, key } = &*self.place;
        if let Some(delayed) = pool.retry(*key, tag, job.attempt, after)? {
            core.timer.wait(Arc::clone(pool), delayed, after);
        }
        Ok(())
    }

    async fn bury(self: Box<Self>, job: Job, death: Death) -> Result<(), BusError> {
        self.place.core.dead.keep(DeadLetter { id: job.id.to_string(), job: Some(job), death })?;
        self.ack().await
    }

    async fn requeue(mut self: Box<Self>) -> Result<(), BusError> {
        match self.tag.take() {
            Some(tag) => self.place.pool.requeue(self.place.key, tag),
            None => Ok(()),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(tag) = self.tag.take() {
            // Where the consumer has gone, it has handed the job back itself.
            let _ = self.place.pool.requeue(self.place.key, tag);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("pool", &self.place.pool).field("tag", &self.tag).finish()
    }
}
