//! When a worker joins the bus, and for what.

use super::pace::Share;

/// When a worker joins the bus, and for what.
#[derive(Debug, Clone)]
pub enum Entrance {
    /// As soon as it has started.
    AtOnce,
    /// When it is [admitted](super::Worker::admit).
    Admitted,
    /// As soon as it has started, for a share of the jobs.
    OnTrial(Share),
}
