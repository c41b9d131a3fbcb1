//! The changes that a journal writes.

use std::time::SystemTime;

use mshost_bus::Death;

use super::job_rows::JobRow;
use super::record_id::RecordId;

/// One change of the journal.
#[derive(Debug)]
pub(crate) enum JournalChange {
    /// A job is to be accepted.
    Insert(RecordId, Box<JobRow>),
    /// It is done, or was not accepted after all.
    Remove(RecordId),
    /// It failed and is tried again.
    Retry { record: RecordId, attempt: u32, due: SystemTime },
    /// It goes out once more after it came back; `times` is how often it has gone out, this time included.
    Delivered { record: RecordId, times: u32 },
    /// It becomes a dead letter of this id.
    DeadLetter { record: RecordId, id: String, death: Death },
    /// A dead letter is one no longer.
    RemoveDeadLetter(RecordId),
    /// No dead letter is one any longer.
    PurgeDeadLetters,
}
