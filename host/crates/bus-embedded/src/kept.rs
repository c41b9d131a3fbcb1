//! A job that the bus answers for, with its name in the journal.

use std::ops::Deref;

use mshost_bus::Job;

use super::journal::Record;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    job: Job,
    /// `None` where there is no journal.
    record: Option<Record>,
}

impl Kept {
    pub(super) fn new(job: Job, record: Option<Record>) -> Self {
        Self { job, record }
    }

    pub(super) fn record(&self) -> Option<Record> {
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

impl Deref for Kept {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}
