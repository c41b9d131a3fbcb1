//! How a slot's task starts a worker and swaps it in.

use std::sync::Arc;
use std::time::Instant;

use mshost_topology::Isolation;
use mshost_worker::{AbandonedThreads, StartFailure, StartMode, Worker};

use super::canary_step::CanaryOutcome;
use super::desired::Desired;
use super::running_worker::RunningWorker;
use super::slot_state::{SlotEvent, SlotState};
use super::slot_task::{RejectedChange, SlotTask, desired_changed};
use super::state_handover::{self, HandoverQueue};

const TARGET: &str = "mshost::supervisor";

impl SlotTask {
    /// Starts the desired worker and, once it is ready, swaps it in.
    pub(super) async fn start(&mut self) -> SlotEvent {
        let Some(desired) = self.target() else { return SlotEvent::Withdrawn };
        let abandoned = self.abandoned_threads_of(&desired);
        if let Some(reason) = self.blocked_by_threads() {
            return self.not_started(desired, &StartFailure(reason), true);
        }
        self.status.lock().starting(&desired);
        let canary = match self.evaluate_canary(&desired, &abandoned).await {
            CanaryOutcome::Accepted(canary) => canary,
            CanaryOutcome::Rejected(failure) => return self.not_started(desired, &failure, false),
            CanaryOutcome::Interrupted(event) => return event,
        };
        let event = self.bring_up(desired, abandoned).await;
        // It leaves once another worker has all of the jobs.
        self.drain_in_background(canary);
        event
    }

    async fn bring_up(&mut self, desired: Desired, abandoned: AbandonedThreads) -> SlotEvent {
        let discard_state = std::mem::take(&mut self.discard_state);
        let old = self.current.as_ref().filter(|_| self.state == SlotState::Replacing && !discard_state);
        let mode = state_handover::start_mode(old.map(|old| &old.made_from), &desired);
        let old = old.map(|old| &old.worker).filter(|_| matches!(mode, StartMode::Handover));
        let mut new = match self.spawn_worker(&desired, abandoned, mode) {
            Ok(new) => new,
            Err(failure) => return self.not_started(desired, &failure, false),
        };
        let ready = tokio::select! {
            ready = ready(&mut new.worker, old, &desired, &self.environment.handovers) => ready,
            event = desired_changed(&mut self.desired_changes) => {
                if let Some(old) = old {
                    old.resume().await;
                }
                self.drain_in_background(Some(new));
                return event;
            }
        };
        match ready {
            Ok(()) => {
                self.swap_in(new);
                SlotEvent::Ready
            }
            Err(failure) => self.not_started(desired, &failure, false),
        }
    }

    /// Spawns a worker, on a thread of the host or in a process of its own.
    pub(super) fn spawn_worker(
        &self,
        desired: &Desired,
        abandoned: AbandonedThreads,
        mode: StartMode,
    ) -> Result<RunningWorker, StartFailure> {
        let spec = &desired.spec;
        let listeners = self
            .environment
            .sockets
            .lend(&spec.worker_type, &spec.plugin, &spec.listen)
            .map_err(|error| StartFailure(error.to_string()))?;
        let not_loaded = || StartFailure("its plugin is not loaded for it".to_owned());
        let host_context = desired.session.host_context.clone();
        let (spec, lent) = (Arc::clone(spec), listeners.clone());
        let worker = match spec.isolation {
            Isolation::Thread => {
                let generation = desired.generation.generation().ok_or_else(not_loaded)?;
                Worker::spawn(generation, spec, lent, abandoned, host_context, mode)?
            }
            Isolation::Process(_) => {
                let version = desired.generation.version().ok_or_else(not_loaded)?;
                mshost_isolation::spawn(version, spec, lent, host_context, mode)?
            }
        };
        let member = desired.session.add_member();
        Ok(RunningWorker { worker, made_from: desired.clone(), since: Instant::now(), member, _listeners: listeners })
    }

    fn swap_in(&mut self, new: RunningWorker) {
        self.status.lock().running(&new.worker, &new.made_from);
        if self.rejected.as_ref().is_some_and(|rejected| !rejected.running.is_met_by(&new.made_from)) {
            self.rejected = None;
        }
        if self.state == SlotState::Replacing {
            self.count_swap(&new.made_from, "done");
        }
        let session = Arc::clone(&new.made_from.session);
        match self.current.replace(new) {
            // A broken worker is of no use to the others on the old bus, nor is one that has handed its state over.
            Some(old)
                if self.state == SlotState::Replacing
                    && !Arc::ptr_eq(&old.made_from.session, &session)
                    && !old.made_from.keeps_state() =>
            {
                drop(self.environment.tasks.spawn(old.drain_with_session()));
            }
            old => self.drain_in_background(old),
        }
    }

    fn count_swap(&self, desired: &Desired, outcome: &str) {
        let swaps = &desired.session.host_context.metrics.swaps;
        swaps.with_label_values(&[&*self.slot.worker_type, outcome]).inc();
    }

    /// Notes that the desired worker has not started. `for_good` where another try cannot help.
    fn not_started(&mut self, desired: Desired, failure: &StartFailure, for_good: bool) -> SlotEvent {
        match &self.current {
            Some(current) if self.state == SlotState::Replacing => {
                tracing::error!(target: TARGET, slot = %self.slot, generation = %desired.generation.id(),
                    "the new version does not take over, the old one goes on: {failure}");
                let running = current.made_from.clone();
                self.count_swap(&desired, "failed");
                self.status.lock().rejected(failure);
                self.rejected = Some(RejectedChange { desired, running });
                SlotEvent::Failed
            }
            _ if for_good => self.park(&failure.0),
            _ => self.failed(&desired.spec, failure, None),
        }
    }
}

/// Waits until a worker takes jobs, with the state of `old` where it takes that over.
async fn ready(
    worker: &mut Worker,
    old: Option<&Worker>,
    desired: &Desired,
    handovers: &HandoverQueue,
) -> Result<(), StartFailure> {
    match old {
        Some(old) => {
            let metrics = &desired.session.host_context.metrics;
            state_handover::hand_over(worker, old, &desired.spec.worker_type, handovers, metrics).await
        }
        None => worker.ready().await,
    }
}
