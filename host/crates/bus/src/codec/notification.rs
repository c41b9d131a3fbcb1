//! Notifications on the wire: the messages of the exchanges `notifications` and `polling`.

use bytes::Bytes;
use mshost_core::ids::{JobId, WorkerId, WorkerRef, WorkerType};
use mshost_plugin_api::{Codec, EncodeError};
use serde::Deserialize;

use super::fields::{self, FailureTarget, MshostFields, mshost_fields};
use super::job::{encode_taken, encode_wire_job};
use super::malformed::{FaultKind, Malformed, WireFault};
use super::shape::EnvelopeShape;
use super::well_formed;
use super::write::{MapWriter, serialize};
use crate::notification::{Announcement, Failure, Notification, PoolEntry};

/// The exchange of all notifications but one.
pub const NOTIFICATIONS: &str = "notifications";
/// The exchange of [`Notification::ListRequest`].
pub const POLLING: &str = "polling";

/// What the manager of MicroServices.js says, word for word and not encoded.
const GET_ALL_TEXT: &[u8] = b"Hi workers, tell me who's online";
/// Any text would do.
const LIST_REQUEST_TEXT: &[u8] = b"Show me the list of workers";

const NEW: &str = "worker.new";
const NEW_SEND: &str = "worker.new.send";
const NEW_RESEND: &str = "worker.new.resend";
const GET_ALL: &str = "worker.getAll";
const LIST: &str = "worker.list";
const DEL: &str = "worker.del";
const ERROR: &str = "error";
const NEXT: &str = "worker.next";
const TAKEN: &str = "worker.next.ack";

/// A notification as it is published. It carries no AMQP properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The exchange.
    pub exchange: &'static str,
    /// The routing key.
    pub routing_key: &'static str,
    /// The body.
    pub body: Bytes,
}

/// Where a notification is published: its exchange and its routing key.
#[must_use]
pub fn routing_key(notification: &Notification) -> (&'static str, &'static str) {
    match notification {
        Notification::New { resend: false, .. } => (NOTIFICATIONS, NEW_SEND),
        Notification::New { resend: true, .. } => (NOTIFICATIONS, NEW_RESEND),
        Notification::GetAll => (NOTIFICATIONS, GET_ALL),
        Notification::List(_) => (NOTIFICATIONS, LIST),
        Notification::Del(_) => (NOTIFICATIONS, DEL),
        Notification::Error(_) => (NOTIFICATIONS, ERROR),
        Notification::ListRequest => (POLLING, LIST),
        Notification::Next(_) => (NOTIFICATIONS, NEXT),
        Notification::Taken { .. } => (NOTIFICATIONS, TAKEN),
    }
}

/// Writes a notification. `None` where the codec cannot: BSON has no arrays at its top level, and MicroServices.js throws on
/// whatever comes instead of `worker.list`.
///
/// # Errors
/// Where the data of a job is not one well-formed value in the bus's codec.
pub fn encode_notification(codec: Codec, notification: &Notification) -> Result<Option<Message>, EncodeError> {
    let body = match notification {
        Notification::New { worker, .. } => encode_new(codec, worker)?,
        Notification::GetAll => Bytes::from_static(GET_ALL_TEXT),
        Notification::List(_) if codec == Codec::Bson => return Ok(None),
        Notification::List(pool) => serialize(codec, pool)?.into(),
        Notification::Del(worker) => serialize(codec, worker)?.into(),
        Notification::Error(failure) => encode_error(codec, failure)?,
        Notification::ListRequest => Bytes::from_static(LIST_REQUEST_TEXT),
        Notification::Next(job) => encode_wire_job(job)?,
        Notification::Taken { job, by_id } => encode_taken(job, *by_id)?,
    };
    let (exchange, routing_key) = routing_key(notification);
    Ok(Some(Message { exchange, routing_key, body }))
}

fn encode_new(codec: Codec, worker: &Announcement) -> Result<Bytes, EncodeError> {
    let mut map = MapWriter::new(codec, 0);
    map.field("id", &worker.worker.id)?;
    map.field("type", &worker.worker.worker_type)?;
    if worker.host.is_some() {
        map.field("mshost", &MshostFields { host: worker.host.clone(), ..MshostFields::default() })?;
    }
    map.finish()
}

