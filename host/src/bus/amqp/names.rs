//! Every exchange, queue and argument that this engine declares, in one place.
//!
//! | object | kind | for |
//! |---|---|---|
//! | `mshost.jobs` | direct, durable | jobs; the key is the worker type or the worker id. No alternate exchange: it would suppress `basic.return` |
//! | `mshost.due` | direct, durable, alternate exchange `mshost.stranded` | jobs whose retry delay is over; bound like `mshost.jobs` |
//! | `mshost.job.TYPE` | durable queue | workers of a type compete for it |
//! | `mshost.id.ID` | durable queue, expires when unused | one worker |
//! | `mshost.retry.MS` | fanout and queue, expire when unused | holds a job for MS milliseconds, then dead-letters it to `mshost.due` with its key |
//! | `mshost.stranded` | fanout and queue, durable | jobs that were due when nobody could take them; a host reports each to its sender |
//! | `notifications`, `polling` | topic, not durable, not auto-delete | the original's; anything else is refused by both sides |

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::bus::codec::{NOTIFICATIONS, POLLING};
use crate::ids::{Address, WorkerId, WorkerType};

/// Jobs are published here.
pub(super) const JOBS: &str = "mshost.jobs";
/// Jobs come here when their delay is over.
const DUE: &str = "mshost.due";
/// Jobs that were due when nobody could take them.
pub(super) const STRANDED: &str = "mshost.stranded";

/// Attempt number of a job; 1 where absent.
pub(super) const ATTEMPT: &str = "x-mshost-attempt";
/// Id of the worker that sent the first job of the pipeline; the job's sender where absent.
pub(super) const ORIGIN: &str = "x-mshost-origin";
/// Set on a job that was published again because its first confirm never came: the first copy may have arrived.
pub(super) const RESENT: &str = "x-mshost-resent";

/// A worker that reconnects within this time finds the jobs that wait for its id.
const ID_EXPIRES: Duration = Duration::from_secs(30 * 60);
/// A delay queue is declared again when its last declaration is older than this: publishing does not count as use.
pub(super) const RETRY_REDECLARE: Duration = Duration::from_secs(60);
/// The steps that delays are rounded up to, in each power of ten of milliseconds; so there are few queues.
const RETRY_STEPS: [u64; 3] = [1, 2, 5];
/// The longest delay.
const RETRY_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest delay; anything less is not worth a queue.
const RETRY_MIN: u64 = 10;

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

/// The exchange (and queue) of a delay.
pub(super) fn retry(delay: Duration) -> ShortString {
    format!("mshost.retry.{}", delay.as_millis()).into()
}

/// Rounds a delay up to 1, 2 or 5 times a power of ten milliseconds, from 10 ms to a day.
pub(super) fn round_delay(after: Duration) -> Duration {
    let wanted = u64::try_from(after.min(RETRY_MAX).as_millis()).unwrap_or(u64::MAX).max(RETRY_MIN);
    let mut power = 1;
    loop {
        if let Some(step) = RETRY_STEPS.into_iter().find(|step| step * power >= wanted) {
            return Duration::from_millis(step * power).min(RETRY_MAX);
        }
        power *= 10;
    }
}

/// Declares the exchanges that everybody needs.
pub(super) async fn declare_exchanges(channel: &Channel) -> lapin::Result<()> {
    exchange(channel, JOBS, ExchangeKind::Direct, true, FieldTable::default()).await?;
    exchange(channel, STRANDED, ExchangeKind::Fanout, true, FieldTable::default()).await?;
    let stranded = arguments([("alternate-exchange", AMQPValue::LongString(STRANDED.into()))]);
    exchange(channel, DUE, ExchangeKind::Direct, true, stranded).await?;
    queue(channel, STRANDED.into(), FieldTable::default()).await?;
    bind(channel, STRANDED.into(), STRANDED, "".into()).await?;
    exchange(channel, NOTIFICATIONS, ExchangeKind::Topic, false, FieldTable::default()).await?;
    exchange(channel, POLLING, ExchangeKind::Topic, false, FieldTable::default()).await
}

/// Declares and binds the queue of a type.
pub(super) async fn declare_type(channel: &Channel, kind: &WorkerType) -> lapin::Result<()> {
    queue(channel, type_queue(kind), FieldTable::default()).await?;
    bind_jobs(channel, type_queue(kind), kind.as_ref().into()).await
}

/// Declares and binds the queue of one worker. Durable, so that it outlives the broker's restart; not exclusive, so that
/// it outlives the connection.
pub(super) async fn declare_id(channel: &Channel, id: &WorkerId) -> lapin::Result<()> {
    queue(channel, id_queue(id), arguments([("x-expires", millis(ID_EXPIRES))])).await?;
    bind_jobs(channel, id_queue(id), id.as_ref().into()).await
}

/// Declares the exchange and the queue of a delay. The queue outlives the last message that can be put into it before it
/// is declared again.
pub(super) async fn declare_retry(channel: &Channel, delay: Duration) -> lapin::Result<()> {
    let name = retry(delay);
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.clone(), ExchangeKind::Fanout, options, FieldTable::default()).await?;
    let arguments = arguments([
        ("x-message-ttl", millis(delay)),
        ("x-expires", millis(delay * 2 + RETRY_REDECLARE * 10)),
        ("x-dead-letter-exchange", AMQPValue::LongString(DUE.into())),
    ]);
    queue(channel, name.clone(), arguments).await?;
    channel.queue_bind(name.clone(), name, "".into(), QueueBindOptions::default(), FieldTable::default()).await
}

/// Binds a queue to both exchanges that jobs come from.
pub(super) async fn bind_jobs(channel: &Channel, queue: ShortString, key: ShortString) -> lapin::Result<()> {
    bind(channel, queue.clone(), JOBS, key.clone()).await?;
    bind(channel, queue, DUE, key).await
}

/// Undoes [`bind_jobs`]: from here on jobs with this key are returned to their senders.
pub(super) async fn unbind_jobs(channel: &Channel, queue: ShortString, key: ShortString) -> lapin::Result<()> {
    for exchange in [JOBS, DUE] {
        channel.queue_unbind(queue.clone(), exchange.into(), key.clone(), FieldTable::default()).await?;
    }
    Ok(())
}

async fn exchange(
    channel: &Channel,
    name: &str,
    kind: ExchangeKind,
    durable: bool,
    arguments: FieldTable,
) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), kind, options, arguments).await
}

async fn queue(channel: &Channel, name: ShortString, arguments: FieldTable) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name, options, arguments).await.map(drop)
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
    fn delays_are_rounded_up_to_few_steps() {
        let rounded = |ms| round_delay(Duration::from_millis(ms)).as_millis();
        assert_eq!([0, 1, 10, 11, 21, 50, 51, 2_000, 2_001].map(rounded), [10, 10, 10, 20, 50, 50, 100, 2_000, 5_000]);
        assert_eq!(round_delay(Duration::MAX), RETRY_MAX);
        let all: std::collections::BTreeSet<_> = (0..100_000).map(rounded).collect();
        assert!(all.len() <= 13, "{all:?}");
    }

    #[test]
    fn the_longest_names_fit_a_short_string() {
        let kind = WorkerType::new(&"x".repeat(mshost_plugin_api::MAX_NAME_BYTES)).unwrap();
        assert!(type_queue(&kind).as_str().len() <= 255);
    }
}
