//! Jobs that were delivered and never begun: they go back as they came.
//!
//! Left to the broker they would be flagged, or counted, as if their worker had begun them; and where it dies again and again of
//! another job, they would be given up with that one. So each is published again with the count that it had, and then acked.

use futures::StreamExt;
use lapin::Channel;
use lapin::message::Delivery as Message;
use lapin::options::{BasicCancelOptions, BasicNackOptions};

use super::acks::Acks;
use super::message::{self, Headers};
use super::place::Streams;
use super::{Shared, attend, redelivery};

/// Takes no more from a stream, and hands back what was delivered by it and is still in lapin's hands. Where the link goes down
/// meanwhile, that hands everything back.
pub(super) async fn hand_back(shared: &Shared, streams: &Streams, stream: lapin::Consumer) {
    let Streams { channel, acks, down, .. } = streams;
    let _ = down.or(empty(shared, channel.as_ref(), acks.as_deref(), stream)).await;
}

async fn empty(
    shared: &Shared,
    channel: Option<&Channel>,
    acks: Option<&Acks>,
    mut stream: lapin::Consumer,
) -> lapin::Result<()> {
    if let Some(channel) = channel {
        channel.basic_cancel(stream.tag(), BasicCancelOptions::default()).await?;
    }
    // After the broker's answer nothing more comes, and the stream ends.
    let mut messages = Vec::new();
    while let Some(Ok(message)) = stream.next().await {
        messages.push(message);
    }
    futures::future::try_join_all(messages.into_iter().map(|message| one(shared, acks, message))).await.map(drop)
}

async fn one(shared: &Shared, acks: Option<&Acks>, mut message: Message) -> lapin::Result<()> {
    let tag = message.delivery_tag;
    if as_it_came(shared, &mut message).await.is_some() {
        acks.map(|acks| acks.ack(tag));
        return Ok(());
    }
    message.acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await?;
    if let Some(acks) = acks {
        acks.settled(tag);
    }
    Ok(())
}

/// Publishes it again. `None` where that is not possible now.
async fn as_it_came(shared: &Shared, message: &mut Message) -> Option<()> {
    if *shared.blocked.borrow() {
        return None;
    }
    let body = attend::body(message);
    // What is no job is found out by whoever takes it next.
    let (job, _) = message::decode(shared.codec, &message.properties, &body).ok()?;
    let count = redelivery::count(message.redelivered, &Headers::of(&message.properties));
    shared.give_back(&job, count).await.ok()
}
