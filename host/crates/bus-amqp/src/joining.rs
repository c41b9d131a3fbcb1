//! What a worker asks of the broker to have its place there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer as Stream};
use mshost_bus::Durability;

use super::acks::Acks;
use super::connection::Link;
use super::errors::{self, NOT_FOUND};
use super::place::{Place, Streams};
use super::{Shared, made, names};

/// How often a join meets a queue that the last worker of its type has just taken away, before it gives up.
const RACES: u32 = 10;

/// Declares both queues and consumes from both; on a channel that still works only from what was lost, so that what was
/// delivered there can still be settled.
pub(super) async fn settle_in(
    shared: &Shared,
    place: &Place,
    link: &Link,
    channel: Option<Channel>,
) -> lapin::Result<Channel> {
    if let Some(channel) = channel.filter(|channel| channel.status().connected()) {
        make(shared, place, link).await?;
        consume_missing(shared, place, link, &channel, Streams::default()).await?;
        return Ok(channel);
    }
    let mut races = 0;
    loop {
        match open(shared, place, link).await {
            // Between our declaring and consuming, the last worker of the type took the queue away.
            Err(error) if errors::code(&error) == Some(NOT_FOUND) && races < RACES => {
                races += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            opened => return opened,
        }
    }
}

async fn open(shared: &Shared, place: &Place, link: &Link) -> lapin::Result<Channel> {
    let generation = place.start_anew();
    make(shared, place, link).await?;
    let channel = link.consume.create_channel().await?;
    // For each of both consumers: a limit for the channel costs the broker a question for each delivery, quorum queues do not
    // know it, and RabbitMQ 4.3 no longer does. `AmqpConsumer` keeps to the sum, and some more jobs may wait with this worker
    // that another could have taken.
    channel.basic_qos(place.prefetch, BasicQosOptions::default()).await?;
    let down = link.down.clone();
    let acks = Some(Acks::of(channel.clone(), down.clone(), &shared.runtime));
    let streams = Streams { generation, channel: Some(channel.clone()), acks, down, ..Streams::default() };
    consume_missing(shared, place, link, &channel, streams).await?;
    Ok(channel)
}

/// Makes sure that both queues are there and jobs come to them.
async fn make(shared: &Shared, place: &Place, link: &Link) -> lapin::Result<()> {
    let what = format!("declare the queues of {}", place.worker.id);
    link.answer(shared, &what, declare(shared, place, link)).await?;
    shared.made.kept().await;
    let bind = async {
        let channel = link.consume.create_channel().await?;
        if !place.left_type.load(Ordering::Acquire) {
            names::bind_type(&channel, &place.worker.worker_type).await?;
        }
        names::bind_id(&channel, &place.worker.id).await
    };
    link.answer(shared, &what, bind).await?;
    place.unbound.store(false, Ordering::Relaxed);
    Ok(())
}

async fn declare(shared: &Shared, place: &Place, link: &Link) -> lapin::Result<()> {
    let (kind, id) = (&place.worker.worker_type, &place.worker.id);
    let takes_type = !place.left_type.load(Ordering::Acquire);
    let channel = link.consume.create_channel().await?;
    let mut is_new = false;
    if is_quorum(place) {
        if !made::is_there(&link.consume, names::id_queue(id)).await? {
            is_new = true;
            place.unbound.store(true, Ordering::Relaxed);
        } else if place.unbound.load(Ordering::Relaxed) {
            // We made it, and the link went before a job could come to it. If that was the broker's death it may be without a
            // leader for ever.
            is_new = true;
            channel.queue_delete(names::id_queue(id), QueueDeleteOptions::default()).await?;
        }
        is_new |= takes_type && !made::is_there(&link.consume, names::type_queue(kind)).await?;
    }
    let declared = async {
        if takes_type {
            names::declare_type(&channel, kind, place.like).await?;
        }
        names::declare_id(&channel, id, place.like).await
    };
    let declared = declared.await;
    if is_new {
        // Also where only one of them was made.
        shared.made.note();
    }
    declared
}

/// Consumes from what the worker should have jobs from and has not. First from its own queue: if a queue has no leader the
/// broker hangs there, together with all that it has delivered on the channel, and that would be jobs that others could do.
async fn consume_missing(
    shared: &Shared,
    place: &Place,
    link: &Link,
    channel: &Channel,
    mut streams: Streams,
) -> lapin::Result<()> {
    let (of_type, of_id) = place.missing();
    if of_id {
        streams.by_id = Some(consume(shared, link, channel, names::id_queue(&place.worker.id)).await?);
    }
    if of_type {
        let kind = &place.worker.worker_type;
        streams.by_type = Some(consume(shared, link, channel, names::type_queue(kind)).await?);
        // The last worker of the type may have taken away what leads there between the two: see `leave`.
        names::bind_type(channel, kind).await?;
    }
    if of_type || of_id {
        place.offer(streams);
    }
    Ok(())
}

async fn consume(shared: &Shared, link: &Link, channel: &Channel, queue: ShortString) -> lapin::Result<Stream> {
    let what = format!("consume from {queue}");
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    link.answer(shared, &what, channel.basic_consume(queue, "".into(), options, arguments)).await
}

fn is_quorum(place: &Place) -> bool {
    place.like.durability == Durability::Replicated
}
