//! A job as an AMQP message, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use mshost_bus::codec::{decode_job, encode_job};
use mshost_bus::{Death, DeathReason, Durability, Job};
use mshost_core::ids::{JobId, WorkerId};
use mshost_plugin_api::{Codec, EncodeError};

use super::names;
use super::publisher::Outgoing;

/// AMQP's delivery modes: for messages that the broker may forget when it restarts, and for those that it may not.
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// Writes messages for a bus of this durability.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    delivery_mode: u8,
}

impl Writer {
    pub(super) fn new(durability: Durability) -> Self {
        Self { delivery_mode: if durability == Durability::Transient { TRANSIENT } else { PERSISTENT } }
    }

    /// For those that it is addressed to. `deliveries`: how often it was delivered before and never settled.
    pub(super) fn job(self, job: &Job, deliveries: u32) -> Result<Outgoing, EncodeError> {
        let mut message =
            self.message(job, names::JOBS.into(), names::key(job.route.target()), counted(job, deliveries))?;
        if let Some(deadline) = job.deadline {
            // At 0 a broker gives it to nobody who is not waiting already.
            let left = deadline.duration_since(SystemTime::now()).unwrap_or_default().max(Duration::from_millis(1));
            message.properties = message.properties.with_expiration(left.as_millis().to_string().into());
        }
        Ok(message)
    }

    /// For the queue that keeps it until it is due. `deliveries`: as in [`Writer::job`].
    pub(super) fn delayed(self, job: &Job, after: Duration, deliveries: u32) -> Result<Outgoing, EncodeError> {
        let mut headers = counted(job, deliveries);
        headers.insert(names::DUE.into(), timestamp(SystemTime::now() + after));
        self.message(job, "".into(), names::retry_for(after), headers)
    }

    /// For the dead letters.
    pub(super) fn dead(self, job: &Job, death: &Death) -> Result<Outgoing, EncodeError> {
        let mut headers = headers(job);
        write_death(&mut headers, death);
        self.message(job, "".into(), names::DEAD.into(), headers)
    }

    /// For the dead letters, as it came: it is not a job.
    pub(super) fn dead_as_it_came(self, properties: &BasicProperties, body: Bytes, death: &Death) -> Outgoing {
        let mut headers = FieldTable::default();
        write_death(&mut headers, death);
        let mut kept = BasicProperties::default().with_delivery_mode(self.delivery_mode).with_headers(headers);
        if let Some(content_type) = properties.content_type() {
            kept = kept.with_content_type(content_type.clone());
        }
        let id = properties.message_id().as_ref().map_or_else(|| unique("malformed"), ToString::to_string);
        let properties = kept.with_message_id(id.into());
        Outgoing { exchange: "".into(), key: names::DEAD.into(), mandatory: true, properties, body }
    }

    fn message(
        self,
        job: &Job,
        exchange: ShortString,
        key: ShortString,
        headers: FieldTable,
    ) -> Result<Outgoing, EncodeError> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut properties = BasicProperties::default()
            .with_message_id((*job.id).into())
            .with_content_type(job.payload.codec().content_type().into())
            .with_delivery_mode(self.delivery_mode)
            .with_timestamp(seconds)
            .with_headers(headers);
        if job.correlation != job.id {
            properties = properties.with_correlation_id((*job.correlation).into());
        }
        Ok(Outgoing { exchange, key, mandatory: true, properties, body: encode_job(job)? })
    }
}

/// What no other message of this process has for its id.
fn unique(what: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{what}-{now:x}")
}

fn headers(job: &Job) -> FieldTable {
    let mut headers = FieldTable::default();
    // What the reader takes for granted is left out: the broker reads every header.
    if job.attempt > 1 {
        headers.insert(names::ATTEMPT.into(), AMQPValue::LongUInt(job.attempt));
    }
    if job.origin.id != job.sender.id {
        headers.insert(names::ORIGIN.into(), AMQPValue::LongString((*job.origin.id).into()));
    }
    if let Some(deadline) = job.deadline {
        headers.insert(names::DEADLINE.into(), timestamp(deadline));
    }
    headers
}

fn counted(job: &Job, deliveries: u32) -> FieldTable {
    let mut headers = headers(job);
    if deliveries > 0 {
        headers.insert(names::DELIVERIES.into(), AMQPValue::LongUInt(deliveries));
    }
    headers
}

fn write_death(headers: &mut FieldTable, death: &Death) {
    headers.insert(names::DEATH.into(), AMQPValue::LongString(death.reason.name().into()));
    headers.insert(names::DEATH_ERROR.into(), AMQPValue::LongString(death.error.as_str().into()));
    headers.insert(names::DEATH_AT.into(), timestamp(death.at));
    if let Some(worker) = &death.worker {
        headers.insert(names::DEATH_WORKER.into(), AMQPValue::LongString((*worker.id).into()));
    }
}

