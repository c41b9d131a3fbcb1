//! How a worker with state takes the place of another: it starts, waits while the old one stops, finishes and tells its
//! state, goes on with that, and joins. If anything fails the old one goes on.

use std::sync::Arc;

use dashmap::DashMap;
use mshost_core::ids::WorkerType;
use mshost_core::metrics::Metrics;
use mshost_worker::{Entrance, StartFailure, Worker};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::keeper::Wish;

const TARGET: &str = "mshost::supervisor";

/// The instances of a type hand over one after the other, so that the others do its jobs meanwhile.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Of the types that somebody hands over, or waits to.
    by_type: DashMap<WorkerType, Arc<Mutex<()>>>,
}

/// Whoever has it hands over; dropping it lets the next.
#[derive(Debug)]
struct Turn<'a> {
    _turn: OwnedMutexGuard<()>,
    // Forgotten once let go of.
    _stay: Stay<'a>,
}

/// Keeps a type's entry; the last one out takes it away.
#[derive(Debug)]
struct Stay<'a> {
    turns: &'a Turns,
    kind: &'a WorkerType,
}

impl Turns {
    async fn wait<'a>(&'a self, kind: &'a WorkerType) -> Turn<'a> {
        // Made first, so that it is dropped after the lock where nobody waits to the end.
        let stay = Stay { turns: self, kind };
        let lock = Arc::clone(&self.by_type.entry(kind.clone()).or_default());
        Turn { _turn: lock.lock_owned().await, _stay: stay }
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.turns.by_type.remove_if(self.kind, |_, lock| Arc::strong_count(lock) == 1);
    }
}

/// How what is wished for comes after what runs, if anything does.
pub(super) fn entrance(running: Option<&Wish>, wish: &Wish) -> Entrance {
    match running.map(Wish::keeps_state) {
        Some(true) if wish.keeps_state() => Entrance::Admitted,
        Some(true) => {
            tracing::warn!(target: TARGET, slot = %wish.spec.slot, generation = %wish.generation.id(),
                "the new version keeps no state: what the old one knows ends with it");
            Entrance::AtOnce
        }
        _ => Entrance::AtOnce,
    }
}

impl Wish {
    /// Whether its worker hands over its state.
    pub(super) fn keeps_state(&self) -> bool {
        let mut workers = self.generation.info().workers.iter();
        workers.any(|worker| worker.worker_type == *self.spec.worker_type && worker.state.is_some())
    }
}

/// Waits until `new`, which was spawned to be admitted, has the place and the state of `old`. Where this is dropped
/// half-way, the caller has the old one go on.
///
/// # Errors
/// Why it has not; the old one goes on.
pub(super) async fn take_over(
    new: &mut Worker,
    old: &Worker,
    kind: &WorkerType,
    turns: &Turns,
    metrics: &Metrics,
) -> Result<(), StartFailure> {
    new.prepared().await?;
    let _turn = turns.wait(kind).await;
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
        old.go_on().await;
    }
    ready
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_type_is_forgotten_once_nobody_hands_over_or_waits_to() {
        let (turns, kind) = (Turns::default(), WorkerType::new("WB").unwrap());
        let first = turns.wait(&kind).now_or_never().unwrap();
        let mut second = Box::pin(turns.wait(&kind));
        let mut third = Box::pin(turns.wait(&kind));
        assert!((&mut second).now_or_never().is_none(), "one after the other");
        assert!((&mut third).now_or_never().is_none());
        drop(third);
        drop(first);
        assert_eq!(turns.by_type.len(), 1, "one still waits");
        let second = (&mut second).now_or_never().unwrap();
        assert!(turns.wait(&kind).now_or_never().is_none());
        assert_eq!(turns.by_type.len(), 1);
        drop(second);
        assert!(turns.by_type.is_empty());
        // One that gives up after the others have gone.
        let first = turns.wait(&kind).now_or_never().unwrap();
        let mut second = Box::pin(turns.wait(&kind));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        drop(second);
        assert!(turns.by_type.is_empty());
    }
}
