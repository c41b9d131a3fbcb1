//! Notifications: exchanges that all hosts share, and a queue of its own for each subscriber.

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

use super::amqp_error;
use super::broker_objects::{names, queues};
use super::engine::AmqpEngine;
use super::link::connection::BrokerLink;
use super::link::connectivity::backoff;
use super::rejoin_barrier::RejoinGuard;

/// What a subscriber has not heard yet; the oldest go when there are too many.
pub(super) struct NotificationMailbox {
    events: Mutex<UnheardEvents>,
    limit: usize,
    changed: Notify,
}

#[derive(Default)]
struct UnheardEvents {
    waiting: VecDeque<Event>,
    missed: u64,
}

impl NotificationMailbox {
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
    engine: Arc<AmqpEngine>,
    mailbox: Arc<NotificationMailbox>,
    left: CancellationToken,
}

impl AmqpSubscription {
    /// Subscribes, as soon as the bus can be used.
    pub(super) async fn subscribe(engine: Arc<AmqpEngine>) -> Result<Self, BusError> {
        let mailbox = Arc::new(NotificationMailbox {
            events: Mutex::default(),
            limit: engine.limits.notifications.max(1),
            changed: Notify::new(),
        });
        let left = CancellationToken::new();
        let (subscribed, outcome) = oneshot::channel();
        let subscription = Self { engine: Arc::clone(&engine), mailbox: Arc::clone(&mailbox), left: left.clone() };
        let rejoin = engine.rejoining.register();
        engine.runtime.clone().spawn(keep(engine, mailbox, left, rejoin, subscribed));
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
                () = self.engine.closed() => return None,
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
    engine: Arc<AmqpEngine>,
    mailbox: Arc<NotificationMailbox>,
    left: CancellationToken,
    rejoin: RejoinGuard,
    subscribed: oneshot::Sender<()>,
) {
    let mut subscribed = Some(subscribed);
    let mut links = engine.connectivity.links();
    loop {
        let link = tokio::select! {
            () = left.cancelled() => return,
            link = links.next() => link,
        };
        let Some(link) = link else { return };
        let mut backoff = backoff();
        while link.is_up() {
            match link.answer("subscribe to notifications", consume(&link)).await {
                Ok(mut stream) => {
                    backoff.reset();
                    match subscribed.take() {
                        Some(subscribed) => drop(subscribed.send(())),
                        None => {
                            mailbox.put(Event::Missed(0));
                            mailbox.put(Event::Reconnected);
                        }
                    }
                    rejoin.consumes_at(link.epoch);
                    tokio::select! {
                        () = left.cancelled() => return,
                        () = engine.closed() => return,
                        () = forward(&engine, &mailbox, &mut stream) => {}
                    }
                    engine.connectivity.trouble.notify_one();
                }
                Err(error) if link.is_up() => {
                    warn!(target: "mshost::bus", "{}", amqp_error::explain("subscribe to notifications", &error));
                }
                Err(_) => {}
            }
            tokio::select! {
                () = left.cancelled() => return,
                () = engine.closed() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }
}

/// A server-named queue of this connection alone, bound to all that subscribers hear.
async fn consume(link: &BrokerLink) -> lapin::Result<lapin::Consumer> {
    let channel = link.consume.create_channel().await?;
    queues::declare_exchanges(&channel).await?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await?.name().clone();
    for (exchange, key) in names::NOTIFICATION_KEYS {
        queues::bind(&channel, queue.clone(), exchange, key.into()).await?;
    }
    let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
    // The stream holds the channel.
    channel.basic_consume(queue, "".into(), options, FieldTable::default()).await
}

/// Passes on what is heard until the stream ends.
async fn forward(engine: &AmqpEngine, mailbox: &NotificationMailbox, stream: &mut lapin::Consumer) {
    while let Some(Ok(message)) = stream.next().await {
        let Message { exchange, routing_key, data, .. } = message;
        if !engine.malformed.is_readable("notification", &data) {
            continue;
        }
        match decode_notification(engine.codec, exchange.as_str(), routing_key.as_str(), &Bytes::from(data)) {
            Ok(notification) => mailbox.put(Event::Notification(notification)),
            Err(malformed) => engine.malformed.report("notification", malformed.kind(), &malformed.to_string()),
        }
    }
}
