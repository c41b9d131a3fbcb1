//! What the engine itself does with jobs: sends them, passes them on, gives them up.

use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use mshost_bus::{BusError, Death, DeathReason, Failure, Job, SendError};
use mshost_core::ids::Address;
use mshost_plugin_api::EncodeError;

use super::message::Malformed;
use super::publisher::{Outgoing, PublishError};
use super::{Shared, attend, errors, settle};

/// How long a job waits at the end of a queue where its type has no worker. It must not hold up those that have.
const NOBODY: Duration = Duration::from_secs(1);

impl Shared {
    /// See [`mshost_bus::Bus::send`].
    pub(super) async fn send(&self, job: &Job) -> Result<(), SendError> {
        self.check(job)?;
        let message = self.writer.job(job, 0)?;
        match self.publish(message).await {
            Ok(()) => Ok(()),
            Err(PublishError::Returned) => Err(SendError::NoWorker(job.route.target().clone())),
            Err(PublishError::TimedOut(why)) => Err(SendError::Unavailable(why)),
            Err(PublishError::Closed | PublishError::Refused | PublishError::Doubtful) => {
                Err(SendError::Unavailable("the bus is closed".into()))
            }
        }
    }

    fn check(&self, job: &Job) -> Result<(), SendError> {
        let (size, limit) = (job.payload.bytes().len(), self.limits.message_bytes);
        if size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        if job.payload.codec() != self.codec {
            let reason = format!("it is written in {}", job.payload.codec());
            return Err(SendError::Encode(EncodeError { codec: self.codec, reason }));
        }
        Ok(())
    }

    /// To those that it is for, after so many deliveries that were never settled.
    pub(super) async fn publish_job(&self, job: &Job, deliveries: u32) -> Result<(), PublishError> {
        let message = self.writer.job(job, deliveries).map_err(unwritable)?;
        self.publish(message).await
    }

    /// The same for a job that a worker still holds. Where its queue is full it waits with those that are due: the place that
    /// the worker would empty the queue with may be the one that this job holds.
    pub(super) async fn give_back(&self, job: &Job, deliveries: u32) -> Result<(), BusError> {
        let message = self.writer.job(job, deliveries)?;
        match self.publisher.offer(message, self).await {
            Err(PublishError::Refused) => self.publish_delayed(job, Duration::ZERO, deliveries).await,
            // Its queue is gone, though it came by it.
            Err(PublishError::Returned) => self.keep_for_the_next(job, deliveries).await,
            published => published.map_err(settle::unavailable),
        }
    }

    /// What becomes of a job that was accepted once and that no queue is there for now: it waits, as it would in its type's queue,
    /// until somebody comes or it expires. For the id of a worker that has left nobody comes. `deliveries`: as in
    /// [`Shared::publish_job`].
    pub(super) async fn keep_for_the_next(&self, job: &Job, deliveries: u32) -> Result<(), BusError> {
        match job.route.target() {
            Address::Any(_) => self.publish_delayed(job, NOBODY, deliveries).await,
            Address::One(_) => self.give_up(job, Death::no_worker(job)).await,
        }
    }

    /// To the queue that keeps it for a while. `deliveries`: as in [`Shared::publish_job`].
    pub(super) async fn publish_delayed(&self, job: &Job, after: Duration, deliveries: u32) -> Result<(), BusError> {
        self.publish_shared(self.writer.delayed(job, after, deliveries)?, None).await
    }

    /// Keeps a job as a dead letter.
    pub(super) async fn bury(&self, job: &Job, death: &Death) -> Result<(), BusError> {
        self.publish_shared(self.writer.dead(job, death)?, Some(self.limits.dead_letters)).await
    }

    /// Keeps what is no job as a dead letter.
    pub(super) async fn bury_malformed(
        &self,
        properties: &BasicProperties,
        body: Bytes,
        malformed: &Malformed,
    ) -> Result<(), BusError> {
        self.metrics.dead_letters.with_label_values(&["", DeathReason::Malformed.name()]).inc();
        let death = Death::now(DeathReason::Malformed, &malformed.reason, None);
        self.bury_as_it_came(properties, body, &death).await
    }

    /// The same for what has been given up already, as on another bus.
    pub(super) async fn bury_as_it_came(
        &self,
        properties: &BasicProperties,
        body: Bytes,
        death: &Death,
    ) -> Result<(), BusError> {
        let message = self.writer.dead_as_it_came(properties, body, death);
        self.publish_shared(message, Some(self.limits.dead_letters)).await
    }

    /// Keeps a job as a dead letter and tells those who wait for it.
    pub(super) async fn give_up(&self, job: &Job, death: Death) -> Result<(), BusError> {
        tracing::warn!(target: "mshost::bus", job = %job.id, attempt = job.attempt, "job given up: {}", death.error);
        for report in Failure::reports(job, &death.error, None).rev() {
            self.publish_notification(&report).await?;
        }
        let kind = job.route.target().worker_type();
        self.metrics.dead_letters.with_label_values(&[&*kind, death.reason.name()]).inc();
        self.bury(job, &death).await
    }

    /// To one of the queues that hosts share; once more, where an operator has deleted it.
    async fn publish_shared(&self, message: Outgoing, limit: Option<usize>) -> Result<(), BusError> {
        let queue = message.key.clone();
        match self.publish(message.clone()).await {
            Err(PublishError::Returned) => {}
            published => return published.map_err(settle::unavailable),
        }
        let declare = async {
            let link = self.link()?;
            link.down.or(attend::declare(self, &link, queue.clone(), limit)).await
        };
        declare.await.map_err(|error| errors::explain(&format!("declare {queue}"), &error))?;
        self.publish(message).await.map_err(settle::unavailable)
    }
}

/// A job that came over the bus can be written for it, too; so this does not happen.
fn unwritable(error: EncodeError) -> PublishError {
    PublishError::TimedOut(error.to_string())
}
