//! Every exchange, queue and argument that this engine declares, in one place. What each is for stands in ARCHITECTURE.md.
//!
//! | object | kind |
//! |---|---|
//! | `mshost.jobs` | direct, durable; the key is the worker type or the worker id. No alternate exchange: it would suppress `basic.return` |
//! | `mshost.job.TYPE` | queue; workers of a type compete for it |
//! | `mshost.hold.TYPE` | queue without messages; workers that have left the type consume from it while they have jobs in hand |
//! | `mshost.id.ID` | queue of one worker; expires when unused, its messages before that |
//! | `mshost.retry.MS` | queues that hosts take jobs from when these are due |
//! | `mshost.undone` | queue of what the broker gave up (expired, rejected): a host buries and reports each |
//! | `mshost.dead` | queue of dead letters |
//! | `mshost.legacy.next` | queue of the original's `worker.next`, single active consumer: one host alone hears each |
//! | `mshost.manager` | queue, durable, single active consumer, at most 16 messages: elects the one manager that acts for all hosts |
//! | `notifications`, `polling` | topic, not durable, not auto-delete: the original's; anything else is refused by both sides |

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};
use mshost_bus::Durability;
use mshost_bus::codec::{NOTIFICATIONS, POLLING};
use mshost_core::ids::{Address, WorkerId, WorkerType};

use super::errors;

/// Jobs are published here.
pub(super) const JOBS: &str = "mshost.jobs";
/// The queue of what the broker gave up.
pub(super) const UNDONE: &str = "mshost.undone";
/// The queue of dead letters.
pub(super) const DEAD: &str = "mshost.dead";
/// The queue that the managers of all hosts compete on.
pub(super) const MANAGER: &str = "mshost.manager";
/// How many knocks may wait there; each says the same.
const MANAGER_LENGTH: i64 = 16;

/// What the original's workers send is heard here, by one host.
pub(super) const FOREIGN: &str = "mshost.legacy.next";
/// The original's: a job for another worker.
const NEXT: &str = "worker.next";
/// The original's: a job is taken.
pub(super) const TAKEN: &str = "worker.next.ack";
/// When the original has given up a job that nobody took (its fifth send was 2 s before).
const FOREIGN_TTL: Duration = Duration::from_secs(10);
/// When the queue goes after the last host has gone.
const FOREIGN_EXPIRES: Duration = Duration::from_secs(10 * 60);
/// The most jobs of the original that wait for a host; the oldest go first, as the original resends them.
const FOREIGN_LENGTH: i64 = 10_000;

/// Attempt number of a job; 1 where absent.
pub(super) const ATTEMPT: &str = "x-mshost-attempt";
/// Id of the worker that sent the first job of the pipeline; the job's sender where absent.
pub(super) const ORIGIN: &str = "x-mshost-origin";
/// Set on a job that was published again because its first confirm never came: the first copy may have arrived.
pub(super) const RESENT: &str = "x-mshost-resent";

/// When a job is no longer wanted, in milliseconds since the epoch.
pub(super) const DEADLINE: &str = "x-mshost-deadline";
/// When a job that failed is to be tried again, in milliseconds since the epoch.
pub(super) const DUE: &str = "x-mshost-due";
/// How often a job was delivered and never settled, as far as a host has counted.
pub(super) const DELIVERIES: &str = "x-mshost-deliveries";
/// The same by the broker's count, in quorum queues.
pub(super) const DELIVERY_COUNT: &str = "x-delivery-count";
/// Why a dead letter is one: a [`mshost_bus::DeathReason`].
pub(super) const DEATH: &str = "x-mshost-death";
/// The last error.
pub(super) const DEATH_ERROR: &str = "x-mshost-death-error";
/// Who tried last.
pub(super) const DEATH_WORKER: &str = "x-mshost-death-worker";
/// When it was given up, in milliseconds since the epoch.
pub(super) const DEATH_AT: &str = "x-mshost-death-at";

/// A worker that reconnects within this time finds the jobs that wait for its id.
const ID_EXPIRES: Duration = Duration::from_secs(30 * 60);
/// A queue that expires takes its messages with it, so they expire before: RabbitMQ passes those on.
const ID_MESSAGES_EXPIRE: Duration = Duration::from_secs(25 * 60);
/// From RabbitMQ 4.0 on a quorum queue drops what was delivered 20 times. Ours is the count that decides.
const NO_DELIVERY_LIMIT: i64 = 1_000_000;
/// The shortest delays of the retry queues, in milliseconds. In each queue delays differ by a factor of ten at most, so what
/// is due soon does not wait long behind what is due late.
pub(super) const RETRY_FROM: [u64; 5] = [0, 100, 1_000, 10_000, 100_000];