/// Milliseconds since the epoch.
fn timestamp(time: SystemTime) -> AMQPValue {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    AMQPValue::LongLongInt(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// The headers of a message, whatever library wrote them.
pub(super) struct Headers<'m>(Option<&'m FieldTable>);

impl<'m> Headers<'m> {
    pub(super) fn of(properties: &'m BasicProperties) -> Self {
        Self(properties.headers().as_ref())
    }

    fn get(&self, name: &str) -> Option<&'m AMQPValue> {
        self.0?.inner().get(name)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        Some(match self.get(name)? {
            AMQPValue::ShortShortInt(number) => (*number).into(),
            AMQPValue::ShortShortUInt(number) => (*number).into(),
            AMQPValue::ShortInt(number) => (*number).into(),
            AMQPValue::ShortUInt(number) => (*number).into(),
            AMQPValue::LongInt(number) => (*number).into(),
            AMQPValue::LongUInt(number) => (*number).into(),
            AMQPValue::LongLongInt(number) => *number,
            _ => return None,
        })
    }

    pub(super) fn text(&self, name: &str) -> Option<&'m str> {
        match self.get(name)? {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
            _ => None,
        }
    }

    pub(super) fn time(&self, name: &str) -> Option<SystemTime> {
        let millis = u64::try_from(self.number(name)?).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }

    fn count(&self, name: &str) -> u32 {
        self.number(name).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }

    /// How often it was delivered before and never settled, by our own count.
    pub(super) fn counted(&self) -> u32 {
        self.count(names::DELIVERIES)
    }

    /// How often it was delivered before and never settled: by the broker's own count, where it keeps one (quorum queues),
    /// and by ours. The second says whether the broker counts.
    pub(super) fn deliveries(&self) -> (u32, bool) {
        let by_broker = self.get(names::DELIVERY_COUNT).is_some();
        (self.counted().saturating_add(self.count(names::DELIVERY_COUNT)), by_broker)
    }

    /// Why the broker itself gave the message up: `expired`, `rejected`, `delivery_limit`.
    pub(super) fn broker_reason(&self) -> Option<&'m str> {
        let AMQPValue::FieldArray(deaths) = self.get("x-death")? else { return None };
        let AMQPValue::FieldTable(last) = deaths.as_slice().first()? else { return None };
        match last.inner().get("reason")? {
            AMQPValue::LongString(reason) => std::str::from_utf8(reason.as_bytes()).ok(),
            _ => None,
        }
    }

    /// Why a dead letter is one.
    pub(super) fn death(&self) -> Option<Death> {
        Some(Death {
            reason: DeathReason::of_name(self.text(names::DEATH)?)?,
            error: self.text(names::DEATH_ERROR).unwrap_or_default().to_owned(),
            worker: self.text(names::DEATH_WORKER).and_then(|id| WorkerId::new(id).ok()).map(Into::into),
            at: self.time(names::DEATH_AT).unwrap_or(UNIX_EPOCH),
        })
    }
}

/// Why a message is no job.
#[derive(Debug)]
pub(super) struct Malformed {
    /// For `mshost_malformed_total{kind}`.
    pub(super) kind: &'static str,
    pub(super) reason: String,
}

/// A job, and whether it may have been published before.
pub(super) fn decode(codec: Codec, properties: &BasicProperties, body: &Bytes) -> Result<(Job, bool), Malformed> {
    if let Some(found) = properties.content_type().as_ref()
        && found.as_str() != codec.content_type()
    {
        let reason = format!("expected a job in {codec} ({}), found {found}", codec.content_type());
        return Err(Malformed { kind: "codec", reason });
    }
    let wire = decode_job(codec, body).map_err(|error| Malformed { kind: error.kind(), reason: error.to_string() })?;
    let headers = Headers::of(properties);
    let origin = headers.text(names::ORIGIN).and_then(|text| WorkerId::new(text).ok());
    let correlation = properties.correlation_id().as_ref().and_then(|id| JobId::new(id.as_str()).ok());
    let job = Job {
        correlation: correlation.unwrap_or_else(|| wire.id.clone()),
        id: wire.id,
        route: wire.route,
        origin: origin.map_or_else(|| wire.sender.clone(), Into::into),
        sender: wire.sender,
        attempt: headers.count(names::ATTEMPT).max(1),
        deadline: headers.time(names::DEADLINE),
        payload: wire.payload,
    };
    Ok((job, matches!(headers.get(names::RESENT), Some(AMQPValue::Boolean(true)))))
}
