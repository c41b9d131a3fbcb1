//! The bus: notifications to every subscriber, jobs to one worker of a type, jobs to one worker.
//!
//! One trait, two engines (`mshost-bus-embedded` in process, `mshost-bus-amqp` over RabbitMQ), the same observable behaviour,
//! which one conformance suite proves against both. The promise is *at least once*: a job that [`Bus::send`] accepted is done, or
//! its sender hears why not; whoever receives it a second time sees [`Delivery::redelivered`] or a higher `attempt`.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use mshost_core::ids::{JobId, WorkerRef, WorkerType};
pub use mshost_plugin_api::{Codec, Payload, Route, SendError};
use tokio::sync::watch;

pub mod codec;
mod dead_letter;
mod foreign;
mod notification;
mod options;
mod url;

pub use dead_letter::{DeadLetter, Death, DeathReason, EXPIRED, MAX_ERROR_BYTES, Requeued};
pub use foreign::{Foreign, ForeignEvent, Receipt};
pub use notification::{Announcement, Failure, Notification, PoolEntry};
pub use options::{Absent, BusLimits, BusTls, Durability, Identity, JournalConfig, JournalSync};
pub use url::{AmqpUrl, BusUrl};

/// A job on its way to the worker that `route.target()` names.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Unique over all hosts.
    pub id: JobId,
    /// The id of the first job of the pipeline; equal to `id` there.
    pub correlation: JobId,
    /// The pipeline, and where in it the job is.
    pub route: Route,
    /// Who sent this job.
    pub sender: WorkerRef,
    /// Who sent the first job of the pipeline.
    pub origin: WorkerRef,
    /// Which attempt this is; the first is 1.
    pub attempt: u32,
    /// When it is no longer wanted; `None` is never. Kept in milliseconds.
    pub deadline: Option<SystemTime>,
    /// The data.
    pub payload: Payload,
}

impl Job {
    /// Whether it is no longer wanted at `now`.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// How a worker wants to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// The most jobs that are delivered and not yet settled, the worker's `concurrency`.
    pub prefetch: u16,
    /// What the jobs that wait for it outlive, where the engine can choose; `None` is what the bus says.
    pub durability: Option<Durability>,
}

impl ConsumerOptions {
    /// As the bus says, with this prefetch.
    #[must_use]
    pub fn new(prefetch: u16) -> Self {
        Self { prefetch, durability: None }
    }
}

