//! What shows every host that a worker which no longer consumes from its type's queue still has jobs of it in hand.
//!
//! A queue that is deleted takes along what was delivered from it and not settled, and a broker asked to delete it only where
//! it is empty and unused counts neither. So a worker that is about to consume no more from the type's queue consumes first
//! from another, by the channel that it has its jobs by, and a host that would delete the type's queue looks there. Nothing is ever
//! published to that one. It lasts as long as the channel, since the broker takes the jobs back together with it.

use lapin::{Channel, Consumer as Stream};
use mshost_bus::Durability;
use mshost_core::ids::WorkerType;

use super::session_channel::SessionChannel;
use crate::amqp_error;
use crate::broker_objects::names;
use crate::broker_objects::queues::{self, JobQueueKind};
use crate::engine::AmqpEngine;

/// Starts the consumer that is the marker. Types whose queues no host deletes need none.
pub(super) async fn place(
    engine: &AmqpEngine,
    worker_type: &WorkerType,
    kind: JobQueueKind,
    channel: &SessionChannel,
) -> Option<Stream> {
    if kind.durability == Durability::Replicated {
        return None;
    }
    let placing = async {
        // A refusal must not cost the channel that the jobs came by.
        let link = engine.connectivity.link()?;
        let declaring = async {
            let declaring = link.consume.create_channel().await?;
            queues::declare_in_hand(&declaring, worker_type).await?;
            declaring.close(200, "declared".into()).await
        };
        link.answer("declare the queue that marks jobs in hand", declaring).await?;
        channel.consume(names::in_hand_queue(worker_type)).await
    };
    match channel.while_up(placing).await {
        Ok(marker) => Some(marker),
        Err(error) => {
            tracing::debug!(target: "mshost::bus", "cannot mark jobs of {worker_type} as in hand: {}", amqp_error::text(&error));
            None
        }
    }
}

/// Whether any worker of the type, of any host, has jobs in hand and does not consume. Closes the channel where none ever had.
pub(super) async fn is_placed(channel: &Channel, worker_type: &WorkerType) -> lapin::Result<bool> {
    let queue = queues::look(channel, names::in_hand_queue(worker_type)).await?;
    Ok(queue.is_some_and(|queue| queue.consumer_count() > 0))
}
