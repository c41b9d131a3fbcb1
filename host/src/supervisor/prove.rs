//! The part of one slot in the trial of a new version: see [`Trial`].

use mshost_worker::{Entrance, Share, StartFailure, Worker};

use super::keeper::Wish;
use super::trial::{Decision, Trial};

const TARGET: &str = "mshost::supervisor";

/// How a slot learns whether it may have a new version.
pub(super) enum Part {
    /// A worker of it does a share of the jobs.
    Compare(Entrance),
    /// It waits for what the others find out.
    Wait,
}

/// What the slot has to do for the trial of what is wished for; `None` where there is none, or it is over.
pub(super) fn part<'a>(wish: &'a Wish, running: &Wish, worker: &Worker) -> Option<(&'a Trial, Part)> {
    let trial = wish.trial.as_deref()?;
    let is_new = trial.generation() == wish.generation.id() && running.generation.id() != wish.generation.id();
    if !is_new || matches!(trial.decision(), Some(Decision::Accepted(_))) {
        return None;
    }
    let part = if wish.keeps_state() || running.keeps_state() {
        Part::Wait
    } else {
        Part::Compare(Entrance::OnTrial(Share { of: trial.share(), beside: worker.progress() }))
    };
    Some((trial, part))
}

/// Has `canary` do its share beside `old` until there is a verdict, or nobody to compare it with.
///
/// # Errors
/// Why the version is given up.
pub(super) async fn compare(canary: &mut Worker, old: &Worker, wish: &Wish, trial: &Trial) -> Result<(), StartFailure> {
    if let Err(failure) = canary.ready().await {
        trial.fail(&format!("{} did not start: {failure}", wish.spec.slot));
        return Err(failure);
    }
    tracing::info!(target: TARGET, slot = %wish.spec.slot, worker = %canary.id(), generation = %trial.generation(),
        "on trial for {:.1} % of the jobs", trial.share() * 100.0);
    trial.enter(&wish.spec.worker_type, canary.progress(), old.progress());
    tokio::select! {
        verdict = verdict(trial) => verdict,
        why = canary.left() => {
            let why = format!("a worker of {} did not last: {why}", wish.spec.slot);
            trial.fail(&why);
            Err(StartFailure(why))
        }
        _ = old.left() => Ok(()),
    }
}

/// Waits until there is a verdict, or nobody to wait with.
///
/// # Errors
/// Why the version is given up.
pub(super) async fn wait(old: &Worker, trial: &Trial) -> Result<(), StartFailure> {
    tokio::select! {
        verdict = verdict(trial) => verdict,
        _ = old.left() => Ok(()),
    }
}

async fn verdict(trial: &Trial) -> Result<(), StartFailure> {
    match trial.decided().await {
        Decision::Accepted(_) => Ok(()),
        Decision::GivenUp(why) => Err(StartFailure(format!("given up on trial: {why}"))),
    }
}
