//! Writes jobs and dead letters as messages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use mshost_bus::codec::encode_job;
use mshost_bus::{Death, Durability, Job};
use mshost_plugin_api::EncodeError;

use super::headers::{self, timestamp};
use super::outgoing::OutgoingMessage;
use crate::broker_objects::names;

/// AMQP's delivery modes: for messages that the broker may forget when it restarts, and for those that it may not.
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// Writes messages for a bus of this durability.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageWriter {
    delivery_mode: u8,
}

impl MessageWriter {
    pub(crate) fn new(durability: Durability) -> Self {
        Self { delivery_mode: if durability == Durability::Transient { TRANSIENT } else { PERSISTENT } }
    }

    /// For those that it is addressed to. `deliveries`: how often it was delivered before and never settled.
    pub(crate) fn job(self, job: &Job, deliveries: u32) -> Result<OutgoingMessage, EncodeError> {
        let mut message =
            self.message(job, names::JOBS.into(), names::key(job.route.target()), counted(job, deliveries))?;
        if let Some(deadline) = job.deadline {
            // At 0 a broker delivers it only to a consumer that is waiting already.
            let left = deadline.duration_since(SystemTime::now()).unwrap_or_default().max(Duration::from_millis(1));
            message.properties = message.properties.with_expiration(left.as_millis().to_string().into());
        }
        Ok(message)
    }

    /// For the queue that keeps it until it is due. `deliveries`: as in [`MessageWriter::job`].
    pub(crate) fn delayed(self, job: &Job, after: Duration, deliveries: u32) -> Result<OutgoingMessage, EncodeError> {
        let mut headers = counted(job, deliveries);
        headers.insert(headers::DUE.into(), timestamp(SystemTime::now() + after));
        self.message(job, "".into(), names::retry_queue_for(after), headers)
    }

    /// For the dead letters.
    pub(crate) fn dead(self, job: &Job, death: &Death) -> Result<OutgoingMessage, EncodeError> {
        let mut headers = job_headers(job);
        write_death(&mut headers, death);
        self.message(job, "".into(), names::DEAD_LETTERS.into(), headers)
    }

    /// For the dead letters, as it came: it is not a job.
    pub(crate) fn dead_as_it_came(self, properties: &BasicProperties, body: Bytes, death: &Death) -> OutgoingMessage {
        let mut headers = FieldTable::default();
        write_death(&mut headers, death);
        let mut kept = BasicProperties::default().with_delivery_mode(self.delivery_mode).with_headers(headers);
        if let Some(content_type) = properties.content_type() {
            kept = kept.with_content_type(content_type.clone());
        }
        let id = properties.message_id().as_ref().map_or_else(|| unique("malformed"), ToString::to_string);
        let properties = kept.with_message_id(id.into());
        OutgoingMessage { exchange: "".into(), key: names::DEAD_LETTERS.into(), mandatory: true, properties, body }
    }

    fn message(
        self,
        job: &Job,
        exchange: ShortString,
        key: ShortString,
        headers: FieldTable,
    ) -> Result<OutgoingMessage, EncodeError> {
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
        Ok(OutgoingMessage { exchange, key, mandatory: true, properties, body: encode_job(job)? })
    }
}

/// What no other message of this process has for its id.
fn unique(what: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{what}-{now:x}")
}

fn job_headers(job: &Job) -> FieldTable {
    let mut headers = FieldTable::default();
    // What the reader takes for granted is left out: the broker reads every header.
    if job.attempt > 1 {
        headers.insert(headers::ATTEMPT.into(), AMQPValue::LongUInt(job.attempt));
    }
    if job.origin.id != job.sender.id {
        headers.insert(headers::ORIGIN.into(), AMQPValue::LongString((*job.origin.id).into()));
    }
    if let Some(deadline) = job.deadline {
        headers.insert(headers::DEADLINE.into(), timestamp(deadline));
    }
    headers
}

fn counted(job: &Job, deliveries: u32) -> FieldTable {
    let mut headers = job_headers(job);
    if deliveries > 0 {
        headers.insert(headers::DELIVERIES.into(), AMQPValue::LongUInt(deliveries));
    }
    headers
}

fn write_death(headers: &mut FieldTable, death: &Death) {
    headers.insert(headers::DEATH.into(), AMQPValue::LongString(death.reason.name().into()));
    headers.insert(headers::DEATH_ERROR.into(), AMQPValue::LongString(death.error.as_str().into()));
    headers.insert(headers::DEATH_AT.into(), timestamp(death.at));
    if let Some(worker) = &death.worker {
        headers.insert(headers::DEATH_WORKER.into(), AMQPValue::LongString((*worker.id).into()));
    }
}
