//! A job and a death in the form of the IPC: without the payload, which is the tail of the message.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use mshost_bus::{Death, DeathReason, Job};
use mshost_core::ids::{Address, JobId, WorkerRef};
use mshost_plugin_api::{Payload, Route};
use serde::{Deserialize, Serialize};

use super::codec_number::codec_of;
use crate::ipc::ipc_error::IpcError;

/// A job without the bytes of its payload.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IpcJob {
    id: JobId,
    /// `None` where it equals `id`.
    correlation: Option<JobId>,
    addresses: Arc<[Address]>,
    position: u32,
    sender: WorkerRef,
    /// `None` where it equals `sender`.
    origin: Option<WorkerRef>,
    attempt: u32,
    deadline: Option<SystemTime>,
    codec: u8,
}

impl IpcJob {
    pub(crate) fn of(job: &Job) -> Self {
        Self {
            id: job.id.clone(),
            correlation: (job.correlation != job.id).then(|| job.correlation.clone()),
            addresses: job.route.addresses().into(),
            position: u32::try_from(job.route.position()).unwrap_or(u32::MAX),
            sender: job.sender.clone(),
            origin: (job.origin != job.sender).then(|| job.origin.clone()),
            attempt: job.attempt,
            deadline: job.deadline,
            codec: job.payload.codec() as u8,
        }
    }

    pub(crate) fn with(self, payload: Bytes) -> Result<Job, IpcError> {
        let Self { id, correlation, addresses, position, sender, origin, attempt, deadline, codec: written } = self;
        let route = Route::new(addresses, position as usize).map_err(|error| IpcError::Malformed(error.to_string()))?;
        Ok(Job {
            correlation: correlation.unwrap_or_else(|| id.clone()),
            id,
            route,
            origin: origin.unwrap_or_else(|| sender.clone()),
            sender,
            attempt,
            deadline,
            payload: Payload::from_bytes(codec_of(written)?, payload),
        })
    }
}

/// A [`Death`], which itself is not serializable.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IpcDeath {
    reason: DeathReason,
    error: String,
    worker: Option<WorkerRef>,
    at: SystemTime,
}

impl From<Death> for IpcDeath {
    fn from(Death { reason, error, worker, at }: Death) -> Self {
        Self { reason, error, worker, at }
    }
}

impl From<IpcDeath> for Death {
    fn from(IpcDeath { reason, error, worker, at }: IpcDeath) -> Self {
        Self { at, ..Self::now(reason, &error, worker) }
    }
}