/// A bus that workers meet on. All methods may be called from any thread and any tokio runtime.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// The one codec of this bus.
    fn codec(&self) -> Codec;

    /// Sends a job to `route.target()`. Once this returns `Ok` the bus answers for the job. Waits while the bus is at a
    /// limit or away (backpressure).
    ///
    /// # Errors
    /// [`SendError::NoWorker`] at once where nobody could take it; [`SendError::TooLarge`];
    /// [`SendError::Unavailable`] after the bus's `send_timeout`, or when it is closed.
    async fn send(&self, job: Job) -> Result<(), SendError>;

    /// As [`Bus::send`], where that needs no waiting; gives the job back where it does.
    ///
    /// # Errors
    /// The job itself, where only [`Bus::send`] can tell.
    fn try_send(&self, job: Job) -> Result<Result<(), SendError>, Box<Job>> {
        Err(Box::new(job))
    }

    /// Gives a worker its place: it takes jobs for its type and for its id until the consumer is closed.
    ///
    /// # Errors
    /// [`BusError`] where the engine refuses or is closed.
    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError>;

    /// Tells everybody.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away for longer than `send_timeout`, or closed.
    async fn publish(&self, notification: Notification) -> Result<(), BusError>;

    /// Hears everything from now on.
    ///
    /// # Errors
    /// [`BusError`] where the engine is closed.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError>;

    /// Hears what the original's workers say to each other; `None` where the engine has nobody of them.
    ///
    /// # Errors
    /// [`BusError`] where the engine is closed.
    async fn foreign(&self) -> Result<Option<Box<dyn Foreign>>, BusError> {
        Ok(None)
    }

    /// Whether the bus can be used, now and at each change.
    fn state(&self) -> watch::Receiver<BusState>;

    /// From now on this host may become the one that [`Bus::leads`]. To be called once, where there is a manager.
    fn compete(&self) {}

    /// Whether this host's manager is the one that asks and tidies up for all hosts on the bus, now and at each change. One
    /// at a time is; another takes over when it is gone.
    fn leads(&self) -> watch::Receiver<bool>;

    /// A worker is known to be dead: what waits for its id alone is buried as [`DeathReason::NoWorker`] and reported.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away; calling again is harmless.
    async fn reap(&self, worker: &WorkerRef) -> Result<(), BusError>;

    /// The dead letters, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away or closed.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError>;

    /// How many dead letters there are; `None` while the bus cannot tell. Cheap: asked at each look at the metrics.
    async fn dead_count(&self) -> Option<u64>;

    /// Keeps a dead letter of another bus of the same codec. One of the same id may be replaced.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away or closed, has too many, or cannot write it.
    async fn keep_dead(&self, letter: DeadLetter) -> Result<(), BusError>;

    /// Sends every dead letter with one of these ids again, each as a first attempt without a deadline; it is a dead letter
    /// until the bus has the job.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away or closed; some may have been sent by then.
    async fn requeue_dead(&self, ids: &[String]) -> Result<Requeued, BusError>;

    /// Forgets every dead letter and says how many there were.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away or closed.
    async fn purge_dead(&self) -> Result<u64, BusError>;

    /// What waits in the queues that this host knows of.
    async fn depths(&self) -> Vec<QueueDepth>;

    /// How many jobs end with this bus, those that wait for later included: all that it has accepted and that is not done, where
    /// no broker keeps it.
    fn holds(&self) -> u64 {
        0
    }

    /// Stops taking jobs and lets go. Idempotent.
    async fn close(&self);
}

/// The place of one worker on the bus. Dropping it hands back whatever was delivered and not settled.
#[async_trait]
pub trait Consumer: Send {
    /// The next job; `None` once the consumer is stopped or the bus closed. Cancel safe. A reconnect goes unnoticed here.
    async fn next(&mut self) -> Option<Delivery>;

    /// Takes no more jobs of its type, only those for its id; hands back those of its type that [`Consumer::next`] has not
    /// returned yet. A worker that drains may still wait for answers. Idempotent.
    async fn leave_type(&mut self);

    /// Takes no more jobs of its type until [`Consumer::resume`], and hands back those of its type that [`Consumer::next`]
    /// has not returned yet. It keeps its place: jobs of the type wait, and nobody hears that no worker is there. Those for
    /// its id still come. Idempotent; leaving ends it.
    async fn pause(&mut self);

    /// Takes jobs of its type again after [`Consumer::pause`]. Idempotent.
    async fn resume(&mut self);

    /// Takes no more jobs; hands back those delivered and not yet returned by [`Consumer::next`]. Settling goes on working
    /// for the others until the consumer is dropped.
    async fn stop(&mut self);
}

/// What [`Bus::subscribe`] gives.
#[async_trait]
pub trait Subscription: Send {
    /// The next event; `None` once the bus is closed. Cancel safe.
    async fn next(&mut self) -> Option<Event>;
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody told everybody something.
    Notification(Notification),
    /// The subscriber was too slow, or the bus was away: this many notifications (0 = unknown) are lost. Ask again who is there.
    Missed(u64),
    /// The bus is back after a time away: announce yourself again.
    Reconnected,
}

/// A job in a worker's hands. Dropping it unsettled hands it back, flagged as redelivered.
#[derive(Debug)]
pub struct Delivery {
    /// The job.
    pub job: Job,
    /// It may have been delivered before: to a worker that died, was cut off, or handed it back.
    pub redelivered: bool,
    settle: Box<dyn Settle>,
}

