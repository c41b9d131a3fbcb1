//! What is read from a journal when it is opened.

use std::time::SystemTime;

use bytes::Bytes;
use mshost_bus::{DeadLetter, Job};

use super::record_id::RecordId;

/// What a journal is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JournalPurpose {
    /// For a bus that runs; where there is no journal, one is made.
    Jobs,
    /// For its dead letters alone, while no bus runs; the jobs in it are not even read.
    DeadLetters,
}

/// What a journal held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Oldest first.
    pub(crate) jobs: Vec<RestoredJob>,
    /// Oldest first.
    pub(crate) dead: Vec<(RecordId, DeadLetter)>,
}

/// A job that an earlier host accepted.
#[derive(Debug)]
pub(crate) struct RestoredJob {
    pub(crate) record: RecordId,
    pub(crate) job: Result<Job, UnreadableJob>,
    pub(crate) due: Option<SystemTime>,
    pub(crate) deliveries: u32,
}

/// A row that does not hold a job, and why not.
#[derive(Debug)]
pub(crate) struct UnreadableJob {
    pub(crate) raw: Bytes,
    pub(crate) reason: String,
}
