//! The part of one slot in a [canary evaluation](CanaryEvaluation).

use mshost_worker::{JobShare, StartFailure, StartMode, Worker};

use super::evaluation::CanaryEvaluation;
use super::verdict::CanaryVerdict;
use crate::supervisor::slot_controller::desired::Desired;

const TARGET: &str = "mshost::supervisor";

/// How a slot takes part in an evaluation.
pub(crate) enum CanaryRole {
    /// A worker of the new version does a share of the jobs; with how it starts.
    Compare(StartMode),
    /// The slot waits for the verdict.
    Wait,
}

/// The role of a slot in the evaluation of the desired version; `None` where there is none, or it is over.
pub(crate) fn role<'a>(
    desired: &'a Desired,
    running: &Desired,
    worker: &Worker,
) -> Option<(&'a CanaryEvaluation, CanaryRole)> {
    let evaluation = desired.canary.as_deref()?;
    let generation = desired.generation.id();
    let is_new = evaluation.generation() == generation && running.generation.id() != generation;
    if !is_new || matches!(evaluation.verdict(), Some(CanaryVerdict::Accepted(_))) {
        return None;
    }
    let role = if desired.keeps_state() || running.keeps_state() {
        CanaryRole::Wait
    } else {
        CanaryRole::Compare(StartMode::Canary(JobShare { fraction: evaluation.share(), other: worker.progress() }))
    };
    Some((evaluation, role))
}

/// Has `canary` do its share beside `old` until there is a verdict, or `old` has ended so that there is nothing to compare with.
///
/// # Errors
/// Why the version is rejected.
pub(crate) async fn compare(
    canary: &mut Worker,
    old: &Worker,
    desired: &Desired,
    evaluation: &CanaryEvaluation,
) -> Result<(), StartFailure> {
    if let Err(failure) = canary.ready().await {
        evaluation.reject(&format!("{} did not start: {failure}", desired.spec.slot));
        return Err(failure);
    }
    tracing::info!(target: TARGET, slot = %desired.spec.slot, worker = %canary.id(), generation = %evaluation.generation(),
        "on trial for {:.1} % of the jobs", evaluation.share() * 100.0);
    evaluation.add_slot(&desired.spec.worker_type, canary.progress(), old.progress());
    tokio::select! {
        verdict = verdict(evaluation) => verdict,
        why = canary.left() => {
            let why = format!("a worker of {} did not last: {why}", desired.spec.slot);
            evaluation.reject(&why);
            Err(StartFailure(why))
        }
        _ = old.left() => Ok(()),
    }
}

/// Waits until there is a verdict, or `old` has ended.
///
/// # Errors
/// Why the version is rejected.
pub(crate) async fn wait(old: &Worker, evaluation: &CanaryEvaluation) -> Result<(), StartFailure> {
    tokio::select! {
        verdict = verdict(evaluation) => verdict,
        _ = old.left() => Ok(()),
    }
}

async fn verdict(evaluation: &CanaryEvaluation) -> Result<(), StartFailure> {
    match evaluation.decided().await {
        CanaryVerdict::Accepted(_) => Ok(()),
        CanaryVerdict::Rejected(why) => Err(StartFailure(format!("given up on trial: {why}"))),
    }
}
