//! How a worker with state takes the place of another: it starts, waits while the old one stops, finishes and tells its
//! state, goes on with that, and joins. If anything fails the old one goes on.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::keeper::Wish;
use crate::ids::WorkerType;
use crate::metrics::Metrics;
use crate::worker::{Entrance, StartFailure, Worker};

const TARGET: &str = "mshost::supervisor";

/// The instances of a type hand over one after the other, so that the others do its jobs meanwhile.
#[derive(Debug, Default)]
pub(super) struct Turns {
    by_type: DashMap<WorkerType, Arc<Mutex<()>>>,
}

impl Turns {
    async fn wait(&self, kind: &WorkerType) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(&self.by_type.entry(kind.clone()).or_default());
        turn.lock_owned().await
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
