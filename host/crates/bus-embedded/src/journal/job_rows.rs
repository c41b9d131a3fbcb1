//! Jobs as rows: the body as on the wire, and beside it what travels in a broker's headers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mshost_bus::codec::{decode_job, encode_job};
use mshost_bus::{Codec, DeadLetter, Death, DeathReason, Job};
use mshost_core::ids::{JobId, WorkerId};
use mshost_plugin_api::EncodeError;
use rusqlite::Row;

use super::record_id::RecordId;
use super::restored::{RestoredJob, UnreadableJob};

/// A job as it is first written.
#[derive(Debug)]
pub(crate) struct JobRow {
    pub(super) body: Bytes,
    pub(super) correlation: JobId,
    pub(super) origin: WorkerId,
    pub(super) attempt: u32,
    pub(super) deadline: Option<i64>,
}

impl JobRow {
    pub(super) fn of(job: &Job) -> Result<Self, EncodeError> {
        Ok(Self {
            body: encode_job(job)?,
            correlation: job.correlation.clone(),
            origin: job.origin.id.clone(),
            attempt: job.attempt,
            deadline: job.deadline.map(millis),
        })
    }
}

/// The columns that [`restored`] and [`dead`] begin with.
pub(super) const JOB_COLUMNS: &str = "record, body, correlation, origin, attempt, deadline";

/// Reads [`JOB_COLUMNS`], `due` and `deliveries`.
pub(super) fn restored(row: &Row<'_>, codec: Codec) -> rusqlite::Result<RestoredJob> {
    Ok(RestoredJob {
        record: RecordId::new(row.get(0)?),
        job: job(row, codec)?,
        due: row.get::<_, Option<i64>>(6)?.map(time),
        deliveries: row.get(7)?,
    })
}

/// Reads [`JOB_COLUMNS`], `id`, `reason`, `error`, `worker` and `at`.
pub(super) fn dead(row: &Row<'_>, codec: Codec) -> rusqlite::Result<(RecordId, DeadLetter)> {
    let (reason, worker): (String, Option<String>) = (row.get(7)?, row.get(9)?);
    let death = Death {
        // A reason of a newer version that did not change the schema.
        reason: DeathReason::of_name(&reason).unwrap_or(DeathReason::Malformed),
        error: row.get(8)?,
        worker: worker.and_then(|id| WorkerId::new(&id).ok()).map(Into::into),
        at: time(row.get(10)?),
    };
    let (job, raw) = match job(row, codec)? {
        Ok(job) => (Some(job), None),
        Err(UnreadableJob { raw, .. }) => (None, Some(raw)),
    };
    Ok((RecordId::new(row.get(0)?), DeadLetter { id: row.get(6)?, job, raw, death }))
}

fn job(row: &Row<'_>, codec: Codec) -> rusqlite::Result<Result<Job, UnreadableJob>> {
    let body = Bytes::from(row.get::<_, Vec<u8>>(1)?);
    let (correlation, origin): (String, String) = (row.get(2)?, row.get(3)?);
    let (attempt, deadline): (u32, Option<i64>) = (row.get(4)?, row.get(5)?);
    let read = || -> Result<Job, String> {
        let wire = decode_job(codec, &body).map_err(|error| error.to_string())?;
        let correlation = JobId::new(&correlation).map_err(|error| error.to_string())?;
        let origin = WorkerId::new(&origin).map_err(|error| error.to_string())?.into();
        let (id, route, sender, payload) = (wire.id, wire.route, wire.sender, wire.payload);
        Ok(Job { id, correlation, route, sender, origin, attempt, deadline: deadline.map(time), payload })
    };
    Ok(read().map_err(|reason| UnreadableJob { raw: body.clone(), reason }))
}

/// Milliseconds since the epoch; what lies before it is the epoch, what lies too far ahead the end of time.
pub(super) fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn time(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
