//! When a worker joins the bus, and for which jobs.

use super::share_limiter::JobShare;

/// When a worker joins the bus, and for which jobs.
#[derive(Debug, Clone)]
pub enum StartMode {
    /// As soon as it has started.
    Immediate,
    /// When it is [admitted](super::Worker::admit), with the state of the worker that it replaces.
    Handover,
    /// As soon as it has started, for a share of the jobs.
    Canary(JobShare),
}
