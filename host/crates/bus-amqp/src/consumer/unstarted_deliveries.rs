//! Jobs that were delivered and never started: they go back as they came.
//!
//! Left to the broker they would be flagged, or counted, as if their worker had started them; and where it dies again and again of
//! another job, they would be given up with that one. So each is published again with the count that it had, and then acked.

use futures::StreamExt;
use lapin::message::Delivery as Message;

use super::redelivery;
use super::session_channel::SessionChannel;
use crate::engine::AmqpEngine;
use crate::message::decode::decode;
use crate::message::headers::JobHeaders;
use crate::shared_consumers;

/// Cancels a consumer, and hands back what was delivered to it and is still in lapin's hands. Where the link goes down meanwhile,
/// that hands everything back.
pub(super) async fn release(engine: &AmqpEngine, channel: &SessionChannel, stream: lapin::Consumer) {
    let _ = channel.while_up(empty(engine, channel, stream)).await;
}

async fn empty(engine: &AmqpEngine, channel: &SessionChannel, mut stream: lapin::Consumer) -> lapin::Result<()> {
    channel.cancel(&stream).await?;
    let mut messages = Vec::new();
    while let Some(Ok(message)) = stream.next().await {
        messages.push(message);
    }
    futures::future::try_join_all(messages.into_iter().map(|message| one(engine, channel, message))).await.map(drop)
}

async fn one(engine: &AmqpEngine, channel: &SessionChannel, mut message: Message) -> lapin::Result<()> {
    let tag = message.delivery_tag;
    if publish_again(engine, &mut message).await.is_some() {
        channel.ack(tag);
    } else {
        channel.requeue(&message.acker, tag).await?;
    }
    Ok(())
}

/// Publishes it again as it came. `None` where that is not possible now.
async fn publish_again(engine: &AmqpEngine, message: &mut Message) -> Option<()> {
    if engine.connectivity.is_blocked() {
        return None;
    }
    let body = shared_consumers::body(message);
    // What is no job is found out by the worker that takes it next.
    let (job, _) = decode(engine.codec, &message.properties, &body).ok()?;
    let count = redelivery::count(message.redelivered, &JobHeaders::of(&message.properties));
    engine.republish(&job, count).await.ok()
}
