//! Declares and binds exchanges and queues, each with its arguments.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind, Queue};
use mshost_bus::Durability;
use mshost_bus::codec::{NOTIFICATIONS, POLLING};
use mshost_core::ids::{WorkerId, WorkerType};

use super::names::{BROKER_DEAD_LETTERS, JOBS, MANAGER, MSJS_JOBS, in_hand_queue, own_queue, type_queue};
use crate::amqp_error::{self, NOT_FOUND};

/// How many claims of leadership may wait there; each says the same.
const MANAGER_LENGTH: i64 = 16;
/// MicroServices.js's: a job for another worker.
const MSJS_NEXT: &str = "worker.next";
/// When MicroServices.js has given up a job that no worker took (its fifth send was 2 s before).
const MSJS_TTL: Duration = Duration::from_secs(10);
/// When the queue goes after the last host has gone.
const MSJS_EXPIRES: Duration = Duration::from_secs(10 * 60);
/// The most jobs of MicroServices.js that wait for a host; the oldest go first, as it resends them.
const MSJS_LENGTH: i64 = 10_000;
/// A worker that reconnects within this time finds the jobs that wait for its id.
const ID_EXPIRES: Duration = Duration::from_secs(30 * 60);
/// A queue that expires takes its messages with it, so they expire before: RabbitMQ passes those on.
const ID_MESSAGES_EXPIRE: Duration = Duration::from_secs(25 * 60);
/// From RabbitMQ 4.0 on a quorum queue drops what was delivered 20 times. Ours is the count that decides.
const NO_DELIVERY_LIMIT: i64 = 1_000_000;
/// When a queue goes that shows who holds jobs, after the last of these has gone.
const IN_HAND_EXPIRES: Duration = Duration::from_secs(60);

/// Declares the exchanges that all hosts and MicroServices.js use.
pub(crate) async fn declare_exchanges(channel: &Channel) -> lapin::Result<()> {
    exchange(channel, JOBS, ExchangeKind::Direct, true).await?;
    exchange(channel, NOTIFICATIONS, ExchangeKind::Topic, false).await?;
    exchange(channel, POLLING, ExchangeKind::Topic, false).await
}

/// What a queue for jobs is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobQueueKind {
    pub(crate) durability: Durability,
    /// The most messages; more are refused, so that their senders wait.
    pub(crate) limit: usize,
}

impl JobQueueKind {
    /// Arguments that all of them have. What the broker gives up is not gone but in [`BROKER_DEAD_LETTERS`].
    fn arguments(self) -> FieldTable {
        let mut table = self.kept();
        table.insert("x-max-length".into(), AMQPValue::LongLongInt(i64::try_from(self.limit).unwrap_or(i64::MAX)));
        table.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        table.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
        table.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(BROKER_DEAD_LETTERS.into()));
        if self.durability == Durability::Replicated {
            table.insert("x-dead-letter-strategy".into(), AMQPValue::LongString("at-least-once".into()));
        }
        table
    }

    /// Arguments of a queue without limits.
    pub(super) fn kept(self) -> FieldTable {
        match self.durability {
            Durability::Transient | Durability::Durable => FieldTable::default(),
            Durability::Replicated => arguments([
                ("x-queue-type", AMQPValue::LongString("quorum".into())),
                ("x-delivery-limit", AMQPValue::LongLongInt(NO_DELIVERY_LIMIT)),
            ]),
        }
    }

    pub(super) async fn declare(
        self,
        channel: &Channel,
        name: ShortString,
        arguments: FieldTable,
    ) -> lapin::Result<()> {
        let durable = self.durability != Durability::Transient;
        let options = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
        channel.queue_declare(name, options, arguments).await.map(drop)
    }
}

/// Declares the queue of a type.
pub(crate) async fn declare_type(channel: &Channel, worker_type: &WorkerType, kind: JobQueueKind) -> lapin::Result<()> {
    kind.declare(channel, type_queue(worker_type), kind.arguments()).await
}

