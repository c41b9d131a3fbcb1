//! The queues that all hosts on a broker share: retries, what the broker gave up, dead letters.

use std::sync::Arc;

use lapin::types::{AMQPValue, ShortString};
use mshost_bus::Durability;
use tracing::warn;

use super::names::{BROKER_DEAD_LETTERS, DEAD_LETTERS, RETRY_CLASSES, retry_queue};
use super::queues::{JobQueueKind, is_there};
use super::quorum_warmup::QuorumWarmup;
use crate::amqp_error::{self, PRECONDITION_FAILED};
use crate::link::connection::BrokerLink;

/// Declares the shared queues as the settings of one host say.
pub(crate) struct SharedQueues {
    durability: Durability,
    /// The most dead letters.
    dead_letters: usize,
    warmup: Arc<QuorumWarmup>,
}

impl SharedQueues {
    /// Of this durability, with at most so many dead letters.
    pub(crate) fn new(durability: Durability, dead_letters: usize, warmup: Arc<QuorumWarmup>) -> Self {
        Self { durability, dead_letters, warmup }
    }

    /// Declares all of them, before anything can be published to them.
    pub(crate) async fn declare_all(&self, link: &BrokerLink) -> lapin::Result<()> {
        let retries = RETRY_CLASSES.map(retry_queue).into_iter();
        let queues = retries.chain([BROKER_DEAD_LETTERS.into(), DEAD_LETTERS.into()]);
        futures::future::try_join_all(queues.map(|queue| self.declare(link, queue))).await.map(drop)
    }

    /// Declares one of them. One that is there with other arguments is used as it is, which is logged: hosts whose settings differ can
    /// still work together.
    pub(crate) async fn declare(&self, link: &BrokerLink, queue: ShortString) -> lapin::Result<()> {
        let what = format!("declare {queue}");
        let declaring = async {
            let is_new = self.durability == Durability::Replicated && !is_there(&link.consume, queue.clone()).await?;
            if let Some(difference) = self.declare_or_difference(link, queue.clone()).await? {
                warn!(target: "mshost::bus", "{queue} is used as it is, which is not as [bus] says: {difference}");
            }
            Ok(is_new)
        };
        if link.answer(&what, declaring).await? {
            self.warmup.note_declared();
            self.warmup.until_written().await;
        }
        Ok(())
    }

    /// Where it is there with other arguments, the broker's words about the difference.
    async fn declare_or_difference(&self, link: &BrokerLink, queue: ShortString) -> lapin::Result<Option<String>> {
        // It closes the channel by which it refuses.
        let channel = link.consume.create_channel().await?;
        // These outlive a restart also where jobs do not: no host would declare them before they are needed.
        let durability = if self.durability == Durability::Transient { Durability::Durable } else { self.durability };
        let kind = JobQueueKind { durability, limit: self.dead_letters };
        let mut arguments = kind.kept();
        if queue.as_str() == DEAD_LETTERS {
            let limit = i64::try_from(kind.limit).unwrap_or(i64::MAX);
            arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(limit));
            arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        }
        match kind.declare(&channel, queue, arguments).await {
            Err(error) if amqp_error::code(&error) == Some(PRECONDITION_FAILED) => Ok(Some(amqp_error::text(&error))),
            declared => {
                declared?;
                channel.close(200, "declared".into()).await?;
                Ok(None)
            }
        }
    }
}
