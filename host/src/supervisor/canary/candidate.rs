//! Begins canary evaluations, and knows the version to go back to.

use std::sync::Arc;

use mshost_topology::CanaryConfig;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::evaluation::CanaryEvaluation;
use super::verdict::CanaryVerdict;
use crate::supervisor::plugin_store::lease::Lease;

/// Begins canary evaluations by the rules of the topology.
#[derive(Debug)]
pub(crate) struct CanaryLauncher {
    rules: Option<CanaryConfig>,
    tasks: TaskTracker,
    decided: Arc<Notify>,
}

/// A version under canary evaluation, and the one before.
#[derive(Debug)]
pub(crate) struct CanaryCandidate {
    evaluation: Arc<CanaryEvaluation>,
    before: Lease,
}

impl CanaryLauncher {
    /// A launcher that runs evaluations on `tasks`. Without `rules` there are none.
    pub(crate) fn new(rules: Option<CanaryConfig>, tasks: TaskTracker) -> Self {
        Self { rules, tasks, decided: Arc::default() }
    }

    /// Notified when there is a verdict.
    pub(crate) fn decided(&self) -> Arc<Notify> {
        Arc::clone(&self.decided)
    }

    /// Begins the evaluation of `new` where it replaces another version. `earlier` is an evaluation that may be under way: its
    /// version is not desired any more, and the one that ran before that is what still runs.
    pub(crate) fn begin(
        &self,
        new: &Lease,
        old: Option<&Lease>,
        earlier: Option<CanaryCandidate>,
    ) -> Option<CanaryCandidate> {
        let undecided = earlier.filter(|earlier| earlier.verdict().is_none());
        let before = undecided.map(|earlier| earlier.before).or_else(|| old.cloned())?;
        // Workers with state wait for the verdict; without any others there would be none.
        let mut workers = new.info().workers.iter();
        let takes_part = workers.any(|worker| worker.state.is_none());
        let rules = self.rules.filter(|_| takes_part)?;
        let decided = Arc::clone(&self.decided);
        let evaluation = CanaryEvaluation::begin(rules, new.id(), &self.tasks, move || decided.notify_one());
        Some(CanaryCandidate { evaluation, before })
    }
}

impl CanaryCandidate {
    pub(crate) fn evaluation(&self) -> &Arc<CanaryEvaluation> {
        &self.evaluation
    }

    pub(crate) fn verdict(&self) -> Option<CanaryVerdict> {
        self.evaluation.verdict()
    }

    /// The version to go back to.
    pub(crate) fn into_before(self) -> Lease {
        self.before
    }
}
