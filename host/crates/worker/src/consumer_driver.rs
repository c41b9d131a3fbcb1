//! Drives a worker's consumer: takes jobs from it, and has it pause, resume, leave its type's queue and stop.
//!
//! A command may wait for a broker for as long as that takes. So none is awaited where it is decided: the driver is told
//! how jobs are to be taken ([`ConsumerDriver::steer`]), and each poll of [`ConsumerDriver::next`], beside the worker's
//! handlers, carries that on. While a command is under way the consumer is inside of it, so that no job can be taken.

use std::future::pending;

use futures::FutureExt;
use futures::future::BoxFuture;
use mshost_bus::{Consumer, Delivery};

/// How a consumer takes jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConsumeMode {
    /// Those for its type and those for its id.
    Active,
    /// Those for its id alone. It remains a consumer of its type's queue, where jobs wait or go to other workers.
    Paused,
    /// Those for its id alone. It is no consumer of its type's queue any more.
    OwnQueueOnly,
    /// None.
    Stopped,
}

/// What came of a poll.
#[expect(clippy::large_enum_variant, reason = "a job is moved on at once")]
pub(super) enum Consumed {
    /// A job.
    Delivery(Delivery),
    /// A command has been carried out.
    CommandDone,
    /// No job will come any more: the bus was closed.
    BusClosed,
}

/// A consumer, and the command that it carries out, if any.
pub(super) struct ConsumerDriver {
    /// `None` while `command` has it.
    consumer: Option<Box<dyn Consumer>>,
    command: Option<BoxFuture<'static, Box<dyn Consumer>>>,
    /// How it takes jobs, or will once `command` has been carried out.
    mode: ConsumeMode,
}

impl ConsumerDriver {
    /// Drives a consumer that has just joined.
    pub(super) fn new(consumer: Box<dyn Consumer>) -> Self {
        Self { consumer: Some(consumer), command: None, mode: ConsumeMode::Active }
    }

    /// Has jobs taken in this way from now on. Where a command is under way, the next call has it done; so call this
    /// before each [`ConsumerDriver::next`].
    pub(super) fn steer(&mut self, mode: ConsumeMode) {
        if self.mode == mode {
            return;
        }
        if let Some(mut consumer) = self.consumer.take() {
            self.mode = mode;
            self.command = Some(
                async move {
                    match mode {
                        ConsumeMode::Active => consumer.resume().await,
                        ConsumeMode::Paused => consumer.pause().await,
                        ConsumeMode::OwnQueueOnly => consumer.leave_type().await,
                        ConsumeMode::Stopped => consumer.stop().await,
                    }
                    consumer
                }
                .boxed(),
            );
        }
    }

    /// Whether jobs are taken in this way now, and no command is under way.
    pub(super) fn is(&self, mode: ConsumeMode) -> bool {
        self.mode == mode && self.command.is_none()
    }

    /// Carries on the command that is under way or, where there is none and `may_take`, waits for a job. Cancel safe.
    pub(super) async fn next(&mut self, may_take: bool) -> Consumed {
        if let Some(command) = &mut self.command {
            self.consumer = Some(command.await);
            self.command = None;
            return Consumed::CommandDone;
        }
        match &mut self.consumer {
            Some(consumer) if may_take => match consumer.next().await {
                Some(delivery) => Consumed::Delivery(delivery),
                None => Consumed::BusClosed,
            },
            _ => pending().await,
        }
    }
}
