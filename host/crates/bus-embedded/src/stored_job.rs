//! A job in the memory of the bus, with its record in the journal.

use std::ops::Deref;

use mshost_bus::Job;

use super::journal::RecordId;

/// A job that the bus is responsible for. Shared between queue and consumer, never copied.
#[derive(Debug, Clone)]
pub(super) struct StoredJob {
    job: Job,
    /// `None` where there is no journal.
    record: Option<RecordId>,
}

impl StoredJob {
    pub(super) fn new(job: Job, record: Option<RecordId>) -> Self {
        Self { job, record }
    }

    pub(super) fn record(&self) -> Option<RecordId> {
        self.record
    }

    pub(super) fn into_job(self) -> Job {
        self.job
    }

    /// The same job as another attempt.
    pub(super) fn as_attempt(&self, attempt: u32) -> Self {
        Self { job: Job { attempt, ..self.job.clone() }, record: self.record }
    }
}

impl Deref for StoredJob {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}
