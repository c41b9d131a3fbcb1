//! A job on the wire: `{workers_list, workers_list_id, data, sender, id}`.

use bytes::Bytes;
use mshost_core::ids::{JobId, WorkerRef};
use mshost_plugin_api::{Codec, EncodeError, Payload, Route};
use serde::Deserialize;

use super::fields::{self, Addresses, RoutePosition};
use super::malformed::{Malformed, WireFault};
use super::well_formed;
use super::write::MapWriter;
use crate::job::Job;
use crate::wire_job::WireJob;

const WHAT: &str = "job";

/// Writes a job in the codec of its payload, which is copied as it is.
///
/// # Errors
/// Where the payload's bytes are not one well-formed value in that codec.
pub fn encode_job(job: &Job) -> Result<Bytes, EncodeError> {
    envelope(&job.id, &job.route, &job.sender, &job.payload)?.finish()
}

/// As [`encode_job`], of what was read from the wire or goes there alone.
pub(super) fn encode_wire_job(job: &WireJob) -> Result<Bytes, EncodeError> {
    envelope(&job.id, &job.route, &job.sender, &job.payload)?.finish()
}

/// A job that is taken; `ignore_update` where no pool of MicroServices.js is to count it.
pub(super) fn encode_taken(job: &WireJob, ignore_update: bool) -> Result<Bytes, EncodeError> {
    let mut map = envelope(&job.id, &job.route, &job.sender, &job.payload)?;
    if ignore_update {
        map.field("ignoreUpdate", &true)?;
    }
    map.finish()
}

fn envelope(id: &JobId, route: &Route, sender: &WorkerRef, payload: &Payload) -> Result<MapWriter, EncodeError> {
    let mut map = MapWriter::new(payload.codec(), payload.bytes().len());
    map.field("workers_list", &route.addresses())?;
    // A route has at most 64 addresses. As an i32 it has the same form as JavaScript gives it in all codecs.
    map.field("workers_list_id", &(route.position() as i32))?;
    map.data(payload)?;
    map.field("sender", sender)?;
    map.field("id", id)?;
    Ok(map)
}

/// Reads a job. Keys may come in any order, unknown ones are ignored, a missing `data` is null, and a bare `TYPE` in
/// `workers_list` means `TYPE:*`.
///
/// # Errors
/// Where the body is not a job; nothing of it should be done.
pub fn decode_job(codec: Codec, body: &Bytes) -> Result<WireJob, Malformed> {
    decode(codec, body).map_err(|fault| Malformed::new(WHAT, codec, fault))
}

fn decode(codec: Codec, body: &Bytes) -> Result<WireJob, WireFault> {
    #[derive(Deserialize)]
    struct Envelope {
        workers_list: Addresses,
        workers_list_id: RoutePosition,
        sender: WorkerRef,
        id: JobId,
    }

    let data = well_formed::check_map(codec, body)?;
    let envelope: Envelope = fields::read(codec, body)?;
    let route = Route::new(envelope.workers_list.0, envelope.workers_list_id.0).map_err(WireFault::field)?;
    let payload = data.map_or_else(|| fields::null(codec), |data| fields::payload(codec, body, data));
    Ok(WireJob { id: envelope.id, route, sender: envelope.sender, payload })
}
