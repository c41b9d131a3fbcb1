//! Jobs that were delivered before and never settled: counted, so that one that kills its workers does not do so for ever.
//!
//! A quorum queue counts by itself. A classic queue says no more than that there was a delivery before this one; so the job
//! is published again with its count, confirmed, and the delivery acked: the count outlives whatever the handler does next.
//! Where its queue is full it goes, with its count, where jobs wait until they are due: it may hold the only place of the
//! worker that would make room.

use mshost_bus::{BusError, Death, DeathReason, Job, Settle};

use super::Shared;
use super::message::Headers;
use super::settle::AmqpSettle;

/// What is to be done with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the worker's.
    Deliver,
    /// It goes back with this count.
    Count(u32),
    /// It was delivered this often, which is too often.
    TooOften(u32),
}

/// Judges a delivery by its flag and its headers.
pub(super) fn judge(shared: &Shared, redelivered: bool, headers: &Headers<'_>) -> Verdict {
    let (before, count) = (headers.deliveries().0, count(redelivered, headers));
    if count >= shared.limits.deliveries {
        Verdict::TooOften(count)
    } else if count == before || *shared.blocked.borrow() {
        // A broker that takes no messages now must not keep workers from emptying its queues.
        Verdict::Deliver
    } else {
        Verdict::Count(count)
    }
}

/// How often it was delivered before and never settled.
pub(super) fn count(redelivered: bool, headers: &Headers<'_>) -> u32 {
    let (before, broker_counts) = headers.deliveries();
    if redelivered && !broker_counts { before.saturating_add(1) } else { before }
}

/// Does what [`judge`] said to a delivery that is not the worker's.
pub(super) async fn carry_out(
    shared: &Shared,
    job: Job,
    verdict: Verdict,
    settle: Box<AmqpSettle>,
) -> Result<(), BusError> {
    match verdict {
        Verdict::Deliver => settle.requeue().await,
        Verdict::Count(count) => {
            shared.metrics.bus_redelivered.inc();
            shared.give_back(&job, count).await?;
            settle.take_away().await
        }
        Verdict::TooOften(count) => {
            let error = format!(
                "Job delivered {count} times and never settled (`bus.delivery_limit`): it may kill its workers or hosts"
            );
            shared.give_up(&job, Death::now(DeathReason::Crashed, &error, None)).await?;
            settle.take_away().await
        }
    }
}