fn encode_error(codec: Codec, failure: &Failure) -> Result<Bytes, EncodeError> {
    let mut map = MapWriter::new(codec, failure.payload.as_ref().map_or(0, |payload| payload.bytes().len()));
    map.field("target", &failure.target.id)?;
    map.field("error", &failure.error)?;
    map.field("id", &failure.id)?;
    if let Some(payload) = &failure.payload {
        map.data(payload)?;
    }
    let mshost_fields =
        MshostFields { host: None, correlation: Some(failure.correlation.clone()), reporter: failure.reporter.clone() };
    map.field("mshost", &mshost_fields)?;
    map.finish()
}

/// Reads a notification, by the exchange and the routing key that it came with. What is said of the jobs of MicroServices.js is
/// not one: [`super::decode_job`] reads it.
///
/// # Errors
/// Where the routing key is no notification's, or the body is not what it announces.
pub fn decode_notification(
    codec: Codec,
    exchange: &str,
    routing_key: &str,
    body: &Bytes,
) -> Result<Notification, Malformed> {
    let what = match (exchange, routing_key) {
        (NOTIFICATIONS, NEW | NEW_SEND | NEW_RESEND) => "announcement (`worker.new`)",
        (NOTIFICATIONS, LIST) => "list of workers (`worker.list`)",
        (NOTIFICATIONS, DEL) => "farewell (`worker.del`)",
        (NOTIFICATIONS, ERROR) => "report of a failed job (`error`)",
        _ => "notification",
    };
    let decoded = match (exchange, routing_key) {
        (NOTIFICATIONS, NEW | NEW_SEND) => decode_new(codec, body, false),
        (NOTIFICATIONS, NEW_RESEND) => decode_new(codec, body, true),
        (NOTIFICATIONS, GET_ALL) => Ok(Notification::GetAll),
        (NOTIFICATIONS, LIST) => decode_list(codec, body),
        (NOTIFICATIONS, DEL) => decode_del(codec, body),
        (NOTIFICATIONS, ERROR) => decode_error(codec, body),
        (POLLING, LIST) => Ok(Notification::ListRequest),
        _ => Err(WireFault::new(
            FaultKind::RoutingKey,
            format!("no notification has the routing key {routing_key:?} on exchange {exchange:?}"),
        )),
    };
    decoded.map_err(|fault| Malformed::new(what, codec, fault))
}

fn decode_new(codec: Codec, body: &Bytes, resend: bool) -> Result<Notification, WireFault> {
    #[derive(Deserialize)]
    struct NewBody {
        id: WorkerId,
        #[serde(rename = "type")]
        worker_type: WorkerType,
        #[serde(default, deserialize_with = "mshost_fields")]
        mshost: MshostFields,
    }

    well_formed::check_map(codec, body)?;
    let NewBody { id, worker_type, mshost } = fields::read(codec, body)?;
    let worker = Announcement { worker: WorkerRef { id, worker_type }, host: mshost.host };
    Ok(Notification::New { worker, resend })
}

fn decode_list(codec: Codec, body: &Bytes) -> Result<Notification, WireFault> {
    let shape = well_formed::check(codec, body)?;
    // An array at the top of a BSON message is a document with the keys "0", "1", …
    if matches!(shape, EnvelopeShape::Map { .. }) != (codec == Codec::Bson) {
        return Err(WireFault::field("expected an array of {worker, isNext} at its top level"));
    }
    let pool: Vec<PoolEntry> = match codec {
        Codec::Bson => fields::read::<fields::Values<PoolEntry>>(codec, body)?.0,
        Codec::Json | Codec::MsgPack => fields::read(codec, body)?,
    };
    Ok(Notification::List(pool))
}

fn decode_del(codec: Codec, body: &Bytes) -> Result<Notification, WireFault> {
    well_formed::check_map(codec, body)?;
    fields::read(codec, body).map(Notification::Del)
}

fn decode_error(codec: Codec, body: &Bytes) -> Result<Notification, WireFault> {
    #[derive(Deserialize)]
    struct ErrorBody {
        target: FailureTarget,
        error: String,
        id: JobId,
        #[serde(default, deserialize_with = "mshost_fields")]
        mshost: MshostFields,
    }

    let data = well_formed::check_map(codec, body)?;
    let ErrorBody { target, error, id, mshost } = fields::read(codec, body)?;
    Ok(Notification::Error(Failure {
        target: target.0,
        error,
        correlation: mshost.correlation.unwrap_or_else(|| id.clone()),
        id,
        reporter: mshost.reporter,
        payload: data.map(|data| fields::payload(codec, body, data)),
    }))
}
