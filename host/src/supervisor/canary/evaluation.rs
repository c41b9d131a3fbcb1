//! The canary evaluation of one version: collects the attempts of all slots and decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mshost_core::ids::{GenerationId, WorkerType};
use mshost_topology::CanaryConfig;
use mshost_worker::Progress;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::verdict::{AttemptCounts, CanaryVerdict, ComparedCounts, judge};

/// How often the counts are compared.
const INTERVAL: Duration = Duration::from_millis(50);

/// After how long a version is accepted where no slot takes part; later, if [`CanaryConfig::span`] is longer.
const NO_PARTICIPANTS: Duration = Duration::from_secs(60);

/// The canary evaluation of a version. It stays undecided where it is dropped first.
#[derive(Debug)]
pub(crate) struct CanaryEvaluation {
    rules: CanaryConfig,
    generation: GenerationId,
    created: Instant,
    slots: Mutex<EvaluatedSlots>,
    verdict: watch::Sender<Option<CanaryVerdict>>,
}

/// The slots that take part, and since when there is one.
#[derive(Debug, Default)]
struct EvaluatedSlots {
    all: Vec<EvaluatedSlot>,
    began: Option<Instant>,
}

/// The two workers of a slot.
#[derive(Debug)]
struct EvaluatedSlot {
    worker_type: WorkerType,
    new: AttemptCounter,
    old: AttemptCounter,
}

/// Counts what a worker has done since it takes part.
#[derive(Debug)]
struct AttemptCounter {
    progress: Arc<Progress>,
    before: AttemptCounts,
}

impl CanaryEvaluation {
    /// Begins the evaluation of a version. It is decided on `tasks`, which calls `on_verdict` then.
    pub(super) fn begin(
        rules: CanaryConfig,
        generation: GenerationId,
        tasks: &TaskTracker,
        on_verdict: impl FnOnce() + Send + 'static,
    ) -> Arc<Self> {
        let (created, slots, verdict) = (Instant::now(), Mutex::default(), watch::Sender::new(None));
        let evaluation = Arc::new(Self { rules, generation, created, slots, verdict });
        tasks.spawn(compare_until_decided(Arc::downgrade(&evaluation), on_verdict));
        evaluation
    }

    /// The version that is evaluated.
    pub(crate) fn generation(&self) -> GenerationId {
        self.generation
    }

    /// The share of a slot's jobs that the new version gets, from 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.rules.share
    }

    /// Counts the two workers of a slot from now on.
    pub(super) fn add_slot(&self, worker_type: &WorkerType, new: Arc<Progress>, old: Arc<Progress>) {
        let (new, old) = (AttemptCounter::begin(new), AttemptCounter::begin(old));
        let mut slots = self.slots.lock();
        slots.began.get_or_insert_with(Instant::now);
        slots.all.push(EvaluatedSlot { worker_type: worker_type.clone(), new, old });
    }

    /// Rejects the version: it could not start, or a worker of it died.
    pub(crate) fn reject(&self, why: &str) {
        self.decide(CanaryVerdict::Rejected(why.to_owned()));
    }

    /// The verdict, once there is one.
    pub(crate) fn verdict(&self) -> Option<CanaryVerdict> {
        self.verdict.borrow().clone()
    }

    /// Waits for the verdict. Cancel safe.
    pub(super) async fn decided(&self) -> CanaryVerdict {
        let mut verdict = self.verdict.subscribe();
        // The sender lives as long as this does.
        let decided = verdict.wait_for(Option::is_some).await;
        match decided.ok().and_then(|decided| decided.clone()) {
            Some(verdict) => verdict,
            None => std::future::pending().await,
        }
    }

    /// The first verdict stands.
    fn decide(&self, verdict: CanaryVerdict) {
        self.verdict.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                *known = Some(verdict);
            }
            is_first
        });
    }

    fn compare(&self) {
        let mut types: BTreeMap<WorkerType, ComparedCounts> = BTreeMap::new();
        let slots = self.slots.lock();
        for slot in &slots.all {
            let counts = types.entry(slot.worker_type.clone()).or_default();
            counts.new.add(slot.new.count());
            counts.old.add(slot.old.count());
        }
        let is_over = match slots.began {
            Some(began) => began.elapsed() >= self.rules.span,
            None => self.created.elapsed() >= self.rules.span.max(NO_PARTICIPANTS),
        };
        drop(slots);
        if let Some(verdict) = judge(&self.rules, &types, is_over) {
            self.decide(verdict);
        }
    }
}

async fn compare_until_decided(evaluation: Weak<CanaryEvaluation>, on_verdict: impl FnOnce()) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(evaluation) = evaluation.upgrade() else { return };
        evaluation.compare();
        if evaluation.verdict().is_some() {
            return on_verdict();
        }
    }
}

impl AttemptCounter {
    fn begin(progress: Arc<Progress>) -> Self {
        Self { before: AttemptCounts::of(&progress), progress }
    }

    fn count(&self) -> AttemptCounts {
        AttemptCounts::of(&self.progress).since(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_verdict_stands() {
        let tasks = TaskTracker::new();
        let evaluation = CanaryEvaluation::begin(CanaryConfig::default(), GenerationId(2), &tasks, || {});
        assert_eq!(evaluation.verdict(), None);
        evaluation.reject("it died");
        evaluation.decide(CanaryVerdict::Accepted(String::new()));
        assert_eq!(evaluation.decided().await, CanaryVerdict::Rejected("it died".to_owned()));
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn an_evaluation_that_is_dropped_ends_its_task() {
        let tasks = TaskTracker::new();
        drop(CanaryEvaluation::begin(CanaryConfig::default(), GenerationId(2), &tasks, || {}));
        tasks.close();
        tasks.wait().await;
    }
}
