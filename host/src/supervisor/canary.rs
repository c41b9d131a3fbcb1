//! Which versions of plugins are on trial, and what runs meanwhile.

use std::sync::Arc;

use mshost_topology::CanaryConfig;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::lease::Lease;
use super::trial::{Decision, Trial};

/// What makes trials.
#[derive(Debug)]
pub(super) struct Canaries {
    rules: Option<CanaryConfig>,
    tasks: TaskTracker,
    decided: Arc<Notify>,
}

/// A version on trial, and the one before.
#[derive(Debug)]
pub(super) struct OnTrial {
    trial: Arc<Trial>,
    before: Lease,
}

impl Canaries {
    /// Without `rules` there is no trial.
    pub(super) fn new(rules: Option<CanaryConfig>, tasks: TaskTracker) -> Self {
        Self { rules, tasks, decided: Arc::default() }
    }

    /// Notified when something has been decided.
    pub(super) fn decided(&self) -> Arc<Notify> {
        Arc::clone(&self.decided)
    }

    /// Puts `new` on trial where it takes the place of another. `earlier` is a trial that may be under way: its version is
    /// no longer wanted, and the one that ran before that is what runs still.
    pub(super) fn begin(&self, new: &Lease, old: Option<&Lease>, earlier: Option<OnTrial>) -> Option<OnTrial> {
        let undecided = earlier.filter(|earlier| earlier.decision().is_none());
        let before = undecided.map(|earlier| earlier.before).or_else(|| old.cloned())?;
        // Workers with state wait for the verdict; nobody would be left to bring one about.
        let mut workers = new.info().workers.iter();
        let takes_part = workers.any(|worker| worker.state.is_none());
        let rules = self.rules.filter(|_| takes_part)?;
        let decided = Arc::clone(&self.decided);
        let trial = Trial::begin(rules, new.id(), &self.tasks, move || decided.notify_one());
        Some(OnTrial { trial, before })
    }
}

impl OnTrial {
    pub(super) fn trial(&self) -> &Arc<Trial> {
        &self.trial
    }

    pub(super) fn decision(&self) -> Option<Decision> {
        self.trial.decision()
    }

    /// The version to go back to.
    pub(super) fn into_before(self) -> Lease {
        self.before
    }
}
