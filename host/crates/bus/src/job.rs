//! A job.

use std::time::SystemTime;

use mshost_core::ids::{JobId, WorkerRef};
use mshost_plugin_api::{Payload, Route};

/// A job on its way to the worker that `route.target()` names.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Unique over all hosts.
    pub id: JobId,
    /// The id of the first job of the pipeline; equal to `id` there.
    pub correlation: JobId,
    /// The pipeline, and where in it the job is.
    pub route: Route,
    /// The worker that sent this job.
    pub sender: WorkerRef,
    /// The worker that sent the first job of the pipeline.
    pub origin: WorkerRef,
    /// Which attempt this is; the first is 1.
    pub attempt: u32,
    /// When it is no longer wanted; `None` is never. Kept in milliseconds.
    pub deadline: Option<SystemTime>,
    /// The data.
    pub payload: Payload,
}

impl Job {
    /// Whether it is no longer wanted at `now`.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}