/// The engine's end of one delivery, by which it is settled. Dropping it requeues.
#[async_trait]
pub trait Settle: Send + std::fmt::Debug {
    /// See [`Delivery::ack`].
    async fn ack(self: Box<Self>) -> Result<(), BusError>;
    /// See [`Delivery::retry`]; `job` has the next attempt's number.
    async fn retry(self: Box<Self>, job: Job, after: Duration) -> Result<(), BusError>;
    /// See [`Delivery::requeue`].
    async fn requeue(self: Box<Self>) -> Result<(), BusError>;
    /// See [`Delivery::put_back`].
    async fn put_back(self: Box<Self>, job: Job) -> Result<(), BusError>;
    /// See [`Delivery::bury`].
    async fn bury(self: Box<Self>, job: Job, death: Death) -> Result<(), BusError>;
}

impl Delivery {
    /// A delivery that its engine settles by `settle`.
    #[must_use]
    pub fn new(job: Job, redelivered: bool, settle: Box<dyn Settle>) -> Self {
        Self { job, redelivered, settle }
    }

    /// It is done, or has been reported: forget it.
    ///
    /// # Errors
    /// Where the bus could not be told; the job will come again.
    pub async fn ack(self) -> Result<(), BusError> {
        self.settle.ack().await
    }

    /// It failed: deliver it again, to any worker that it is addressed to, as the next attempt and not before `after`.
    ///
    /// # Errors
    /// Where the bus could not be told; the job will come again as the same attempt.
    pub async fn retry(self, after: Duration) -> Result<(), BusError> {
        let Self { mut job, settle, .. } = self;
        job.attempt = job.attempt.saturating_add(1);
        settle.retry(job, after).await
    }

    /// Nobody will do it: keep it as a dead letter. Telling those who wait for it is the caller's.
    ///
    /// # Errors
    /// Where the bus could not keep it; the job will come again.
    pub async fn bury(self, death: Death) -> Result<(), BusError> {
        let Self { job, settle, .. } = self;
        settle.bury(job, death).await
    }

    /// It was not even begun: deliver it again at once, as the same attempt, and do not count this delivery.
    ///
    /// # Errors
    /// Where the bus could not be told; the job will come again all the same, counted.
    pub async fn put_back(self) -> Result<(), BusError> {
        let Self { job, settle, .. } = self;
        settle.put_back(job).await
    }

    /// It was not done: deliver it again at once, as the same attempt.
    ///
    /// # Errors
    /// Where the bus could not be told; the job will come again all the same.
    pub async fn requeue(self) -> Result<(), BusError> {
        self.settle.requeue().await
    }
}

/// Whether a bus can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusState {
    /// Yes.
    Connected,
    /// Not yet, or not now; it is being tried.
    Away {
        /// The last error.
        error: String,
    },
    /// Never again.
    Closed,
}

/// A queue and what waits in it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QueueDepth {
    /// The type or the worker id that it serves.
    pub queue: String,
    /// Jobs that wait for a worker.
    pub ready: u64,
    /// Jobs delivered and not yet settled.
    pub unsettled: u64,
    /// Workers that take from it.
    pub consumers: u64,
}

/// What the bus's own work can fail with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// It is closed.
    #[error("the bus is closed")]
    Closed,
    /// It cannot be reached.
    #[error("the bus cannot be reached: {0}")]
    Unavailable(String),
    /// It refuses, and would again.
    #[error("{what}: {reason}")]
    Refused {
        /// What was tried.
        what: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// A message cannot be written in the bus's codec.
    #[error(transparent)]
    Encode(#[from] mshost_plugin_api::EncodeError),
}

/// The type's queue, as [`QueueDepth::queue`] and log lines name it.
#[must_use]
pub fn type_queue(kind: &WorkerType) -> String {
    format!("{kind}:*")
}
