//! A worker's end: taking jobs and settling them.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mshost_bus::{BusError, Consumer, ConsumerOptions, DeadLetter, Death, Delivery, Job, Settle};
use mshost_core::ids::WorkerRef;

use super::journal::{Change, Record};
use super::pool::{Joined, Pool};
use super::slot::{SlotKey, Taken};
use super::{Core, timer};

/// How long a job waits that has failed for good and that the full list of dead letters cannot take.
const BURY_AGAIN: Duration = Duration::from_secs(1);

/// A worker's slot in its pool.
pub(super) struct EmbeddedConsumer {
    place: Arc<Place>,
    marking: Option<Marking>,
}

/// A delivery that goes out once the journal knows that it does.
struct Marking {
    delivery: Delivery,
    marked: Pin<Box<dyn Future<Output = ()> + Send>>,
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
            let pool = core.pool_or_new(&worker.worker_type);
            match pool.join(&worker.id, usize::from(options.prefetch), || core.is_closed())? {
                Joined::Slot(key) => {
                    let place = Arc::new(Place { core: Arc::clone(core), pool, key });
                    return Ok(Self { place, marking: None });
                }
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
        if self.marking.is_none() {
            let Taken { tag, job, redelivered, times } = poll_fn(|cx| place.pool.poll(place.key, cx)).await?;
            let ticket = Ticket { place: Arc::clone(place), record: job.record(), tag: Some(tag) };
            let delivery = Delivery::new(Job::clone(&job), redelivered, Box::new(ticket));
            let (true, Some(journal), Some(record)) = (redelivered, &place.core.journal, job.record()) else {
                return Some(delivery);
            };
            // A job that has come back may be what kills the host: it is counted before it goes out again.
            let marked = Box::pin(journal.written(Change::Delivered { record, times }));
            self.marking = Some(Marking { delivery, marked });
        }
        self.marking.as_mut()?.marked.as_mut().await;
        self.marking.take().map(|marking| marking.delivery)
    }

    async fn leave_type(&mut self) {
        self.marking = None;
        self.place.pool.leave_type(self.place.key);
    }

    async fn pause(&mut self) {
        self.marking = None;
        self.place.pool.pause(self.place.key);
    }

    async fn resume(&mut self) {
        self.place.pool.resume(self.place.key);
    }

    async fn stop(&mut self) {
        self.marking = None;
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
    record: Option<Record>,
    /// `None` once settled.
    tag: Option<usize>,
}

#[async_trait]
impl Settle for Ticket {
    async fn ack(mut self: Box<Self>) -> Result<(), BusError> {
        let Some(tag) = self.tag.take() else { return Ok(()) };
        self.place.pool.ack(self.place.key, tag)?;
        self.write(Change::Remove).await;
        Ok(())
    }

    async fn retry(mut self: Box<Self>, job: Job, after: Duration) -> Result<(), BusError> {
        let Some(tag) = self.tag.take() else { return Ok(()) };
        let Place { core, pool, key } = &*self.place;
        if let Some(delayed) = pool.retry(*key, tag, job.attempt, after)? {
            core.timer.wait(Arc::clone(pool), delayed, after);
        }
        let due = timer::due(after);
        self.write(|record| Change::Retry { record, attempt: job.attempt, due }).await;
        Ok(())
    }

    async fn dead_letter(mut self: Box<Self>, job: Job, death: Death) -> Result<(), BusError> {
        let Some(tag) = self.tag.take() else { return Ok(()) };
        let Place { core, pool, key } = &*self.place;
        let attempt = job.attempt;
        let letter = DeadLetter { id: job.id.to_string(), job: Some(job), raw: None, death };
        if let Err(full) = core.undertaker.dead.keep(letter, self.record) {
            // Not at once: nothing has changed that would make it end otherwise.
            if let Some(delayed) = pool.retry(*key, tag, attempt, BURY_AGAIN)? {
                core.timer.wait(Arc::clone(pool), delayed, BURY_AGAIN);
            }
            return Err(full);
        }
        pool.ack(*key, tag)
    }

    async fn requeue(mut self: Box<Self>) -> Result<(), BusError> {
        match self.tag.take() {
            Some(tag) => self.place.pool.requeue(self.place.key, tag, true),
            None => Ok(()),
        }
    }

    async fn release(mut self: Box<Self>, _job: Job) -> Result<(), BusError> {
        match self.tag.take() {
            Some(tag) => self.place.pool.requeue(self.place.key, tag, false),
            None => Ok(()),
        }
    }
}

impl Ticket {
    /// Tells the journal, where there is one.
    async fn write(&self, change: impl FnOnce(Record) -> Change) {
        if let (Some(journal), Some(record)) = (&self.place.core.journal, self.record) {
            journal.settle(change(record)).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(tag) = self.tag.take() {
            // Where the consumer has gone, it has handed the job back itself.
            let _ = self.place.pool.requeue(self.place.key, tag, true);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("pool", &self.place.pool).field("tag", &self.tag).finish()
    }
}
