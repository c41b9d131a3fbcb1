//! The key of a job in the journal.

use std::fmt;

/// The key of a job in the journal. Grows from job to job, also over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RecordId(i64);

impl RecordId {
    /// No job has it.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self(0);

    pub(super) fn new(key: i64) -> Self {
        Self(key)
    }

    pub(super) fn key(self) -> i64 {
        self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
