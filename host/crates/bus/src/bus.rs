//! The trait of every bus.

use async_trait::async_trait;
use mshost_core::ids::WorkerRef;
use mshost_plugin_api::{Codec, SendError};
use tokio::sync::watch;

use crate::consumer::{Consumer, ConsumerOptions};
use crate::error::BusError;
use crate::job::Job;
use crate::notification::Notification;
use crate::state::BusState;
use crate::subscription::Subscription;

/// A bus as a worker has it. All methods may be called from any thread and any tokio runtime.
///
/// The engines implement it, and so does the connection of a worker that runs in a process of its own.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// The one codec of this bus.
    fn codec(&self) -> Codec;

    /// Sends a job to `route.target()`. Once this returns `Ok` the bus answers for the job. Waits while the bus is at a
    /// limit or away (backpressure).
    ///
    /// # Errors
    /// [`SendError::NoWorker`] at once where no worker could take it; [`SendError::TooLarge`];
    /// [`SendError::Unavailable`] after the bus's `send_timeout`, or when it is closed.
    async fn send(&self, job: Job) -> Result<(), SendError>;

    /// As [`Bus::send`], where that needs no waiting; gives the job back where it does.
    ///
    /// # Errors
    /// The job itself, where only [`Bus::send`] can tell.
    fn try_send(&self, job: Job) -> Result<Result<(), SendError>, Box<Job>> {
        Err(Box::new(job))
    }

    /// Makes a worker a consumer of the jobs for its type and of those for its id, until the consumer is closed.
    ///
    /// # Errors
    /// [`BusError`] where the engine refuses or is closed.
    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError>;

    /// Publishes a notification to every subscriber.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away for longer than `send_timeout`, or closed.
    async fn publish(&self, notification: Notification) -> Result<(), BusError>;

    /// Subscribes to every notification from now on.
    ///
    /// # Errors
    /// [`BusError`] where the engine is closed.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError>;

    /// Whether the bus can be used, now and at each change.
    fn state(&self) -> watch::Receiver<BusState>;

    /// Stops taking jobs and closes the engine. Idempotent.
    async fn close(&self);
}
