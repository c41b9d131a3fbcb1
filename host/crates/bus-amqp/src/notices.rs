//! Notifications: everybody's exchanges, a queue of one's own for each subscriber.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use lapin::message::Delivery as Message;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use mshost_bus::codec::decode_notification;
use mshost_bus::{BusError, Event, Subscription};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::connection::{Link, backoff, next_link};
use super::malformed::is_readable;
use super::members::Member;
use super::{Shared, errors, names};

/// What a subscriber has not heard yet; the oldest go when there are too many.
pub(super) struct Mailbox {
    events: Mutex<Events>,
    limit: usize,
    changed: Notify,
}

#[derive(Default)]
struct Events {
    waiting: VecDeque<Event>,
    missed: u64,
}

impl Mailbox {
    fn put(&self, event: Event) {
        let mut events = self.events.lock();
        if events.waiting.len() >= self.limit {
            events.waiting.pop_front();
            events.missed += 1;
        }
        events.waiting.push_back(event);
        drop(events);
        self.changed.notify_one();
    }

    fn take(&self) -> Option<Event> {
        let mut events = self.events.lock();
        match std::mem::take(&mut events.missed) {
            0 => events.waiting.pop_front(),
            missed => Some(Event::Missed(missed)),
        }
    }
}

/// Ends its task when dropped.
pub(super) struct AmqpSubscription {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    left: CancellationToken,
}

impl AmqpSubscription {
    /// Subscribes, as soon as the bus can be used.
    pub(super) async fn subscribe(shared: Arc<Shared>) -> Result<Self, BusError> {
        let mailbox = Arc::new(Mailbox {
            events: Mutex::default(),
            limit: shared.limits.notifications.max(1),
            changed: Notify::new(),
        });
        let left = CancellationToken::new();
        let (subscribed, outcome) = oneshot::channel();
        let subscription = Self { shared: Arc::clone(&shared), mailbox: Arc::clone(&mailbox), left: left.clone() };
        let member = shared.members.enter();
        shared.runtime.clone().spawn(keep(shared, mailbox, left, member, subscribed));
        outcome.await.map_err(|_| BusError::Closed)?;
        Ok(subscription)
    }
}

#[async_trait]
impl Subscription for AmqpSubscription {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.mailbox.take() {
                return Some(event);
            }
            tokio::select! {
                biased;
                () = self.mailbox.changed.notified() => {}
                () = self.shared.closed.cancelled() => return None,
            }
        }
    }
}

impl Drop for AmqpSubscription {
    fn drop(&mut self) {
        self.left.cancel();
    }
}

/// Keeps a subscription until it is dropped. After each interruption the subscriber is told of it.
async fn keep(
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    left: CancellationToken,
    member: Member,
    subscribed: oneshot::Sender<()>,
) {
    let mut subscribed = Some(subscribed);
    let mut links = shared.link.subscribe();
    let mut epoch = 0;
    loop {
        let link = tokio::select! {
            () = left.cancelled() => return,
            link = next_link(&mut links, &shared, epoch) => link,
        };
        let Some(link) = link else { return };
        epoch = link.epoch;
        let mut backoff = backoff();
        while link.is_up() {
            match link.down.or(consume(&link)).await {
                Ok(mut stream) => {
                    backoff.reset();
                    match subscribed.take() {
                        Some(subscribed) => drop(subscribed.send(())),
                        None => {
                            mailbox.put(Event::Missed(0));
                            mailbox.put(Event::Reconnected);
                        }
                    }
                    member.placed(epoch);
                    tokio::select! {
                        () = left.cancelled() => return,
                        () = shared.closed.cancelled() => return,
                        () = forward(&shared, &mailbox, &mut stream) => {}
                    }
                    shared.trouble.notify_one();
                }
                Err(error) if link.is_up() => {
                    warn!(target: "mshost::bus", "{}", errors::explain("subscribe to notifications", &error));
                }
                Err(_) => {}
            }
            tokio::select! {
                () = left.cancelled() => return,
                () = shared.closed.cancelled() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }
}

/// A server-named queue of this connection alone, bound to all that subscribers hear.
async fn consume(link: &Link) -> lapin::Result<lapin::Consumer> {
    let channel = link.consume.create_channel().await?;
    names::declare_exchanges(&channel).await?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await?.name().clone();
    for (exchange, key) in names::HEARD {
        names::bind(&channel, queue.clone(), exchange, key.into()).await?;
    }
    let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
    // The stream holds the channel.
    channel.basic_consume(queue, "".into(), options, FieldTable::default()).await
}

/// Passes on what is heard until the stream ends.
async fn forward(shared: &Shared, mailbox: &Mailbox, stream: &mut lapin::Consumer) {
    while let Some(Ok(message)) = stream.next().await {
        let Message { exchange, routing_key, data, .. } = message;
        if !is_readable(shared, "notification", &data) {
            continue;
        }
        match decode_notification(shared.codec, exchange.as_str(), routing_key.as_str(), &Bytes::from(data)) {
            Ok(notification) => mailbox.put(Event::Notification(notification)),
            Err(malformed) => shared.malformed.report("notification", malformed.kind(), &malformed.to_string()),
        }
    }
}
