//! Reads a job from a message.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use mshost_bus::Job;
use mshost_bus::codec::decode_job;
use mshost_core::ids::{JobId, WorkerId};
use mshost_plugin_api::Codec;

use super::headers::{self, JobHeaders};

/// Why a message is no job.
#[derive(Debug)]
pub(crate) struct MalformedJob {
    /// For `mshost_malformed_total{kind}`.
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
}

/// A job, and whether it may have been published before.
pub(crate) fn decode(codec: Codec, properties: &BasicProperties, body: &Bytes) -> Result<(Job, bool), MalformedJob> {
    if let Some(found) = properties.content_type().as_ref()
        && found.as_str() != codec.content_type()
    {
        let reason = format!("expected a job in {codec} ({}), found {found}", codec.content_type());
        return Err(MalformedJob { kind: "codec", reason });
    }
    let wire =
        decode_job(codec, body).map_err(|error| MalformedJob { kind: error.kind(), reason: error.to_string() })?;
    let read = JobHeaders::of(properties);
    let origin = read.text(headers::ORIGIN).and_then(|text| WorkerId::new(text).ok());
    let correlation = properties.correlation_id().as_ref().and_then(|id| JobId::new(id.as_str()).ok());
    let job = Job {
        correlation: correlation.unwrap_or_else(|| wire.id.clone()),
        id: wire.id,
        route: wire.route,
        origin: origin.map_or_else(|| wire.sender.clone(), Into::into),
        sender: wire.sender,
        attempt: read.count(headers::ATTEMPT).max(1),
        deadline: read.time(headers::DEADLINE),
        payload: wire.payload,
    };
    Ok((job, matches!(read.get(headers::RESENT), Some(AMQPValue::Boolean(true)))))
}