/// When a queue goes that shows who holds jobs, after the last of these has gone.
const HOLD_EXPIRES: Duration = Duration::from_secs(60);

/// What subscribers hear, by exchange and routing key. The original's `worker.next` and `worker.next.ack` are not ours.
pub(super) const HEARD: [(&str, &str); 8] = [
    (NOTIFICATIONS, "worker.new"),
    (NOTIFICATIONS, "worker.new.send"),
    (NOTIFICATIONS, "worker.new.resend"),
    (NOTIFICATIONS, "worker.getAll"),
    (NOTIFICATIONS, "worker.list"),
    (NOTIFICATIONS, "worker.del"),
    (NOTIFICATIONS, "error"),
    (POLLING, "worker.list"),
];

/// The queue of a type.
pub(super) fn type_queue(kind: &WorkerType) -> ShortString {
    format!("mshost.job.{kind}").into()
}

/// The queue that shows whether workers which do not consume from a type's queue have jobs of it in hand.
pub(super) fn hold(kind: &WorkerType) -> ShortString {
    format!("mshost.hold.{kind}").into()
}

/// The queue of one worker.
pub(super) fn id_queue(id: &WorkerId) -> ShortString {
    format!("mshost.id.{id}").into()
}

/// The routing key of an address. A type has no `:`, an id has, so the two never meet.
pub(super) fn key(address: &Address) -> ShortString {
    match address {
        Address::Any(kind) => ShortString::from(&**kind),
        Address::One(id) => ShortString::from(&**id),
    }
}

/// The queue of a class of delays.
pub(super) fn retry(from: u64) -> ShortString {
    format!("mshost.retry.{from}").into()
}

/// The queue for a delay.
pub(super) fn retry_for(delay: Duration) -> ShortString {
    let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    retry(RETRY_FROM.into_iter().rev().find(|from| *from <= millis).unwrap_or(0))
}

/// Declares the exchanges that everybody needs.
pub(super) async fn declare_exchanges(channel: &Channel) -> lapin::Result<()> {
    exchange(channel, JOBS, ExchangeKind::Direct, true).await?;
    exchange(channel, NOTIFICATIONS, ExchangeKind::Topic, false).await?;
    exchange(channel, POLLING, ExchangeKind::Topic, false).await
}

/// What a queue for jobs is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueKind {
    pub(super) durability: Durability,
    /// The most messages; more are refused, so that their senders wait.
    pub(super) limit: usize,
}

impl QueueKind {
    /// Arguments that all of them have. What the broker gives up is not gone but in [`UNDONE`].
    fn arguments(self) -> FieldTable {
        let mut table = self.kept();
        table.insert("x-max-length".into(), AMQPValue::LongLongInt(i64::try_from(self.limit).unwrap_or(i64::MAX)));
        table.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        table.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
        table.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(UNDONE.into()));
        if self.durability == Durability::Replicated {
            table.insert("x-dead-letter-strategy".into(), AMQPValue::LongString("at-least-once".into()));
        }
        table
    }

    /// Arguments of a queue without limits.
    fn kept(self) -> FieldTable {
        match self.durability {
            Durability::Transient | Durability::Durable => FieldTable::default(),
            Durability::Replicated => arguments([
                ("x-queue-type", AMQPValue::LongString("quorum".into())),
                ("x-delivery-limit", AMQPValue::LongLongInt(NO_DELIVERY_LIMIT)),
            ]),
        }
    }

    async fn declare(self, channel: &Channel, name: ShortString, arguments: FieldTable) -> lapin::Result<()> {
        let durable = self.durability != Durability::Transient;
        let options = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
        channel.queue_declare(name, options, arguments).await.map(drop)
    }
}

/// Declares the queue of a type.
pub(super) async fn declare_type(channel: &Channel, kind: &WorkerType, like: QueueKind) -> lapin::Result<()> {
    like.declare(channel, type_queue(kind), like.arguments()).await
}

/// From here on jobs come to it.
pub(super) async fn bind_type(channel: &Channel, kind: &WorkerType) -> lapin::Result<()> {
    bind(channel, type_queue(kind), JOBS, kind.as_ref().into()).await
}

