//! What passes between the two kinds of workers, counted.

use std::fmt;
use std::sync::Arc;

use mshost_core::ids::WorkerType;
use mshost_core::metrics::{Metrics, worker_service};

/// What became of a job of the original's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum In {
    /// The bus has it, and its sender has the ack.
    Taken,
    /// It was sent again although it is taken.
    Duplicate,
    /// It is the original's to do.
    Left,
    /// Nobody can do it; its sender was told.
    Refused,
    /// The bus could not take it now; it will be sent again.
    Deferred,
}

/// What became of a job for a worker of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    /// A worker of the original took it.
    Taken,
    /// It was said once more.
    Resent,
    /// None took it in time; its sender was told.
    Unanswered,
    /// Its deadline had passed; its sender was told.
    Expired,
}

/// Counts jobs in `mshost_interop_jobs_total{direction,outcome}`. Outcomes of `in`: `taken`, `duplicate`, `left`, `refused`,
/// `deferred`; of `out`: `taken`, `resent`, `unanswered`, `expired`.
pub struct Tally {
    metrics: Arc<Metrics>,
}

impl Tally {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let tally = Self { metrics };
        // A counter that appears with its first event hides that event from `rate()`.
        for outcome in [In::Taken, In::Duplicate, In::Left, In::Refused, In::Deferred] {
            tally.add("in", outcome.name(), 0);
        }
        for outcome in [Out::Taken, Out::Resent, Out::Unanswered, Out::Expired] {
            tally.add("out", outcome.name(), 0);
        }
        tally
    }

    pub(super) fn inward(&self, outcome: In) {
        self.add("in", outcome.name(), 1);
    }

    pub(super) fn outward(&self, outcome: Out) {
        self.add("out", outcome.name(), 1);
    }

    /// A worker of the original took a job of this type's.
    pub(super) fn acked(&self, sender: &WorkerType) {
        self.metrics.received.with_label_values(&[&*worker_service(sender), "job_ack"]).inc();
    }

    pub(super) fn proxies(&self, count: usize) {
        self.metrics.interop_proxies.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn without_proxy(&self, count: usize) {
        self.metrics.interop_without_proxy.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn mixed_types(&self, count: usize) {
        self.metrics.interop_mixed_types.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// This host no longer acts.
    pub(super) fn idle(&self) {
        self.proxies(0);
        self.without_proxy(0);
        self.mixed_types(0);
    }

    fn add(&self, direction: &str, outcome: &str, count: u64) {
        self.metrics.interop_jobs.with_label_values(&[direction, outcome]).inc_by(count);
    }
}

impl In {
    fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Duplicate => "duplicate",
            Self::Left => "left",
            Self::Refused => "refused",
            Self::Deferred => "deferred",
        }
    }
}

impl Out {
    fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Resent => "resent",
            Self::Unanswered => "unanswered",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tally")
    }
}
