//! Jobs that were delivered before and never settled: counted, so that one that kills its workers does not do so for ever.
//!
//! A quorum queue counts by itself. A classic queue says no more than that there was a delivery before this one; so the job
//! is published again with its count, confirmed, and the delivery acked: the count outlives whatever the handler does next.
//! Where its queue is full it goes, with its count, where jobs wait until they are due: it may hold the only permit of the
//! worker that would make room.

use mshost_bus::{BusError, Death, DeathReason, Job, Settle};

use super::settlement::AmqpSettlement;
use crate::engine::AmqpEngine;
use crate::message::headers::JobHeaders;

/// What is to be done with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RedeliveryVerdict {
    /// It is the worker's.
    Deliver,
    /// It goes back with this count.
    Count(u32),
    /// It was delivered this often, which is too often.
    TooOften(u32),
}

/// Judges a delivery by its flag and its headers.
pub(super) fn judge(engine: &AmqpEngine, redelivered: bool, headers: &JobHeaders<'_>) -> RedeliveryVerdict {
    let (before, count) = (headers.deliveries().0, count(redelivered, headers));
    if count >= engine.limits.deliveries {
        RedeliveryVerdict::TooOften(count)
    } else if count == before || engine.connectivity.is_blocked() {
        // A broker that takes no messages now must not keep workers from emptying its queues.
        RedeliveryVerdict::Deliver
    } else {
        RedeliveryVerdict::Count(count)
    }
}

/// How often it was delivered before and never settled.
pub(super) fn count(redelivered: bool, headers: &JobHeaders<'_>) -> u32 {
    let (before, broker_counts) = headers.deliveries();
    if redelivered && !broker_counts { before.saturating_add(1) } else { before }
}

/// Does what [`judge`] said to a delivery that is not the worker's.
pub(super) async fn carry_out(
    engine: &AmqpEngine,
    job: Job,
    verdict: RedeliveryVerdict,
    settlement: Box<AmqpSettlement>,
) -> Result<(), BusError> {
    match verdict {
        RedeliveryVerdict::Deliver => settlement.requeue().await,
        RedeliveryVerdict::Count(count) => {
            engine.metrics.bus_redelivered.inc();
            engine.republish(&job, count).await?;
            settlement.remove().await
        }
        RedeliveryVerdict::TooOften(count) => {
            let error = format!(
                "Job delivered {count} times and never settled (`bus.delivery_limit`): it may kill its workers or hosts"
            );
            engine.report_and_dead_letter(&job, Death::now(DeathReason::Crashed, &error, None)).await?;
            settlement.remove().await
        }
    }
}
