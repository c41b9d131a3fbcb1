//! Publishes jobs: those that are sent, those that go back, dead letters with their reports; and notifications.

use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use mshost_bus::codec::encode_notification;
use mshost_bus::{BusError, Death, DeathReason, Failure, Job, Notification, SendError};
use mshost_core::ids::Address;
use mshost_plugin_api::EncodeError;

use super::amqp_error;
use super::engine::AmqpEngine;
use super::message::decode::MalformedJob;
use super::message::outgoing::OutgoingMessage;
use super::publisher::publish_error::PublishError;

/// How long a job waits at the end of a queue where its type has no worker. It must not hold up those that have.
const NO_QUEUE_WAIT: Duration = Duration::from_secs(1);

impl AmqpEngine {
    /// See [`mshost_bus::Bus::send`].
    pub(super) async fn send(&self, job: &Job) -> Result<(), SendError> {
        self.check(job)?;
        self.publish_job(job, 0).await.map_err(|error| error.for_sender(job.route.target()))
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
        self.publisher.publish(self.writer.job(job, deliveries)?).await
    }

    /// The same for a job that a worker still holds. Where its queue is full it waits with those that are due: the place that
    /// the worker would empty the queue with may be the one that this job holds.
    pub(super) async fn republish(&self, job: &Job, deliveries: u32) -> Result<(), BusError> {
        let message = self.writer.job(job, deliveries)?;
        match self.publisher.offer(message).await {
            Err(PublishError::Refused { .. }) => self.publish_retry(job, Duration::ZERO, deliveries).await,
            // Its queue is gone, though it came by it.
            Err(PublishError::Unroutable) => self.requeue_unroutable(job, deliveries).await,
            published => Ok(published?),
        }
    }

    /// What becomes of a job that was accepted once and that no queue is there for now: it waits, as it would in its type's queue,
    /// until a worker comes or it expires. For the id of a worker that has left none comes. `deliveries`: as in
    /// [`AmqpEngine::publish_job`].
    pub(super) async fn requeue_unroutable(&self, job: &Job, deliveries: u32) -> Result<(), BusError> {
        match job.route.target() {
            Address::Any(_) => self.publish_retry(job, NO_QUEUE_WAIT, deliveries).await,
            Address::One(_) => self.report_and_dead_letter(job, Death::no_worker(job)).await,
        }
    }

    /// To the queue that keeps it for a while. `deliveries`: as in [`AmqpEngine::publish_job`].
    pub(super) async fn publish_retry(&self, job: &Job, after: Duration, deliveries: u32) -> Result<(), BusError> {
        self.publish_shared(self.writer.delayed(job, after, deliveries)?).await
    }

    /// Keeps a job as a dead letter.
    pub(super) async fn dead_letter(&self, job: &Job, death: &Death) -> Result<(), BusError> {
        self.publish_shared(self.writer.dead(job, death)?).await
    }

    /// Keeps what is no job as a dead letter.
    pub(super) async fn dead_letter_malformed(
        &self,
        properties: &BasicProperties,
        body: Bytes,
        malformed: &MalformedJob,
    ) -> Result<(), BusError> {
        self.metrics.dead_letters.with_label_values(&["", DeathReason::Malformed.name()]).inc();
        let death = Death::now(DeathReason::Malformed, &malformed.reason, None);
        self.dead_letter_as_it_came(properties, body, &death).await
    }

    /// The same for what has been given up already, as on another bus.
    pub(super) async fn dead_letter_as_it_came(
        &self,
        properties: &BasicProperties,
        body: Bytes,
        death: &Death,
    ) -> Result<(), BusError> {
        let message = self.writer.dead_as_it_came(properties, body, death);
        self.publish_shared(message).await
    }

    /// Keeps a job as a dead letter and tells those who wait for it.
    pub(super) async fn report_and_dead_letter(&self, job: &Job, death: Death) -> Result<(), BusError> {
        tracing::warn!(target: "mshost::bus", job = %job.id, attempt = job.attempt, "job given up: {}", death.error);
        for report in Failure::reports(job, &death.error, None).rev() {
            self.publish_notification(&report).await?;
        }
        let kind = job.route.target().worker_type();
        self.metrics.dead_letters.with_label_values(&[&*kind, death.reason.name()]).inc();
        self.dead_letter(job, &death).await
    }

    /// To one of the queues that hosts share; once more, where an operator has deleted it.
    async fn publish_shared(&self, message: OutgoingMessage) -> Result<(), BusError> {
        let queue = message.key.clone();
        match self.publisher.publish(message.clone()).await {
            Err(PublishError::Unroutable) => {}
            published => return Ok(published?),
        }
        let declaring = async { self.shared_queues.declare(&self.connectivity.link()?, queue.clone()).await };
        declaring.await.map_err(|error| amqp_error::explain(&format!("declare {queue}"), &error))?;
        Ok(self.publisher.publish(message).await?)
    }

    /// See [`mshost_bus::Bus::publish`].
    pub(super) async fn publish_notification(&self, notification: &Notification) -> Result<(), BusError> {
        // There are codecs that have no way to write some notifications; then nothing is sent.
        let Some(message) = encode_notification(self.codec, notification)? else { return Ok(()) };
        let message = OutgoingMessage {
            exchange: message.exchange.into(),
            key: message.routing_key.into(),
            mandatory: false,
            // None at all, as in MicroServices.js.
            properties: BasicProperties::default(),
            body: message.body,
        };
        Ok(self.publisher.publish(message).await?)
    }
}
