//! The phase that a worker is in, told to those who watch it.

use std::sync::Arc;

use tokio::sync::watch;

use super::worker_context::{TARGET, WorkerContext};
use super::worker_phase::{PhaseEffect, PhaseEvent, WorkerPhase};
use super::worker_state::WorkerState;

/// A worker's phase. Each change of the state that follows from it is logged and published.
pub(super) struct Lifecycle {
    phase: WorkerPhase,
    published: watch::Sender<WorkerState>,
    context: Arc<WorkerContext>,
}

impl Lifecycle {
    /// Of a worker that starts.
    pub(super) fn new(published: watch::Sender<WorkerState>, context: Arc<WorkerContext>) -> Self {
        Self { phase: WorkerPhase::default(), published, context }
    }

    pub(super) fn phase(&self) -> &WorkerPhase {
        &self.phase
    }

    /// Waits for what the phase itself brings about. Cancel safe.
    pub(super) async fn next_event(&mut self) -> PhaseEvent {
        self.phase.next_event().await
    }

    /// Takes a step, and says what is to be done beside it.
    pub(super) fn step(&mut self, event: PhaseEvent) -> PhaseEffect {
        let (phase, effect) = std::mem::take(&mut self.phase).after(event, self.context.spec.drain_timeout);
        self.phase = phase;
        self.publish();
        effect.unwrap_or_else(|error| {
            debug_assert!(false, "{error}");
            self.context.warn(&format!("a bug in the host: {error}"));
            PhaseEffect::None
        })
    }

    fn publish(&self) {
        let state = self.phase.state();
        if *self.published.borrow() == state {
            return;
        }
        let WorkerContext { worker, spec, .. } = &*self.context;
        match &state {
            WorkerState::Failed(failure) | WorkerState::Broken(failure) => {
                tracing::error!(target: TARGET, worker = %worker.id, plugin = %spec.plugin, "{state}: {failure}");
            }
            _ => tracing::info!(target: TARGET, worker = %worker.id, plugin = %spec.plugin, "{state}"),
        }
        self.published.send_replace(state);
    }
}
