//! A delivery, and how it is settled.

use std::time::Duration;

use async_trait::async_trait;

use crate::dead_letters::Death;
use crate::error::BusError;
use crate::job::Job;

/// A job that was delivered to a worker and is not settled yet. Dropping it requeues it, flagged as redelivered.
#[derive(Debug)]
pub struct Delivery {
    /// The job.
    pub job: Job,
    /// It may have been delivered before: to a worker that died, was cut off, or requeued it.
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
    /// See [`Delivery::release`].
    async fn release(self: Box<Self>, job: Job) -> Result<(), BusError>;
    /// See [`Delivery::dead_letter`].
    async fn dead_letter(self: Box<Self>, job: Job, death: Death) -> Result<(), BusError>;
}

impl Delivery {
    /// A delivery that its engine settles by `settle`.
    #[must_use]
    pub fn new(job: Job, redelivered: bool, settle: Box<dyn Settle>) -> Self {
        Self { job, redelivered, settle }
    }

    /// Acknowledges it: the job is done, or its failure has been reported.
    ///
    /// # Errors
    /// Where the bus could not be told; the job will come again.
    pub async fn ack(self) -> Result<(), BusError> {
        self.settle.ack().await
    }

    /// Has a job that failed delivered again, to any worker that it is addressed to, as the next attempt and not before
    /// `after`.
    ///
    /// # Errors
    /// Where the bus could not be told; the job will come again as the same attempt.
    pub async fn retry(self, after: Duration) -> Result<(), BusError> {
        let Self { mut job, settle, .. } = self;
        job.attempt = job.attempt.saturating_add(1);
        settle.retry(job, after).await
    }

    /// Gives the job up: keeps it as a dead letter. Telling those who wait for it is the caller's.
    ///
    /// # Errors
    /// Where the bus could not keep it; the job will come again.
    pub async fn dead_letter(self, death: Death) -> Result<(), BusError> {
        let Self { job, settle, .. } = self;
        settle.dead_letter(job, death).await
    }

    /// Returns a job that was not even started: it is delivered again at once, as the same attempt, and this delivery does not
    /// count towards `delivery_limit`.
    ///
    /// # Errors
    /// Where the bus could not be told; the job will come again all the same, counted.
    pub async fn release(self) -> Result<(), BusError> {
        let Self { job, settle, .. } = self;
        settle.release(job).await
    }

    /// Returns a job that was started and not done: it is delivered again at once, as the same attempt, and counts.
    ///
    /// # Errors
    /// Where the bus could not be told; the job will come again all the same.
    pub async fn requeue(self) -> Result<(), BusError> {
        self.settle.requeue().await
    }
}
