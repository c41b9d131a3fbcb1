//! Restarts of single workers.

use serde::{Deserialize, Serialize};

/// Replaces workers by fresh ones.
pub trait WorkerRestarter: Send + Sync + 'static {
    /// Has the worker of this id, or the one in this slot (`WB[0]`), replaced: a fresh one is started, and the old one
    /// drained once that is ready. Where none runs, for whatever reason, one is started.
    ///
    /// # Errors
    /// [`RestartRefused`], in words for the operator.
    fn restart(&self, name: &str) -> Result<RestartAccepted, RestartRefused>;
}

/// The answer that a worker will be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartAccepted {
    /// The slot, as in `WB[0]`.
    pub slot: String,
    /// `requested`, or `already requested`.
    pub restart: String,
}

/// Why a worker will not be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestartRefused {
    /// There is no such worker.
    #[error("{0}")]
    Unknown(String),
    /// It is not to be replaced as it is.
    #[error("{0}")]
    Conflict(String),
}
