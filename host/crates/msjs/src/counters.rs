//! Counters of what passes between the two kinds of workers.

use std::fmt;
use std::sync::Arc;

use mshost_core::ids::WorkerType;
use mshost_core::metrics::{Metrics, worker_service};

/// The outcome of a job that a worker of MicroServices.js sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InboundOutcome {
    /// The bus has it, and its sender has the ack.
    Taken,
    /// It was sent again although it is taken.
    Duplicate,
    /// It is for a worker of MicroServices.js.
    Left,
    /// No worker can do it; its sender was told.
    Refused,
    /// The bus could not take it now; it will be sent again.
    Deferred,
}

/// The outcome of a job for a worker of MicroServices.js.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutboundOutcome {
    /// A worker of MicroServices.js took it.
    Taken,
    /// It was published once more.
    Resent,
    /// None took it in time; its sender was told.
    Unanswered,
    /// Its deadline had passed; its sender was told.
    Expired,
}

/// Counts jobs in `mshost_interop_jobs_total{direction,outcome}`. Outcomes of `in`: `taken`, `duplicate`, `left`, `refused`,
/// `deferred`; of `out`: `taken`, `resent`, `unanswered`, `expired`.
pub(super) struct MsjsCounters {
    metrics: Arc<Metrics>,
}

impl MsjsCounters {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let counters = Self { metrics };
        // A counter that appears with its first event hides that event from `rate()`.
        for outcome in [
            InboundOutcome::Taken,
            InboundOutcome::Duplicate,
            InboundOutcome::Left,
            InboundOutcome::Refused,
            InboundOutcome::Deferred,
        ] {
            counters.add("in", outcome.name(), 0);
        }
        for outcome in
            [OutboundOutcome::Taken, OutboundOutcome::Resent, OutboundOutcome::Unanswered, OutboundOutcome::Expired]
        {
            counters.add("out", outcome.name(), 0);
        }
        counters
    }

    pub(super) fn inbound(&self, outcome: InboundOutcome) {
        self.add("in", outcome.name(), 1);
    }

    pub(super) fn outbound(&self, outcome: OutboundOutcome) {
        self.add("out", outcome.name(), 1);
    }

    /// A worker of MicroServices.js took a job that a worker of this type sent.
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

impl InboundOutcome {
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

impl OutboundOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Resent => "resent",
            Self::Unanswered => "unanswered",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Debug for MsjsCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MsjsCounters")
    }
}
