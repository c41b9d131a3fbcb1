//! A job as an AMQP message, and back.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use mshost_plugin_api::{Codec, EncodeError};

use super::names;
use super::publisher::Outgoing;
use crate::bus::Job;
use crate::bus::codec::{decode_job, encode_job};
use crate::ids::{JobId, WorkerId};

/// AMQP's delivery mode for messages that survive the broker's restart.
const PERSISTENT: u8 = 2;

/// A job for `exchange`.
pub(super) fn encode(job: &Job, exchange: ShortString) -> Result<Outgoing, EncodeError> {
    let mut headers = FieldTable::default();
    headers.insert(names::ATTEMPT.into(), AMQPValue::LongUInt(job.attempt));
    headers.insert(names::ORIGIN.into(), AMQPValue::LongString((*job.origin.id).into()));
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let properties = BasicProperties::default()
        .with_message_id((*job.id).into())
        .with_correlation_id((*job.correlation).into())
        .with_content_type(job.payload.codec().content_type().into())
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(seconds)
        .with_headers(headers);
    Ok(Outgoing { exchange, key: names::key(job.route.target()), mandatory: true, properties, body: encode_job(job)? })
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
    let header = |name: &str| properties.headers().as_ref().and_then(|headers| headers.inner().get(name));
    let attempt = match header(names::ATTEMPT) {
        Some(AMQPValue::LongUInt(attempt)) => *attempt,
        // Whoever publishes by another library has what that makes of a small number.
        Some(AMQPValue::LongInt(attempt)) => u32::try_from(*attempt).unwrap_or(1),
        Some(AMQPValue::LongLongInt(attempt)) => u32::try_from(*attempt).unwrap_or(1),
        _ => 1,
    };
    let origin = match header(names::ORIGIN) {
        Some(AMQPValue::LongString(text)) => {
            std::str::from_utf8(text.as_bytes()).ok().and_then(|text| WorkerId::new(text).ok())
        }
        _ => None,
    };
    let correlation = properties.correlation_id().as_ref().and_then(|id| JobId::new(id.as_str()).ok());
    let job = Job {
        correlation: correlation.unwrap_or_else(|| wire.id.clone()),
        id: wire.id,
        route: wire.route,
        origin: origin.map_or_else(|| wire.sender.clone(), Into::into),
        sender: wire.sender,
        attempt: attempt.max(1),
        deadline: None,
        payload: wire.payload,
    };
    Ok((job, matches!(header(names::RESENT), Some(AMQPValue::Boolean(true)))))
}