/// Declares the queue of [`hold`]. A classic queue that outlives its connection, as a broker may refuse others.
pub(super) async fn declare_hold(channel: &Channel, kind: &WorkerType) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(hold(kind), options, arguments([("x-expires", millis(HOLD_EXPIRES))])).await.map(drop)
}

/// Declares the queue of one worker: not exclusive, so that it outlives the connection.
pub(super) async fn declare_id(channel: &Channel, id: &WorkerId, like: QueueKind) -> lapin::Result<()> {
    let mut arguments = like.arguments();
    arguments.insert("x-expires".into(), millis(ID_EXPIRES));
    arguments.insert("x-message-ttl".into(), millis(ID_MESSAGES_EXPIRE));
    like.declare(channel, id_queue(id), arguments).await
}

/// As [`bind_type`] for the queue of one worker.
pub(super) async fn bind_id(channel: &Channel, id: &WorkerId) -> lapin::Result<()> {
    bind(channel, id_queue(id), JOBS, id.as_ref().into()).await
}

/// Declares one of the queues that all hosts share: retries, [`UNDONE`], [`DEAD`]. One that is there with other arguments is
/// used as it is: hosts whose settings differ can still work together. The broker's words about the difference are returned.
pub(super) async fn declare_shared(
    connection: &Connection,
    name: ShortString,
    durability: Durability,
    limit: Option<usize>,
) -> lapin::Result<Option<String>> {
    // It closes the channel by which it refuses.
    let channel = connection.create_channel().await?;
    // These outlive a restart also where jobs do not: nobody would declare them before they are needed.
    let durability = if durability == Durability::Transient { Durability::Durable } else { durability };
    let like = QueueKind { durability, limit: limit.unwrap_or_default() };
    let mut arguments = like.kept();
    if let Some(limit) = limit {
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(i64::try_from(limit).unwrap_or(i64::MAX)));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    }
    match like.declare(&channel, name, arguments).await {
        Err(error) if errors::code(&error) == Some(errors::PRECONDITION_FAILED) => Ok(Some(errors::text(&error))),
        declared => {
            declared?;
            channel.close(200, "declared".into()).await?;
            Ok(None)
        }
    }
}

/// Declares and binds the queue by which one host hears the jobs of the original's workers. Durable, because a broker may
/// refuse queues that are neither that nor exclusive; its messages are not.
pub(super) async fn declare_foreign(channel: &Channel) -> lapin::Result<()> {
    let arguments = arguments([
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-message-ttl", millis(FOREIGN_TTL)),
        ("x-expires", millis(FOREIGN_EXPIRES)),
        ("x-max-length", AMQPValue::LongLongInt(FOREIGN_LENGTH)),
    ]);
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(FOREIGN.into(), options, arguments).await?;
    bind(channel, FOREIGN.into(), NOTIFICATIONS, NEXT.into()).await
}

/// Undoes the binding of a queue of jobs: from here on jobs with this key are returned to their senders.
pub(super) async fn unbind_jobs(channel: &Channel, queue: ShortString, key: ShortString) -> lapin::Result<()> {
    channel.queue_unbind(queue, JOBS.into(), key, FieldTable::default()).await
}

/// Declares the queue that managers compete on. A classic queue, also where jobs are replicated: every host has to declare
/// the same. Nothing in it is worth a copy.
pub(super) async fn declare_manager(channel: &Channel) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let arguments = arguments([
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-max-length", AMQPValue::LongLongInt(MANAGER_LENGTH)),
    ]);
    channel.queue_declare(MANAGER.into(), options, arguments).await.map(drop)
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind, durable: bool) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await
}

/// Binds `queue` to `exchange`.
pub(super) async fn bind(channel: &Channel, queue: ShortString, exchange: &str, key: ShortString) -> lapin::Result<()> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn delays_share_a_queue_with_their_like() {
        let queue = |ms| retry_for(Duration::from_millis(ms)).to_string();
        let names = [0, 99, 100, 2_000, 9_999, 10_000, 86_400_000].map(queue);
        let expected = ["0", "0", "100", "1000", "1000", "10000", "100000"].map(|from| format!("mshost.retry.{from}"));
        assert_eq!(names, expected);
        assert_eq!(retry_for(Duration::MAX).as_str(), "mshost.retry.100000");
    }

    #[test]
    fn the_longest_names_fit_a_short_string() {
        let kind = WorkerType::new(&"x".repeat(mshost_plugin_api::MAX_NAME_BYTES)).unwrap();
        assert!(type_queue(&kind).as_str().len() <= 255);
        assert!(hold(&kind).as_str().len() <= 255);
    }
}