/// From here on jobs come to it.
pub(crate) async fn bind_type(channel: &Channel, kind: &WorkerType) -> lapin::Result<()> {
    bind(channel, type_queue(kind), JOBS, kind.as_ref().into()).await
}

/// Declares the queue of [`in_hand_queue`]. A classic queue that outlives its connection, as a broker may refuse others.
pub(crate) async fn declare_in_hand(channel: &Channel, kind: &WorkerType) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel
        .queue_declare(in_hand_queue(kind), options, arguments([("x-expires", millis(IN_HAND_EXPIRES))]))
        .await
        .map(drop)
}

/// Declares the queue of one worker: not exclusive, so that it outlives the connection.
pub(crate) async fn declare_own(channel: &Channel, id: &WorkerId, kind: JobQueueKind) -> lapin::Result<()> {
    let mut arguments = kind.arguments();
    arguments.insert("x-expires".into(), millis(ID_EXPIRES));
    arguments.insert("x-message-ttl".into(), millis(ID_MESSAGES_EXPIRE));
    kind.declare(channel, own_queue(id), arguments).await
}

/// As [`bind_type`] for the queue of one worker.
pub(crate) async fn bind_own(channel: &Channel, id: &WorkerId) -> lapin::Result<()> {
    bind(channel, own_queue(id), JOBS, id.as_ref().into()).await
}

/// Declares and binds the queue by which one host hears the jobs of MicroServices.js's workers. Durable, because a broker may
/// refuse queues that are neither that nor exclusive; its messages are not.
pub(crate) async fn declare_msjs_jobs(channel: &Channel) -> lapin::Result<()> {
    let arguments = arguments([
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-message-ttl", millis(MSJS_TTL)),
        ("x-expires", millis(MSJS_EXPIRES)),
        ("x-max-length", AMQPValue::LongLongInt(MSJS_LENGTH)),
    ]);
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(MSJS_JOBS.into(), options, arguments).await?;
    bind(channel, MSJS_JOBS.into(), NOTIFICATIONS, MSJS_NEXT.into()).await
}

/// Undoes the binding of a queue of jobs: from here on jobs with this key are returned to their senders.
pub(crate) async fn unbind_jobs(channel: &Channel, queue: ShortString, key: ShortString) -> lapin::Result<()> {
    channel.queue_unbind(queue, JOBS.into(), key, FieldTable::default()).await
}

/// Declares the queue that managers compete on. A classic queue, also where jobs are replicated: every host has to declare
/// the same. Nothing in it is worth a copy.
pub(crate) async fn declare_manager(channel: &Channel) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let arguments = arguments([
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-max-length", AMQPValue::LongLongInt(MANAGER_LENGTH)),
    ]);
    channel.queue_declare(MANAGER.into(), options, arguments).await.map(drop)
}

/// How a queue is, where there is one. Where there is none the broker closes the channel.
pub(crate) async fn look(channel: &Channel, queue: ShortString) -> lapin::Result<Option<Queue>> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue, passive, FieldTable::default()).await {
        Ok(state) => Ok(Some(state)),
        Err(error) if amqp_error::code(&error) == Some(NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a queue is there. Asks on a channel of its own, since the broker closes it where there is none.
pub(crate) async fn is_there(connection: &Connection, queue: ShortString) -> lapin::Result<bool> {
    Ok(look(&connection.create_channel().await?, queue).await?.is_some())
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind, durable: bool) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await
}

/// Binds `queue` to `exchange`.
pub(crate) async fn bind(channel: &Channel, queue: ShortString, exchange: &str, key: ShortString) -> lapin::Result<()> {
    channel.queue_bind(queue, exchange.into(), key, QueueBindOptions::default(), FieldTable::default()).await
}

fn arguments<const N: usize>(pairs: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert(name.into(), value);
    }
    table
}

fn millis(duration: Duration) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
