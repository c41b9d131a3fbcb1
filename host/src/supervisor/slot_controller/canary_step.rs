//! What a slot's task does while the version that it is to run is under canary evaluation.

use mshost_worker::{AbandonedThreads, StartFailure};

use super::desired::Desired;
use super::running_worker::RunningWorker;
use super::slot_state::{SlotEvent, SlotState};
use super::slot_task::{SlotTask, desired_changed};
use crate::supervisor::canary::slot_canary::{self, CanaryRole};

/// How the canary evaluation of a version ended for one slot.
pub(super) enum CanaryOutcome {
    /// The version may replace the one that runs; with the worker that took part, if one did.
    Accepted(Option<RunningWorker>),
    /// It may not, and why.
    Rejected(StartFailure),
    /// The desired state has changed meanwhile.
    Interrupted(SlotEvent),
}

impl SlotTask {
    /// Takes part in the canary evaluation of the desired version, where there is one, and waits for its verdict.
    pub(super) async fn evaluate_canary(&mut self, desired: &Desired, abandoned: &AbandonedThreads) -> CanaryOutcome {
        let current = self.current.as_ref().filter(|_| self.state == SlotState::Replacing);
        let Some(current) = current else { return CanaryOutcome::Accepted(None) };
        let role = slot_canary::role(desired, &current.made_from, &current.worker);
        let Some((evaluation, role)) = role else { return CanaryOutcome::Accepted(None) };
        let mut canary = match role {
            CanaryRole::Wait => None,
            CanaryRole::Compare(mode) => match self.spawn_worker(desired, abandoned.clone(), mode) {
                Ok(canary) => Some(canary),
                Err(failure) => {
                    evaluation.reject(&format!("{} did not start: {failure}", self.slot));
                    return CanaryOutcome::Rejected(failure);
                }
            },
        };
        let verdict = async {
            match &mut canary {
                Some(canary) => slot_canary::compare(&mut canary.worker, &current.worker, desired, evaluation).await,
                None => slot_canary::wait(&current.worker, evaluation).await,
            }
        };
        let verdict = tokio::select! {
            verdict = verdict => verdict.map_err(CanaryOutcome::Rejected),
            event = desired_changed(&mut self.desired_changes) => Err(CanaryOutcome::Interrupted(event)),
        };
        match verdict {
            Ok(()) => CanaryOutcome::Accepted(canary),
            Err(outcome) => {
                self.drain_in_background(canary);
                outcome
            }
        }
    }
}
