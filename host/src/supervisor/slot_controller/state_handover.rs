//! State handover: how a worker whose plugin keeps state replaces another one.
//!
//! The new worker starts and waits while the old one stops, finishes its jobs and exports its state; it then continues from
//! that state and joins the bus. If anything fails the old one goes on.

use std::sync::Arc;

use dashmap::DashMap;
use mshost_core::ids::WorkerType;
use mshost_core::metrics::Metrics;
use mshost_worker::{StartFailure, StartMode, Worker};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::desired::Desired;

const TARGET: &str = "mshost::supervisor";

/// Has the instances of a type hand over one after the other, so that the others do its jobs meanwhile.
#[derive(Debug, Default)]
pub(crate) struct HandoverQueue {
    /// One lock for each type of which a worker hands over, or waits to.
    by_type: DashMap<WorkerType, Arc<Mutex<()>>>,
}

/// The right to hand over; dropping it lets the next worker.
#[derive(Debug)]
struct HandoverTurn<'a> {
    _turn: OwnedMutexGuard<()>,
    // Dropped after the lock.
    _entry: HandoverEntry<'a>,
}

/// Keeps a type's lock in the queue; the last one dropped removes it.
#[derive(Debug)]
struct HandoverEntry<'a> {
    queue: &'a HandoverQueue,
    kind: &'a WorkerType,
}

impl HandoverQueue {
    async fn wait<'a>(&'a self, kind: &'a WorkerType) -> HandoverTurn<'a> {
        // Made first, so that it is dropped after the lock where this future is dropped half-way.
        let entry = HandoverEntry { queue: self, kind };
        let lock = Arc::clone(&self.by_type.entry(kind.clone()).or_default());
        HandoverTurn { _turn: lock.lock_owned().await, _entry: entry }
    }
}

impl Drop for HandoverEntry<'_> {
    fn drop(&mut self) {
        self.queue.by_type.remove_if(self.kind, |_, lock| Arc::strong_count(lock) == 1);
    }
}

/// How the desired worker starts beside what runs, if anything does.
pub(super) fn start_mode(running: Option<&Desired>, desired: &Desired) -> StartMode {
    match running.map(Desired::keeps_state) {
        Some(true) if desired.keeps_state() => StartMode::Handover,
        Some(true) => {
            tracing::warn!(target: TARGET, slot = %desired.spec.slot, generation = %desired.generation.id(),
                "the new version keeps no state: what the old one knows ends with it");
            StartMode::Immediate
        }
        _ => StartMode::Immediate,
    }
}

/// Waits until `new`, which was spawned for a handover, takes jobs with the state of `old`. Where this is dropped half-way,
/// the caller has the old one go on.
///
/// # Errors
/// Why it has not; the old one goes on.
pub(super) async fn hand_over(
    new: &mut Worker,
    old: &Worker,
    kind: &WorkerType,
    queue: &HandoverQueue,
    metrics: &Metrics,
) -> Result<(), StartFailure> {
    new.prepared().await?;
    let _turn = queue.wait(kind).await;
    match old.hand_over().await {
        Ok(state) => {
            let bytes = state.bytes.len();
            metrics.snapshot_bytes.with_label_values(&[&**kind]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
            tracing::info!(target: TARGET, from = %old.id(), to = %new.id(), schema = state.schema, bytes, "the state goes over");
            new.admit(Some(state));
        }
        Err(failure) if old.is_lost() => {
            tracing::warn!(target: TARGET, from = %old.id(), to = %new.id(), "the state is lost: {failure}");
            new.admit(None);
        }
        Err(failure) => return Err(failure),
    }
    let ready = new.ready().await;
    if ready.is_err() {
        old.resume().await;
    }
    ready
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_type_is_forgotten_once_no_worker_hands_over_or_waits_to() {
        let (queue, kind) = (HandoverQueue::default(), WorkerType::new("WB").unwrap());
        let first = queue.wait(&kind).now_or_never().unwrap();
        let mut second = Box::pin(queue.wait(&kind));
        let mut third = Box::pin(queue.wait(&kind));
        assert!((&mut second).now_or_never().is_none(), "one after the other");
        assert!((&mut third).now_or_never().is_none());
        drop(third);
        drop(first);
        assert_eq!(queue.by_type.len(), 1, "one still waits");
        let second = (&mut second).now_or_never().unwrap();
        assert!(queue.wait(&kind).now_or_never().is_none());
        assert_eq!(queue.by_type.len(), 1);
        drop(second);
        assert!(queue.by_type.is_empty());
        // One that gives up after the others have gone.
        let first = queue.wait(&kind).now_or_never().unwrap();
        let mut second = Box::pin(queue.wait(&kind));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        drop(second);
        assert!(queue.by_type.is_empty());
    }
}
