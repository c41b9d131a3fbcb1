//! The log target of this crate, and texts that MicroServices.js knows.

/// `tracing` target of all that is logged here.
pub(crate) const LOG: &str = "mshost::msjs";

/// What the manager of MicroServices.js says when no worker can do a job; its workers may look for these words.
pub(crate) const NO_WORKER: &str = "No worker available for this job";
